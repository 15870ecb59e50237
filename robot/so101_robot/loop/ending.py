"""How a run ends: hold, go home slowly, release.

Whatever ended the run, the arm is first held where it is. Then it goes home along a straight line in joint space,
with an eased speed and through the guard. Then it is released servo by servo. Each step is tried, whatever happened in
the step before: a bus that fails on the way home ends the way home, not the ending. On a second request the arm is
released at once.

An arm that did not get home and would fall is not released. It holds its pose for a while, so that a person can put a
hand under it and press Ctrl-C (twice in all: the first one may be a supervisor's); then it is left under torque, with a
message. `EndingConfig.if_stuck` can ask for something else. An arm that the run has not moved is left as it was found.

A servo that stays silent stops the way home for `PATIENCE_S` only: an arm that is folded except for one joint falls
less far than one that is released in the air. A joint whose encoder has failed gets the position that it reports as its
goal, since its motor would try to reach any other goal without end.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.bus.protocol import Errors
from so101_robot.clock import Clock
from so101_robot.errors import ConfigError, RobotError, UnsafeActionError, describe
from so101_robot.faults.fault import Mode
from so101_robot.faults.servo_restore import ServoRestorer
from so101_robot.guard.guard import Guard, Verdict
from so101_robot.guard.kinematics import above_rest_m
from so101_robot.joints import JOINTS
from so101_robot.loop.observers import Stopwatch
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity
from so101_robot.motion.slow_motion import SlowMotion
from so101_robot.motion.tolerances import AT_HOME
from so101_robot.state import Arm

if TYPE_CHECKING:
    from so101_robot.state import ArmState

SETTLE_S = 0.5
"""How long to wait for the joints to catch up with the last goal before releasing."""

PATIENCE_S = 1.0
"""How long the way home may pause, because the bus fails or the guard stops it, before it is given up."""


FALL_M = 0.025
"""An arm of which no part is more than this above where it would end may be released: it does not fall far."""

RELEASING = 2
"""So many requests of a person let the arm go at once."""

IF_STUCK = ("hold", "release")


@dataclass
class EndingConfig:
    """What happens when a run ends."""

    home: bool = True
    """Go home before the release; false: hold, then release where the arm is."""
    speed: float = 40.0
    """Fastest joint on the way home [deg/s, percent/s for the gripper]."""
    if_stuck: str = "hold"
    """What happens to an arm in the air that cannot go home. hold: torque stays on; release: it is released and
    falls."""
    wait_s: float = 60.0
    """How long a held arm waits for a second Ctrl-C, which releases it, before the program ends [s]."""

    def __post_init__(self) -> None:
        if self.if_stuck not in IF_STUCK:
            raise ConfigError(f"--ending.if_stuck={self.if_stuck}: expected one of {', '.join(IF_STUCK)}")
        if not 0 <= self.wait_s <= 86400:
            raise ConfigError(f"--ending.wait_s={self.wait_s:g}: expected 0 to 86400")


class Ending(NamedTuple):
    """What happened to the arm."""

    at_home: bool
    released: dict[str, str | None]
    """Per joint: None, or why its torque may still be on; empty where nothing was to be released."""
    problems: tuple[str, ...]
    held: str = ""
    """Why it was not released although it should have been; empty where it was."""

    @property
    def torque_may_be_on(self) -> list[str]:
        if self.held:
            return list(JOINTS)
        return [joint for joint, problem in self.released.items() if problem is not None]


def end_safely(
    arm: Arm,
    guard: Guard,
    clock: Clock,
    config: EndingConfig,
    *,
    period_s: float,
    release: bool,
    first_index: int,
    state: "ArmState | None",
    requests: Callable[[], int],
    on_tick: Callable[[Tick], None],
    say: Callable[[Message], None],
) -> Ending:
    """Hold, go home, release; never raises.

    `state` is the newest reading; None means that this run has not moved the arm: then it is left as it was found,
    under torque or free, unless a person asks for the release at once.
    `requests` counts how often a person (not the system) has asked for the end; with the second one the arm is let go
    at once. It is asked on every tick. The way home begins at the guard's last command, or else at `state`; its ticks
    are numbered from `first_index` and have no frames.
    """
    problems: list[str] = []
    numbers = itertools.count(first_index)

    def release_now() -> bool:
        return requests() >= RELEASING

    def attempt(what: str, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except Exception as problem:  # the next step must be tried whatever this one raised
            problems.append(f"{what}: {describe(problem)}")
            say(Message(problems[-1], Severity.ERROR))
            return False

    def hold() -> bool:
        arm.hold()
        return True

    def go_home() -> bool:
        nonlocal state
        assert state is not None
        say(Message("going home"))
        way = _HomeMotion(arm, guard, clock, config, period_s, numbers, state)
        try:
            way.go(release_now, on_tick)
        finally:
            state = way.state
        if far := way.far_from_home():
            problems.append(f"did not reach home: {far}")
            say(Message(problems[-1], Severity.ERROR))
        return not far

    at_home = reached = False
    held = state is not None and attempt("could not hold the arm", hold)
    if held and config.home and not release_now():
        at_home = attempt("could not go home", go_home)
        reached = at_home or release_now() or attempt("could not hold the arm", hold)
    if (state is None or not release) and not release_now():
        return Ending(at_home, {}, tuple(problems))
    if config.home and not (at_home or state is None or release_now()) and _would_fall(arm, state):
        why = _in_the_air(problems)
        if config.if_stuck == "hold" and not _hold_and_wait(
            arm,
            clock,
            config.wait_s if reached else 0.0,
            period_s,
            numbers,
            state,
            requests,
            on_tick,
            say,
            why,
        ):
            return Ending(at_home, {}, tuple(problems), why)
    released: dict[str, str | None] = {}

    def let_go() -> bool:
        released.update(arm.release())
        return True

    if not attempt("could not release the arm", let_go):
        released = dict.fromkeys(JOINTS, problems[-1])
    return Ending(at_home, released, tuple(problems))


def _would_fall(arm: Arm, state: "ArmState") -> bool:
    """Whether a part of the arm is well above where it would end. At home it may be let go: a home in the air is
    refused before the start (`commands/poses.py`)."""
    return above_rest_m(state.position, arm.home) > FALL_M


def _in_the_air(problems: list[str]) -> str:
    return f"the arm is not home and would fall, so it was not let go ({problems[-1] if problems else 'unknown'})"


def _hold_and_wait(
    arm: Arm,
    clock: Clock,
    wait_s: float,
    period_s: float,
    numbers: Iterator[int],
    state: "ArmState",
    requests: Callable[[], int],
    on_tick: Callable[[Tick], None],
    say: Callable[[Message], None],
    why: str,
) -> bool:
    """Wait beside an arm that holds; true when a person asked twice, the run's ending included: the first SIGINT may
    be a supervisor's. A servo that comes back is told to hold."""
    asked = requests()
    if wait_s > 0:
        what_to_do = f"Put a hand under it and press Ctrl-C {'again' if asked else 'twice'} to let it go"
        text = f"{why}. {what_to_do}; this ends in {wait_s:.0f} s and leaves it held"
        say(Message(text, Severity.WARNING))
    restorer = ServoRestorer(arm)
    begin_s = due_s = clock.now_s()
    while requests() < RELEASING and due_s - begin_s < wait_s:
        if requests() > asked:
            asked = requests()
            say(Message("Ctrl-C again lets it go", Severity.WARNING))
        clock.sleep_until(due_s)
        now_s, watch, problem = clock.now_s(), Stopwatch(), None
        try:
            state = arm.read()
            if restorer.see(state, np.zeros(len(JOINTS), np.bool_)):
                arm.hold()
        except RobotError as error:
            problem = describe(error)
            restorer.all_silent()
        watch.lap("read")
        on_tick(_holding_tick(next(numbers), now_s, now_s - due_s, state, watch, problem, why))
        due_s = max(due_s + period_s, now_s)
    return requests() >= RELEASING


