"""Slow motion from pose to pose: a straight line in joint space with an eased speed (`easing`)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.motion import easing


class SlowMotion(NamedTuple):
    """From one pose (6,) to another, LeRobot units."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    duration_s: float

    @classmethod
    def between(cls, start: ArrayLike, end: ArrayLike, speed: float) -> "SlowMotion":
        """The fastest joint goes at `speed` [deg/s, percent/s for the gripper] at most."""
        start, end = np.array(start, np.float64), np.array(end, np.float64)
        return cls(start, end, easing.duration_s(float(np.max(np.abs(end - start))), speed))

    def at(self, going_s: float) -> NDArray[np.float64]:
        """(6,) where to be `going_s` after the start."""
        return self.start + easing.share_done(going_s, self.duration_s) * (self.end - self.start)
