"""In which unit are the joints of an SO-101? Nothing in a dataset says it, so it is read off the numbers.

LeRobot recorded -100 to 100 of each joint's calibrated range until February 2026, and degrees since; simulators often
write radians.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

MOST_RAD = 3.5
"""No joint of an SO-101 turns further from its middle [rad]."""
END, END_BAND = 100.0, 1.5
"""The end of a normalised range, and how near recordings of a whole task come to it."""
ENDS_SEEN = 3
"""Ends of five joints: the folded pose alone is near three of them, in degrees near none that is this close to 100."""


class Unit(StrEnum):
    """Of the five joints; the gripper is in percent where they are in degrees or normalised."""

    DEGREES = "degrees"
    NORMALISED = "-100..100"
    RADIANS = "radians"
    UNKNOWN = "unknown"


def unit_of(joints_NJ: ArrayLike) -> Unit:
    """The unit that five joints (N, 5), without the gripper, most likely are in."""
    joints = np.asarray(joints_NJ, np.float64)
    if not joints.size or not np.isfinite(joints).all():
        return Unit.UNKNOWN
    low, high = joints.min(axis=0), joints.max(axis=0)
    most = max(float(np.max(high)), float(-np.min(low)))
    if most <= MOST_RAD:
        moves = float(np.max(high - low))
        return Unit.RADIANS if moves > 0.2 else Unit.UNKNOWN
    ends = np.sum(np.abs(high - END) < END_BAND) + np.sum(np.abs(low + END) < END_BAND)
    return Unit.NORMALISED if most <= END + 0.5 and ends >= ENDS_SEEN else Unit.DEGREES


def one_degree(unit: Unit) -> float:
    """A degree, or what comes near it, in a unit."""
    return float(np.radians(1.0)) if unit is Unit.RADIANS else 1.0
