"""The control loop: frames and joint positions in, servo goals out, once a tick, until something ends it.

    read, frames -> scheduler -> guard -> command -> observers

The loop waits for the clock and for nothing else. The guard judges every tick, also those on which there is
nothing new to play (the last command is sent again then, since a servo acknowledges none). What is wrong on a
tick (`symptoms.py`) goes to the supervisor, whose rules say whether the policy drives on, the arm holds, or
the run ends. While the arm holds, the plan waits; after `VOID_PLAN_S` it is void and the policy has to answer
anew. The way to the policy's first pose is gone slowly, and the policy answers anew at its end. However a run
ends, `ending.end_safely` has the last word, and the first thing that went wrong is what is reported.

The same loop drives the real arm in real time and the mock arm in lockstep. It is the only place where a tick
happens: a run of a policy, a replay, an episode of an evaluation, a demonstration by the expert and a step of the
gymnasium environment are ticks of it.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import NOTHING, Driver, Planned, Scheduler
from so101_robot.clock import Clock
from so101_robot.errors import BusError, ConfigError, PortError, UnsafeActionError, describe
from so101_robot.faults.fault import Fault, Mode, SourceFault, Symptom
from so101_robot.faults.readings import Readings
from so101_robot.faults.supervisor import FAULT_RULES, POLICY_FAULTS, Judgement, Rule, Supervisor
from so101_robot.faults.symptoms import action_symptoms, answer_symptoms, far_out_symptoms, guard_symptoms
from so101_robot.joints import GRIPPER
from so101_robot.loop.approach import Approach
from so101_robot.loop.ending import Ending, EndingConfig, end_safely
from so101_robot.loop.observers import Observers, Stopwatch
from so101_robot.loop.stopping import StopRequests, stop_on_signals
from so101_robot.loop.tick import Observer, Phase, Tick
from so101_robot.message import Message, Severity
from so101_robot.motion.tolerances import HOLD_AT_GOAL_DEG
from so101_robot.state import Arm

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard, Verdict
    from so101_robot.state import ArmState

__all__ = ["Cause", "ControlLoop", "Ended", "LoopConfig", "Outcome", "StopRequests", "stop_on_signals"]

VOID_PLAN_S = 0.2
"""A plan that stood still for longer than this belongs to a scene that has gone on. A lost reply or two are
over sooner."""

LATE_S = 0.5
"""A policy that leaves the arm without an action for longer than this is late; synchronous chunks always leave
it for the time of an inference."""

HOLD_SETTLE_S = 0.3
"""So long after its last new goal the arm has caught up with it (its lag is 0.13 s), and a joint that has not is
against something. With the tick that sees it, the servo pushes for less than half a second."""

NOT_KNOWN_WHERE: frozenset[Fault] = frozenset(("bus silent", "port gone", "position leaps", "encoder fault"))
"""Faults with which the readings do not tell where the arm is. Of a single servo that is silent the others tell."""

Cause = Literal["time is up", "asked to stop", "error"]


@dataclass
class LoopConfig:
    """The loop's own settings."""

    fps: float = 30.0
    """Ticks per second; a policy expects the rate of the recordings it was trained on."""
    duration_s: float = 0.0
    """How long the policy drives, on the robot's clock, without the way to its first pose; 0: until asked to
    stop."""
    max_stop_s: float = 1.0
    """How long the arm may be held without a break before the run ends, for faults whose rule does not say."""
    approach_speed: float = 30.0
    """Fastest joint on the way to the policy's first pose [deg/s, percent/s for the gripper]; 0: the policy
    drives from where the arm stands."""
    start_pose: Sequence[float] | None = None
    """Where to go slowly before the policy is asked anything, one value a joint; None: to its first action."""
    rules: Mapping[Fault, Rule] = field(default_factory=lambda: FAULT_RULES)
    """What is done about each fault."""
    ending: EndingConfig = field(default_factory=EndingConfig)
    release: bool = True
    """Torque off at the end; false: the arm stays where it ended, unless it is asked to let go at once."""


class Ended(NamedTuple):
    """Why there are no more ticks."""

    cause: Cause
    error: Exception | None
    """What went wrong, if anything did."""
    fault: Fault | None
    """The fault for which the supervisor ended the run, if it did."""


class Outcome(NamedTuple):
    """How a run went."""

    cause: Cause
    error: Exception | None
    ticks: int
    """The way home included."""
    ending: Ending
    fault: Fault | None = None
    """As in `Ended`."""


