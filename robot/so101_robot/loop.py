"""The control loop: frames and joint positions in, servo goals out, once a tick, until something ends it.

    read, frames -> scheduler -> guard -> command -> observers

The loop waits for the clock and for nothing else. The guard judges every tick, also those on which there is
nothing new to play (the last command is sent again then, since a servo acknowledges none). When the guard
says stop, the arm holds and the plan waits; after `VOID_PLAN_S` the plan is void and the policy has to answer
anew; after `max_stop_s` the run ends. However a run ends, `ending.end_safely` has the last word, and the
first thing that went wrong is what is reported.

The same loop drives the real arm in real time and the mock arm in lockstep; an evaluation's episode is one
run of it.
"""

import math
import signal
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .chunks import Planned, Scheduler
from .clock import Clock
from .ending import Arm, Ending, EndingConfig, end_safely
from .errors import BusError, UnsafeActionError
from .observers import Observer, Observers, Stopwatch, Tick, describe
from .workers import Observation

if TYPE_CHECKING:
    from .arm import ArmState
    from .cameras import Frame
    from .guard import Guard, Verdict

VOID_PLAN_S = 0.2
"""A plan that stood still for longer than this belongs to a scene that has gone on. A lost reply or two are
over sooner."""

Cause = Literal["time is up", "asked to stop", "error"]


@dataclass
class LoopConfig:
    """The loop's own settings."""

    fps: float = 30.0
    """Ticks per second; a policy expects the rate of the recordings it was trained on."""
    duration_s: float = 0.0
    """How long to run on the robot's clock; 0: until asked to stop."""
    max_stop_s: float = 1.0
    """How long the guard may stop the arm without a break before the run ends."""
    ending: EndingConfig = field(default_factory=EndingConfig)
    release: bool = True
    """Torque off at the end; false: the arm stays where it ended, unless it is asked to let go at once."""


class Outcome(NamedTuple):
    """How a run went."""

    cause: Cause
    error: Exception | None
    ticks: int
    ending: Ending


