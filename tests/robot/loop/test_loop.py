"""The control loop and its ending, with an arm that keeps state and can be made to fail."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from so101_robot.chunks.interpolation import Interpolated
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.errors import BusTimeoutError, CameraError, ConfigError, PortError, UnsafeActionError
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
from so101_robot.loop.observers import Background, ObserverFailure
from so101_robot.loop.stopping import StopRequests, stop_on_signals
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.state import Frame

START = np.array([10.0, -55.0, 55.0, 40.0, -10.0, 50.0])  # low enough to be let go anywhere
HOME = np.array([0.0, -60.0, 60.0, 50.0, 0.0, 5.0])


class State(NamedTuple):
    """`so101_robot.state.ArmState`, without the seconds that importing LeRobot takes."""

    time_s: float
    position: NDArray[np.float64]
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    health: None
    turned: None = None


class SimulatedClock:
    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


class FakeArm:
    """Six joints that reach their goal within a tick; `fail[call]` is raised by that call, for a while."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.position = START.copy()
        self.torque = False
        self.calls: list[str] = []
        self.sent: list[NDArray[np.float64]] = []
        self.fail: dict[str, Exception] = {}
        self.fail_from_s, self.fail_until_s = 0.0, np.inf
        self.answered = np.ones(6, bool)
        self.camera_stalls_at_s = np.inf

    home = HOME

    def read(self) -> Any:
        self._call("read")
        return State(self.clock.now_s(), self.position.copy(), self.answered, np.zeros(6, np.uint8), None)

    def frames(self) -> dict[str, Frame]:
        self._call("frames")
        captured_s = min(self.clock.now_s(), self.camera_stalls_at_s)
        return {"front": Frame(np.zeros((2, 2, 3), np.uint8), captured_s, 1, None)}

    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        self._call("command")
        self.torque = True
        self.position = np.round(np.asarray(position, np.float64), 1)
        self.sent.append(self.position)
        return self.position

    def hold(self) -> None:
        self._call("hold")
        self.torque = True

    def release(self) -> dict[str, str | None]:
        self._call("release")
        self.torque = False
        return dict.fromkeys(JOINTS)

    def _call(self, name: str) -> None:
        if not self.calls or self.calls[-1] != name:
            self.calls.append(name)
        if name in self.fail and self.fail_from_s <= self.clock.now_s() - 100 < self.fail_until_s:
            raise self.fail[name]


