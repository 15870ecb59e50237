"""No jump where plans meet.

Let c = w a + (1 - w) b fade from plan a to plan b, with w falling from 1 to 0. One tick farther

    c(t+1) - c(t) = w(t+1) [a(t+1) - a(t)] + (1 - w(t+1)) [b(t+1) - b(t)] + [w(t+1) - w(t)] [a(t) - b(t)].

The first two terms together are no longer than the longest step inside the plans. The third, the gap, comes on
top, however long or smooth the fade is: where b is ahead and both move at full speed, no fade can promise
steps that are no longer than those of the plans. So the fade is kept short, and what is played is bounded: from
a join on no joint goes farther in a tick than the longest step inside the plans that meet, until it has caught
up. A gap is thus closed in a time that depends on the gap, joint by joint, and a joint whose plan is at full
speed stays behind until that plan slows down. Where the fade by itself keeps within the bound, not a bit
changes.
"""

import numpy as np
from numpy.typing import NDArray

SLOW_UNITS_S = 10.0
"""This is never a jump [deg/s, percent/s]: a quarter of the speed of the way home. A gap between two plans that
both stand still is closed at this speed."""


def longest_steps(actions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6,) the longest step of each joint in (n, 6) actions; zeros where there is no step, no finite number where the
    actions are none."""
    with np.errstate(invalid="ignore"):  # from infinity to infinity
        return np.abs(np.diff(actions, axis=0)).max(axis=0, initial=0.0)


class Follower:
    """Follows a plan that may have been exchanged for another, without a jump.

    Args:
        fps: ticks per second.
    """

    def __init__(self, fps: float) -> None:
        self._slow = SLOW_UNITS_S / fps
        self._reach: NDArray[np.float64] | None = None
        self._free_from = 0
        self._last: NDArray[np.float64] | None = None
        self._last_at = 0

    def join(self, steps: NDArray[np.float64], until: int) -> None:
        """From now on no joint goes farther in a tick than its `steps` (6,), at least until tick `until`."""
        self._reach = np.where(np.isfinite(steps), np.maximum(steps, self._slow), np.inf)
        self._free_from = until

    def follow(self, target: NDArray[np.float64], at: int) -> NDArray[np.float64]:
        """(6,) what is played on plan tick `at`: the target, or what of the way to it is allowed.

        What is not a number passes, and is not followed: it is the guard's business.
        """
        action = target
        if self._reach is not None and self._last is not None and np.isfinite(self._last).all():
            reach = self._reach * max(1, at - self._last_at)
            action = np.clip(target, self._last - reach, self._last + reach)
            if at >= self._free_from and (action == target).all():
                self._reach = None
        self._last, self._last_at = action, at
        return action

    def forget(self) -> None:
        """What was played before is not what the arm comes from."""
        self._reach = self._last = None
