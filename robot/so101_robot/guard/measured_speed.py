"""How fast the joints are going to be, by what was measured of them: a command within the speed limit does not make an
arm that is.

A servo follows its goal like a weight on a spring: after a turn it comes from behind and overshoots the speed of the
goal, the more so when its load helps where it hindered before. So a joint that is about to be faster than its limit
gets a slower goal:

    goal speed <= limit - 2 max(0, v + 0.15 s a - 0.9 limit)

with v and a its measured speed and acceleration in that direction. Nothing changes while v + 0.15 s a is below
nine tenths of the limit. 0.15 s is about the time constant of a loaded servo. Hostile policies then reach at most 1.15
times the limit on the mock arm, and 1.6 times without this rule (tests/robot/guard/test_hostile_policies.py).
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS

AHEAD_S = 0.15
"""How far ahead the speed is looked at."""

STRICTNESS = 2.0
"""By how much the goal gets slower for each deg/s that the joint would be too fast."""

NEAR = 0.9
"""From this part of the limit on the goal gets slower, so that there is time for it to help."""

WINDOW_S = 0.03
"""Speed is measured over this at least: one tick at 30 Hz, so that a step of the encoder is 3 deg/s and not 18."""

GAP_S = 0.5
"""After a pause that long nothing is known of the speed."""

KEPT = 64
"""Readings; enough for `WINDOW_S` at 1000 a second."""


class _Reading(NamedTuple):
    time_s: float
    position: NDArray[np.float64]
    speed: NDArray[np.float64]


class MeasuredSpeed:
    """Follows the readings of one arm."""

    def __init__(self) -> None:
        self._readings: deque[_Reading] = deque(maxlen=KEPT)
        self.soon: NDArray[np.float64] = np.zeros(len(JOINTS))
        """(6,) of each joint, `AHEAD_S` from the last reading [deg/s, percent/s]."""

    def see(self, time_s: float, position: NDArray[np.float64]) -> None:
        """The arm was at `position` (6,) at `time_s`. Once more the same reading changes nothing."""
        newest = self._readings[-1] if self._readings else None
        if newest is not None and time_s == newest.time_s:
            return
        if newest is None or not 0 < time_s - newest.time_s <= GAP_S:
            self._readings.clear()
        before = next((one for one in reversed(self._readings) if time_s - one.time_s >= WINDOW_S), None)
        speed = acceleration = np.zeros(len(JOINTS))
        if before is not None:
            elapsed_s = time_s - before.time_s
            speed = (position - before.position) / elapsed_s
            acceleration = (speed - before.speed) / elapsed_s
        self._readings.append(_Reading(time_s, np.array(position, np.float64), speed))
        self.soon = speed + AHEAD_S * acceleration

    def allowed(self, limit: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(6,) how fast a goal may go up and down, at a speed limit (6,)."""
        up = limit - STRICTNESS * np.maximum(self.soon - NEAR * limit, 0.0)
        down = limit - STRICTNESS * np.maximum(-self.soon - NEAR * limit, 0.0)
        return np.maximum(up, 0.0), np.maximum(down, 0.0)