class StopRequests:
    """Requests to end the run: the first asks for the safe ending, one more during that ending for release
    at once."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ""

    def request(self, reason: str) -> None:
        self.count += 1
        self.reason = self.reason or reason

    @property
    def requested(self) -> bool:
        return self.count > 0


@contextmanager
def stop_on_signals() -> Generator[StopRequests]:
    """Ctrl-C, SIGTERM and SIGHUP become stop requests while inside; only in the main thread."""
    requests = StopRequests()
    names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

    def handle(number: int, frame: FrameType | None) -> None:
        requests.request(names[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in names}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ControlLoop:
    """Joins arm, scheduler, guard and observers, and runs them by the clock. One run per object."""

    def __init__(
        self,
        arm: Arm,
        scheduler: Scheduler,
        guard: "Guard",
        clock: Clock,
        *,
        config: LoopConfig | None = None,
        observers: Iterable[Observer] = (),
        stop: StopRequests | None = None,
    ) -> None:
        self._arm, self._scheduler, self._guard, self._clock = arm, scheduler, guard, clock
        self._config = config or LoopConfig()
        self._observers = Observers(observers)
        self._stop = stop or StopRequests()
        self._period_s = 1.0 / self._config.fps
        self._state: ArmState | None = None
        self._goal: NDArray[np.float64] | None = None
        self._whole: NDArray[np.float64] | None = None
        self._stopped_since_s: float | None = None
        self._observers_ms = 0.0

    def run(self) -> Outcome:
        """Run to the end, ending included. Never raises: what went wrong is in the outcome, the first thing
        first."""
        error: Exception | None = None
        self._next_index = 0
        try:
            cause = self._run()
        except Exception as problem:  # whatever it is, the arm comes first
            cause, error = "error", problem
        moved = self._goal is not None
        self._observers.on_message(
            f"stopping ({describe(error) if error else self._stop.reason or cause}): "
            f"{'hold, go home, release' if moved else 'release'}; "
            f"Ctrl-C {'again' if self._stop.requested else 'twice'} releases at once"
        )
        ending = end_safely(
            self._arm,
            self._guard,
            self._clock,
            self._config.ending,
            period_s=self._period_s,
            release=self._config.release,
            first_index=self._next_index,
            state=self._state if moved else None,
            release_now=lambda: self._stop.count >= 2,
            on_tick=self._publish,
            say=self._observers.on_message,
        )
        self._observers.close()
        self._scheduler.close()
        return Outcome(cause, error, self._next_index, ending)

    def _run(self) -> Cause:
        begin_s = self._clock.now_s()
        last = math.ceil(self._config.duration_s * self._config.fps - 1e-6)
        index = 0
        while not self._stop.requested:
            if last and index >= last:
                return "time is up"
            due_s = begin_s + index * self._period_s
            self._clock.sleep_until(due_s)
            now_s = self._clock.now_s()
            tick = self._tick(index, now_s, now_s - due_s)
            self._publish(tick)
            self._check_stopped(tick)
            index = max(index + 1, int((self._clock.now_s() - begin_s) * self._config.fps + 0.5))
        return "asked to stop"

    def _tick(self, index: int, now_s: float, late_s: float) -> Tick:
        watch = Stopwatch()
        state, fault = self._read()
        watch.lap("read")
        frames = self._arm.frames()
        watch.lap("frames")
        planned = self._scheduler.next(index, now_s, lambda: self._observation(now_s, state, frames))
        watch.lap("plan")
        asked = planned.action
        judged = asked if asked is not None else self._goal if self._goal is not None else state.position
        ages_s = {name: now_s - frame.captured_s for name, frame in frames.items()}
        verdict = self._guard.check(judged, state, ages_s, now_s)
        watch.lap("guard")
        sent, send_fault = self._send(verdict, planned)
        watch.lap("send")
        return Tick(
            index=index,
            phase="run",
            time_s=now_s,
            unix_s=time.time(),
            late_s=late_s,
            state=state,
            frames=frames,
            planned=planned,
            asked=asked,
            verdict=verdict,
            sent=sent,
            goal=self._goal,
            stages_ms={**watch.stages_ms, "observers": self._observers_ms},
            fault=fault or send_fault,
        )

    def _read(self) -> "tuple[ArmState, str | None]":
        """The arm's state; where the servos did not answer the last one, whose age the guard judges."""
        first = self._state is None
        try:
            self._state = self._arm.read()
        except BusError as problem:
            if self._state is None:
                raise
            return self._state, describe(problem)
        if first:
            self._guard.reset(self._state.position)
        if self._state.answered.all():
            self._whole = np.array(self._state.position)
        return self._state, None

    def _observation(self, now_s: float, state: "ArmState", frames: "dict[str, Frame]") -> Observation:
        """What the policy is shown; for a joint that did not answer on this tick, where it was last."""
        position = np.array(state.position)
        if self._whole is not None:
            position = np.where(state.answered, position, self._whole)
        return Observation(now_s, position, {name: frame.image for name, frame in frames.items()})

    def _send(self, verdict: "Verdict", planned: Planned) -> tuple[NDArray[np.float64] | None, str | None]:
        if verdict.action is None:
            self._scheduler.wait()
            return None, None  # the servos keep the goal they have
        if planned.action is None and self._goal is None:
            return None, None  # the arm is not touched before there is something to do
        try:
            self._goal = self._arm.command(verdict.action)
        except BusError as problem:
            return None, describe(problem)
        return self._goal, None

    def _check_stopped(self, tick: Tick) -> None:
        """Follow how long the guard has been holding the arm."""
        if tick.verdict.action is not None:
            self._stopped_since_s = None
            return
        if self._stopped_since_s is None:
            self._stopped_since_s = tick.time_s
            self._observers.on_message(f"the guard holds the arm: {tick.verdict.stop}")
        stopped_s = tick.time_s - self._stopped_since_s
        if stopped_s >= self._config.max_stop_s:
            raise UnsafeActionError(f"the guard held the arm for {stopped_s:.1f} s: {tick.verdict.stop}")
        if stopped_s >= VOID_PLAN_S:
            self._scheduler.reset()
        if self._goal is not None:
            # the next step starts at the goal in force, and is not longer for the time spent holding
            self._guard.reset(self._goal)

    def _publish(self, tick: Tick) -> None:
        started = time.perf_counter()
        self._observers.on_tick(tick)
        self._observers_ms = (time.perf_counter() - started) * 1e3
        self._next_index = tick.index + 1
