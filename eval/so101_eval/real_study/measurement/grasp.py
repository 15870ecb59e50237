"""Where the hand closed, against the box; and from many trials how far the hand follows a box that lies elsewhere.

The place of the hand is from the measured joints alone (forward kinematics), that of the box from the measured start,
so the two share nothing. A policy that looks puts its hand where the box is; one that has learned a motion by heart
closes in the middle of where boxes were in its demonstrations.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.guard.kinematics import LINKS, angles_of, forward
from so101_robot.joints import GRIPPER

type Floats = NDArray[np.float64]

PADS_M = np.array((0.0046, 0.0, -0.0984))
"""Middle between the pads round a 25 mm box, in the frame of the link `gripper`: the fixed pad is at x = -7.9 mm."""
HAND = next(number for number, link in enumerate(LINKS) if link.name == "gripper")
LOW_M = 0.050
"""The hand is among the boxes below this; a gripper that closes higher up grasps at nothing."""
CLOSING = 15.0
"""[percent] by which the gripper has closed since it was last widest."""
ASKED_M = 0.030
FEWEST, LEAST_SPREAD_M = 6, 0.008
"""Trials, and standard deviation of where their boxes lay: with less, following cannot be told from standing."""
DRAWS, SEED, ALPHA = 4000, 20261130, 0.05


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


class Reliance(NamedTuple):
    """How far the hand follows a box that starts 30 mm elsewhere."""

    trials: int
    follows_mm: float | None
    """30: all the way; 0: the hand goes where it always goes."""
    low_mm: float | None
    high_mm: float | None
    """95 % interval, by bootstrap over trials."""
    why_not: str = ""

    def __str__(self) -> str:
        if self.follows_mm is None or self.low_mm is None or self.high_mm is None:
            return f"not measured: {self.why_not}"
        return (
            f"the hand follows a box that starts {1000 * ASKED_M:.0f} mm elsewhere by {self.follows_mm:.0f} mm, "
            f"95 % CI [{self.low_mm:.0f}, {self.high_mm:.0f}], {self.trials} trials"
        )


def reliance(boxes_m: Sequence[tuple[float, float]], hands_m: Sequence[tuple[float, float]]) -> Reliance:
    """From where the only box lay and where the hand closed, trial by trial [m].

    The slope of one on the other by least squares, both in the plane and about their means, times 30 mm. The boxes' own
    error of 1 mm makes it too small by (1 / spread)^2, less than 1 % for a spread of 10 mm.
    """
    box, hand = np.array(boxes_m, float).reshape(-1, 2), np.array(hands_m, float).reshape(-1, 2)
    if len(box) < FEWEST:
        return Reliance(
            len(box),
            None,
            None,
            None,
            f"{len(box)} trials in which the hand closed, at least {FEWEST} needed",
        )
    spread_m = float(np.sqrt(((box - box.mean(0)) ** 2).sum(1).mean()))
    if spread_m < LEAST_SPREAD_M:
        why = (
            f"boxes lay within {1000 * spread_m:.0f} mm of each other, {1000 * LEAST_SPREAD_M:.0f} are needed"
        )
        return Reliance(len(box), None, None, None, why)
    chosen = np.random.default_rng(SEED).integers(len(box), size=(DRAWS, len(box)))
    slopes = _slope(box[chosen], hand[chosen])
    low, high = np.nanquantile(slopes, (ALPHA / 2, 1 - ALPHA / 2)).tolist()
    slope = float(_slope(box[None], hand[None])[0])
    mm = 1000 * ASKED_M
    return Reliance(len(box), mm * slope, mm * low, mm * high)


def _slope(box: Floats, hand: Floats) -> Floats:
    """(...) of (..., n, 2)."""
    b, h = box - box.mean(-2, keepdims=True), hand - hand.mean(-2, keepdims=True)
    size = (b * b).sum((-1, -2))
    return np.divide((b * h).sum((-1, -2)), size, out=np.full(size.shape, np.nan), where=size > 0)
