"""The slow way from where the arm stands to where the policy begins.

Where that is: the pose in which the checkpoint's demonstrations began, if it says so, else the policy's first action. A
policy that is near already drives at once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.motion.slow_motion import SlowMotion
from so101_robot.motion.tolerances import AT_FIRST_POSE

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard
    from so101_robot.state import ArmState


class Approach:
    """One approach: not begun, under way, over.

    Args:
        guard: the arm's; the way begins at its last command and ends within its limits.
        speed: of the fastest joint [deg/s, percent/s for the gripper]; 0: there is no approach.
        period_s: of a tick.
        start_pose: where to go before the policy is asked anything; None: to its first action.
    """

    def __init__(
        self, guard: "Guard", speed: float, period_s: float, start_pose: Sequence[float] | None = None
    ) -> None:
        self._guard, self._speed, self._period_s, self._start_pose = guard, speed, period_s, start_pose
        self._motion: SlowMotion | None = None
        self._going_s = 0.0
        self.over = speed <= 0
        """The policy drives."""

    @property
    def under_way(self) -> bool:
        return self._motion is not None

    @property
    def duration_s(self) -> float:
        """Of the whole way; 0 when there is none."""
        return 0.0 if self._motion is None else self._motion.duration_s

    def set_out_for_the_start(self, state: "ArmState") -> bool:
        """Begin the way to the start pose, if there is one and it is not near; returns whether it was begun."""
        if self.over or self.under_way or self._start_pose is None:
            return False
        return self.set_out(self._start_pose, state)

    def set_out(self, first: ArrayLike, state: "ArmState") -> bool:
        """Begin the way to `first` (6,); returns false where it is near, or no pose: that is the guard's business."""
        first = np.asarray(first, np.float64)
        last = self._guard.last_command
        start = state.position if last is None else last
        if first.shape != start.shape or not np.isfinite(first).all():
            return False
        if np.max(np.abs(first - start)) <= AT_FIRST_POSE:
            self.over = True
            return False
        end = np.clip(first, self._guard.lower, self._guard.upper)
        self._motion, self._going_s = SlowMotion.between(start, end, self._speed), 0.0
        return True

    def asked(self) -> NDArray[np.float64]:
        """(6,) where to be now; only under way."""
        assert self._motion is not None  # under way
        return self._motion.at(self._going_s)

    def go_on(self) -> bool:
        """One tick farther, if under way; returns whether the arm is there."""
        if self._motion is None:
            return False
        there = self._going_s >= self._motion.duration_s
        if there:
            self._motion, self.over = None, True
        self._going_s += self._period_s
        return there

    def again_from(self, pose: NDArray[np.float64]) -> None:
        """If under way: on to the same end, but from `pose` (6,), where the arm was taken and held."""
        if self._motion is not None:
            self._motion, self._going_s = SlowMotion.between(pose, self._motion.end, self._speed), 0.0
