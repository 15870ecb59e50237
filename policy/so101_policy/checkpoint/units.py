"""In which units joints are, as far as their smallest and largest values tell.

LeRobot has two for an arm of this kind: degrees from the middle of the calibrated range, and, by default until February
2026, that range as -100 to 100. No file of LeRobot's says which. Where a joint goes beyond 100 it was degrees, for the
other one ends there; where two ends of joints are at 100 that was probably their end of the range. In between nothing
can be told. The last joint is the gripper, in percent in both, and does not count.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

LEAST_ENDS, NEAR_AN_END = 2, 1.0
"""So many ends of joints so near to -100 or 100 are those of a range that ends there."""
BEYOND_RANGE = 100.5
"""No value of -100 to 100 is beyond this; the rest is for rounding."""
MOST_RADIANS = 3.5
"""Pi, and what noise adds to it."""
MOST_DEG = 360.0
"""No joint is a turn away from the middle of its range."""
LEAST_SPREAD_DEG = 1.0
"""The least standard deviation that a joint is scaled by; half of the least range. A state is divided by it: of a joint
that stood still in training, or jittered by a count of its encoder, a tenth of a degree would be a new world."""
NORMAL_SPREAD = 2.0
"""Standard deviations about the mean that stand for smallest and largest where these are not stored:
the positions of a joint that goes to and fro between two ends lie within two."""


class Units(StrEnum):
    """Of the joints other than the gripper."""

    DEGREES = "degrees"
    RANGE = "-100..100"
    """LeRobot's `use_degrees=false`: the calibrated range of each joint."""


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
        return float(np.abs([self.lowest[:-1], self.highest[:-1]]).max(initial=0.0))


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
    ends = np.abs([span.lowest[:-1], span.highest[:-1]])
    at_an_end = int((np.abs(ends - 100.0) <= NEAR_AN_END).sum())
    return span.exact and span.reach <= BEYOND_RANGE and at_an_end >= LEAST_ENDS


def units_of(span: Span | None) -> Units | None:
    """What the values certainly are; None where both are possible, or neither."""
    certain = span is not None and span.exact and BEYOND_RANGE < span.reach <= MOST_DEG
    return Units.DEGREES if certain else None
