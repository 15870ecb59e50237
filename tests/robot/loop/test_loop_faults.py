"""Faults on the mock arm in lockstep, one after the other, and what the loop makes of each.

A swinging policy moves the arm; `add_fault` makes something fail at a second or two. What is asked each time:
was it seen within a tick, did the arm hold or drive on as its rule says, was there no leap, did it come back to
work, and if not, did it end safely.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus.registers import BY_NAME
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.errors import BusTimeoutError, CameraError, PortError, UnsafeActionError
from so101_robot.faults.fault import Mode
from so101_robot.guard.guard import Guard
from so101_robot.guard.rig import DEFAULT_JOINTS, Rig
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
from so101_robot.loop.tick import Tick
from so101_robot.message import Message, Severity
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.state import Frame

FPS = 30
FAST = MockConfig(width=16, height=12, camera_fps=10.0, renderer="ray", realtime_factor=0.0)
SWING_DEG, PERIOD_S = 20.0, 2.0
AT_S = 1.0


class Memory:
    name = "memory"

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.messages: list[str] = []
        self.severities: dict[str, Severity] = {}

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)

    def on_message(self, message: Message) -> None:
        self.messages.append(message.text)
        self.severities[message.text] = message.severity

    def close(self) -> None: ...


class Bench:
    """A mock arm, connected, and a policy that swings its first joint."""

    def __init__(self) -> None:
        self.arm = MockArm(FAST)
        self.robot = SO101(SO101Config(mock=FAST), self.arm)
        self.robot.connect()
        self.memory = Memory()
        self.latency_s = 0.05
        self.start = self.robot.read().position
        self.reconnect: Any = None

    def predict(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        times_s = self.robot.clock.now_s() + np.arange(30) / FPS
        actions = np.tile(self.start, (30, 1))
        actions[:, 0] += SWING_DEG * np.sin(2 * math.pi / PERIOD_S * times_s)
        return SimpleNamespace(actions=actions, shares=None, maps=None)

    def run(self, duration_s: float = 2.5, **config: Any) -> Outcome:
        guard, clock = self.robot.guard, self.robot.clock
        assert guard is not None
        self.worker = InlineWorker(lambda state, images: self.predict(state, images), self.latency_s)
        scheduler = make_scheduler("asynchronous", self.worker, fps=FPS, n_action_steps=10)
        config.setdefault("ending", EndingConfig(home=False))
        settings = LoopConfig(fps=FPS, duration_s=duration_s, **config)
        loop = ControlLoop(
            self.robot,
            scheduler,
            guard,
            clock,
            config=settings,
            observers=[self.memory],
            reconnect=self.reconnect,
        )
        return loop.run()

    @property
    def running(self) -> list[Tick]:
        return [tick for tick in self.memory.ticks if tick.phase == "run"]

    def modes(self) -> list[str]:
        """The modes of the run in order, without repetition."""
        modes = [str(tick.mode) for tick in self.running]
        return [mode for i, mode in enumerate(modes) if i == 0 or mode != modes[i - 1]]

    def faults(self) -> set[str]:
        return {fault for tick in self.running for fault in tick.faults}

    def first(self, fault: str) -> Tick:
        return next(tick for tick in self.running if fault in tick.faults)

    def torque(self) -> list[int]:
        return [self.arm.servos.get(index, "Torque_Enable") for index in range(6)]

    def largest_step_deg(self) -> float:
        """The farthest that a goal went in a tick, all phases."""
        sent = np.array([tick.sent for tick in self.memory.ticks if tick.sent is not None])
        return float(np.abs(np.diff(sent[:, :5], axis=0)).max())


LATENCIES: dict[int, float] = {}
"""What each tick's read of the state took on the arm's clock [ms], by its number."""

OFFSET = 2
"""Reads before the first tick: of connecting, and of the bench."""


@pytest.fixture(autouse=True)
def read_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note how long each read of the run takes."""
    LATENCIES.clear()
    read = SO101.read

    def timed(robot: SO101) -> Any:
        before_s = robot.clock.now_s()
        try:
            return read(robot)
        finally:
            LATENCIES[len(LATENCIES) - OFFSET] = (robot.clock.now_s() - before_s) * 1e3

    monkeypatch.setattr(SO101, "read", timed)


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.robot.disconnect()
    one.arm.close()


