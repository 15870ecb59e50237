"""Pictures of a world: OpenGL without a window where the machine has it, our own rays where it has not.

A renderer keeps a state of its own and takes snapshots (`World.snapshot`), so it can live in another process
or lag behind the physics. The two kinds of renderer draw the same scene but not the same pixels: store
`Renderer.backend` with every picture, and train and evaluate on the same one. Both repeat bit for bit.

An OpenGL context belongs to its thread: open, use and close a renderer in one and the same.
"""

import importlib
import math
from types import TracebackType
from typing import Any, Protocol, Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import CameraError
from so101_robot.mock.cameras.backend import choose_backend
from so101_robot.mock.cameras.rays import RayTracer

__all__ = ["Appearance", "Renderer", "appearance", "choose_backend", "open_renderer"]

SHADOW_MAP = 2048
"""Texels along an edge of the shadow map. MuJoCo's 4096 is for GPUs: 117 ms for two 96x96 pictures."""
SAMPLES = 4  # per pixel, for pictures that a person looks at

UNSEEN_GROUP = mujoco.mjNGROUP - 1
"""Group of the shapes that a camera does not see, while it draws; the scenes use none of it."""
MARGIN_M = 1e-3
"""A shape is left out if its bounding sphere is this far outside of what the camera sees."""

SPARE_GEOMS = 16  # the renderer's list holds the model's geoms, and the sky

type Appearance = dict[str, NDArray[Any]]
"""Model fields that decide what a picture looks like, by name."""

_VISIBLE = (
    *("geom_rgba", "geom_size", "geom_pos", "geom_quat", "geom_matid"),
    *("mat_rgba", "mat_texrepeat", "tex_data"),
    *("body_pos", "body_quat", "site_pos", "site_quat", "cam_pos", "cam_quat", "cam_fovy"),
    *("light_pos", "light_dir", "light_diffuse", "light_ambient", "light_specular", "light_active"),
)


def appearance(model: mujoco.MjModel) -> Appearance:
    """What a scene may have randomised at a reset, for a renderer that holds another copy of the model."""
    fields: Appearance = {name: getattr(model, name).copy() for name in _VISIBLE}
    for name in ("ambient", "diffuse", "specular"):
        fields[f"headlight_{name}"] = getattr(model.vis.headlight, name).copy()
    return fields


class Drawer(Protocol):
    """What differs between backends."""

    def draw(self, data: mujoco.MjData, camera_id: int) -> NDArray[np.uint8]: ...
    def upload_textures(self) -> None: ...
    def close(self) -> None: ...


