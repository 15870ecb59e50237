"""How a run ends: hold, go home slowly, release.

Whatever ended the run, the arm is first held where it is, then taken home along a straight line in joint
space with an eased speed and through the guard, then released servo by servo. Each step is tried whatever
became of the one before: a servo bus that fails on the way home ends the way home, not the ending. Asked
once more, the arm is released at once.

A servo that stays silent keeps the others from going home for `PATIENCE_S` only: an arm that is folded but for
one joint falls less far than one that is let go in the air. A joint whose encoder has failed is told to be
where it says it is, since its motor would chase any other goal for ever.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .clock import Clock
from .errors import RobotError, UnsafeActionError
from .joints import JOINTS
from .mend import Mender
from .motion import SlowMotion
from .observers import Stopwatch, Tick, describe
from .protocol import Errors
from .supervisor import Mode

if TYPE_CHECKING:
    from .arm import ArmState
    from .cameras import Frame
    from .guard import Guard

ARRIVED = 5.0
"""How close to home is there [deg, percent of the gripper]: a P-only servo sags by 1 to 2 deg under load."""

SETTLE_S = 0.5
"""How long to wait for the joints to catch up with the last goal before releasing."""

PATIENCE_S = 1.0
"""How long the way home may stand still, because the bus fails or the guard stops it, before it is given
up."""


class Arm(Protocol):
    """What the loop needs of an arm; `so101_robot.arm.SO101` is one. Joint values are (6,) in LeRobot
    units."""

    @property
    def home(self) -> NDArray[np.float64]: ...

    def read(self) -> "ArmState": ...

    def frames(self) -> "dict[str, Frame]": ...

    def command(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Send goals; returns them as quantised."""
        ...

    def hold(self) -> NDArray[np.float64] | None:
        """Torque on, stay; returns the pose that is held, if that is known."""
        ...

    def release(self) -> dict[str, str | None]:
        """Torque off, joint by joint; returns what went wrong at each, or None."""
        ...


@dataclass
class EndingConfig:
    """What happens when a run ends."""

    home: bool = True
    """Go home before letting go; false: hold, then release where the arm is."""
    speed: float = 40.0
    """Fastest joint on the way home [deg/s, percent/s for the gripper]."""


class Ending(NamedTuple):
    """What became of the arm."""

    at_home: bool
    released: dict[str, str | None]
    """Per joint: None, or why its torque may still be on; empty where that is as asked."""
    problems: tuple[str, ...]

    @property
    def torque_may_be_on(self) -> list[str]:
        return [joint for joint, problem in self.released.items() if problem is not None]


def end_safely(
    arm: Arm,
    guard: "Guard",
    clock: Clock,
    config: EndingConfig,
    *,
    period_s: float,
    release: bool,
    first_index: int,
    state: "ArmState | None",
    release_now: Callable[[], bool],
    on_tick: Callable[[Tick], None],
    say: Callable[[str], None],
) -> Ending:
    """Hold, go home, release; never raises.

    `state` is the newest reading; None means that this run has not moved the arm: then it is only released.
    `release_now` is asked on every tick. The way home begins at the guard's last command, or else at
    `state`; its ticks are numbered from `first_index` and have no frames.
    """
    problems: list[str] = []

    def attempt(what: str, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except Exception as problem:  # the next step must be tried whatever this one raised
            problems.append(f"{what}: {describe(problem)}")
            say(problems[-1])
            return False

    def hold() -> bool:
        arm.hold()
        return True

    def go_home(state: "ArmState") -> bool:
        say("going home")
        way = _WayHome(arm, guard, clock, config, period_s, first_index, state)
        way.go(release_now, on_tick)
        if far := way.far_from_home():
            problems.append(f"did not reach home: {far}")
            say(problems[-1])
        return not far

    at_home = False
    held = state is not None and attempt("could not hold the arm", hold)
    if held and state is not None and config.home and not release_now():
        at_home = attempt("could not go home", lambda: go_home(state))
        if not at_home and not release_now():
            attempt("could not hold the arm", hold)
    if not release and not release_now():
        return Ending(at_home, {}, tuple(problems))
    released: dict[str, str | None] = {}

    def let_go() -> bool:
        released.update(arm.release())
        return True

    if not attempt("could not release the arm", let_go):
        released = dict.fromkeys(JOINTS, problems[-1])
    return Ending(at_home, released, tuple(problems))


class _WayHome:
    def __init__(
        self,
        arm: Arm,
        guard: "Guard",
        clock: Clock,
        config: EndingConfig,
        period_s: float,
        first_index: int,
        state: "ArmState",
    ) -> None:
        self._arm, self._guard, self._clock = arm, guard, clock
        self._period_s = period_s
        self._index = first_index
        self._speed = config.speed
        self._state = state
        self._mender = Mender(arm)
        self._without = np.zeros(len(JOINTS), np.bool_)
        last = guard.last_command
        self._begin(state.position if last is None else last)
        guard.park(self._motion.start)
        self._goal: NDArray[np.float64] | None = None

    def _begin(self, start: NDArray[np.float64]) -> None:
        self._motion = SlowMotion.between(start, self._arm.home, self._speed)
        self._going_s = 0.0  # time on the way, without standing still

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
        off = self._state.position - self._arm.home
        return ", ".join(
            f"{joint} is {off[i]:+.1f} off" for i, joint in enumerate(JOINTS) if abs(off[i]) > ARRIVED
        )

    def _leave_the_silent(self) -> bool:
        """Go on without the servos that do not answer, if there are such and such that do."""
        silent = ~np.asarray(self._state.answered, np.bool_) & ~self._without
        if not silent.any() or not self._state.answered.any():
            return False
        self._without |= silent
        return True

    def _asked(self) -> NDArray[np.float64]:
        asked = self._motion.at(self._going_s)
        stay = self._motion.start if self._goal is None else self._goal
        asked = np.where(self._without, stay, asked)
        blind = (np.asarray(self._state.errors) & Errors.ENCODER) != 0
        return np.where(blind, self._state.position, asked)

    def _read(self) -> None:
        """The arm's state. A servo that has come back starts where it is now, and the way begins anew."""
        self._state = self._arm.read()
        if self._mender.see(self._state, np.zeros(len(JOINTS), np.bool_)):
            held = self._arm.hold()
            if held is not None:
                self._guard.park(held)
                self._goal = held
                self._begin(held)
        self._without &= ~np.asarray(self._state.answered, np.bool_)

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
        known = self._state._replace(answered=self._state.answered | self._without)
        verdict = self._guard.check(asked, known, {}, now_s)  # no frames: the way home needs no camera
        watch.lap("guard")
        if verdict.action is not None:
            try:
                sent = self._goal = self._arm.command(verdict.action)
            except RobotError as error:
                problem = problem or error
        watch.lap("send")
        tick = Tick(
            index=self._index,
            phase="home",
            time_s=now_s,
            unix_s=time.time(),
            late_s=late_s,
            state=self._state,
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
        self._index += 1
        return tick, problem
