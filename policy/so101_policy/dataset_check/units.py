"""In which unit are the joints of an SO-101? Nothing in a dataset says it, so it is read off the numbers.

LeRobot recorded -100 to 100 of each joint's calibrated range until February 2026, and degrees since; simulators often
write radians. Whether they are -100 to 100 is asked as of a checkpoint (`checkpoint/units.py`), so that nothing is
trained without a word that is not driven then.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from so101_policy.checkpoint.units import MOST_RADIANS, Span, looks_like_range

MOVES_RAD = 0.2
"""Joints that move less in all may be in any unit."""


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
    span = Span(np.append(low, 0.0), np.append(high, 0.0), True)  # with a gripper, which does not count
    if span.reach <= MOST_RADIANS:
        return Unit.RADIANS if float(np.max(high - low)) > MOVES_RAD else Unit.UNKNOWN
    return Unit.NORMALISED if looks_like_range(span) else Unit.DEGREES


def one_degree(unit: Unit) -> float:
    """A degree, or what comes near it, in a unit."""
    return float(np.radians(1.0)) if unit is Unit.RADIANS else 1.0
