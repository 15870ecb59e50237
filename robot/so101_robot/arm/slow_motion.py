"""Slow motion from pose to pose: a straight line in joint space with an eased speed.

The share of the way at time t of T is (1 - cos(pi t / T)) / 2: it starts and stops softly, and its speed peaks
at pi/2 of its mean.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class SlowMotion(NamedTuple):
    """From one pose (6,) to another, LeRobot units."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    duration_s: float

    @classmethod
    def between(cls, start: ArrayLike, end: ArrayLike, speed: float) -> "SlowMotion":
        """The fastest joint goes at `speed` [deg/s, percent/s for the gripper] at most."""
        start, end = np.array(start, np.float64), np.array(end, np.float64)
        return cls(start, end, math.pi / 2 * float(np.max(np.abs(end - start))) / speed)

    def at(self, going_s: float) -> NDArray[np.float64]:
        """(6,) where to be `going_s` after the start."""
        progress = min(1.0, going_s / self.duration_s) if self.duration_s > 0 else 1.0
        return self.start + (0.5 - 0.5 * math.cos(math.pi * progress)) * (self.end - self.start)
