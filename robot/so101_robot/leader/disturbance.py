"""A slow wobble on what the follower gets, so that demonstrations show the way back.

A policy that was only shown the straight way does not know what to do beside it. With the wobble the follower drifts
off what the person asks for, and what is recorded as `action` is what the person asked for: from where the arm is, the
way back.

The wobble of a joint is a sum of three sines with periods and phases of its own, so it is bounded, smooth, and new in
every episode. It fades near the table, and while the jaws close, open or hold something, where it would spoil the task
and teach nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from so101_robot.guard.guard import Guard
from so101_robot.guard.height import Height
from so101_robot.joints import GRIPPER, JOINTS

BOUND_DEG = np.array([6.0, 4.0, 4.0, 5.0, 8.0, 0.0])
"""(6,) of the wobble to either side: its standard deviation is 0.41 of it, which is that of the simulation's recoveries
(`so101_eval.demos.recovery`): about a centimetre at the jaws, which are left alone."""

SINES = 3
PERIODS_S = 2.0, 5.0
"""Shortest and longest: slow enough to be led against, and several times as long as the follower's lag."""

OFF_M, FULL_M = 0.05, 0.09
"""Height of the lowest part above the table: no wobble below the first, all of it from the second on."""

EASE_S = 0.4
"""In which all of it fades away or comes back, where the jaws are the reason [s]."""

JAWS_MOVED = 2.0
"""More than noise of a trigger that rests [percent]."""

JAWS_REST_S = 0.5
"""So long after their last motion the jaws are at rest: they follow the trigger by then."""

JAWS_HOLD = 5.0
"""Jaws that stay this much more open than they are asked to be hold something [percent]."""


class Disturbance:
    """The wobble of one follower.

    Args:
        guard: the follower's.
        seed: of the wobbles; the same seed gives the same ones.
    """

    def __init__(self, guard: Guard, seed: int = 0) -> None:
        self._guard, self._height = guard, Height(guard.rig)
        self._rng = np.random.default_rng((seed, 17))
        self._wanted = False
        self._share = 0.0
        self._begin_s = self._now_s = math.nan
        self._jaws, self._jaws_moved_s = math.nan, -math.inf
        self._periods_s = self._phases_rad = np.ones((SINES, len(JOINTS)))

    def begin(self) -> None:
        """From now on, with a new wobble."""
        self._wanted, self._begin_s = True, math.nan
        shape = SINES, len(JOINTS)
        self._periods_s = self._rng.uniform(*PERIODS_S, shape)
        self._phases_rad = self._rng.uniform(0.0, 2 * math.pi, shape)

    def end(self) -> None:
        """It fades away."""
        self._wanted = False

    def reset(self) -> None:
        """It is gone at once: the arm was held, and catches up slowly."""
        self._share = 0.0

    def applied(
        self, asked: NDArray[np.float64], measured: NDArray[np.float64], now_s: float
    ) -> NDArray[np.float64] | None:
        """(6,) what the follower should get in place of `asked` (6,); None: just that.

        Args:
            asked: where the leader is, inside the follower's range.
            measured: (6,) where the follower is.
            now_s: on the loop's clock.
        """
        elapsed_s = 0.0 if math.isnan(self._now_s) else now_s - self._now_s
        self._now_s = now_s
        busy = self._jaws_are_busy(float(asked[GRIPPER]), float(measured[GRIPPER]), now_s)
        target = 1.0 if self._wanted and not busy else 0.0
        step = elapsed_s / EASE_S
        self._share += min(max(target - self._share, -step), step)
        if self._share <= 0.0:
            return None
        self._begin_s = now_s if math.isnan(self._begin_s) else self._begin_s
        offset = self._share * wobble_deg(now_s - self._begin_s, self._periods_s, self._phases_rad)
        lowest_m = min(self._height.m(pose) for pose in (asked, asked + offset, measured))
        offset = offset * min(max((lowest_m - OFF_M) / (FULL_M - OFF_M), 0.0), 1.0)
        return np.clip(asked + offset, self._guard.lower, self._guard.upper) if offset.any() else None

    def _jaws_are_busy(self, asked: float, measured: float, now_s: float) -> bool:
        if not abs(asked - self._jaws) <= JAWS_MOVED:
            if not math.isnan(self._jaws):
                self._jaws_moved_s = now_s
            self._jaws = asked
        return now_s - self._jaws_moved_s < JAWS_REST_S or measured - asked > JAWS_HOLD


def wobble_deg(
    time_s: float, periods_s: NDArray[np.float64], phases_rad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(6,) at a time: the mean of sines, (SINES, 6), times `BOUND_DEG`."""
    return BOUND_DEG * np.sin(2 * math.pi * time_s / periods_s + phases_rad).mean(axis=0)
