"""The world around the arm: a scene by name, the compiled model and its state, and what a renderer needs.

A scene builds everything but the arm (table, objects, lights, cameras) and places its objects at every reset.
It is found through the entry-point group `so101.scenes` (name -> function without arguments that returns a
`Scene`), so a package can bring scenes without this one knowing it. The arm is at the origin of the
world, x forward, z up, table top at z = 0.

The same seed gives the same state, bit for bit: a reset starts from `mj_resetData` and from the model fields
as they were compiled, so nothing that a scene randomises (friction, mass, colours, cameras) survives into the
next episode.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol, cast, runtime_checkable

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import ConfigError
from so101_robot.joints import JOINTS
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.physics.model import GEAR_PREFIX, add_arm
from so101_robot.mock.physics.table import TableScene

SCENE_GROUP = "so101.scenes"

PHYSICS_STEP_S = 0.002
"""[s] two firmware ticks. Contacts and limits are tuned to it: time constants are at least twice this."""

REST_POSE_RAD = (0.0, -1.745, 1.690, 0.955, 0.0, 0.0)
"""Folded onto itself as an SO-101 is parked: it stays there without torque, on two joint limits."""

HOME_POSE_RAD = (0.0, -1.0, 0.8, 1.1, -1.571, 0.35)
"""Raised over the table, jaws ajar and in front: where work begins and ends."""


class CameraSpec(NamedTuple):
    """A camera of the scene, and the picture that is wanted from it."""

    name: str
    width: int
    height: int
    fps: float


class Scene(Protocol):
    """What stands around the arm."""

    name: str

    def build(self) -> mujoco.MjSpec:
        """Table, lights, objects, fixed cameras. The arm and the physics options are added by `World`."""
        ...

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place the objects. `data` comes at its defaults with the arm in the rest pose, `model` as compiled.

        May change both (domain randomisation, another start pose through the arm's joints); every draw comes
        from `rng`. `mj_forward` follows.
        """
        ...


def available_scenes() -> list[str]:
    """Names of all scenes that installed packages bring."""
    return sorted(_scenes(entry_points(group=SCENE_GROUP)))


def load_scene(name: str) -> Scene:
    """The scene of that name. Raises `ConfigError` that lists those that exist."""
    points = entry_points(group=SCENE_GROUP)
    scenes = _scenes(point for point in points if point.name == name)  # the others need not be imported
    if name not in scenes:
        scenes = _scenes(points)
    if name not in scenes:
        raise ConfigError(f"there is no scene {name!r}; available: {', '.join(sorted(scenes)) or 'none'}")
    return scenes[name]()


def _scenes(points: Iterable[EntryPoint]) -> dict[str, Callable[[], Scene]]:
    """Name -> what makes the scene. An entry point is one scene under its own name, or a mapping of several."""
    scenes: dict[str, Callable[[], Scene]] = {}
    for point in points:
        brought = point.load()
        if isinstance(brought, Mapping):
            scenes.update(cast("Mapping[str, Callable[[], Scene]]", brought))
        else:
            scenes[point.name] = brought
    return scenes


@runtime_checkable
class Attended(Protocol):
    """A scene with a person in it, who moves things and the arm while cameras look."""

    def attend(self, model: mujoco.MjModel, data: mujoco.MjData, hand: Hand | None, time_s: float) -> None:
        """Called before every picture. What is moved touches nothing (mocap bodies); the arm is moved by its hand.

        Args:
            hand: of the arm, while all of its servos are free; None: they hold it, or it is not known.
            time_s: on the arm's clock.
        """
        ...