def test_without_a_fault_the_arm_runs_and_nothing_is_told(bench: Bench):
    outcome = bench.run(duration_s=2.0)
    assert outcome.error is None
    assert bench.modes() == ["running"]
    assert bench.faults() == set()
    assert bench.largest_step_deg() < 6.1
    assert not any(bench.torque())
    assert bench.memory.ticks[-1].mode is Mode.RUNNING  # there was no way home to tell of
    assert bench.memory.messages[-1] == "released"


# the wire


@pytest.mark.parametrize(
    "fault",
    [
        "corrupt_reply",
        "corrupt_header",
        "truncated_reply",
        "wrong_length",
        "noise",
        "duplicate_reply",
        "out_of_order",
        "echo",
        "late_reply",
        "silent_servo",
        "stolen_bytes",
        "lost_request",
    ],
)
def test_what_happens_to_single_replies_costs_a_tick_at_most(bench: Bench, fault: str):
    bench.arm.add_fault({"fault": fault, "every": 20})
    outcome = bench.run(duration_s=2.0)
    assert outcome.error is None
    assert len(bench.arm.fault_log()) >= 2
    held = [tick for tick in bench.running[5:] if tick.sent is None]
    assert len(held) < len(bench.running) / 4
    positions = np.array([tick.state.position for tick in bench.running])
    assert (
        np.abs(np.diff(positions[:, :5], axis=0)).max() < 20
    )  # no number was invented, none was of long ago
    assert "position leaps" not in {name.split(":")[0] for name in bench.faults()}


def test_one_silent_servo_holds_the_arm_which_goes_on_when_it_is_back(bench: Bench):
    bench.arm.add_fault({"fault": "silent_servo", "servo": 3, "at_s": AT_S, "for_s": 0.8})
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "degraded", "holding", "running"]
    silent = [tick for tick in bench.running if not tick.state.answered[2]]
    assert all(tick.sent is None for tick in silent)
    assert silent[0].time_s - AT_S < 1.5 / FPS
    assert "silent" in " ".join(bench.first("servo silent: elbow_flex").faults)
    assert any(text.startswith("servo silent: elbow_flex is over") for text in bench.memory.messages)
    assert bench.largest_step_deg() < 6.1


def test_a_servo_that_stays_silent_costs_its_deadline_only_now_and_then(bench: Bench):
    bench.arm.add_fault({"fault": "silent_servo", "servo": 3, "at_s": AT_S, "for_s": 99})
    bench.run(duration_s=3.0)
    silent = [tick for tick in bench.running if not tick.state.answered[2]]
    slow = [tick for tick in silent if LATENCIES[tick.index] > 10]
    assert len(silent) > 50
    assert 3 <= len(slow) <= 3 + 5
    assert silent[-1].state.answered.sum() == 5


def test_a_servo_that_never_comes_back_ends_the_run_and_the_others_go_home(bench: Bench):
    bench.arm.add_fault({"fault": "silent_servo", "servo": 6, "at_s": AT_S, "for_s": 99})
    outcome = bench.run(duration_s=20.0, ending=EndingConfig())
    assert isinstance(outcome.error, UnsafeActionError)
    assert "servo 6 (gripper) does not answer" in str(outcome.error)
    assert bench.modes()[-1] == "parking"
    last = bench.memory.ticks[-1]
    np.testing.assert_allclose(last.state.position[:5], bench.robot.home[:5], atol=5.0)
    assert outcome.ending.torque_may_be_on == ["gripper"]


def test_how_serious_a_message_is_goes_with_it_to_the_observers(bench: Bench):
    bench.run(duration_s=0.5)
    (stopping,) = (text for text in bench.memory.messages if text.startswith("stopping"))
    assert bench.memory.severities[stopping] is Severity.INFO


def test_the_end_because_of_a_fault_is_told_as_an_error(bench: Bench):
    bench.arm.add_fault({"fault": "silent_servo", "servo": 6, "at_s": 0.5, "for_s": 99})
    bench.run(duration_s=20.0)
    severity_of = {text.split(" ")[0]: severity for text, severity in bench.memory.severities.items()}
    assert severity_of["stopping"] is Severity.ERROR
    assert severity_of["holding:"] is Severity.ERROR
    assert severity_of["degraded:"] is Severity.WARNING
    assert bench.memory.severities["released, but torque may be on: gripper"] is Severity.ERROR


def test_a_silent_bus_holds_and_goes_on(bench: Bench):
    bench.arm.add_fault({"fault": "silent_bus", "at_s": AT_S, "for_s": 0.6})
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "degraded", "holding", "running"]
    assert "bus silent" in bench.faults()
    assert any(tick.fault and "no servo answered" in tick.fault for tick in bench.running)


