"""Where the hand closed, against the box.

The place of the hand is from the measured joints alone (forward kinematics), that of the box from the measured start,
so the two share nothing. What many trials together say of it is `statistics.following`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.draw import Reset
from so101_robot.guard.kinematics import LINKS, angles_of, forward
from so101_robot.joints import GRIPPER, JOINTS

type Floats = NDArray[np.float64]

PADS_M = np.array((0.0046, 0.0, -0.0984))
"""Middle between the pads round a 25 mm box, in the frame of the link `gripper`: the fixed pad is at x = -7.9 mm."""
HAND = next(number for number, link in enumerate(LINKS) if link.name == "gripper")
LOW_M = 0.050
"""The hand is among the boxes below this; a gripper that closes higher up grasps at nothing."""
CLOSING = 15.0
"""[percent] by which the gripper has closed since it was last widest."""
NEVER = "the hand never closed over the table"


class Grasp(NamedTuple):
    """A hand that closed."""

    tick: int
    x_m: float
    y_m: float
    z_m: float

    def off_mm(self, x_m: float, y_m: float) -> float:
        """From the middle of a box, in the plane of the table."""
        return 1000 * math.hypot(self.x_m - x_m, self.y_m - y_m)


def pads_m(joint: Floats, zero_deg: Floats | float = 0.0) -> Floats:
    """(3,) [m] middle between the pads at joint values (6,) in LeRobot units."""
    pose = forward(angles_of(joint, zero_deg))
    return pose.position_m[HAND] + pose.rotation[HAND] @ PADS_M


def first_grasp(joints: Floats, zero_deg: Floats | float = 0.0) -> Grasp | None:
    """Where the hand first closed low over the table; None: it did not.

    Args:
        joints: (T, 6) measured, in LeRobot units; ticks with NaN are passed over.
        zero_deg: (6,) where the joints' zeros are on the model.
    """
    widest = -math.inf
    for tick, joint in enumerate(joints):
        if not np.isfinite(joint).all():
            continue
        if joint[GRIPPER] >= widest:
            widest = float(joint[GRIPPER])
        elif widest - joint[GRIPPER] >= CLOSING:
            place = pads_m(joint, zero_deg)
            if place[2] <= LOW_M:
                return Grasp(tick, *(float(value) for value in place))
            widest = float(joint[GRIPPER])
    return None


def grasp_in(
    ticks: Iterable[Mapping[str, Any]],
    reset: Reset,
    offsets: Sequence[Mapping[str, Any]],
    zero_deg: Sequence[float] = (),
) -> dict[str, Any]:
    """The first grasp of a trial against the nearest box, for its record.

    Args:
        ticks: lines of `ticks.jsonl`.
        reset: where the boxes should have started.
        offsets: of the start as it was measured; a box that was not is taken to lie where it should.
        zero_deg: (6,) where the joints' zeros are on the model; (): at its zeros.

    Returns:
        box, its place box_mm and the hand's hand_mm [mm, x ahead and y to the left], off_mm; or why_not.
    """
    driven = [tick["state"] for tick in ticks if tick.get("phase") == "run" and tick.get("state")]
    joints = np.array(driven, np.float64).reshape(-1, len(JOINTS))  # null is NaN
    grasp = first_grasp(joints, np.array(zero_deg) if zero_deg else 0.0)
    if grasp is None:
        return {"why_not": NEVER}
    measured = {offset["box"]: offset for offset in offsets}
    found = [(box, *_start_m(box, reset, measured)) for box, at in enumerate(reset.boxes) if at.present]
    box, x_m, y_m = min(found, key=lambda one: grasp.off_mm(one[1], one[2]))
    return {
        "box": box,
        "box_mm": [round(1000 * x_m, 2), round(1000 * y_m, 2)],
        "hand_mm": [round(1000 * grasp.x_m, 2), round(1000 * grasp.y_m, 2)],
        "off_mm": round(grasp.off_mm(x_m, y_m), 2),
    }


def _start_m(box: int, reset: Reset, measured: Mapping[int, Mapping[str, Any]]) -> tuple[float, float]:
    """Where it lay [m]: offsets are to the right and ahead, as the operator stands."""
    start, offset = reset.boxes[box], measured.get(box, {})
    right_mm, ahead_mm = offset.get("dx_mm"), offset.get("dy_mm")
    if right_mm is None or ahead_mm is None:
        return start.x_m, start.y_m
    return start.x_m + ahead_mm / 1000, start.y_m - right_mm / 1000
