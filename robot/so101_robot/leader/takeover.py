"""A person takes over from the policy, and gives back.

    policy -> hold -> handover -> human -> hold -> policy

Asked for by a key, or by moving the leader (`moved`), the follower holds where it is. Then the leader is brought to the
follower's pose (`handover`) and a hand takes it; what is left between the two is gone slowly (`source`), so that
nothing leaps. Only a key gives back: the arm holds for a moment, the policy's plans are void, and it begins with what
it sees then, slowly until it has caught up with itself.

`Takeover` stands in the loop where the policy's scheduler would, so the guard judges whoever drives, and faults, hold
and way home are those of every run. While the policy drives, a leader that is lost is only told; once it was asked for,
it is a fault: the arm holds, then goes home (a key that gives back before that ends it).
"""

import contextlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import NOTHING, Driver, Planned, Scheduler
from so101_robot.errors import BusError, PortError, RobotError, describe
from so101_robot.faults.fault import SourceFault
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.leader.handover import Brings, Handover, Step
from so101_robot.leader.moved import MotionWatch
from so101_robot.leader.source import LeaderSource
from so101_robot.message import Message, Severity
from so101_robot.motion.soft_start import SoftStart

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard

HOLD_S = 0.3
"""So long the arm stands still before the leader is brought to it, and before the policy drives again: a tick's lag of
the servos is over by then [s]."""

LOOK_S = 1 / 30
"""How often the leader is looked at while the policy drives; a faster loop has no time to spare for it [s]."""

NEAR = 1.0
"""The follower has caught up with the leader that was handed over when no joint is farther away [deg, percent]."""


class Stage(Enum):
    """Where a takeover is."""

    POLICY = "policy"
    ASKED = "asked"
    HANDOVER = "handover"
    HUMAN = "human"
    RETURNED = "returned"


DRIVERS: dict[Stage, Driver] = {
    Stage.POLICY: "policy",
    Stage.ASKED: "hold",
    Stage.HANDOVER: "handover",
    Stage.HUMAN: "human",
    Stage.RETURNED: "hold",
}