# servos


def test_a_servo_that_rebooted_is_restored_and_taken_where_it_is(bench: Bench):
    bench.arm.add_fault({"fault": "reboot", "servo": 2, "at_s": AT_S})
    outcome = bench.run(duration_s=3.0, release=False)
    assert outcome.error is None
    assert "servo rebooted: shoulder_lift" in bench.faults()
    assert bench.modes()[-1] == "running"
    assert bench.arm.servos.get(1, "Acceleration") == 254
    assert bench.arm.servos.get(1, "Lock") == 1
    assert bench.torque() == [1] * 6
    back = bench.first("servo rebooted: shoulder_lift")
    assert back.goal is not None
    assert abs(back.goal[1] - back.state.position[1]) < 6  # it had sagged, and is not thrown back up
    after = [tick for tick in bench.running if tick.index > back.index and tick.sent is not None]
    assert np.abs(np.diff([tick.sent for tick in after], axis=0))[:, :5].max() < 6.1  # pyright: ignore


def test_a_servo_that_lost_its_calibration_gets_it_back(bench: Bench):
    bench.run(duration_s=0.3, release=False)
    bench.arm.servos.set(3, "Homing_Offset", 300)
    bench.arm.servos.set(3, "Max_Position_Limit", 4000)
    assert bench.robot.restore(3)
    assert bench.arm.servos.get(3, "Homing_Offset") == bench.arm.calibration["wrist_flex"].homing_offset
    assert bench.arm.servos.get(3, "Max_Position_Limit") == bench.arm.calibration["wrist_flex"].range_max
    assert not bench.robot.restore(3)


@pytest.mark.parametrize(
    ("fault", "name", "holds"),
    [
        ("overload", "overload", True),
        ("overcurrent", "over-current", True),
        ("overheat", "too hot", True),
        ("overvoltage", "voltage", False),
        ("encoder_fault", "encoder fault", True),
    ],
)
def test_error_bits_are_seen_within_a_tick_and_the_arm_works_again_after(
    bench: Bench, fault: str, name: str, holds: bool
):
    bench.arm.add_fault(
        {
            "fault": fault,
            "servo": 2,
            "at_s": 0.0 if fault == "overcurrent" else AT_S,
            "for_s": 2.3 if fault == "overcurrent" else 0.4,
        }
    )
    outcome = bench.run(duration_s=9.0 if fault == "overcurrent" else 4.0)
    assert outcome.error is None
    seen = bench.first(f"{name}: shoulder_lift")
    bits = next(tick for tick in bench.running if tick.state.errors.any())
    assert seen.index == bits.index
    if holds:
        assert seen.mode is Mode.HOLDING
        assert seen.sent is None
    assert bench.modes()[-1] == "running"
    assert bench.largest_step_deg() < 8


def test_an_overloaded_gripper_is_no_reason_to_stop(bench: Bench):
    bench.arm.add_fault({"fault": "overload", "servo": 6, "at_s": AT_S})
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "degraded"]


def test_a_motor_with_a_dead_encoder_is_told_to_be_where_it_says_it_is(bench: Bench):
    bench.arm.add_fault({"fault": "encoder_fault", "servo": 1, "at_s": AT_S})
    outcome = bench.run(duration_s=10.0, ending=EndingConfig())
    assert isinstance(outcome.error, UnsafeActionError)
    assert "encoder fault" in str(outcome.error)
    after = [tick for tick in bench.memory.ticks if tick.time_s > AT_S + 0.2 and tick.goal is not None]
    assert max(abs(tick.goal[0] - tick.state.position[0]) for tick in after if tick.goal is not None) < 1.0
    assert {tick.phase for tick in after} == {"run", "home"}


@pytest.mark.parametrize("joint", ["wrist_roll", "gripper"])
def test_a_servo_that_counts_turns_is_set_right_and_nothing_follows_its_number(bench: Bench, joint: str):
    index = JOINTS.index(joint)
    bench.arm.add_fault({"fault": "multi_turn", "servo": index + 1, "at_s": AT_S})
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    leap = bench.first(f"position leaps: {joint}")
    assert leap.mode is Mode.HOLDING
    assert leap.sent is None
    assert bench.arm.servos.get(index, "Phase") & 0x10 == 0
    assert bench.modes()[-1] == "running"
    assert bench.largest_step_deg() < 6.1


# a stop


