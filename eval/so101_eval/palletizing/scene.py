"""The scene: a bench, boxes in a pick area, a slatted pallet with marked slots, things beside the way.
 The pallet and the distractors are fixed bodies that a reset moves; boxes are free cubes. What is only
seen (slats, marks, prints, distractors) touches nothing. Boxes are compiled at the largest size and made
smaller by a reset, so that every bound that MuJoCo keeps stays true.
 The physics of boxes and pallet (condim 3, friction) is that of the bench's blocks: with condim 4 resting
boxes spin by themselves.
"""

import math
from functools import partial

import mujoco
import numpy as np
from numpy.typing import NDArray
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.motor import STALL_TORQUE_NM, MotorParameters
from so101_robot.mock.plant import MujocoPlant
from so101_robot.mock.table import OBJECT_FRICTION, dress

from so101_eval.palletizing.looks import PALLET_RGB, add_table_looks
from so101_eval.palletizing.reset import (
    BOX_KG,
    BOX_RGB,
    CAMERAS,
    DEMO_SEEDS,
    DISTRACTORS,
    LABEL_RGB,
    BoxStart,
    CameraShift,
    Distractor,
    Light,
    PalletStart,
    Reset,
    draw,
)
from so101_eval.palletizing.tasks import BOX_M, PALLET_M, PAN_AXIS_M, Task, load_task

LARGEST_BOX_M = 0.032  # [m] edge, as compiled
HIDDEN_GROUP = 3  # geoms that touch and are not drawn
AWAY_M = (-1.6, 0.0)  # where a box lies that is not there: behind the arm, out of every picture

DECK_M, BLOCK_M, RUNNER_M = 0.0030, 0.0045, 0.0025  # [m] heights, together the pallet's
BOARDS, BOARD_GAP_M = 5, 0.0045
MARK_RGBA = (0.97, 0.95, 0.90, 1.0)
MARK_FILL_RGBA = (0.36, 0.27, 0.19, 1.0)
FRONT_CAMERA_M, FRONT_FOVY_DEG = (0.505, 0.012, 0.41), 42.0
"""The bench's own, a little wider: in a square picture pick area and pallet reach from edge to edge."""
OVERHEAD_CAMERA_M, OVERHEAD_FOVY_DEG = (0.155, 0.015, 0.60), 35.0
OUTLINE_RGBA = (0.93, 0.94, 0.95, 1.0)

_BOX = mujoco.mjtGeom.mjGEOM_BOX


class PalletizingScene:
    """The scene of a task, for `World`. `next` is what the next reset lays out; None draws a nominal
    start."""

    def __init__(self, task: Task | str = "palletize-2") -> None:
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
        _add_pick_outline(spec, self.task)
        _add_pallet(spec, self.task)
        for i in range(self.task.boxes):
            _add_box(spec, i)
        for kind in DISTRACTORS:
            _add_distractor(spec, kind)
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
        for joint, angle_rad in zip(JOINTS, reset.arm_rad, strict=True):
            data.joint(joint).qpos[0] = angle_rad
        model.geom("table").matid[0] = _table_material(model, reset.table_look)
        _light(model, reset.light)
        for name in CAMERAS:
            _shift_camera(model, name, reset.cameras[name])
        for thing in reset.distractors:
            _place_distractor(model, thing)


def lay_out(arm: MockArm, scene: PalletizingScene, reset: Reset) -> None:
    """Switch a mock arm off and on in the scene of `reset`: boxes, servos' strength, arm held at its start.

    The arm's world must have been built with `scene`. The servos stand under torque, as those of an arm that
    somebody has just homed; the same reset gives the same state, bit for bit.
    """
    scene.next = reset
    arm.reset(reset.seed)
    assert isinstance(arm.plant, MujocoPlant)
    arm.plant.fit_motors(
        [MotorParameters(stall_torque_nm=STALL_TORQUE_NM * factor) for factor in reset.servo_strength]
    )
    arm.plant.reset()
    hold(arm)


def hold(arm: MockArm) -> None:
    """Torque on, every joint's goal where it is."""
    for index in range(len(JOINTS)):
        arm.servos.set(index, "Goal_Position", arm.servos.get(index, "Present_Position"))
        arm.servos.set(index, "Torque_Enable", 1)


# building


