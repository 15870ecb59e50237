"""How fast the joints are going to be, by what was measured of them: a command within the speed limit does not make an
arm that is.

A servo follows its goal like a weight on a spring: after a turn it comes from behind and overshoots the speed of the
goal, the more so when its load helps where it hindered before. So a joint that is about to be faster than its limit
gets a slower goal:

    goal speed <= limit - 2 max(0, v + 0.15 s a - 0.9 limit)

with v and a its measured speed and acceleration in that direction. Nothing changes while v + 0.15 s a is below
nine tenths of the limit. 0.15 s is about the time constant of a loaded servo. Hostile policies then reach at most 1.15
times the limit on the mock arm, and 1.6 times without this rule (tests/robot/guard/test_hostile_policies.py).

A joint that is blocked does not follow, and when it comes free it runs after its goal as fast as the servo can. So the
goal does not go far ahead of a joint that does not follow (`AHEAD_OF_BLOCKED`), and one of a joint that is too fast
all the same is pulled back to where the joint is (`pulled_back`). The gripper is left out: its goal is inside of what
it holds.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import GRIPPER, JOINTS

AHEAD_S = 0.15
"""How far ahead the speed is looked at."""

STRICTNESS = 2.0
"""By how much the goal gets slower for each deg/s that the joint would be too fast."""

NEAR = 0.9
"""From this part of the limit on the goal gets slower, so that there is time for it to help."""

AHEAD_OF_BLOCKED = 2.0, 0.1
"""How far a goal may be ahead of a joint that does not follow: degrees, and seconds times its speed limit. A joint
that follows lags by 0.13 s times its speed, and one that is loaded hangs up to 3 deg more behind: it is slowed down a
little as it sets out, until it moves at half of its goal's speed."""

FOLLOWS = 0.5
"""A joint does not follow below this share of the goal's speed."""

CREEP = 0.05
"""Of the speed limit: so fast the goal of a blocked joint goes on, so that a load that needs more torque gets it."""

TOO_FAST = 1.15
"""Of the speed limit: from here on the goal is pulled back. (One count of the encoder is 3 deg/s at 30 Hz.)"""

BODY: NDArray[np.bool_] = np.arange(len(JOINTS)) != GRIPPER
"""(6,) the joints that are to be free."""

NONE: NDArray[np.bool_] = np.zeros(len(JOINTS), np.bool_)
ZEROS = [0.0] * len(JOINTS)

WINDOW_S = 0.03
"""Speed is measured over this at least: one tick at 30 Hz, so that a step of the encoder is 3 deg/s and not 18."""

GAP_S = 0.5
"""After a pause that long nothing is known of the speed."""

KEPT = 64
"""Readings; enough for `WINDOW_S` at 1000 a second."""


class _Reading(NamedTuple):
    """Of six joints."""

    time_s: float
    position: list[float]
    speed: list[float]


class MeasuredSpeed:
    """Follows the readings of one arm. While nothing is near a limit it reckons with plain numbers: for six joints that
    takes a third of the time that arrays take."""

    def __init__(self) -> None:
        self._readings: deque[_Reading] = deque(maxlen=KEPT)
        self._before: _Reading | None = None
        """That from which the speed was measured."""
        self._now = self._soon = ZEROS

    @property
    def now(self) -> NDArray[np.float64]:
        """(6,) speed of each joint at the last reading [deg/s, percent/s]."""
        return np.array(self._now)

    @property
    def soon(self) -> NDArray[np.float64]:
        """(6,) `AHEAD_S` later."""
        return np.array(self._soon)

    def see(self, time_s: float, position: list[float]) -> None:
        """The arm was at `position` (6), all finite, at `time_s`. Once more the same reading changes nothing."""
        newest = self._readings[-1] if self._readings else None
        if newest is not None and time_s == newest.time_s:
            return
        if newest is None or not 0 < time_s - newest.time_s <= GAP_S:
            self._readings.clear()
            newest = None
        if newest is None or time_s - newest.time_s >= WINDOW_S:
            before = newest
        else:
            before = next((one for one in reversed(self._readings) if time_s - one.time_s >= WINDOW_S), None)
        self._before = before
        if before is None:
            speed = soon = ZEROS
        else:
            elapsed_s = time_s - before.time_s
            speed = [
                (here - there) / elapsed_s for here, there in zip(position, before.position, strict=True)
            ]
            soon = [v + AHEAD_S * ((v - w) / elapsed_s) for v, w in zip(speed, before.speed, strict=True)]
        self._readings.append(_Reading(time_s, position, speed))
        self._now, self._soon = speed, soon

    def is_calm(self, limit: list[float], goal: list[float]) -> bool:
        """No joint is near its speed limit (6), nor far behind its goal (6): neither rule has anything to say. Nearly
        always so."""
        for soon, most in zip(self._soon, limit, strict=True):
            if not -NEAR * most <= soon <= NEAR * most:
                return False
        if self._before is None:  # nothing is known of its speed
            return True
        angle, lag_s = AHEAD_OF_BLOCKED
        now, here = self._now, self._readings[-1].position
        for i in range(GRIPPER):  # the body's
            if abs(now[i]) > TOO_FAST * limit[i] or abs(goal[i] - here[i]) > angle + lag_s * limit[i]:
                return False
        return True

    def allowed(
        self, limit: NDArray[np.float64], goal: NDArray[np.float64], goal_speed: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How fast a goal may go up and down, (6,) each; where all is calm, the limit.

        Args:
            limit: (6,) the speed limit.
            goal: (6,) the last one.
            goal_speed: (6,) how fast it went there.
        """
        return self._allowed(1.0, limit, goal, goal_speed), self._allowed(-1.0, limit, goal, goal_speed)

    def _far_ahead(self, limit: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(6,) where the goal (6,) is farther from the joint than one that follows lets it be."""
        if self._before is None:  # nothing is known of its speed
            return NONE
        angle, lag_s = AHEAD_OF_BLOCKED
        return BODY & (np.abs(goal - self._readings[-1].position) > angle + lag_s * limit)

    def _allowed(
        self,
        sign: float,
        limit: NDArray[np.float64],
        goal: NDArray[np.float64],
        goal_speed: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        speed = np.maximum(limit - STRICTNESS * np.maximum(sign * self.soon - NEAR * limit, 0.0), 0.0)
        far_ahead = self._far_ahead(limit, goal)
        if not far_ahead.any():
            return speed
        asked = FOLLOWS * np.maximum(sign * goal_speed, CREEP * limit)
        blocked = far_ahead & (sign * (goal - self._readings[-1].position) > 0) & (sign * self.now < asked)
        return np.where(blocked, np.minimum(speed, CREEP * limit), speed)

    def pulled_back(
        self, limit: NDArray[np.float64], goal: NDArray[np.float64], step: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """(6,) the goal with that of each joint that runs after it too fast where the joint is, or one `step` (6,)
        nearer; None: none does."""
        too_fast = BODY & (np.abs(self.now) > TOO_FAST * limit)
        if not self._readings or not too_fast.any():
            return None
        ahead = goal - self._readings[-1].position
        runs = too_fast & (ahead * self.now > 0)
        return np.where(runs, goal - np.clip(ahead, -step, step), goal) if runs.any() else None