@pytest.mark.parametrize(
    "why", ["camera stalled", "policy late", "policy far out of range", "guard stops", "ending"]
)
def test_where_nothing_drives_it_no_body_joint_pushes_on_a_stop_for_long(bench: Bench, why: str):
    """The wrist is led 18 degrees beyond where it can turn, as by an owner's limits that are wrong."""
    robot, policy, begin_s = bench.robot, bench.predict, 2.5
    calibrated = robot.guard
    assert calibrated is not None
    wrist = replace(DEFAULT_JOINTS["wrist_roll"], lower=-175.0)
    robot.guard = Guard(
        calibrated.limits, [*calibrated.lower[:4], -180.0, 0.0], [*calibrated.upper[:4], 180.0, 100.0],
        Rig(joints={**DEFAULT_JOINTS, "wrist_roll": wrist}),
    )  # fmt: skip

    def predict(state: Any, images: Any) -> Any:
        answer, now_s = policy(state, images), robot.clock.now_s()
        if why == "policy late" and now_s > begin_s - 0.5:
            bench.worker._latency_s = 60.0
        begin = float(bench.start[4])
        roll = np.maximum(begin - 120.0 * (now_s + np.arange(30) / FPS), -175.0)
        answer.actions[:] = bench.start
        answer.actions[:, 4] = 400.0 if why == "policy far out of range" and now_s > begin_s else roll
        return answer

    bench.predict = predict  # type: ignore[method-assign]
    if why == "camera stalled":
        bench.arm.add_fault(
            {"fault": "camera_stall", "camera": "wrist", "at_s": begin_s - 0.4, "for_s": 60.0}
        )
    if why == "guard stops":
        bench.arm.add_fault({"fault": "silent_servo", "servo": 6, "at_s": begin_s, "for_s": 60.0})
    bench.run(
        duration_s=begin_s + (0.0 if why == "ending" else 1.8),
        ending=EndingConfig(home=False),
        max_stop_s=2.0,
        release=False,
    )
    load = [
        0.0 if t.state.health is None else float(t.state.health.load_percent[4]) for t in bench.memory.ticks
    ]
    driven = [t.sent is not None and t.asked is not None and t.phase == "run" for t in bench.memory.ticks]
    last = int(max(np.flatnonzero(driven)))
    for _ in range(FPS):
        robot.clock.sleep_until(robot.clock.now_s() + 1 / FPS)
        health = robot.read().health
        assert health is not None
        load.append(float(health.load_percent[4]))
    pushes = np.abs(load) > 30.0
    assert pushes[last]
    assert len(load) > last + FPS
    assert not pushes[last + FPS // 2 :].any()


# cameras


@pytest.mark.parametrize(
    ("fault", "name"),
    [("camera_stall", "camera stalled"), ("camera_freeze", "camera frozen"), ("camera_dark", "camera dark")],
)
def test_a_camera_that_cannot_be_trusted_holds_the_arm_and_may_come_back(bench: Bench, fault: str, name: str):
    bench.arm.add_fault({"fault": fault, "camera": "wrist", "at_s": AT_S, "for_s": 1.6})
    outcome = bench.run(duration_s=4.0)
    assert outcome.error is None
    assert f"{name}: wrist" in bench.faults()
    assert "holding" in bench.modes()
    assert bench.modes()[-1] == "running"
    held = [tick for tick in bench.running if tick.mode is Mode.HOLDING]
    assert held[-1].time_s - (AT_S + 1.6) < 0.1
    assert all(tick.sent is None for tick in held)


def test_a_camera_that_is_gone_and_back_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    frames = bench.robot.frames

    def gone() -> Any:
        if AT_S < bench.robot.clock.now_s() < AT_S + 1.0:
            raise CameraError("front is gone")
        return frames()

    monkeypatch.setattr(bench.robot, "frames", gone)
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "holding", "running"]
    assert bench.faults() == {"camera gone"}


# the policy


@pytest.mark.parametrize("poison", [math.nan])
@pytest.mark.parametrize("latency_s", [0.0, 0.1, 0.3])
def test_a_policy_that_always_answers_no_number_ends_the_run_after_max_stop_s(
    bench: Bench, poison: float, latency_s: float
):
    bench.latency_s = latency_s
    bench.predict = lambda state, images: SimpleNamespace(  # type: ignore[method-assign]
        actions=np.full((30, 6), poison), shares=None, maps=None
    )
    outcome = bench.run(duration_s=20.0, max_stop_s=0.8)
    assert isinstance(outcome.error, UnsafeActionError)
    assert "not finite" in str(outcome.error)
    assert bench.running[-1].time_s - bench.running[0].time_s < 0.8 + latency_s + 0.15
    assert all(tick.sent is None for tick in bench.memory.ticks)