class World:
    """A scene with the arm in it: model, state, resets, snapshots.

    `model` and `data` keep their identity for life, so views of their arrays stay valid. `joint_qpos` and
    `gear_qpos` (6,) index `data.qpos`, `joint_dof` and `gear_dof` (6,) index `data.qvel`: output shaft and
    rotor of each servo.
    """

    def __init__(self, scene: Scene, seed: int = 0) -> None:
        self.scene = scene
        self.seed = seed
        spec = scene.build()
        _set_physics(spec)
        add_arm(spec)
        self.model = spec.compile()
        _bound_all_shapes(self.model)
        self.data = mujoco.MjData(self.model)
        joint_ids = [self.model.joint(name).id for name in JOINTS]
        gear_ids = [self.model.joint(GEAR_PREFIX + name).id for name in JOINTS]
        self.joint_qpos: NDArray[np.int32] = self.model.jnt_qposadr[joint_ids]
        self.joint_dof: NDArray[np.int32] = self.model.jnt_dofadr[joint_ids]
        self.gear_qpos: NDArray[np.int32] = self.model.jnt_qposadr[gear_ids]
        self.gear_dof: NDArray[np.int32] = self.model.jnt_dofadr[gear_ids]
        self.joint_range_rad: NDArray[np.float64] = self.model.jnt_range[joint_ids]
        self._compiled = _ModelFields(self.model)
        self.reset(seed)

    @property
    def cameras(self) -> list[str]:
        """Names of the model's cameras."""
        return [self.model.camera(i).name for i in range(self.model.ncam)]

    def reset(self, seed: int | None = None) -> None:
        """Start an episode; without `seed`, the last one again."""
        if seed is not None:
            self.seed = seed
        self._compiled.restore()
        mujoco.mj_resetData(self.model, self.data)
        self.place_arm(REST_POSE_RAD)
        self.scene.reset(self.model, self.data, np.random.default_rng(self.seed))
        self.data.qpos[self.gear_qpos] = self.data.qpos[self.joint_qpos]
        mujoco.mj_forward(self.model, self.data)

    def place_arm(self, joint_rad: Sequence[float] | NDArray[np.float64]) -> None:
        """Put the arm (6,) [rad] there at rest, rotors in the middle of their play. No `mj_forward`."""
        for qpos, dof in ((self.joint_qpos, self.joint_dof), (self.gear_qpos, self.gear_dof)):
            self.data.qpos[qpos] = joint_rad
            self.data.qvel[dof] = 0.0

    def snapshot(self) -> NDArray[np.float64]:
        """What `render.Renderer.render` takes: qpos, mocap positions, mocap quaternions in one vector."""
        data = self.data
        return np.concatenate((data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()))

    def digest(self) -> str:
        """SHA-256 of the physics state: worlds with equal digests go on equally under equal inputs."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, state, kind)
        return hashlib.sha256(state.tobytes()).hexdigest()


Owner = (
    mujoco.MjModel
    | mujoco.MjOption
    | mujoco.MjStatistic
    | mujoco.MjVisual.Headlight
    | mujoco.MjVisual.Map
    | mujoco.MjVisual.Rgba
)
"""A structure of MuJoCo whose numbers are a model's."""


class _ModelFields:
    """Every number of a model as it was compiled, to go back to."""

    def __init__(self, model: mujoco.MjModel) -> None:
        owners = (model, model.opt, model.stat, model.vis.headlight, model.vis.map, model.vis.rgba)
        fields = [(owner, name, getattr(owner, name)) for owner in owners for name in _public(owner)]
        self._arrays = [(value, value.copy()) for _, _, value in fields if isinstance(value, np.ndarray)]
        self._floats = [field for field in fields if isinstance(field[2], float)]

    def restore(self) -> None:
        for live, compiled in self._arrays:
            np.copyto(live, compiled)
        for owner, name, value in self._floats:
            setattr(owner, name, value)


def _public(owner: Owner) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]


def _bound_all_shapes(model: mujoco.MjModel) -> None:
    """Widen every body's bounding box to all of its shapes.

    MuJoCo bounds those that collide, and its ray bundles skip a body outside of whose box they pass, so that
    shapes which are only seen would miss in pictures. A wider box costs a narrow-phase test now and then and
    changes no contact. (Before MuJoCo 4 a bundle still loses some rays at the arm's outline, about 2 %.)
    """
    for body in np.flatnonzero(model.body_bvhnum > 0):
        geoms = np.arange(model.body_geomnum[body]) + model.body_geomadr[body]
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        corners = [
            model.geom_pos[geom]
            + (model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]) @ _rotation(quat).T
            for geom, quat in zip(geoms, model.geom_quat[geoms], strict=True)
            if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE
        ]
        if corners:
            inertial = (np.concatenate(corners) - model.body_ipos[body]) @ _rotation(model.body_iquat[body])
            low, high = inertial.min(axis=0), inertial.max(axis=0)
            model.bvh_aabb[model.body_bvhadr[body]] = (*(low + high) / 2, *(high - low) / 2)


def _rotation(quat_wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat_wxyz)
    return matrix.reshape(3, 3)


def _set_physics(spec: mujoco.MjSpec) -> None:
    """Solver settings under which resting boxes stay at rest and a held box does not creep."""
    option = spec.option
    option.timestep = PHYSICS_STEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST  # back-EMF is a damping, taken implicitly
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10  # with condim 3 for objects: condim 4 makes resting boxes spin at this setting
    option.iterations = option.ls_iterations = 20
    # By default MuJoCo changes to sparse Jacobians at 60 degrees of freedom (8 boxes), whose solution for the
    # gears' tendons is wrong (4.0.0: the arm sags by itself within 50 ms, NaN soon after).
    option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE


def table_scene() -> Scene:
    """Entry point `table`."""
    return TableScene()