class _Opened(NamedTuple):
    """A tick of which the first half is over."""

    now_s: float
    late_s: float
    state: "ArmState"
    looked_s: float
    """When the pictures were taken over, which is after the arm was read."""
    symptoms: list[Symptom]
    watch: Stopwatch


class ControlLoop:
    """Joins arm, scheduler, guard and observers, and runs them by the clock. One run per object.

    `run` lets it go on to its end. A caller that goes through the ticks itself, as an episode of an evaluation does,
    begins it and asks for one `step` after the other; however that is left, the arm is made safe:

        with loop:
            while loop.step():
                ...
        outcome = loop.finish()

    Args:
        arm: as `state.Arm` says; if it is `servo_restore.Restorable`, servos that come back are restored.
        scheduler: plans.
        guard: the arm's.
        clock: the arm's.
        config: the loop's settings.
        observers: look on.
        stop: asks for the end.
        reconnect: called now and then when the port has gone; opens it again and says whether it is back. Without
            it a port that goes away ends the run.
    """

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
        reconnect: Callable[[], bool] | None = None,
    ) -> None:
        self._arm, self._scheduler, self._guard, self._clock = arm, scheduler, guard, clock
        self._config = config or LoopConfig()
        self._observers = Observers(observers)
        self._stop = stop or StopRequests()
        self._supervisor = Supervisor(self._config.rules, self._config.max_stop_s)
        self._readings = Readings(arm, guard, reconnect)
        self._period_s = 1.0 / self._config.fps
        self._goal: NDArray[np.float64] | None = None
        self._approach = Approach(guard, self._config.approach_speed, self._period_s, self._config.start_pose)
        self._playing_s = -math.inf
        self._answer_symptoms: list[Symptom] = []
        self._held_since_s: float | None = None
        self._stands_since_s: float | None = None
        self._grip_due = self._hold_settled = False
        self._observers_ms = 0.0
        self._last = math.ceil(self._config.duration_s * self._config.fps - 1e-6)
        self._begin_s = self._now_s = -math.inf
        self._index = self._first = self._next_index = 0
        self._open: _Opened | None = None
        self._judgement: Judgement | None = None
        self._outcome: Outcome | None = None
        self.ended: Ended | None = None
        """Why there are no more ticks; None: there are."""

    # the run, as a whole or tick by tick -----

    def run(self) -> Outcome:
        """Run to the end, ending included. What went wrong is in the outcome, the first thing first."""
        with self:
            while self.step():
                pass
        return self.finish()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def begin(self) -> None:
        """Time zero: the first tick is due now. Whoever begins a run has to `finish` it; `with` does both."""
        self._begin_s = self._clock.now_s()

    def step(self) -> bool:
        """One tick: wait for it, `look`, `act`. False: the run is over, and `finish` is what is left to do.

        Never raises an `Exception`: it ends the run and is in the outcome.
        """
        return self.look() and self.act()

    def look(self) -> bool:
        """The first half of a tick: wait until it is due, read the arm, take the pictures.

        For a caller that wants to see what there is before it says what shall be done (`observation`).
        Returns False where the run is over.
        """
        if self.ended is not None:
            return False
        try:
            self._open = self._look()
        except Exception as problem:  # whatever it is, the arm comes first
            self._end_by(problem)
        return self.ended is None

    def act(self) -> bool:
        """The second half: plan, judge, send, tell. Returns False where the run is over."""
        if self.ended is not None or self._open is None:
            return False
        opened, self._open = self._open, None
        try:
            self._act_on(opened)
        except Exception as problem:  # whatever it is, the arm comes first
            self._end_by(problem)
        return self.ended is None

    def observation(self) -> Observation:
        """What a policy is shown on the tick that was looked at last. Raises ConfigError before the first."""
        state = self._readings.state
        if state is None:
            raise ConfigError("there is nothing to observe before the first tick")
        return self._readings.observation(self._now_s, state)

    def finish(self) -> Outcome:
        """The ending: hold, go home, release, whatever happened before. It happens once, and never raises; later
        calls give the same outcome."""
        if self._outcome is None:
            ended = self.ended or Ended("asked to stop", None, None)
            self.ended = ended
            ending = self._finish(ended)
            self._outcome = Outcome(ended.cause, ended.error, self._next_index, ending, ended.fault)
        return self._outcome

    def _finish(self, ended: Ended) -> Ending:
        self._supervisor.park()
        moved = self._goal is not None
        why = describe(ended.error) if ended.error else self._stop.reason or ended.cause
        what = "hold, go home, release" if moved else "the arm was not moved, and is left as it was"
        text = f"stopping ({why}): {what}; Ctrl-C {'again' if self._stop.count else 'twice'} releases at once"
        self._observers.on_message(Message(text, Severity.ERROR if ended.error else Severity.INFO))
        ending = end_safely(
            self._arm,
            self._guard,
            self._clock,
            self._config.ending,
            period_s=self._period_s,
            release=self._config.release,
            first_index=self._next_index,
            state=self._readings.state if moved else None,
            requests=lambda: self._stop.count,
            on_tick=self._publish,
            say=self._observers.on_message,
        )
        if ending.held:
            self._observers.on_message(Message(f"{ending.held}: its torque stays on", Severity.WARNING))
        elif ending.released:
            self._supervisor.released()
            still = ", ".join(ending.torque_may_be_on)
            text = f"released{f', but torque may be on: {still}' if still else ''}"
            self._observers.on_message(Message(text, Severity.ERROR if still else Severity.INFO))
        self._observers.close()
        self._scheduler.close()
        return ending

    def _end_by(self, problem: Exception) -> None:
        fault = self._judgement.cause.fault if self._judgement and self._judgement.cause else None
        parked = self._judgement is not None and self._judgement.mode is Mode.PARKING
        self.ended = Ended("error", problem, fault if parked else None)

    # a tick -----

    def _look(self) -> "_Opened | None":
        """None: the run is over."""
        if self._stop.requested:
            self.ended = Ended("asked to stop", None, None)
            return None
        index = self._index
        if self._approach.under_way:
            self._first = index + 1  # the time is the policy's: the way to its first pose does not count
        elif self._last and index - self._first >= self._last:
            self.ended = Ended("time is up", None, None)
            return None
        due_s = self._begin_s + index * self._period_s
        self._clock.sleep_until(due_s)
        now_s = self._now_s = self._clock.now_s()
        watch, readings = Stopwatch(), self._readings
        symptoms = readings.read(now_s)
        state = readings.state
        assert state is not None  # or reading has raised
        watch.lap("read")
        symptoms += readings.take_pictures()
        looked_s = self._clock.now_s()
        watch.lap("frames")
        return _Opened(now_s, now_s - due_s, state, looked_s, symptoms, watch)

    def _act_on(self, opened: "_Opened") -> None:
        """Raises the cause when the supervisor says that the run is over."""
        index, readings = self._index, self._readings
        now_s, late_s, state, looked_s, symptoms, watch = opened
        planned, asked, trouble = self._plan(index, now_s, state)
        watch.lap("plan")
        symptoms += readings.look_at_pictures(state)
        watch.lap("frames")
        judged = asked if asked is not None else self._goal if self._goal is not None else state.position
        ages_s = {name: looked_s - frame.captured_s for name, frame in readings.frames.items()}
        verdict = self._guard.check(judged, state, ages_s, now_s, looked_s)
        symptoms += trouble
        symptoms += _not_yet_told(guard_symptoms(verdict, asked), symptoms)
        if planned is None:
            self._playing_s = now_s
        else:
            symptoms += self._plan_symptoms(planned, verdict, now_s, bool(symptoms))
        judgement = self._supervisor.judge(now_s, symptoms, self._unknown(planned, verdict))
        self._judgement = judgement
        known = not any(symptom.fault in NOT_KNOWN_WHERE for symptom in symptoms)
        self._grip_due = self._grip_due or judgement.grip or (known and self._pushes(state, now_s))
        watch.lap("guard")
        sent = self._act(judgement, verdict, asked)
        self._follow_standing(sent is not None and asked is not None, now_s)
        watch.lap("send")
        tick = Tick(
            index=index,
            phase=self._phase(planned),
            time_s=now_s,
            unix_s=time.time(),
            late_s=late_s,
            state=state,
            frames=readings.frames,
            planned=planned,
            asked=asked,
            verdict=verdict,
            sent=sent,
            goal=self._goal,
            stages_ms={**watch.stages_ms, "observers": self._observers_ms},
            fault=readings.fault,
            mode=judgement.mode,
            faults=judgement.faults,
        )
        self._tell(judgement, verdict, sent is None)
        self._publish(tick)
        if judgement.mode is Mode.PARKING:
            raise self._end(judgement, now_s)
        self._follow_hold(
            judgement, verdict, any(symptom.fault in POLICY_FAULTS for symptom in symptoms), now_s
        )
        now_index = int((self._clock.now_s() - self._begin_s) * self._config.fps + 0.5)
        self._index = max(index + 1, now_index)

    # planning -----

    def _plan(
        self, index: int, now_s: float, state: "ArmState"
    ) -> tuple[Planned | None, NDArray[np.float64] | None, list[Symptom]]:
        """What the scheduler plans (None during the approach), what is asked of the arm, and what is wrong with
        the policy."""
        way, holding = self._approach, self._supervisor.mode is Mode.HOLDING
        if not holding and way.set_out_for_the_start(state):
            self._tell_the_way()
        if way.under_way:
            return None, way.asked(), []
        readings = self._readings
        try:
            planned = self._scheduler.next(index, now_s, lambda: readings.observation(now_s, state))
        except SourceFault as problem:
            readings.raised[problem.fault] = problem
            self._scheduler.reset()
            driver: Driver | None = None if problem.fault in POLICY_FAULTS else "hold"
            return NOTHING._replace(driver=driver), None, [Symptom(problem.fault, "", str(problem))]
        except Exception as problem:  # whatever a policy raises, the arm holds first
            readings.raised["policy raises"] = problem
            self._scheduler.reset()
            return NOTHING, None, [Symptom("policy raises", "", f"the policy failed: {describe(problem)}")]
        asked = planned.action
        first = asked if planned.end is None else planned.end
        if first is None or way.over or holding:
            return planned, asked, []
        if far_out_symptoms(np.asarray(first), self._guard) or not way.set_out(first, state):
            return planned, asked, []  # what is nonsense is not gone to slowly either
        self._tell_the_way()
        return planned, way.asked(), []

    def _tell_the_way(self) -> None:
        text = f"going slowly to where the policy begins, {self._approach.duration_s:.1f} s"
        self._observers.on_message(Message(text))

    def _plan_symptoms(
        self, planned: Planned, verdict: "Verdict", now_s: float, wrong: bool
    ) -> list[Symptom]:
        """What is wrong with a plan that the guard lets pass, or with there being none."""
        if not planned.by_policy:  # it is not asked, so what it said last is over, and it is not late
            self._playing_s, self._answer_symptoms = now_s, []
            return []
        if planned.action is not None:
            self._playing_s = now_s
            if self._approach.under_way or verdict.stop is not None:
                self._answer_symptoms = []
                return []
            action = np.asarray(planned.action)
            goal = action if self._goal is None else self._goal
            if planned.inference is not None:
                coming = planned.inference.actions[planned.index_in_chunk :][: round(self._config.fps)]
                self._answer_symptoms = answer_symptoms(coming, goal, self._guard)
            symptoms = [*self._answer_symptoms, *action_symptoms(action, goal, self._guard)]
            return list({symptom.fault: symptom for symptom in symptoms}.values())
        if wrong or self._supervisor.mode is Mode.HOLDING or math.isinf(self._playing_s):
            self._playing_s = now_s
        waited_s = now_s - self._playing_s
        if waited_s <= LATE_S:
            return []
        return [Symptom("policy late", "", f"the policy has not answered for {waited_s:.1f} s")]

    def _unknown(self, planned: Planned | None, verdict: "Verdict") -> Collection[Fault]:
        """The faults about which this tick says nothing."""
        unseen = self._readings.unseen
        if planned is not None and not planned.by_policy:
            return unseen
        if planned is None or planned.action is None:
            return (*POLICY_FAULTS, "policy late", *unseen)
        return (*POLICY_FAULTS, *unseen) if verdict.stop is not None else unseen

    def _phase(self, planned: Planned | None) -> Phase:
        return "approach" if self._approach.under_way or planned is None else "run"

    # acting -----

    def _act(
        self, judgement: Judgement, verdict: "Verdict", asked: NDArray[np.float64] | None
    ) -> NDArray[np.float64] | None:
        """Send what passed, unless the arm is to hold; returns what was sent."""
        if self._grip_due and self._goal is not None:
            self._grip()
            return None
        if verdict.action is None or judgement.mode in (Mode.HOLDING, Mode.PARKING):
            return None  # the servos keep the goal they have
        if asked is None and self._goal is None:
            return None  # the arm is not touched before there is something to do
        try:
            self._goal = self._arm.command(verdict.action)
        except (BusError, PortError) as problem:
            self._readings.failed_to_send(problem)
            return None
        if self._approach.go_on():  # there: the policy looks anew
            self._scheduler.wait()
            self._scheduler.reset()
            self._observers.on_message(Message("there; the policy takes over"))
        return self._goal

    def _pushes(self, state: "ArmState", now_s: float) -> bool:
        """Whether a body joint that nothing drives is still away from its goal, so that its servo pushes: while the arm
        holds, and while there is nothing new to do. Once each time: a joint that droops under a load would else sink a
        little more and more. A gripper may push on what it holds."""
        if self._stands_since_s is None or self._hold_settled or self._goal is None:
            return False
        if now_s - self._stands_since_s < HOLD_SETTLE_S:
            return False
        self._hold_settled = True
        away = np.where(state.answered, np.abs(self._goal - state.position), 0.0)
        return bool((away[:GRIPPER] > HOLD_AT_GOAL_DEG).any())

    def _grip(self) -> None:
        """Take the arm where it is; tried on every tick until it works."""
        try:
            held = self._arm.hold()
        except (BusError, PortError) as problem:
            self._readings.failed_to_send(problem)
            return
        self._grip_due = False
        if held is not None:
            self._goal = held
        if self._goal is not None:
            self._approach.again_from(self._goal)

    def _follow_standing(self, driven: bool, now_s: float) -> None:
        """Since when the arm has had no new goal."""
        if driven:
            self._stands_since_s, self._hold_settled = None, False
        elif self._stands_since_s is None:
            self._stands_since_s = now_s

    def _follow_hold(self, judgement: Judgement, verdict: "Verdict", is_no_good: bool, now_s: float) -> None:
        """Let the plan wait while the arm holds, and decide when it is void.

        Args:
            is_no_good: something is wrong with what the policy wants on this very tick.
        """
        if verdict.action is not None and judgement.mode is not Mode.HOLDING:
            self._held_since_s = None
            return
        if self._held_since_s is None:
            self._held_since_s = now_s
        cause = judgement.cause.fault if judgement.cause is not None else None
        self._scheduler.wait()
        if cause in POLICY_FAULTS:
            if is_no_good and judgement.mode is Mode.HOLDING:
                self._scheduler.reset()  # another answer is waited for
        elif cause != "policy late" and now_s - self._held_since_s >= VOID_PLAN_S:
            self._scheduler.reset()
        if self._goal is not None:
            # the next step starts at the goal in force, and is not longer for the time spent holding
            self._guard.reset(self._goal)

    def _end(self, judgement: Judgement, now_s: float) -> Exception:
        """Why the run is over, as an error: the one behind the fault, if there is one."""
        fault = judgement.cause.fault if judgement.cause is not None else None
        held_s = now_s - judgement.since_s
        problem = self._readings.raised.get(fault) if fault is not None else None
        return problem or UnsafeActionError(f"the arm was held for {held_s:.1f} s: {judgement.words}")

    def _tell(self, judgement: Judgement, verdict: "Verdict", holds: bool) -> None:
        for message in judgement.news:
            self._observers.on_message(message)
        if holds and verdict.stop is not None and self._held_since_s is None:
            text = f"the guard holds the arm: {verdict.stop}"
            self._observers.on_message(Message(text, Severity.ERROR))

    def _publish(self, tick: Tick) -> None:
        started = time.perf_counter()
        self._observers.on_tick(tick)
        self._observers_ms = (time.perf_counter() - started) * 1e3
        self._next_index = tick.index + 1


def _not_yet_told(symptoms: list[Symptom], told: list[Symptom]) -> list[Symptom]:
    """Of what the guard says, what is not the consequence of a fault that is known."""
    known: set[str] = {symptom.fault for symptom in told}
    silent = known & {"bus silent", "port gone", "servo silent"}
    blind = known & {"camera gone", "camera frozen", "camera dark", "camera swapped"}
    return [
        symptom
        for symptom in symptoms
        if not (symptom.fault in ("servo silent", "bus silent") and silent)
        and not (symptom.fault == "camera stalled" and blind)
    ]
