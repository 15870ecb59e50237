"""The scene: a bench, boxes in a pick area, a slatted pallet with marked slots, things beside the way.

The pallet and the distractors are fixed bodies that a reset moves; boxes are free cubes. The physics of boxes
and pallet (condim 3, friction) is that of the bench's blocks: with condim 4 resting boxes spin by themselves.
"""

import math
from functools import partial

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.draw import DEMO_SEEDS, draw
from so101_eval.palletizing.scene.materials import LABEL_RGB, PALLET_RGB, PRINTED, add_table_looks
from so101_eval.palletizing.scene.parts import PRINTS, add_box, add_distractor, add_pallet, add_pick_outline
from so101_eval.palletizing.scene.reset_data import (
    CAMERAS,
    DISTRACTORS,
    BoxStart,
    CameraShift,
    Distractor,
    Light,
    PalletStart,
    Reset,
)
from so101_eval.palletizing.scene.sheet import Sheet, add_sheet
from so101_eval.palletizing.scene.tasks import TASKS, Task, load_task
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.physics.motor import STALL_TORQUE_NM, MotorParameters
from so101_robot.mock.physics.plant import MujocoPlant
from so101_robot.mock.physics.table import dress
from so101_robot.mock.physics.world import World

FRONT_CAMERA_M, FRONT_FOVY_DEG = (0.505, 0.012, 0.41), 42.0
"""The bench's own, a little wider: in a square picture pick area and pallet reach from edge to edge."""
OVERHEAD_CAMERA_M, OVERHEAD_FOVY_DEG = (0.155, 0.015, 0.60), 35.0
"""Straight down on the pick area and the pallet; for pictures."""
AWAY_M = (-1.6, 0.0)  # where a box lies that is not there: behind the arm, out of every picture


class PalletizingScene:
    """The scene of a task, for `World`.

    `next` is what resets lay out until it is changed (see `lay_out`). While it is None, a reset draws a nominal
    start and leaves the arm folded, because nobody holds it. With a `sheet`, that lies on the table.
    """

    def __init__(self, task: Task | str = "palletize-2", sheet: Sheet | None = None) -> None:
        self.sheet = sheet
        self.task = load_task(task) if isinstance(task, str) else task
        self.name = self.task.name
        self.next: Reset | None = None
        self.current: Reset | None = None
        """What lies there now."""

    def build(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec()
        dress(spec)
        front = spec.camera("front")
        front.pos, front.fovy = FRONT_CAMERA_M, FRONT_FOVY_DEG
        overhead = spec.camera("overhead")
        overhead.pos, overhead.fovy = OVERHEAD_CAMERA_M, OVERHEAD_FOVY_DEG
        add_table_looks(spec)
        if self.sheet is not None:
            add_sheet(spec, self.sheet)
        add_pick_outline(spec, self.task)
        add_pallet(spec, self.task)
        for i in range(self.task.boxes):
            add_box(spec, i)
        for kind in DISTRACTORS:
            add_distractor(spec, kind)
        return spec

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Lay out `next`, or a nominal start whose seed comes from `rng` (a demonstration seed)."""
        reset = self.next or draw(self.task, seed=int(rng.integers(DEMO_SEEDS.start, DEMO_SEEDS.stop)))
        self.current = reset
        _place_pallet(model, reset.pallet)
        for name in ("table", "pallet"):
            model.geom(name).friction[0] = reset.surface_friction
        for i, box in enumerate(reset.boxes):
            _make_box(model, i, box)
        _settle_constants(model, data)
        for i, box in enumerate(reset.boxes):
            _place_box(data, i, box)
        for joint, angle_rad in zip(JOINTS, reset.arm_rad, strict=True) if self.next else ():
            data.joint(joint).qpos[0] = angle_rad
        model.geom("table").matid[0] = _table_material(model, reset.table_look)
        _light(model, reset.light)
        for name in CAMERAS:
            shift_camera(model, name, reset.cameras[name])
        for thing in reset.distractors:
            _place_distractor(model, thing)


def lay_out(arm: MockArm, scene: PalletizingScene, reset: Reset) -> None:
    """Switch a mock arm off and on in the scene of `reset`: boxes, servos' strength and zeros, arm held at its start.

    The arm's world must have been built with `scene`. The servos stand under torque, as those of an arm that
    somebody has just homed; the same reset gives the same state, bit for bit.
    """
    scene.next = reset
    arm.reset(reset.seed)
    assert isinstance(arm.plant, MujocoPlant)
    arm.plant.fit_motors(
        [MotorParameters(stall_torque_nm=STALL_TORQUE_NM * factor) for factor in reset.servo_strength]
    )
    if reset.zero_error_rad:
        arm.plant.slip(reset.zero_error_rad)
    arm.plant.reset()
    hold(arm)


def rearrange(world: World, reset: Reset) -> None:
    """Boxes and pallet to where `reset` has them, while the arm stays what and where it is: as a person's hands do
    between two trials. Sizes, looks, light and cameras are not a hand's work and stay."""
    _place_pallet(world.model, reset.pallet)
    for i, box in enumerate(reset.boxes):
        _place_box(world.data, i, box)
        world.data.joint(f"box/{i}").qvel[:] = 0.0
    mujoco.mj_forward(world.model, world.data)


def hold(arm: MockArm) -> None:
    """Torque on, every joint's goal where it is."""
    for index in range(len(JOINTS)):
        arm.servos.set(index, "Goal_Position", arm.servos.get(index, "Present_Position"))
        arm.servos.set(index, "Torque_Enable", 1)


def _yaw_quat(yaw_rad: float) -> tuple[float, float, float, float]:
    return math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)