class Renderer:
    """Draws one model at one size. Made by `open_renderer`; a context manager; closing twice is fine."""

    def __init__(self, model: mujoco.MjModel, drawer: Drawer, backend: str) -> None:
        self.backend = backend
        self._model = model
        self._data = mujoco.MjData(model)
        self._drawer: Drawer | None = drawer
        self._camera_id = {model.camera(i).name: i for i in range(model.ncam)}

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras that can be drawn."""
        return list(self._camera_id)

    def render(self, snapshot: NDArray[np.float64], camera: str) -> NDArray[np.uint8]:
        """The picture (height, width, 3) RGB of `camera` at a `World.snapshot`, in memory of its own.

        Raises `CameraError` for a camera that the model lacks, a snapshot of another model or a closed
        renderer.
        """
        if self._drawer is None:
            raise CameraError("this renderer is closed")
        if camera not in self._camera_id:
            raise CameraError(f"the scene has no camera {camera!r}; available: {', '.join(self._camera_id)}")
        self._pose(snapshot)
        return self._drawer.draw(self._data, self._camera_id[camera])

    def refresh(self, fields: Appearance | None = None) -> None:
        """Take another `appearance`; without one, textures that changed in a model shared with the world."""
        for name, value in (fields or {}).items():
            owner, _, part = name.partition("_")
            lit = owner == "headlight"
            target = getattr(self._model.vis.headlight, part) if lit else getattr(self._model, name)
            target[:] = value
        if self._drawer is not None:
            self._drawer.upload_textures()

    def close(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
            self._drawer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _pose(self, snapshot: NDArray[np.float64]) -> None:
        model, data = self._model, self._data
        n, mocaps = model.nq, model.nmocap
        if snapshot.shape != (n + 7 * mocaps,):
            raise CameraError(
                f"this scene's snapshots have {n + 7 * mocaps} numbers, this is {snapshot.shape}"
            )
        data.qpos[:] = snapshot[:n]
        data.mocap_pos[:] = snapshot[n : n + 3 * mocaps].reshape(mocaps, 3)
        data.mocap_quat[:] = snapshot[n + 3 * mocaps :].reshape(mocaps, 4)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)  # cameras and lights may follow a centre of mass
        mujoco.mj_camlight(model, data)


def open_renderer(
    model: mujoco.MjModel, width: int, height: int, backend: str = "auto", shadows: bool = False
) -> Renderer:
    """A renderer for pictures of `width` x `height`.

    `shadows` is for pictures that a person looks at: shadows and smooth edges, at several times the cost.
    `backend` is as in `choose_backend`, which also says what is raised.
    """
    chosen = choose_backend(backend)
    if chosen == "ray":
        return Renderer(model, RayTracer(model, width, height, shadows), chosen)
    return Renderer(model, _OpenGl(model, width, height, chosen, shadows), chosen)


def in_view(model: mujoco.MjModel, data: mujoco.MjData, camera_id: int, aspect: float) -> NDArray[np.bool_]:
    """(ngeom,) whether a shape can be in the picture of a camera: each one costs some 15 us to draw, also beside it.

    Not certain to be out is in: the test is of bounding spheres against the four sides of the pyramid and its tip.
    """
    p_camera = (data.geom_xpos - data.cam_xpos[camera_id]) @ data.cam_xmat[camera_id].reshape(3, 3)
    radius = model.geom_rbound + MARGIN_M
    ahead = -p_camera[:, 2]  # a camera looks along -z
    seen = ahead > -radius
    half_height = math.tan(math.radians(float(model.cam_fovy[camera_id])) / 2)
    for axis, half in ((0, half_height * aspect), (1, half_height)):
        seen &= np.abs(p_camera[:, axis]) - half * ahead <= radius * math.hypot(1.0, half)
    return seen | (model.geom_rbound == 0.0)  # planes have no end


class _OpenGl:
    """MuJoCo's rasteriser in an off-screen context."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int, backend: str, shadows: bool) -> None:
        self._model = model
        self._context: Any = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        self._context.make_current()
        visual = model.vis
        visual.quality.offsamples = SAMPLES if shadows else 0
        visual.quality.shadowsize = SHADOW_MAP if shadows else 0
        visual.quality.numslices, visual.quality.numstacks = (40, 20) if shadows else (16, 8)
        visual.global_.offwidth, visual.global_.offheight = width, height
        self._mjr: mujoco.MjrContext | None = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._scene = mujoco.MjvScene(model, model.ngeom + SPARE_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = True
        self._option, self._perturb, self._camera = (
            mujoco.MjvOption(),
            mujoco.MjvPerturb(),
            mujoco.MjvCamera(),
        )
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._option.geomgroup[UNSEEN_GROUP] = 0
        # with shadows, what is out of the picture is seen by its shadow
        self._culls = not shadows

    def draw(self, data: mujoco.MjData, camera_id: int) -> NDArray[np.uint8]:
        self._context.make_current()
        self._camera.fixedcamid = camera_id
        parts, camera, groups = mujoco.mjtCatBit.mjCAT_ALL, self._camera, self._model.geom_group
        before = groups.copy()
        if self._culls:
            groups[~in_view(self._model, data, camera_id, self._rect.width / self._rect.height)] = (
                UNSEEN_GROUP
            )
        mujoco.mjv_updateScene(self._model, data, self._option, self._perturb, camera, parts, self._scene)
        groups[:] = before
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._mjr)
        return self._pixels[::-1].copy()  # OpenGL counts rows from below

    def upload_textures(self) -> None:
        self._context.make_current()
        for texture_id in range(self._model.ntex):
            mujoco.mjr_uploadTexture(self._model, self._mjr, texture_id)

    def close(self) -> None:
        if self._mjr is not None:
            self._context.make_current()
            self._mjr.free()
            self._mjr = None
            self._context.free()
