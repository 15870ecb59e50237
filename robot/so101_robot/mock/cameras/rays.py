"""A renderer of rays: pictures without OpenGL, from MuJoCo's ray casting and numpy alone.

One ray per pixel, Lambert shading under the model's headlight and directional lights, shadows by a second
bundle of rays, 2D textures on planes, and the sky's gradient. Slower than OpenGL and without its highlights
and smooth edges, but the same on every machine.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

FAR_M = 1e10  # MuJoCo's "no cut-off"
LIGHT_AT_M = 3.0  # a directional light as a point far away, since MuJoCo casts bundles from one origin
SHADOW_GAP_M = 0.002  # a ray that comes this close to its goal was not stopped
SEEN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # as MuJoCo's renderer draws by default


class _Hits(NamedTuple):
    """What a bundle of n rays met: geom (n,), -1 for nothing; distance (n,) [m]; normal (n, 3)."""

    geom: NDArray[np.int32]
    distance_m: NDArray[np.float64]
    normal: NDArray[np.float64]


class RayTracer:
    """Draws a model at one size; see `render.Renderer` for the state it draws."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int, shadows: bool) -> None:
        self._model = model
        self._width, self._height = width, height
        self._shadows = shadows
        self._rays_of: dict[float, NDArray[np.float64]] = {}
        self._sky = _sky_rows(model)

    def draw(self, data: mujoco.MjData, camera_id: int) -> NDArray[np.uint8]:
        R_world_camera = data.cam_xmat[camera_id].reshape(3, 3)
        rays = self._rays(float(self._model.cam_fovy[camera_id])) @ R_world_camera.T
        eye = data.cam_xpos[camera_id]
        hits = self._cast(data, eye, rays)
        rgb = self._sky_colour(rays)
        seen = np.flatnonzero(hits.geom >= 0)
        points = eye + rays[seen] * hits.distance_m[seen, None]
        colour = self._surface_colour(data, hits.geom[seen], points)
        normals = hits.normal[seen]
        normals[np.einsum("ij,ij->i", normals, rays[seen]) > 0] *= -1  # the side that is seen
        colour *= self._light(data, rays[seen], points, normals)
        rgb[seen] = self._fogged(colour, -hits.distance_m[seen] * (rays[seen] @ R_world_camera[:, 2]))
        return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8).reshape(self._height, self._width, 3)

    def upload_textures(self) -> None:
        self._sky = _sky_rows(self._model)

    def close(self) -> None:
        self._rays_of.clear()

    def _rays(self, fovy_deg: float) -> NDArray[np.float64]:
        """Unit vectors (h * w, 3) through the pixels, camera's frame (x right, y up, looking along -z)."""
        if fovy_deg not in self._rays_of:
            half = np.tan(np.deg2rad(fovy_deg) / 2)
            y = half * (1 - (2 * np.arange(self._height) + 1) / self._height)
            x = half * ((2 * np.arange(self._width) + 1) / self._width - 1) * self._width / self._height
            grid = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), -1.0)], axis=-1).reshape(-1, 3)
            self._rays_of[fovy_deg] = grid / np.linalg.norm(grid, axis=1, keepdims=True)
        return self._rays_of[fovy_deg]

    def _cast(self, data: mujoco.MjData, origin: NDArray[np.float64], rays: NDArray[np.float64]) -> _Hits:
        n = len(rays)
        hits = _Hits(np.empty(n, np.int32), np.empty(n), np.empty((n, 3)))
        mujoco.mj_multiRay(
            self._model, data, origin, rays.ravel(), SEEN_GROUPS, 1, -1,
            hits.geom, hits.distance_m, hits.normal.reshape(-1), n, FAR_M,
        )  # fmt: skip
        return hits

    def _light(
        self,
        data: mujoco.MjData,
        rays: NDArray[np.float64],
        points: NDArray[np.float64],
        normals: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Light (n, 3) that points (n, 3) with normals (n, 3) send back along rays (n, 3): Lambert's law."""
        model, headlight = self._model, self._model.vis.headlight
        towards_eye = -np.einsum("ij,ij->i", normals, rays)
        light = headlight.ambient + towards_eye[:, None] * headlight.diffuse
        for i in np.flatnonzero(model.light_active):
            direction = data.light_xdir[i]
            cosine = np.maximum(-(normals @ direction), 0)
            if self._shadows and model.light_castshadow[i]:
                cosine[self._shaded(data, direction, points, cosine > 0)] = 0
            light += model.light_ambient[i] + cosine[:, None] * model.light_diffuse[i]
        return light

    def _fogged(self, colour: NDArray[np.float64], depth_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Colours (n, 3) at depths (n,) behind the scene's linear fog."""
        visual, extent_m = self._model.vis, self._model.stat.extent
        start_m, end_m = visual.map.fogstart * extent_m, visual.map.fogend * extent_m
        share = np.clip((depth_m - start_m) / (end_m - start_m), 0, 1)[:, None]
        return colour + share * (visual.rgba.fog[:3] - colour)

    def _shaded(
        self,
        data: mujoco.MjData,
        direction: NDArray[np.float64],
        points: NDArray[np.float64],
        facing: NDArray[np.bool_],
    ) -> NDArray[np.intp]:
        """Indices of the points among `facing` that something keeps from the light."""
        facing_index = np.flatnonzero(facing)
        lamp = self._model.stat.center - direction * LIGHT_AT_M
        rays = points[facing_index] - lamp
        distance_m = np.linalg.norm(rays, axis=1)
        hits = self._cast(data, lamp, rays / distance_m[:, None])
        return facing_index[(hits.geom >= 0) & (hits.distance_m < distance_m - SHADOW_GAP_M)]

    def _surface_colour(
        self, data: mujoco.MjData, geoms: NDArray[np.int32], points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Colours (n, 3) of points (n, 3) on geoms (n,)."""
        model = self._model
        material = model.geom_matid[geoms]
        plain, painted = model.geom_rgba[geoms, :3], model.mat_rgba[material, :3]
        rgb = np.where((material >= 0)[:, None], painted, plain).astype(float)
        for geom in np.unique(geoms[material >= 0]):
            texture = self._texture(int(geom))
            if texture is not None:
                here = geoms == geom
                local = (points[here] - data.geom_xpos[geom]) @ data.geom_xmat[geom].reshape(3, 3)
                rgb[here] *= texture[self._texels(int(geom), local[:, :2], texture.shape)]
        return rgb

    def _texture(self, geom: int) -> NDArray[np.float64] | None:
        """Texels (rows, columns, 3) of a plane's 2D texture. None for other shapes: theirs is not drawn."""
        model = self._model
        if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE:
            return None
        texture = int(model.mat_texid[model.geom_matid[geom], mujoco.mjtTextureRole.mjTEXROLE_RGB])
        if texture < 0 or model.tex_type[texture] != mujoco.mjtTexture.mjTEXTURE_2D:
            return None
        return _texels(model, texture) / 255.0

    def _texels(
        self, geom: int, xy_m: NDArray[np.float64], shape: tuple[int, ...]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of the texel at local places (n, 2), laid out as OpenGL does.

        A texture starts at the corner of a finite plane and in the middle of an infinite one; v runs against
        y. `texrepeat` counts repeats in 2 m, or over the plane where it is not `texuniform`.
        """
        model = self._model
        material, half_m = model.geom_matid[geom], model.geom_size[geom, :2]
        repeat = model.mat_texrepeat[material].astype(float)
        if not model.mat_texuniform[material]:
            repeat = repeat / np.where(half_m > 0, half_m, 1.0)
        start = np.where(half_m > 0, 0.5 * repeat * half_m, 0.5)
        u, v = (0.5 * repeat * xy_m * (1, -1) + start).T
        column = np.floor((u % 1.0) * shape[1]).astype(np.intp) % shape[1]
        row = np.floor((v % 1.0) * shape[0]).astype(np.intp) % shape[0]
        return row, column

    def _sky_colour(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._sky is None:
            return np.zeros((len(rays), 3))
        height = 0.5 - 0.5 * rays[:, 2]
        return self._sky[np.minimum((height * len(self._sky)).astype(np.intp), len(self._sky) - 1)]


def _texels(model: mujoco.MjModel, texture: int) -> NDArray[np.uint8]:
    """Pixels (rows, columns, 3) of a texture."""
    shape = (model.tex_height[texture], model.tex_width[texture], model.tex_nchannel[texture])
    start = model.tex_adr[texture]
    return model.tex_data[start : start + int(np.prod(shape))].reshape(shape)[..., :3]


def _sky_rows(model: mujoco.MjModel) -> NDArray[np.float64] | None:
    """Colours (rows, 3) from zenith to nadir of a skybox with a vertical gradient; None without a skybox."""
    skies = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    if len(skies) == 0:
        return None
    return _texels(model, int(skies[0])).mean(axis=1)[: model.tex_width[skies[0]]] / 255.0