def _seen(
    body: mujoco.MjsBody,
    name: str,
    size_m: tuple[float, float, float],
    place_m: tuple[float, float, float],
    rgba: tuple[float, ...],
    kind: mujoco.mjtGeom = _BOX,
) -> mujoco.MjsGeom:
    """A shape that is only looked at."""
    geom = body.add_geom(name=name, type=kind, size=size_m, pos=place_m, rgba=rgba, mass=0)
    geom.contype = geom.conaffinity = 0
    return geom


def _add_pallet(spec: mujoco.MjSpec, task: Task) -> None:
    """Its frame is the deck's middle; one hidden block is what boxes stand on."""
    (u_m, v_m, height_m), body = PALLET_M, spec.worldbody.add_body(name="pallet", pos=[0, 0, PALLET_M[2]])
    solid = body.add_geom(name="pallet", type=_BOX, size=[u_m / 2, v_m / 2, height_m / 2], mass=0)
    solid.pos, solid.group = [0, 0, -height_m / 2], HIDDEN_GROUP
    solid.contype, solid.conaffinity, solid.condim, solid.friction = 1, 3, 3, OBJECT_FRICTION
    board_m = (u_m - (BOARDS - 1) * BOARD_GAP_M) / BOARDS
    for i in range(BOARDS):
        at_u_m = (i - (BOARDS - 1) / 2) * (board_m + BOARD_GAP_M)
        _seen(
            body,
            f"pallet/deck/{i}",
            (board_m / 2, v_m / 2, DECK_M / 2),
            (at_u_m, 0, -DECK_M / 2),
            (1, 1, 1, 1),
        )
    block_z_m, runner_z_m = -DECK_M - BLOCK_M / 2, -DECK_M - BLOCK_M - RUNNER_M / 2
    for row, share in enumerate((-1, 0, 1)):
        at_v_m = share * (v_m / 2 - 0.006)
        _seen(
            body,
            f"pallet/runner/{row}",
            (u_m / 2, 0.006, RUNNER_M / 2),
            (0, at_v_m, runner_z_m),
            (1, 1, 1, 1),
        )
        for column, across in enumerate((-1, 0, 1)):
            at_u_m = across * (u_m / 2 - 0.008)
            name = f"pallet/block/{row}{column}"
            _seen(body, name, (0.008, 0.006, BLOCK_M / 2), (at_u_m, at_v_m, block_z_m), (1, 1, 1, 1))
    ground = {(slot.u_m, slot.v_m) for slot in task.slots}
    for i, (at_u_m, at_v_m) in enumerate(sorted(ground)):
        _add_mark(body, i, at_u_m, at_v_m)


def _add_mark(body: mujoco.MjsBody, index: int, u_m: float, v_m: float) -> None:
    """A slot: a dark field with a light frame, as wide as a box."""
    half_m, line_m, lift_m = BOX_M / 2 + 0.0025, 0.0026, 0.0003
    _seen(body, f"slot/{index}/field", (half_m, half_m, lift_m / 2), (u_m, v_m, lift_m / 2), MARK_FILL_RGBA)
    for side, (du, dv) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        size_m = (line_m / 2, half_m, lift_m) if du else (half_m, line_m / 2, lift_m)
        place_m = (u_m + du * (half_m - line_m / 2), v_m + dv * (half_m - line_m / 2), lift_m)
        _seen(body, f"slot/{index}/side/{side}", size_m, place_m, MARK_RGBA)


def _add_box(spec: mujoco.MjSpec, i: int) -> None:
    body = spec.worldbody.add_body(name=f"box/{i}")
    body.add_freejoint(name=f"box/{i}")
    half_m = LARGEST_BOX_M / 2
    cube = body.add_geom(name=f"box/{i}", type=_BOX, size=[half_m] * 3, mass=BOX_KG, rgba=[*BOX_RGB[i], 1])
    cube.contype, cube.conaffinity, cube.condim, cube.friction = 1, 3, 3, OBJECT_FRICTION
    for part in _PRINTS:
        _seen(body, f"box/{i}/{part}", (half_m, half_m, half_m), (0, 0, 1e-4), (0, 0, 0, 0))


_PROUD = 1.012  # a print stands out of the box by 0.15 mm
_PRINTS: dict[str, tuple[tuple[float, float, float], float]] = {  # half sizes and height, in half edges
    "strip": ((_PROUD, 0.26, _PROUD), 0.0),
    "cross": ((0.26, _PROUD, _PROUD), 0.0),
    "band": ((_PROUD, _PROUD, 0.22), 0.0),
    "lid": ((0.82, 0.82, 0.03), 1.0),
}
_PRINTED = {"label": ("strip",), "cross": ("strip", "cross"), "band": ("band",), "lid": ("lid",), "plain": ()}


