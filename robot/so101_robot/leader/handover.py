"""The leader is brought to the follower's pose, so that a person who takes it over begins where the arm is.

It goes there slowly and with little torque. A hand that resists on the way has it at once, wherever it is; where nobody
resists, the leader waits in the follower's pose until a hand moves it. That is told by how far a joint is from where it
was sent: a weak servo that is 6 degrees behind pushes with all that it may.
"""

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.motion.slow_motion import SlowMotion

SPEED = 60.0
"""Of the leader's fastest joint on the way [deg/s, percent/s of the trigger]."""

LAG_S = 0.25
"""So far a joint may be behind its goal without being held: a P-only servo follows 0.13 s late, and a loop of 30 Hz
sends it steps."""

RESISTS = np.array([8.0 if i != GRIPPER else 20.0 for i in range(len(JOINTS))])
"""(6,) A joint this far off its way is held by a hand [deg, percent of the trigger, whose whole way is short]."""

MOVED = np.array([4.0 if i != GRIPPER else 15.0 for i in range(len(JOINTS))])
"""(6,) A joint that is moved this far from where the leader waits is moved by a hand [deg, percent]."""

FOR_S = 0.15
"""So long in either case [s]."""

SETTLE_S = 0.6
"""After the way, before it is taken for waiting [s]."""


class Brings(Protocol):
    """`leader.Leader`, or anything like it."""

    def take(self, torque: float, now_s: float) -> NDArray[np.float64]: ...
    def bring(self, pose: NDArray[np.float64]) -> None: ...
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def let_go(self) -> None: ...


class Step(StrEnum):
    """How far a handover is."""

    COMING = "coming"
    WAITING = "waiting"
    """The leader is where the follower is."""
    TAKEN = "taken"
    """A hand has it."""


class Handover:
    """One way of the leader to the follower.

    Args:
        leader: free; it is under torque from now on, until its owner lets it go.
        target: (6,) where the follower is; what is beyond the leader's range is its end.
        torque: share of the servos' torque, 0..1.
        now_s: on the loop's clock.

    Raises:
        BusError, PortError: the leader cannot be taken.
    """

    def __init__(self, leader: Brings, target: NDArray[np.float64], torque: float, now_s: float) -> None:
        self._leader, self._begin_s = leader, now_s
        start = leader.take(torque, now_s)
        self._motion = SlowMotion.between(start, np.clip(target, *leader.ends()), SPEED)
        self._rest: NDArray[np.float64] | None = None
        self._off_since_s: float | None = None

    def go_on(self, position: NDArray[np.float64], now_s: float) -> Step:
        """One tick: judge where the leader is, (6,), and send its next goal. Raises PortError."""
        going_s = now_s - self._begin_s
        if self._rest is None and going_s >= self._motion.duration_s + SETTLE_S:
            self._rest = position.copy()
        if self._is_off(position, going_s):
            self._off_since_s = now_s if self._off_since_s is None else self._off_since_s
            if now_s - self._off_since_s >= FOR_S:
                return Step.TAKEN
        else:
            self._off_since_s = None
        self._leader.bring(self._motion.at(going_s))
        return Step.COMING if self._rest is None else Step.WAITING

    def _is_off(self, position: NDArray[np.float64], going_s: float) -> bool:
        if self._rest is not None:
            return bool((np.abs(position - self._rest) > MOVED).any())
        now, before = self._motion.at(going_s), self._motion.at(max(0.0, going_s - LAG_S))
        off = np.maximum(np.minimum(now, before) - position, position - np.maximum(now, before))
        return bool((off > RESISTS).any())
