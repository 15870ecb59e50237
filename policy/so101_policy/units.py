"""In which units joints are, as far as their smallest and largest values tell.

LeRobot has two for an arm of this kind: degrees from the middle of the calibrated range, and, by default until February
2026, that range as -100 to 100. No file of LeRobot's says which. Where a joint goes beyond 100 it was degrees, for the
other one ends there; where two ends of joints are at 100 that was probably their end of the range. In between nothing
can be told. Simulators often write radians. The gripper is in percent in both of LeRobot's, and does not count.

A checkpoint is asked for what is certain (`units_of`), a dataset for what is most likely (`likely_units`); both by the
same constants.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_ENDS, NEAR_AN_END = 2, 1.0
"""So many ends of joints so near to -100 or 100 are those of a range that ends there."""
BEYOND_RANGE = 100.5
"""No value of -100 to 100 is beyond this; the rest is for rounding."""
MOST_RADIANS = 3.5
"""No joint of an SO-101 turns further from its middle: pi, and what noise adds to it."""
LEAST_MOTION_RAD = 0.2
"""Numbers as small as radians that vary by less than this [rad] may be an arm at rest, in any unit."""
MOST_DEG = 360.0
"""No joint is a turn away from the middle of its range."""
LEAST_SPREAD_DEG = 1.0
"""The least standard deviation that a joint is scaled by; half of the least range. A state is divided by it: of a joint
that stood still in training, or jittered by a count of its encoder, a tenth of a degree would be a new world."""
NORMAL_SPREAD = 2.0
"""Standard deviations about the mean that stand for smallest and largest where these are not stored:
the positions of a joint that goes to and fro between two ends lie within two."""


class Units(StrEnum):
    """What LeRobot records: of the joints other than the gripper."""

    DEGREES = "degrees"
    RANGE = "-100..100"
    """LeRobot's `use_degrees=false`: the calibrated range of each joint."""


class LikelyUnits(StrEnum):
    """What recorded numbers look like."""

    DEGREES = Units.DEGREES.value
    RANGE = Units.RANGE.value
    RADIANS = "radians"
    UNKNOWN = "unknown"


class Span(NamedTuple):
    """Where joints were in training, each (A,)."""

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    exact: bool
    """Smallest and largest as stored; false: `NORMAL_SPREAD` about the mean."""

    @classmethod
    def of(cls, values: Mapping[str, NDArray[np.float64]]) -> Self | None:
        """From the statistics of one feature; None where they do not tell."""
        if {"min", "max"} <= values.keys():
            span = cls(values["min"], values["max"], True)
        elif {"mean", "std"} <= values.keys():
            reach = NORMAL_SPREAD * values["std"]
            span = cls(values["mean"] - reach, values["mean"] + reach, False)
        else:
            return None
        return span if span.lowest.shape == span.highest.shape and span.lowest.ndim == 1 else None

    @property
    def reach(self) -> float:
        """The value farthest from 0 of any joint but the gripper."""
        return _reach(self.lowest[:-1], self.highest[:-1])


def why_not_joints(span: Span) -> str | None:
    """What else the values are where they are in none of the two units; None: they may be."""
    reach = span.reach
    if reach <= 1.01:
        return f"no joint goes beyond {reach:.2f}: numbers of -1 to 1?"
    if reach <= MOST_RADIANS:
        return f"no joint goes beyond {reach:.2f}: radians?"
    if span.exact and reach > MOST_DEG:
        return f"a joint goes to {reach:.0f}: encoder steps?"
    return None


def looks_like_range(span: Span) -> bool:
    """Whether the values are probably -100 to 100: none beyond, and ends of joints at the ends."""
    return span.exact and _end_at_a_hundred(span.lowest[:-1], span.highest[:-1])


def units_of(span: Span | None) -> Units | None:
    """What the values certainly are; None where both are possible, or neither."""
    certain = span is not None and span.exact and BEYOND_RANGE < span.reach <= MOST_DEG
    return Units.DEGREES if certain else None


def likely_units(joints_NJ: ArrayLike) -> LikelyUnits:
    """What joints (N, J), without the gripper, most likely are in; degrees where nothing speaks against it."""
    joints = np.asarray(joints_NJ, np.float64)
    if not joints.size or not np.isfinite(joints).all():
        return LikelyUnits.UNKNOWN
    lowest, highest = joints.min(axis=0), joints.max(axis=0)
    if _reach(lowest, highest) <= MOST_RADIANS:
        moves = float(np.max(highest - lowest)) > LEAST_MOTION_RAD
        return LikelyUnits.RADIANS if moves else LikelyUnits.UNKNOWN
    return LikelyUnits.RANGE if _end_at_a_hundred(lowest, highest) else LikelyUnits.DEGREES


def one_degree(units: LikelyUnits) -> float:
    """A degree, or what comes near it, in these units."""
    return float(np.radians(1.0)) if units is LikelyUnits.RADIANS else 1.0


def _reach(lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> float:
    return float(np.abs([lowest, highest]).max(initial=0.0))


def _end_at_a_hundred(lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> bool:
    at_an_end = int((np.abs(np.abs([lowest, highest]) - 100.0) <= NEAR_AN_END).sum())
    return _reach(lowest, highest) <= BEYOND_RANGE and at_an_end >= LEAST_ENDS