class Memory:
    name = "memory"

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.messages: list[str] = []
        self.closed = False

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def on_message(self, message: Message) -> None:
        self.messages.append(message.text)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A loop with everything around it."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.arm = FakeArm(self.clock)
        self.memory = Memory()
        self.stop = StopRequests()
        self.latency_s = 0.0
        self.observers: list[Any] = [self.memory]
        self.target = START + 5
        self.guard = Guard(GuardLimits(), [-100.0] * 5 + [0.0], [100.0] * 6)

    def predict(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        return SimpleNamespace(actions=np.linspace(state, self.target, 20), shares=None, maps=None)

    def run(self, duration_s: float = 2.0, every: int = 1, **config: Any) -> Outcome:
        worker = InlineWorker(self.predict, self.latency_s)
        scheduler = make_scheduler("asynchronous", worker, fps=30 / every, n_action_steps=20)
        if every > 1:
            scheduler = Interpolated(scheduler, every, lambda: self.guard.last_command)  # type: ignore[arg-type,return-value]
        settings = LoopConfig(fps=30, duration_s=duration_s, **config)
        return ControlLoop(
            self.arm,
            scheduler,
            self.guard,
            self.clock,
            config=settings,
            observers=self.observers,
            stop=self.stop,
        ).run()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_arm_follows_the_policy_and_ends_at_home_without_torque(bench: Bench) -> None:
    outcome = bench.run(duration_s=2.0)
    run = [tick for tick in bench.memory.ticks if tick.phase == "run"]
    assert (outcome.cause, outcome.error) == ("time is up", None)
    assert len(run) == 60
    assert np.allclose(run[-1].state.position, START + 5, atol=1)
    assert outcome.ending.at_home
    assert np.allclose(bench.arm.position, HOME, atol=0.2)
    assert not bench.arm.torque
    assert bench.memory.closed


def test_every_tick_is_judged_and_told(bench: Bench) -> None:
    bench.latency_s = 0.2
    bench.run(duration_s=1.0)
    run = [tick for tick in bench.memory.ticks if tick.phase == "run"]
    assert all(tick.verdict is not None for tick in run)
    assert [tick.index for tick in run] == list(range(30))
    assert {"read", "frames", "plan", "guard", "send"} <= set(run[-1].stages_ms)


def test_the_arm_is_not_touched_before_the_first_action(bench: Bench) -> None:
    bench.latency_s = 10.0
    outcome = bench.run(duration_s=1.0)
    assert bench.arm.sent == []
    assert set(bench.arm.calls) == {"read", "frames"}
    assert outcome.ending.released == {}


def test_the_way_home_is_slow_and_eased(bench: Bench) -> None:
    bench.run(duration_s=1.0, ending=EndingConfig(speed=30.0))
    home = np.array([tick.sent for tick in bench.memory.ticks if tick.phase == "home"])
    steps = np.abs(np.diff(home, axis=0)).max(axis=1)
    assert steps.max() <= 30.0 / 30 + 0.11  # the fake arm rounds to 0.1
    assert steps[0] < steps.max() / 3
    assert steps[-2] < steps.max() / 3


def test_one_request_goes_home_and_a_second_releases_at_once(bench: Bench) -> None:
    class Impatient(Memory):
        def on_tick(self, tick: Tick) -> None:
            super().on_tick(tick)
            if tick.index in (10, 15):
                bench.stop.request("Ctrl-C")

    bench.observers = [Impatient()]
    outcome = bench.run(duration_s=60.0)
    assert outcome.cause == "asked to stop"
    assert not outcome.ending.at_home
    assert not bench.arm.torque
    assert bench.observers[0].ticks[-1].index == 15


def test_a_policy_that_raises_holds_first_and_its_error_is_reported(bench: Bench) -> None:
    calls = 0

    def broken(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise ZeroDivisionError("policy broke")
        return SimpleNamespace(actions=np.tile(START, (20, 1)), shares=None, maps=None)

    bench.predict = broken  # type: ignore[method-assign]
    outcome = bench.run(duration_s=60.0)
    assert isinstance(outcome.error, ZeroDivisionError)
    assert outcome.ending.at_home
    after = bench.arm.calls[bench.arm.calls.index("hold") :]
    assert after[0] == "hold"
    assert after[-1] == "release"


def test_an_answer_that_jumps_is_held_and_a_good_one_after_it_is_played(bench: Bench) -> None:
    asked_s: list[float] = []

    def jumpy(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        asked_s.append(bench.clock.time_s)
        away = 60.0 if 1.0 < bench.clock.time_s - 100.0 < 2.0 else 0.0
        return SimpleNamespace(actions=np.tile(START + away, (20, 1)), shares=None, maps=None)

    bench.predict, bench.latency_s = jumpy, 0.3  # type: ignore[method-assign]
    outcome = bench.run(duration_s=6.0, max_stop_s=3.0)
    assert (outcome.cause, outcome.error) == ("time is up", None)
    modes = [str(tick.mode) for tick in bench.memory.ticks if tick.phase == "run"]
    assert "holding" in modes
    assert modes[-30:] == ["running"] * 30
    assert np.allclose(bench.memory.ticks[len(modes) - 1].state.position, START, atol=1)


@pytest.mark.parametrize("every", [1, 3])
def test_the_way_to_the_first_pose_goes_all_the_way_however_fast_the_policy_is(
    bench: Bench, every: int
) -> None:
    there = START + np.array([30.0, 20.0, -20.0, 0.0, 20.0, 30.0])
    bench.predict = lambda state, images: SimpleNamespace(  # type: ignore[method-assign]
        actions=np.tile(there, (20, 1)), shares=None, maps=None
    )
    bench.run(duration_s=1.0, every=every, approach_speed=30.0)
    approach = [tick for tick in bench.memory.ticks if tick.phase == "approach"]
    assert np.allclose(approach[-1].sent, there, atol=0.2)
    sent = np.array(
        [tick.sent for tick in bench.memory.ticks if tick.sent is not None and tick.phase != "home"]
    )
    assert np.abs(np.diff(sent, axis=0)).max() < 30.0 / 30 * 2  # an eased way is at most twice as fast


def test_a_camera_that_is_gone_does_not_keep_the_arm_from_going_home(bench: Bench) -> None:
    bench.arm.fail, bench.arm.fail_from_s = {"frames": CameraError("front is gone")}, 1.0
    outcome = bench.run(duration_s=60.0)
    assert isinstance(outcome.error, CameraError)
    assert outcome.ending.at_home


def test_a_bus_that_is_gone_is_reported_and_every_step_of_the_ending_is_tried(bench: Bench) -> None:
    gone = PortError("unplugged")
    bench.arm.fail = dict.fromkeys(("read", "command", "hold", "release"), gone)
    bench.arm.fail_from_s = 1.0
    outcome = bench.run(duration_s=60.0, max_stop_s=0.3)
    assert outcome.error is not None
    assert outcome.ending.torque_may_be_on == list(JOINTS)
    assert len(outcome.ending.problems) == 2


def test_a_lost_reply_or_two_are_borne(bench: Bench) -> None:
    bench.arm.fail = {"read": BusTimeoutError("no answer")}
    bench.arm.fail_from_s, bench.arm.fail_until_s = 1.0, 1.06
    outcome = bench.run(duration_s=2.0)
    assert outcome.error is None
    assert sum(tick.fault is not None for tick in bench.memory.ticks) == 2
    assert all(tick.verdict.stop is None for tick in bench.memory.ticks)


def test_a_silent_bus_holds_the_arm_and_then_ends_the_run(bench: Bench) -> None:
    bench.arm.fail, bench.arm.fail_from_s = {"read": BusTimeoutError("no answer")}, 1.0
    outcome = bench.run(duration_s=60.0, max_stop_s=0.5)
    assert isinstance(outcome.error, UnsafeActionError)
    assert not outcome.ending.at_home
    held = [tick for tick in bench.memory.ticks if tick.verdict.action is None]
    assert held
    assert all(tick.sent is None for tick in held)
    assert not bench.arm.torque


def test_a_stalled_camera_holds_then_goes_home(bench: Bench) -> None:
    bench.arm.camera_stalls_at_s = 101.0
    outcome = bench.run(duration_s=60.0)
    assert "too old" in str(outcome.error)
    assert outcome.ending.at_home
    assert any("guard holds" in text for text in bench.memory.messages)


def test_a_policy_that_answers_nan_never_reaches_the_servos(bench: Bench) -> None:
    bench.target = np.full(6, np.nan)
    outcome = bench.run(duration_s=60.0)
    assert isinstance(outcome.error, UnsafeActionError)
    assert all(np.isfinite(sent).all() for sent in bench.arm.sent)


@pytest.mark.parametrize("nonsense", [500.0, 130.0, -130.0, np.nan, np.inf])
@pytest.mark.parametrize("speed", [0.0, 30.0], ids=["no approach", "approach"])
def test_not_one_step_is_driven_towards_nonsense(bench: Bench, nonsense: float, speed: float) -> None:
    bench.target = START.copy()
    bench.target[4] = nonsense
    bench.predict = lambda state, images: SimpleNamespace(  # type: ignore[method-assign]
        actions=np.tile(bench.target, (20, 1)), shares=None, maps=None
    )
    outcome = bench.run(duration_s=60.0, approach_speed=speed)
    assert isinstance(outcome.error, UnsafeActionError)
    assert bench.arm.sent == []


class Pushing(FakeArm):
    """Its fifth joint gets no farther than its stop, and its gripper no farther than what it holds."""

    STOP_DEG = 60.0

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(clock)
        self.held_s: list[float] = []

    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        goal = super().command(position)
        self.position = goal.copy()
        self.position[4] = min(goal[4], self.STOP_DEG)
        self.position[5] = max(goal[5], 40.0)
        return goal

    def hold(self) -> Any:
        super().hold()
        self.held_s.append(self.clock.now_s())
        return np.append(self.position[:5], self.sent[-1][5])


@pytest.mark.parametrize("beyond", [30.0, 3.0])
def test_an_arm_that_is_held_does_not_push_on_a_stop(bench: Bench, beyond: float) -> None:
    bench.arm = arm = Pushing(bench.clock)
    bench.target = START.copy()
    bench.target[4], bench.target[5] = arm.STOP_DEG + beyond, 5.0
    arm.camera_stalls_at_s = 104.0
    bench.run(duration_s=6.0)
    holding = [tick for tick in bench.memory.ticks if tick.mode == "holding"]
    begun_s = holding[0].time_s
    taken = [time_s - begun_s for time_s in arm.held_s]
    if (
        beyond < 5
    ):  # it hangs below its goal, and would sink a little with each time that it is taken where it is
        assert not [since_s for since_s in taken if since_s < 0.9]
    else:
        assert 0 < taken[0] < 0.5
        assert len([since_s for since_s in taken if since_s < 0.9]) == 1
        assert holding[-1].goal is not None
        assert holding[-1].goal[4] == arm.STOP_DEG


class Silence(Memory):
    """From tick 10 on servo 3 does not answer, for some ticks."""

    name = "silence"

    def __init__(self, arm: FakeArm, ticks: int) -> None:
        super().__init__()
        self.arm, self.end = arm, 10 + ticks

    def on_tick(self, tick: Tick) -> None:
        super().on_tick(tick)
        self.arm.answered = np.arange(6) != (2 if 10 <= tick.index + 1 < self.end else -1)


def test_a_short_hold_costs_the_plan_no_time(bench: Bench) -> None:
    bench.observers = [silence := Silence(bench.arm, ticks=3)]
    bench.run(duration_s=0.6)
    indices = [
        tick.planned.index_in_chunk for tick in silence.ticks if tick.planned and tick.verdict.stop is None
    ]
    held = [tick.index for tick in silence.ticks if tick.verdict.stop is not None]
    assert held == [10, 11, 12]
    assert indices[9:11] == [9, 10]


def test_a_long_hold_makes_the_policy_look_again(bench: Bench) -> None:
    bench.observers = [silence := Silence(bench.arm, ticks=15)]
    bench.run(duration_s=1.5)
    after = next(tick for tick in silence.ticks if tick.index == 25)
    assert after.planned is not None
    assert after.verdict.stop is None
    assert after.planned.chunk_tick >= 10 + 0.2 * 30


def test_the_step_after_a_hold_is_as_short_as_any_other(bench: Bench) -> None:
    def leap(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        far = np.clip(START + (80 if bench.clock.time_s > 100.4 else 0), -100, 100)
        return SimpleNamespace(actions=np.tile(far, (20, 1)), shares=None, maps=None)

    bench.predict = leap  # type: ignore[method-assign]
    bench.observers = [Silence(bench.arm, ticks=15)]
    bench.run(duration_s=1.5)
    steps = np.abs(np.diff(np.array(bench.arm.sent)[:, :5], axis=0))
    assert steps.max() > 4
    assert steps.max() <= GuardLimits().joint_speed_deg_s / 30 + 0.11


def test_a_failing_observer_is_dropped_and_the_arm_never_notices(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Memory):
        name = "broken"

        def on_tick(self, tick: Tick) -> None:
            super().on_tick(tick)
            raise RuntimeError("screen fell off")

    broken = Broken()
    bench.observers = [broken, bench.memory]
    outcome = bench.run(duration_s=1.0)
    assert outcome.error is None
    assert len(broken.ticks) == 1
    assert [text for text in bench.memory.messages if "broken failed" in text and "screen fell off" in text]
    assert len([record for record in caplog.records if "broken failed" in record.message]) == 1


def test_an_observer_that_wants_to_know_is_told_which_other_one_failed(bench: Bench) -> None:
    class Noticing(Memory):
        failures: ClassVar[list[ObserverFailure]] = []

        def on_failure(self, failure: ObserverFailure) -> None:
            self.failures.append(failure)
            raise RuntimeError("noticing failed too")  # and the arm never notices

    class Broken(Memory):
        name = "broken"

        def on_tick(self, tick: Tick) -> None:
            raise OSError("disk full")

    bench.observers = [Noticing(), Broken(), bench.memory]
    assert bench.run(duration_s=0.5).error is None
    assert [(f.observer, type(f.problem)) for f in Noticing.failures] == [("broken", OSError)]
    assert len(bench.memory.ticks) > 15


def test_a_slow_observer_in_the_background_drops_ticks_and_counts_them(bench: Bench) -> None:
    import threading

    gate = threading.Event()

    class Slow(Memory):
        def on_tick(self, tick: Tick) -> None:
            gate.wait(5)
            super().on_tick(tick)

    slow = Slow()
    background = Background(slow, capacity=4)
    bench.observers = [
        background,
        SimpleNamespace(name="gate", on_tick=lambda t: None, on_message=lambda t: None),
    ]
    bench.memory.close = gate.set  # type: ignore[method-assign]
    bench.observers.insert(0, bench.memory)
    bench.run(duration_s=1.0)
    assert background.dropped >= 20
    assert len(slow.ticks) + background.dropped == len(bench.memory.ticks)
    assert slow.closed


@pytest.mark.parametrize("full", [False, True])
def test_an_observer_that_hangs_is_given_up_at_the_end(bench: Bench, full: bool) -> None:
    class Hangs(Memory):
        name = "viewer"
        never = threading.Event()

        def on_tick(self, tick: Tick) -> None:
            self.never.wait(60)

    hangs = Hangs()
    background = Background(hangs, capacity=2 if full else 1000, patience_s=0.2)
    bench.observers = [background, bench.memory]
    began_s = time.monotonic()
    bench.run(duration_s=0.5)
    assert time.monotonic() - began_s < 30
    assert "did not take the rest" in str(background.failure)
    assert hangs.closed
    hangs.never.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_for_the_safe_ending_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.reason
    assert signal.getsignal(number) is before


def test_a_picture_that_came_while_the_arm_was_read_is_not_from_the_future(bench: Bench) -> None:
    """A retried request takes 65 ms; the picture was taken meanwhile."""
    read, calls = bench.arm.read, itertools.count(1)

    def slow() -> Any:
        state = read()
        bench.clock.time_s += 0.065 if next(calls) % 30 == 0 else 0.0
        return state

    bench.arm.read = slow  # type: ignore[method-assign]
    outcome = bench.run(duration_s=4.0)
    assert outcome.error is None
    assert [tick.faults for tick in bench.memory.ticks if tick.faults] == []


def test_a_picture_of_the_future_is_still_refused(bench: Bench) -> None:
    bench.arm.frames = lambda: {  # type: ignore[method-assign]
        "front": Frame(np.zeros((2, 2, 3), np.uint8), bench.clock.now_s() + 0.06, 1, None)
    }
    assert "from the future" in str(bench.run(duration_s=20.0).error)


INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.mark.parametrize("moment", ["approach", "run", "holding", "home"])
@pytest.mark.parametrize(
    ("signals", "home"),
    [
        ((INT,), True),
        ((TERM,), True),
        ((HUP,), True),
        ((INT, TERM), True),  # what supervisors do, before they kill
        ((INT, HUP), True),
        ((TERM, TERM), True),
        ((HUP, TERM), True),
        ((TERM, INT), True),
        ((HUP, TERM, INT), True),
        ((INT, INT), False),
        ((TERM, INT, INT), False),
    ],
    ids=lambda value: "-".join(s.name for s in value) if isinstance(value, tuple) else "",
)
def test_only_a_second_sigint_cuts_the_way_home_short(
    bench: Bench, signals: tuple[signal.Signals, ...], home: bool, moment: str
) -> None:
    class Supervisor(Memory):
        """Sends the first signal in the moment, and each of the others half a second after the one before."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.due_s = list(signals), np.inf

        def on_tick(self, tick: Tick) -> None:
            super().on_tick(tick)
            if moment in (tick.phase, tick.mode) and self.due_s == np.inf:
                self.due_s = tick.time_s + 0.3
            if self.left and tick.time_s >= self.due_s:
                os.kill(os.getpid(), self.left.pop(0))
                self.due_s = tick.time_s + 0.5

    bench.target = START + 20
    bench.observers = [supervisor := Supervisor()]
    if moment == "holding":
        bench.arm.camera_stalls_at_s = 102.0
    with stop_on_signals() as bench.stop:
        speed = 30.0 if moment == "approach" else 0.0
        outcome = bench.run(
            duration_s=1.0 if moment == "home" else 60.0,
            approach_speed=speed,
            start_pose=(START + 20).tolist(),
            ending=EndingConfig(speed=15.0),
        )
    assert supervisor.left == []
    assert bench.stop.reason in ("Ctrl-C", "SIGTERM", "SIGHUP")
    assert outcome.ending.at_home is home
    assert np.allclose(bench.arm.position, HOME, atol=0.2) is home
    assert not bench.arm.torque


IN_THE_AIR = np.array([0.0, -35.0, 32.0, 45.0, 0.0, 30.0])


@pytest.mark.parametrize(
    ("signals", "released"),
    [
        ((INT,), False),
        ((TERM,), False),
        ((HUP,), False),
        ((INT, TERM), False),
        ((TERM, HUP, INT), False),
        ((INT, INT), True),
        ((INT, TERM, INT), True),
    ],
    ids=lambda value: "-".join(s.name for s in value) if isinstance(value, tuple) else "",
)
def test_an_arm_that_waits_in_the_air_is_let_go_by_a_second_sigint_only(
    bench: Bench, signals: tuple[signal.Signals, ...], released: bool
) -> None:
    class Supervisor(Memory):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.due_s = list(signals), 0.0

        def on_tick(self, tick: Tick) -> None:
            super().on_tick(tick)
            waits = tick.phase == "home" and tick.mode == "holding"
            if waits and self.left and tick.time_s >= self.due_s:
                os.kill(os.getpid(), self.left.pop(0))
                self.due_s = tick.time_s + 0.5

    bench.arm.position = IN_THE_AIR.copy()
    bench.target = IN_THE_AIR + 2
    bench.arm.fail, bench.arm.fail_from_s = {"command": BusTimeoutError("nobody listens")}, 1.0
    bench.observers = [supervisor := Supervisor()]
    with stop_on_signals() as bench.stop:
        outcome = bench.run(duration_s=0.9, ending=EndingConfig(wait_s=5.0))
    assert supervisor.left == []
    assert outcome.ending.held == "" if released else "would fall" in outcome.ending.held
    assert bench.arm.torque is not released


@pytest.mark.parametrize("number", [INT, TERM, HUP])
@pytest.mark.parametrize("torque", [True, False])
def test_a_signal_before_the_first_tick_leaves_the_arm_as_it_was_found(
    bench: Bench, number: signal.Signals, torque: bool
) -> None:
    """It may be held in the air by a run that was killed."""
    bench.arm.torque = torque
    with stop_on_signals() as bench.stop:
        os.kill(os.getpid(), number)
        outcome = bench.run()
    assert outcome.error is None
    assert bench.arm.torque is torque
    assert bench.arm.calls == []
    assert "the arm was not moved" in bench.memory.messages[0]


def test_two_ctrl_c_before_the_first_tick_release(bench: Bench) -> None:
    bench.arm.torque = True
    with stop_on_signals() as bench.stop:
        os.kill(os.getpid(), INT)
        os.kill(os.getpid(), INT)
        bench.run()
    assert bench.arm.calls == ["release"]


def test_a_loop_that_is_late_skips_ticks_and_keeps_their_numbers(bench: Bench) -> None:
    class Slow(Memory):
        def on_tick(self, tick: Tick) -> None:
            super().on_tick(tick)
            if tick.index == 10:
                bench.clock.time_s += 0.1

    bench.observers = [slow := Slow()]
    bench.run(duration_s=1.0)
    indices = [tick.index for tick in slow.ticks if tick.phase == "run"]
    assert indices[10:12] == [10, 13]
    assert slow.ticks[-1].time_s <= 200


def stepped(bench: Bench, duration_s: float = 1.0, **config: Any) -> ControlLoop:
    worker = InlineWorker(bench.predict, bench.latency_s)
    scheduler = make_scheduler("asynchronous", worker, fps=30, n_action_steps=20)
    return ControlLoop(
        bench.arm,
        scheduler,
        bench.guard,
        bench.clock,
        config=LoopConfig(fps=30, duration_s=duration_s, **config),
        observers=bench.observers,
        stop=bench.stop,
    )


def test_a_caller_that_goes_tick_by_tick_sees_the_same_run() -> None:
    whole, by_ticks = Bench(), Bench()
    whole.run(duration_s=1.0)
    loop = stepped(by_ticks)
    with loop:
        steps = 0
        while loop.step():
            steps += 1
        assert by_ticks.arm.torque  # the ending has not been played
        assert loop.ended is not None
        assert loop.ended.cause == "time is up"
    outcome = loop.finish()
    assert steps == 30
    assert outcome.ending.at_home
    assert not by_ticks.arm.torque
    np.testing.assert_array_equal(by_ticks.arm.sent, whole.arm.sent)
    assert [tick.index for tick in by_ticks.memory.ticks] == [tick.index for tick in whole.memory.ticks]


def test_the_ending_is_played_once_and_there_are_no_ticks_after_it(bench: Bench) -> None:
    loop = stepped(bench)
    with loop:
        for _ in range(5):
            assert loop.step()
    first, calls = loop.finish(), list(bench.arm.calls)
    assert loop.finish() is first
    assert bench.arm.calls == calls
    assert calls.count("release") == 1
    assert not loop.step()
    assert not loop.look()
    assert first.cause == "asked to stop"


def test_a_caller_that_fails_between_two_ticks_leaves_a_safe_arm(bench: Bench) -> None:
    loop = stepped(bench)

    def interrupted() -> None:
        with loop:
            loop.step()
            assert bench.arm.torque
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not bench.arm.torque
    assert np.allclose(bench.arm.position, HOME, atol=0.2)


def test_what_goes_wrong_inside_a_tick_ends_the_run_and_is_in_the_outcome(bench: Bench) -> None:
    bench.arm.fail["frames"] = CameraError("the front camera never delivered a picture")
    loop = stepped(bench)
    with loop:
        assert not loop.step()
    outcome = loop.finish()
    assert isinstance(outcome.error, CameraError)
    assert (outcome.cause, outcome.fault) == ("error", None)
    assert not bench.arm.torque


def test_what_there_is_can_be_seen_before_it_is_said_what_shall_be_done(bench: Bench) -> None:
    loop = stepped(bench)
    with pytest.raises(ConfigError, match="before the first tick"):
        loop.observation()
    with loop:
        assert loop.look()
        np.testing.assert_array_equal(loop.observation().state, START)
        assert bench.arm.sent == []
        assert loop.act()
        assert len(bench.arm.sent) == 1


def test_a_picture_that_nobody_has_drawn_is_not_drawn_to_be_looked_at(bench: Bench) -> None:
    drawn: list[int] = []

    def undrawn(bench: Bench) -> dict[str, Frame]:
        def draw() -> NDArray[np.uint8]:
            drawn.append(1)
            return np.zeros((2, 2, 3), np.uint8)

        return {"front": Frame(draw, bench.clock.now_s(), len(bench.memory.ticks), None)}

    bench.arm.frames = lambda: undrawn(bench)  # type: ignore[method-assign]
    bench.run(duration_s=2.0)
    assert drawn == []  # the policy of this bench looks at nothing
    other = Bench()

    def looks(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        _ = images["front"]
        return SimpleNamespace(actions=np.linspace(state, other.target, 20), shares=None, maps=None)

    other.arm.frames = lambda: undrawn(other)  # type: ignore[method-assign]
    other.predict = looks  # type: ignore[method-assign]
    other.run(duration_s=2.0)
    assert 2 <= len(drawn) < 10  # once an answer, not once a tick


def test_a_run_that_is_parked_names_its_fault(bench: Bench) -> None:
    bench.predict = lambda state, images: SimpleNamespace(  # type: ignore[method-assign]
        actions=np.full((20, 6), np.nan), shares=None, maps=None
    )
    assert bench.run(duration_s=9.0).fault == "policy answers no pose"