def test_a_policy_that_fails_once_is_asked_again(bench: Bench):
    good, calls = bench.predict, iter(range(1000))

    def predict(state: Any, images: Any) -> Any:
        answer, call = good(state, images), next(calls)
        if call == 2:
            raise ZeroDivisionError("once")
        if call == 4:
            answer.actions[:] = math.nan
        return answer

    bench.predict = predict  # type: ignore[method-assign]
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.faults() == {"policy raises", "policy answers no pose"}
    assert bench.modes()[-1] == "running"


@pytest.mark.parametrize(("wrong", "fault"), [(150.0, "policy out of range"), (80.0, "policy jumps")])
def test_a_policy_that_means_nonsense_is_not_driven_on_for_long(bench: Bench, wrong: float, fault: str):
    good = bench.predict

    def predict(state: Any, images: Any) -> Any:
        answer = good(state, images)
        if bench.robot.clock.now_s() > AT_S:
            answer.actions[:, 0] = wrong * np.sign(np.sin(40 * np.arange(30) + 1))
        return answer

    bench.predict = predict  # type: ignore[method-assign]
    outcome = bench.run(duration_s=20.0, max_stop_s=0.5)
    assert isinstance(outcome.error, UnsafeActionError)
    assert bench.running[-1].time_s < AT_S + 4
    assert {fault, "policy jumps"} & bench.faults()
    assert bench.largest_step_deg() < 6.1


def test_a_policy_that_does_not_answer_is_waited_for_and_named(bench: Bench):
    guard, clock = bench.robot.guard, bench.robot.clock
    assert guard is not None

    class Slow(InlineWorker):
        def submit(self, observation: Any, tick: int) -> None:
            self._latency_s = 3.0 if clock.now_s() > AT_S else 0.05
            super().submit(observation, tick)

    scheduler = make_scheduler("asynchronous", Slow(bench.predict), fps=FPS, n_action_steps=10)
    config = LoopConfig(fps=FPS, duration_s=5.0, ending=EndingConfig(home=False))
    outcome = ControlLoop(bench.robot, scheduler, guard, clock, config=config, observers=[bench.memory]).run()
    assert outcome.error is None
    assert bench.faults() == {"policy late"}
    assert bench.modes() == ["running", "degraded", "holding", "running", "degraded"]


def test_the_first_pose_is_approached_slowly_and_then_the_policy_looks_anew(bench: Bench):
    bench.start = bench.start + np.array([30.0, 20, -15, -10, 0, 0])
    asked: list[float] = []
    good = bench.predict

    def predict(state: Any, images: Any) -> Any:
        asked.append(bench.robot.clock.now_s())
        return good(state, images)

    bench.predict = predict  # type: ignore[method-assign]
    outcome = bench.run(duration_s=3.5, approach_speed=30.0)
    assert outcome.error is None
    way = [tick for tick in bench.memory.ticks if tick.phase == "approach"]
    steps = np.abs(np.diff([tick.sent for tick in way], axis=0))  # pyright: ignore
    assert 20 < len(way) < 90
    assert steps.max() <= 30.0 / FPS + 0.2
    assert steps[0].max() < 0.3
    assert not any(way[0].time_s < time_s <= way[-1].time_s for time_s in asked)
    first = next(tick for tick in bench.running if tick.planned and tick.planned.source == "chunk")
    assert first.index > way[-1].index
    assert first.planned is not None
    assert first.planned.chunk_tick > way[-1].index
    assert bench.modes()[-1] == "running"


def test_a_policy_is_asked_nothing_before_the_arm_is_where_its_demonstrations_began(bench: Bench):
    pose = bench.start + np.array([20.0, 15, -15, -10, 0, 10])
    asked: list[NDArray[np.float64]] = []
    good = bench.predict

    def predict(state: Any, images: Any) -> Any:
        asked.append(state)
        bench.start = pose
        return good(state, images)

    bench.predict = predict  # type: ignore[method-assign]
    outcome = bench.run(duration_s=1.0, approach_speed=40.0, start_pose=pose.tolist())
    assert outcome.error is None
    way = [tick for tick in bench.memory.ticks if tick.phase == "approach"]
    assert way[0].index == 0
    assert way[-1].sent == pytest.approx(pose, abs=0.2)
    assert np.abs(asked[0] - pose).max() < 5.0
    assert len(bench.running) == 30


