"""The leader as what plays: on every tick of the loop, where the hand has it now.

It takes the place of a policy's scheduler, so all that the loop does for a policy it does here: guard, faults, hold,
way home. At the start, and after every hold, the follower is somewhere else than the leader; it is led there no faster
than on the way home, until it has caught up (`motion.soft_start`).

Two things may stand between leader and follower: a wobble (`disturbance`), and the way to a pose where a recording
wants an episode to begin (`stage`).

A leader that misses a read keeps its last pose for `MISSING_S`; then it counts as silent and the arm holds. What is a
little beyond the follower's range is cut to it, because hands go farther than arms; what is far beyond is a fault of
its own, since the two are not calibrated alike.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned
from so101_robot.clock import Clock
from so101_robot.errors import BusError, PortError, describe
from so101_robot.faults.fault import SourceFault
from so101_robot.joints import FULL_TURN_JOINT, JOINTS
from so101_robot.leader.disturbance import Disturbance
from so101_robot.leader.leader import LeaderReading
from so101_robot.message import Message
from so101_robot.motion.slow_motion import SlowMotion
from so101_robot.motion.soft_start import SoftStart
from so101_robot.motion.tolerances import AT_FIRST_POSE

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard

MISSING_S = 0.1
"""So long a leader may miss reads: six ticks at 60 Hz, and what the guard lets a follower miss."""

ASK_AGAIN_S = 0.1
"""How often a silent leader is asked: every question costs its whole deadline."""

LED_SPEED = 30.0
"""Of the way to where an episode begins: its fastest joint at its fastest, as on the way to a policy's first pose
[deg/s, percent/s]."""

ROLL = JOINTS.index(FULL_TURN_JOINT)


class Reads(Protocol):
    """`leader.Leader`, or anything like it."""

    def read(self, now_s: float) -> LeaderReading: ...


class LeaderSource:
    """A `chunks.scheduler.Scheduler`.

    Args:
        leader: open, calibrated and free.
        guard: the follower's.
        clock: of the loop.
        tell: what the person should know.
        near: the follower has caught up when no joint is farther than this from the leader [deg, percent].
        disturbance: what the follower gets in place of the leader's pose, while there is one.
    """

    def __init__(
        self,
        leader: Reads,
        guard: "Guard",
        clock: Clock,
        tell: Callable[[Message], None] = lambda message: None,
        near: float = AT_FIRST_POSE,
        disturbance: Disturbance | None = None,
    ) -> None:
        self._leader, self._guard, self._clock, self._tell = leader, guard, clock, tell
        self._disturbance = disturbance
        self._way: SlowMotion | None = None
        self._way_begin_s: float | None = None
        self.arrived = False
        """The follower was led to where it should go, and nothing came between."""
        self._soft = SoftStart(near)
        self._told = False
        self._asked_s = -np.inf
        self._problem: Exception | None = None
        self.reading: LeaderReading | None = None
        """The newest one."""
        self.fresh = False
        """It was made on this tick."""
        self.beyond: Counter[str] = Counter()
        """Joint -> ticks on which the leader was beyond the follower's range."""
        self.missed = 0
        """Ticks on which it was asked and did not answer."""

    @property
    def caught_up(self) -> bool:
        """The follower has been where the leader is, since the start or the last hold."""
        return self._soft.over and self._way is None

    @property
    def led(self) -> bool:
        """The follower is on its way to the pose of `lead_to`."""
        return self._way is not None

    def lead_to(self, pose: NDArray[np.float64]) -> None:
        """Lead the follower slowly and straight to a pose (6,), whatever the leader does meanwhile; then `arrived` is
        true, and it goes back to the leader as after a hold."""
        last = self._guard.last_command
        assert last is not None  # the loop has read the arm
        self._way, self._way_begin_s = SlowMotion.between(last, pose, LED_SPEED), None
        self.arrived = False

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        """Raises SourceFault: the leader is silent, or far out of the follower's range."""
        reading = self.require(now_s)
        last = self._guard.last_command
        assert last is not None  # the loop has read the arm
        inside = self._inside(reading.position)
        wanted: NDArray[np.float64] | None = None
        if self._way is not None:
            asked = self._on_the_way(self._way, now_s)
        else:
            asked = self._soft.follow(inside, last, now_s)
            if self._soft.over and not self._told:
                self._tell(Message("the follower is where the leader is, and follows it"))
            self._told = self._soft.over
            if self._disturbance is not None and self._soft.over:
                disturbed = self._disturbance.applied(asked, observe().state, now_s)
                if disturbed is not None:
                    asked, wanted = disturbed, asked
        age_s = self._clock.now_s() - reading.asked_s
        return Planned(asked, None, "chunk", 0, tick, age_s, wanted=wanted)

    def require(self, now_s: float) -> LeaderReading:
        """Where the leader is, asked now or a moment ago. Raises SourceFault where it is silent."""
        self.look(now_s)
        if not self.known(now_s):
            words = "the leader did not answer" if self._problem is None else describe(self._problem)
            raise SourceFault("leader silent", f"the leader: {words}")
        assert self.reading is not None  # it is known
        return self.reading

    def known(self, now_s: float) -> bool:
        """There is a reading that is not too old."""
        return self.reading is not None and now_s - self.reading.asked_s <= MISSING_S

    def wait(self) -> None:
        """The arm holds: the leader goes on meanwhile, and `reset` follows."""

    def reset(self) -> None:
        """The follower has to catch up anew."""
        self._soft.begin()
        self._told = self.arrived = False
        self._way = None
        if self._disturbance is not None:
            self._disturbance.reset()

    def close(self) -> None:
        """The leader is its owner's."""

    def _on_the_way(self, way: SlowMotion, now_s: float) -> NDArray[np.float64]:
        self._way_begin_s = now_s if self._way_begin_s is None else self._way_begin_s
        going_s = now_s - self._way_begin_s
        if going_s >= way.duration_s:
            self.reset()
            self.arrived = True
        return way.at(going_s)

    def look(self, now_s: float) -> None:
        """Ask the leader, unless it was silent a moment ago; what there is to know is in `reading` and `fresh`."""
        self.fresh = False
        if self._problem is not None and now_s - self._asked_s < ASK_AGAIN_S:
            return
        self._asked_s = now_s
        try:
            self.reading = self._leader.read(now_s)
        except (BusError, PortError) as problem:
            self.missed += 1
            self._problem = None if self.known(now_s) else problem
            return
        self._problem, self.fresh = None, True
        if self.reading.spent_s > 0:  # on a simulated wire: the follower's time goes on, too
            self._clock.sleep_until(now_s + self.reading.spent_s)

    def _inside(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        lower, upper = self._guard.lower, self._guard.upper
        inside = np.clip(position, lower, upper)
        known = position.copy()
        known[ROLL] = inside[ROLL]  # a leader's roll may have no stops
        if (far_out := self._guard.far_out(known)) is not None:
            joint, value, outside = far_out
            raise SourceFault(
                "leader far out",
                f"the leader has {joint} at {value:.0f}, {outside:.0f} beyond the follower's range - are both "
                "calibrated alike (docs/leader_and_recording.md)?",
            )
        self.beyond.update(JOINTS[i] for i in np.flatnonzero(np.abs(position - inside) > 1.0).tolist())
        return inside