def _place_pallet(model: mujoco.MjModel, pallet: PalletStart) -> None:
    body = model.body("pallet")
    body.pos[:2] = pallet.x_m, pallet.y_m
    body.quat[:] = _yaw_quat(pallet.yaw_rad)
    tones = PALLET_RGB[pallet.look]
    for geom in range(model.body_geomadr[body.id], model.body_geomadr[body.id] + model.body_geomnum[body.id]):
        part = model.geom(geom).name.split("/")
        if part[:2] == ["pallet", "deck"]:
            model.geom_rgba[geom, :3] = tones[int(part[2]) % 3]
        elif part[0] == "pallet" and len(part) > 1:
            model.geom_rgba[geom, :3] = np.multiply(tones[1], 0.8)


def _make_box(model: mujoco.MjModel, i: int, box: BoxStart) -> None:
    """Size, mass, friction and looks of a box."""
    half_m, body = box.edge_m / 2, model.body(f"box/{i}").id
    cube = model.geom(f"box/{i}")
    cube.size[:] = half_m
    cube.friction[0] = box.friction
    cube.rgba[:] = (*box.rgb, float(box.present))
    model.body_mass[body] = box.mass_kg
    model.body_inertia[body] = box.mass_kg * box.edge_m**2 / 6
    shown = PRINTED[box.look] if box.present else ()
    for part, (halves, height) in PRINTS.items():
        geom = model.geom(f"box/{i}/{part}")
        geom.size[:] = np.multiply(halves, half_m)
        geom.pos[2] = height * half_m
        geom.rgba[:] = (*LABEL_RGB, float(part in shown))


def _settle_constants(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """What MuJoCo derives from masses. It leaves the state at zero and derives the scene's extent anew: both go
    back to what they were.
    """
    extent, center, qpos = model.stat.extent, model.stat.center.copy(), data.qpos.copy()
    mujoco.mj_setConst(model, data)
    mujoco.mj_resetData(model, data)
    data.qpos[:] = qpos
    model.stat.extent, model.stat.center[:] = extent, center


def _place_box(data: mujoco.MjData, i: int, box: BoxStart) -> None:
    x_m, y_m = (box.x_m, box.y_m) if box.present else (AWAY_M[0], AWAY_M[1] + 0.1 * i)
    data.joint(f"box/{i}").qpos[:] = (x_m, y_m, box.edge_m / 2, *_yaw_quat(box.yaw_rad))


def _table_material(model: mujoco.MjModel, look: str) -> int:
    return model.material("table" if look == "checker" else f"table/{look}").id


def _light(model: mujoco.MjModel, light: Light) -> None:
    """Lamps and the light from everywhere, brighter and tinted; the key light from elsewhere."""
    colour = light.gain * np.array([1 + light.tint, 1.0, 1 - light.tint])
    model.light_diffuse[:] *= colour
    model.vis.headlight.ambient[:] *= colour
    key = model.light("key")
    cos, sin = math.cos(light.turn_rad), math.sin(light.turn_rad)
    for vector in (key.dir, key.pos):
        x, y = vector[:2].tolist()
        vector[:2] = cos * x - sin * y, sin * x + cos * y


def shift_camera(model: mujoco.MjModel, name: str, shift: CameraShift) -> None:
    """Move and turn a camera from where it is."""
    camera = model.camera(name)
    R_parent_camera = np.empty(9)
    mujoco.mju_quat2Mat(R_parent_camera, camera.quat)
    camera.pos[:] += R_parent_camera.reshape(3, 3) @ np.array(shift.shift_m)
    turned = np.empty(4)
    mujoco.mju_mulQuat(turned, camera.quat.copy(), _quat(np.array(shift.turn_rad)))
    camera.quat[:] = turned


def _quat(turn_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    quat_wxyz, angle_rad = np.array([1.0, 0, 0, 0]), float(np.linalg.norm(turn_rad))
    if angle_rad > 0:
        mujoco.mju_axisAngle2Quat(quat_wxyz, turn_rad / angle_rad, angle_rad)
    return quat_wxyz


def _place_distractor(model: mujoco.MjModel, thing: Distractor) -> None:
    body = model.body(f"distractor/{thing.kind}")
    body.pos[:] = thing.x_m, thing.y_m, 0.0
    body.quat[:] = _yaw_quat(thing.yaw_rad)
    model.geom(f"distractor/{thing.kind}").rgba[:3] = thing.rgb


SCENES = {name: partial(PalletizingScene, name) for name in TASKS}
"""Entry point `palletize`: a scene for each task, under the task's name."""