def _add_pick_outline(spec: mujoco.MjSpec, task: Task) -> None:
    """Painted on the table round the pick area, a finger's width outside of where centres may lie."""
    around_m, area = 0.020, task.pick_area
    near_m, far_m = area.radius_m[0] - around_m, area.radius_m[1] + around_m
    low_rad, high_rad = area.azimuth_rad[0] - around_m / 0.18, area.azimuth_rad[1] + around_m / 0.18
    corners = [(far_m, a) for a in np.linspace(low_rad, high_rad, 13)]
    corners += [(near_m, a) for a in np.linspace(high_rad, low_rad, 13)]
    points = [(PAN_AXIS_M[0] + r * math.cos(a), PAN_AXIS_M[1] + r * math.sin(a)) for r, a in corners]
    for i, (start, end) in enumerate(zip(points, points[1:] + points[:1], strict=True)):
        length_m, yaw_rad = math.dist(start, end), math.atan2(end[1] - start[1], end[0] - start[0])
        middle_m = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, 0.0001)
        line = _seen(
            spec.worldbody, f"pick/{i}", (length_m / 2 + 0.0012, 0.0015, 0.0002), middle_m, OUTLINE_RGBA
        )
        line.quat = [math.cos(yaw_rad / 2), 0, 0, math.sin(yaw_rad / 2)]


def _add_distractor(spec: mujoco.MjSpec, kind: str) -> None:
    """Drawn where it stands; under the table until it is wanted."""
    body = spec.worldbody.add_body(name=f"distractor/{kind}", pos=[0, 0, -1])
    cylinder, name = mujoco.mjtGeom.mjGEOM_CYLINDER, f"distractor/{kind}"
    if kind == "cup":
        _seen(body, name, (0.017, 0.019, 0), (0, 0, 0.019), (1, 1, 1, 1), cylinder)
        _seen(body, f"{name}/inside", (0.0145, 0.0004, 0), (0, 0, 0.038), (0.16, 0.12, 0.10, 1), cylinder)
        _seen(body, f"{name}/handle", (0.008, 0.0025, 0.009), (0.022, 0, 0.020), (1, 1, 1, 1))
    elif kind == "ball":
        _seen(body, name, (0.017, 0, 0), (0, 0, 0.017), (1, 1, 1, 1), mujoco.mjtGeom.mjGEOM_SPHERE)
    elif kind == "pen":
        lying = (math.sqrt(0.5), 0, math.sqrt(0.5), 0)
        for part, size_m, at_m in (("", (0.0045, 0.050, 0), 0.0), ("/cap", (0.0052, 0.018, 0), 0.036)):
            pen = _seen(body, name + part, size_m, (at_m, 0, 0.0052), (1, 1, 1, 1), cylinder)
            pen.quat = lying
    else:
        _seen(body, name, (0.024, 0.009, 0), (0, 0, 0.009), (1, 1, 1, 1), cylinder)
        _seen(body, f"{name}/core", (0.014, 0.0094, 0), (0, 0, 0.009), (0.72, 0.60, 0.45, 1), cylinder)


# laying out


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
    shown = _PRINTED[box.look] if box.present else ()
    for part, (halves, height) in _PRINTS.items():
        geom = model.geom(f"box/{i}/{part}")
        geom.size[:] = np.multiply(halves, half_m)
        geom.pos[2] = height * half_m
        geom.rgba[:] = (*LABEL_RGB, float(part in shown))


def _settle_constants(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """What MuJoCo derives from masses; the scene's extent, which it would derive too, stays as chosen."""
    extent, center = model.stat.extent, model.stat.center.copy()
    mujoco.mj_setConst(model, data)
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


def _shift_camera(model: mujoco.MjModel, name: str, shift: CameraShift) -> None:
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


palletize_1, palletize_2, palletize_3, palletize_4, palletize_5, palletize_6, palletize_7, palletize_8 = (
    partial(PalletizingScene, f"palletize-{count}") for count in range(1, 9)
)
palletize_4_layers = partial(PalletizingScene, "palletize-4-layers")
palletize_2_along = partial(PalletizingScene, "palletize-2-along")