class Takeover:
    """A `chunks.scheduler.Scheduler`: the policy's, until a person takes over.

    Args:
        policy: the policy's scheduler; closed with this.
        source: the leader as what plays; near it should be `NEAR`.
        leader: the same leader, to be brought to the follower.
        guard: the follower's.
        config: keys, and what counts as moving the leader.
        keys: those that were pressed since it was asked last, by name.
        tell: what the person should know.
    """

    def __init__(
        self,
        policy: Scheduler,
        source: LeaderSource,
        leader: Brings,
        guard: "Guard",
        config: TakeoverConfig,
        keys: Callable[[], Sequence[str]],
        tell: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self._policy, self._source, self._leader, self._guard = policy, source, leader, guard
        self._config, self._keys, self._tell = config, keys, tell
        self.stage = Stage.POLICY
        self.count = 0
        """How often a person has taken over."""
        self._since_s = 0.0
        self._looked_s = -np.inf
        self._handover: Handover | None = None
        self._waits = self._lost = self._has_it = False
        self._watch = MotionWatch(config.moved_deg, config.moved_ms / 1e3)
        self._soft: SoftStart | None = None

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        """As `Scheduler.next`. Raises SourceFault: the leader was asked for and is silent."""
        for key in self._keys():
            self._press(key, now_s)
        if self.stage is Stage.POLICY and self._is_moved(now_s):
            self._take(now_s, "the leader was moved")
        if self.stage is Stage.RETURNED and now_s - self._since_s >= HOLD_S:
            self._let_policy_drive()
        if self.stage is Stage.POLICY:
            return self._by_policy(tick, now_s, observe)
        if self.stage is Stage.ASKED:
            self._source.require(now_s)
            if now_s - self._since_s >= HOLD_S:
                self.stage = Stage.HANDOVER
        if self.stage is Stage.HANDOVER:
            self._hand_over(now_s)
        if self.stage is Stage.HUMAN:
            return self._source.next(tick, now_s, observe)._replace(driver="human")
        return NOTHING._replace(driver=DRIVERS[self.stage])

    def wait(self) -> None:
        """The action of this tick was not sent."""
        self._policy.wait()

    def reset(self) -> None:
        """The arm was held: whoever drives begins anew from where it is."""
        self._policy.reset()
        self._source.reset()

    def close(self) -> None:
        """The leader is let go, if it is under torque; the rest is its owner's."""
        self._let_go()
        self._policy.close()

    # who drives -----

    def _press(self, key: str, now_s: float) -> None:
        config, driven = self._config, self.stage in (Stage.POLICY, Stage.RETURNED)
        if key == config.key and driven:
            self._take(now_s, "asked by a key")
        elif key == config.back_key and not driven:
            self._give_back(now_s)
        elif key == config.key and self.stage is Stage.HANDOVER:
            self._has_it = True

    def _take(self, now_s: float, why: str) -> None:
        self.stage, self._since_s = Stage.ASKED, now_s
        self.count += 1
        self._handover, self._soft, self._has_it = None, None, False
        self._policy.wait()
        self._tell(Message(f"takeover, {why}: the arm holds, and the leader comes to its pose"))

    def _give_back(self, now_s: float) -> None:
        self.stage, self._since_s = Stage.RETURNED, now_s
        self._let_go()
        self._policy.reset()
        self._tell(Message("given back: the policy drives on from here; put the leader down"))

    def _let_policy_drive(self) -> None:
        self.stage = Stage.POLICY
        self._soft = SoftStart()
        self._watch.forget()

    def _by_policy(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        planned = self._policy.next(tick, now_s, observe)
        if self._soft is not None and planned.action is not None and np.isfinite(planned.action).all():
            last = self._guard.last_command
            assert last is not None  # the loop has read the arm
            planned = planned._replace(action=self._soft.follow(planned.action, last, now_s))
            self._soft = None if self._soft.over else self._soft
        return planned._replace(driver="policy")

    # the leader -----

    def _is_moved(self, now_s: float) -> bool:
        """Look at the leader. One that is silent is told once, and may come back."""
        if not self._config.moved_deg or now_s - self._looked_s < LOOK_S - 1e-3:
            return False
        self._looked_s = now_s
        source = self._source
        source.look(now_s)
        if (lost := not source.known(now_s)) is not self._lost:
            self._lost = lost
            words = "does not answer: it cannot take over" if lost else "answers again"
            self._tell(Message(f"the leader {words}", Severity.WARNING if lost else Severity.RECOVERED))
        if lost or source.reading is None:
            self._watch.forget()
            return False
        return source.fresh and self._watch.see(source.reading.position, now_s)

    def _hand_over(self, now_s: float) -> None:
        """One tick of the leader's way. Raises SourceFault: it is lost; the way begins anew when it is back."""
        try:
            reading = self._source.require(now_s)
            if self._handover is None:
                last = self._guard.last_command
                assert last is not None  # the loop has read the arm
                self._handover = Handover(self._leader, last, self._config.torque, now_s)
                self._waits = False
                return
            step = self._handover.go_on(reading.position, now_s) if self._source.fresh else Step.COMING
            if step is Step.TAKEN or self._has_it:
                self._taken()
            elif step is Step.WAITING and not self._waits:
                self._waits = True
                where = "the leader is where the follower is"
                self._tell(Message(f"{where}: take it and move it a little, or press {self._config.key}"))
        except SourceFault:
            self._handover = None
            raise
        except (BusError, PortError) as problem:
            self._handover = None
            raise SourceFault("leader silent", f"the leader: {describe(problem)}") from problem

    def _taken(self) -> None:
        """A hand has it. Raises BusError, PortError: it does not let go."""
        self._leader.let_go()
        self._source.reset()
        self.stage = Stage.HUMAN
        self._tell(Message(f"you drive; {self._config.back_key} gives back to the policy"))

    def _let_go(self) -> None:
        with contextlib.suppress(
            RobotError
        ):  # one that is lost is let go when it comes back, or when it is closed
            self._leader.let_go()
