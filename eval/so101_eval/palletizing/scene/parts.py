"""What stands on the bench: the slatted pallet with its marked slots, boxes, the pick area's outline, distractors.

Built once with the model; `scene` moves, resizes and recolours these parts at every reset. What is only looked
at (slats, marks, prints, distractors) has no mass and touches nothing.
"""

import math

import mujoco
import numpy as np

from so101_eval.palletizing.scene.materials import BOX_RGB
from so101_eval.palletizing.scene.tasks import BOX_KG, BOX_M, PALLET_M, PAN_AXIS_M, Task
from so101_robot.mock.physics.table import OBJECT_FRICTION

LARGEST_BOX_M = 0.032
"""[m] edge, as compiled; a reset makes boxes smaller, so that every bound that MuJoCo keeps stays true."""
HIDDEN_GROUP = 3  # geoms that touch and are not drawn

DECK_M, BLOCK_M, RUNNER_M = 0.0030, 0.0045, 0.0025  # [m] heights, together the pallet's
BOARDS, BOARD_GAP_M = 5, 0.0045
MARK_RGBA = (0.97, 0.95, 0.90, 1.0)
MARK_FILL_RGBA = (0.36, 0.27, 0.19, 1.0)
OUTLINE_RGBA = (0.93, 0.94, 0.95, 1.0)

PROUD = 1.012  # a print stands out of the box by 0.15 mm
PRINTS: dict[str, tuple[tuple[float, float, float], float]] = {
    "strip": ((PROUD, 0.26, PROUD), 0.0),
    "cross": ((0.26, PROUD, PROUD), 0.0),
    "band": ((PROUD, PROUD, 0.22), 0.0),
    "lid": ((0.82, 0.82, 0.03), 1.0),
}
"""Bodies of the prints on a box: half sizes, and height of the middle, in half edges of the box."""

_BOX = mujoco.mjtGeom.mjGEOM_BOX


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


def add_pallet(spec: mujoco.MjSpec, task: Task) -> None:
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


def add_box(spec: mujoco.MjSpec, i: int) -> None:
    body = spec.worldbody.add_body(name=f"box/{i}")
    body.add_freejoint(name=f"box/{i}")
    half_m = LARGEST_BOX_M / 2
    cube = body.add_geom(name=f"box/{i}", type=_BOX, size=[half_m] * 3, mass=BOX_KG, rgba=[*BOX_RGB[i], 1])
    cube.contype, cube.conaffinity, cube.condim, cube.friction = 1, 3, 3, OBJECT_FRICTION
    for part in PRINTS:
        _seen(body, f"box/{i}/{part}", (half_m, half_m, half_m), (0, 0, 1e-4), (0, 0, 0, 0))


def add_pick_outline(spec: mujoco.MjSpec, task: Task) -> None:
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


def add_distractor(spec: mujoco.MjSpec, kind: str) -> None:
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