# the port


def test_a_port_that_comes_back_is_reconnected_and_the_arm_works_on(bench: Bench):
    tries: list[float] = []

    def reconnect() -> bool:
        tries.append(bench.robot.clock.now_s())
        return not bench.arm.unplugged

    bench.reconnect = reconnect
    bench.arm.add_fault({"fault": "unplug", "at_s": AT_S, "for_s": 1.2})
    outcome = bench.run(duration_s=4.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "holding", "running"]
    assert bench.faults() == {"port gone"}
    assert 2 <= len(tries) <= 5
    assert bench.largest_step_deg() < 6.1


def test_a_port_that_does_not_come_back_ends_the_run_with_its_error(bench: Bench):
    bench.reconnect = lambda: False
    bench.arm.add_fault({"fault": "unplug", "at_s": AT_S})
    from so101_robot.faults.supervisor import FAULT_RULES, Rule

    outcome = bench.run(duration_s=20.0, rules={**FAULT_RULES, "port gone": Rule(hold_s=1.0)})
    assert isinstance(outcome.error, PortError)
    assert outcome.ending.torque_may_be_on == list(JOINTS)
    assert bench.running[-1].time_s < AT_S + 1.2


def test_without_a_way_to_reconnect_a_lost_port_ends_the_run_at_once(bench: Bench):
    bench.arm.add_fault({"fault": "unplug", "at_s": AT_S})
    outcome = bench.run(duration_s=20.0)
    assert isinstance(outcome.error, PortError)
    assert bench.running[-1].time_s < AT_S + 0.1


def test_an_acknowledgement_that_came_late_vouches_for_no_later_write(bench: Bench):
    bench.arm.add_fault({"fault": "late_reply", "servo": 2, "delay_ms": 310, "for_s": 0.5})
    bus, lock = bench.robot.bus, BY_NAME["Lock"]
    with pytest.raises(BusTimeoutError, match="did not acknowledge"):
        bus.write_register(SERVO_IDS[1], BY_NAME["P_Coefficient"], 17)
    bench.arm.add_fault({"fault": "lost_request", "instruction": "write", "servo": 2, "for_s": 9.0})
    with pytest.raises(BusTimeoutError, match="did not acknowledge"):
        bus.write_register(SERVO_IDS[1], lock, 0)
    assert bench.arm.servos.get(1, "Lock") == 1


def test_a_policy_that_leaves_the_arms_range_at_once_is_found_though_its_plan_is_joined_smoothly(
    bench: Bench,
):
    good = bench.predict

    def predict(state: Any, images: Any) -> Any:
        answer = good(state, images)
        if bench.robot.clock.now_s() > AT_S:
            answer.actions[:, 1] = 500.0
        return answer

    bench.predict = predict  # type: ignore[method-assign]
    outcome = bench.run(duration_s=20.0, max_stop_s=0.5)
    assert isinstance(outcome.error, UnsafeActionError)
    first = bench.first("policy far out of range")
    assert first.time_s < AT_S + 0.6  # the answer that was being played, the latency, and a tick
    assert (first.sent, first.mode) == (None, Mode.HOLDING)
    assert first.goal is not None
    assert abs(first.goal[1] - bench.start[1]) < 5  # long before the arm is anywhere near
    assert bench.running[-1].time_s < AT_S + 3


def test_swapped_cameras_hold_the_arm(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    frames = bench.robot.frames
    pictures = {name: np.random.default_rng(i).integers(60, 180, (12, 16, 3)) for i, name in enumerate("ab")}

    def swapped() -> Any:
        found = dict(zip("ab", frames().values(), strict=True))
        away = AT_S < bench.robot.clock.now_s() < AT_S + 1.0
        shown = {"a": "b", "b": "a"} if away else {"a": "a", "b": "b"}
        return {
            name: Frame(
                (pictures[shown[name]] + frame.sequence % 2).astype(np.uint8),
                frame.captured_s,
                frame.sequence,
                None,
            )
            for name, frame in found.items()
        }

    monkeypatch.setattr(bench.robot, "frames", swapped)
    outcome = bench.run(duration_s=3.0)
    assert outcome.error is None
    assert bench.modes() == ["running", "degraded", "holding", "running"]
    assert bench.faults() == {"camera swapped: a, b"}