def _holding_tick(
    index: int, now_s: float, late_s: float, state: "ArmState", watch: Stopwatch, fault: str | None, why: str
) -> Tick:
    return Tick(
        index=index,
        phase="home",
        time_s=now_s,
        unix_s=time.time(),
        late_s=late_s,
        state=state,
        frames={},
        planned=None,
        asked=None,
        verdict=Verdict(None, (), why),
        sent=None,
        goal=None,
        stages_ms=watch.stages_ms,
        fault=fault,
        mode=Mode.HOLDING,
    )


class _HomeMotion:
    def __init__(
        self,
        arm: Arm,
        guard: Guard,
        clock: Clock,
        config: EndingConfig,
        period_s: float,
        numbers: Iterator[int],
        state: "ArmState",
    ) -> None:
        self._arm, self._guard, self._clock = arm, guard, clock
        self._period_s = period_s
        self._numbers = numbers
        self._speed = config.speed
        self.state = state
        self._restorer = ServoRestorer(arm)
        self._without = np.zeros(len(JOINTS), np.bool_)
        last = guard.last_command
        self._begin(state.position if last is None else last)
        guard.park(self._motion.start)
        self._goal: NDArray[np.float64] | None = None

    def _begin(self, start: NDArray[np.float64]) -> None:
        self._motion = SlowMotion.between(start, self._arm.home, self._speed)
        self._going_s = 0.0  # time on the way, without pauses

    def go(self, release_now: Callable[[], bool], on_tick: Callable[[Tick], None]) -> None:
        """Go, until there or asked to let go. Raises what the arm raises once nothing was sent for
        `PATIENCE_S`."""
        due_s = moved_s = self._clock.now_s()
        while not release_now():
            self._clock.sleep_until(due_s)
            now_s = self._clock.now_s()
            tick, problem = self._tick(now_s, now_s - due_s)
            on_tick(tick)
            if tick.sent is not None:
                moved_s = now_s
                self._going_s += self._period_s
            elif now_s - moved_s > PATIENCE_S:
                if problem is not None or not self._leave_the_silent():
                    raise problem or UnsafeActionError(f"the guard stopped the way home: {tick.verdict.stop}")
                moved_s = now_s
            if self._going_s > self._motion.duration_s + (SETTLE_S if self.far_from_home() else 0.0):
                return
            due_s = max(due_s + self._period_s, now_s)

    def far_from_home(self) -> str:
        """The joints that are not home, in words; empty when all are."""
        off = self.state.position - self._arm.home
        return ", ".join(
            f"{joint} is {off[i]:+.1f} off" for i, joint in enumerate(JOINTS) if abs(off[i]) > AT_HOME
        )

    def _leave_the_silent(self) -> bool:
        """Go on without the servos that do not answer, if there are such and such that do."""
        silent = ~np.asarray(self.state.answered, np.bool_) & ~self._without
        if not silent.any() or not self.state.answered.any():
            return False
        self._without |= silent
        return True

    def _asked(self) -> NDArray[np.float64]:
        asked = self._motion.at(self._going_s)
        stay = self._motion.start if self._goal is None else self._goal
        asked = np.where(self._without, stay, asked)
        encoder_failed = (np.asarray(self.state.errors) & Errors.ENCODER) != 0
        return np.where(encoder_failed, self.state.position, asked)

    def _read(self) -> None:
        """The arm's state. A servo that has come back starts where it is now, and the way begins anew."""
        self.state = self._arm.read()
        if self._restorer.see(self.state, np.zeros(len(JOINTS), np.bool_)):
            held = self._arm.hold()
            if held is not None:
                self._guard.park(held)
                self._goal = held
                self._begin(held)
        self._without &= ~np.asarray(self.state.answered, np.bool_)

    def _tick(self, now_s: float, late_s: float) -> tuple[Tick, RobotError | None]:
        problem: RobotError | None = None
        sent: NDArray[np.float64] | None = None
        watch = Stopwatch()
        try:
            self._read()
        except RobotError as error:
            problem = error
        watch.lap("read")
        asked = self._asked()
        known = self.state._replace(answered=self.state.answered | self._without)
        verdict = self._guard.check(asked, known, {}, now_s)  # no frames: the way home needs no camera
        watch.lap("guard")
        if verdict.action is not None:
            try:
                sent = self._goal = self._arm.command(verdict.action)
            except RobotError as error:
                problem = problem or error
        watch.lap("send")
        tick = Tick(
            index=next(self._numbers),
            phase="home",
            time_s=now_s,
            unix_s=time.time(),
            late_s=late_s,
            state=self.state,
            frames={},
            planned=None,
            asked=asked,
            verdict=verdict,
            sent=sent,
            goal=self._goal,
            stages_ms=watch.stages_ms,
            fault=None if problem is None else describe(problem),
            mode=Mode.PARKING,
        )
        return tick, problem
