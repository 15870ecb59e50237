"""A person takes over and gives back: nothing leaps, it is known who drives, and a lost leader ends in a hold."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from chunk_doubles import Prediction, SimulatedClock
from so101_robot.chunks.scheduler import make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.errors import BusTimeoutError, ConfigError
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.leader.leader import Leader, LeaderReading
from so101_robot.leader.moved import REST_S, MotionWatch
from so101_robot.leader.source import LeaderSource
from so101_robot.leader.takeover import NEAR, Stage, Takeover
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.state import ArmState

FPS = 30
LOWER, UPPER = np.array([-100.0, -100, -97, -95, -160, 0]), np.array([100.0, 100, 97, 95, 160, 100])
STEP = np.array([12.0] * 5 + [20.0])
"""The guard's default step of one tick."""
START = np.array([0.0, -60, 50, 60, 0, 40])


class Follower:
    """Six joints that reach their goal within a tick."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock, self.position, self.held = clock, START.copy(), 0

    home = START

    def read(self) -> ArmState:
        ok = np.ones(6, np.bool_)
        return ArmState(self.clock.now_s(), self.position.copy(), ok, np.zeros(6, np.uint8), None)

    def frames(self) -> dict[str, Any]:
        return {}

    def command(self, position: ArrayLike) -> NDArray[np.float64]:
        self.position = np.asarray(position, np.float64)
        return self.position

    def hold(self) -> NDArray[np.float64]:
        self.held += 1
        return self.position

    def release(self) -> dict[str, str | None]:
        return dict.fromkeys(JOINTS)


class HandLeader:
    """A leader that goes where a hand has it, or, under torque and not held, to its goal at 120 degrees a second."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock, self.position = clock, START.copy()
        self.held = self.lost = self.torque = False
        self.goal = self.position
        self.limits: list[float] = []

    def read(self, now_s: float) -> LeaderReading:
        self._alive()
        if self.torque and not self.held:
            reach = 120.0 / FPS
            self.position = self.position + np.clip(self.goal - self.position, -reach, reach)
        return LeaderReading(now_s, 0.0, self.position.copy())

    def take(self, torque: float, now_s: float) -> NDArray[np.float64]:
        self._alive()
        self.torque, self.goal = True, self.position.copy()
        self.limits.append(torque)
        return self.position.copy()

    def bring(self, pose: NDArray[np.float64]) -> None:
        self._alive()
        self.goal = pose

    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return LOWER, UPPER

    def let_go(self) -> None:
        if self.torque:
            self._alive()
        self.torque = False

    def _alive(self) -> None:
        if self.lost:
            raise BusTimeoutError("nobody answers")


class Seen(NamedTuple):
    """What the loop did."""

    outcome: Outcome
    ticks: list[Tick]
    said: list[str]

    def drivers(self) -> list[str]:
        """Who drove, one after the other."""
        found: list[str] = []
        for tick in self.ticks:
            driver = None if tick.planned is None else tick.planned.driver
            if driver is not None and found[-1:] != [driver]:
                found.append(driver)
        return found

    def steps(self) -> NDArray[np.float64]:
        """(n, 6) by how much the goal changed on each tick of the run."""
        goals = [tick.goal for tick in self.ticks if tick.phase == "run" and tick.goal is not None]
        return np.abs(np.diff(goals, axis=0))


class Bench:
    """A loop with a policy that waves, and a person who acts on each tick."""

    def __init__(self, latency_s: float = 0.1) -> None:
        self.clock = SimulatedClock()
        self.arm, self.leader = Follower(self.clock), HandLeader(self.clock)
        self.guard = Guard(GuardLimits(), LOWER, UPPER)
        self.pressed: list[str] = []
        self.asked_from: list[NDArray[np.float64]] = []
        self.said: list[str] = []
        self.ticks: list[Tick] = []
        self.policy_is_mad = False
        self.takeover = self._takeover(TakeoverConfig(), latency_s)
        self.person: Callable[[float], None] = lambda now_s: None

    name = "bench"

    def _takeover(self, config: TakeoverConfig, latency_s: float) -> Takeover:
        policy = make_scheduler(
            "asynchronous", InlineWorker(self.predict, latency_s), fps=FPS, n_action_steps=20
        )
        source = LeaderSource(self.leader, self.guard, self.clock, self.on_message, NEAR)
        return Takeover(policy, source, self.leader, self.guard, config, self.keys, self.on_message)

    def use(self, config: TakeoverConfig, latency_s: float = 0.1) -> None:
        self.takeover = self._takeover(config, latency_s)

    def predict(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        self.asked_from.append(state)
        steps = np.arange(1, 31)[:, None] * np.array([0.5, 0, 0, 0, 0.5, 0])
        return Prediction(state + steps + (500.0 if self.policy_is_mad else 0.0))

    def keys(self) -> list[str]:
        found, self.pressed = self.pressed, []
        return found

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self.person(tick.time_s)

    def on_message(self, message: Message) -> None:
        self.said.append(message.text)

    def close(self) -> None: ...

    def run(self, duration_s: float) -> Seen:
        config = LoopConfig(fps=FPS, duration_s=duration_s, ending=EndingConfig(speed=90))
        loop = ControlLoop(self.arm, self.takeover, self.guard, self.clock, config=config, observers=[self])
        return Seen(loop.run(), self.ticks, self.said)


class Random:
    """A person who takes over again and again, the leader being anywhere, and gives back."""

    def __init__(self, bench: Bench, count: int, seed: int) -> None:
        self.bench, self.left, self.random = bench, count, np.random.default_rng(seed)
        self.next_s = 1.0
        self.to = bench.leader.position

    def act(self, now_s: float) -> None:
        bench, random = self.bench, self.random
        stage, leader = bench.takeover.stage, bench.leader
        if stage is Stage.HUMAN:  # leads, and not gently: up to 150 degrees a second
            leader.position = leader.position + np.clip(self.to - leader.position, -5, 5)
        if now_s < self.next_s:
            return
        if stage in (Stage.POLICY, Stage.RETURNED) and self.left:
            leader.position = random.uniform(LOWER - 8, UPPER + 8)
            leader.held = bool(random.random() < 0.4)
            bench.pressed.append("t")
            self.next_s = now_s + random.uniform(0.35, 3.0)
        elif stage is Stage.HANDOVER:
            bench.pressed.append("t")  # has it, wherever it is
            self.to = random.uniform(LOWER, UPPER)
            self.next_s = now_s + random.uniform(0.2, 2.5)
        elif stage is Stage.HUMAN:
            bench.pressed.append("b")
            self.left -= 1
            self.next_s = now_s + random.uniform(0.1, 1.0)  # also at once again


def random_handovers(count: int) -> Seen:
    bench = Bench()
    bench.person = Random(bench, count, seed=7).act
    return bench.run(4.0 * count)


@pytest.mark.parametrize("count", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_no_joint_moves_by_more_than_the_guards_step_in_random_handovers(count: int) -> None:
    seen = random_handovers(count)
    assert seen.drivers().count("human") >= count * 0.8
    steps = seen.steps()
    assert (steps.max(axis=0) <= STEP + 1e-9).all()
    by = {tick.index: tick for tick in seen.ticks}
    ramps = [
        np.abs(tick.goal - by[tick.index - 1].goal).max()
        for tick in seen.ticks
        if tick.phase == "run" and tick.index - 1 in by and _begins(by, tick)
    ]
    assert len(ramps) >= count
    assert max(ramps) <= 40 / FPS + NEAR + 1e-6, "whoever begins to drive begins slowly"
    assert all((tick.goal == by[tick.index - 1].goal).all() for tick in seen.ticks if _nobody(by, tick))
    print(f"{count} handovers: largest step {steps.max():.2f}, largest speed {steps.max() * FPS:.0f} deg/s")
    assert seen.outcome.error is None


def _driver(tick: Tick) -> str | None:
    return None if tick.planned is None else tick.planned.driver


def _begins(by: dict[int, Tick], tick: Tick) -> bool:
    return _driver(tick) in ("human", "policy") and _driver(by[tick.index - 1]) in ("handover", "hold")


def _nobody(by: dict[int, Tick], tick: Tick) -> bool:
    return tick.phase == "run" and tick.index - 1 in by and _driver(tick) in ("handover", "hold")


def at(times: Mapping[float, Callable[[], None]]) -> Callable[[float], None]:
    """A person who does each of these once, when it is time."""
    left = dict(times)

    def act(now_s: float) -> None:
        for due in [due for due in left if now_s >= due]:
            left.pop(due)()

    return act


def test_the_follower_holds_the_leader_comes_a_hand_takes_it_and_a_key_gives_back_to_a_policy_that_looks_anew() -> (
    None
):
    b = Bench(latency_s=0.4)  # an answer is under way when the person takes over
    b.leader.position = START + np.array([40.0, 10, -10, 0, 0, 0])
    moves = {1.0: lambda: b.pressed.append("t"), 6.0: lambda: b.pressed.append("b")}

    def take() -> None:
        assert b.leader.torque
        np.testing.assert_allclose(b.leader.position, b.arm.position, atol=0.5)
        b.leader.held, b.leader.position = True, b.leader.position + 6.0

    def lead() -> None:
        assert not b.leader.torque
        b.leader.position = START + 15.0

    b.person = at(moves | {4.0: take, 4.5: lead})
    seen = b.run(8.0)
    assert seen.drivers() == ["policy", "hold", "handover", "human", "hold", "policy"]
    assert b.leader.limits == [TakeoverConfig().torque]
    human = [tick for tick in seen.ticks if _driver(tick) == "human"]
    np.testing.assert_allclose(human[-1].goal, START + 15.0)
    after = [state for state in b.asked_from if np.abs(state - (START + 15.0)).max() < 1e-6]
    assert after, "the policy is asked from where the arm is"
    again = [tick for tick in seen.ticks if _driver(tick) == "policy" and tick.time_s > 6.0]
    first = next(tick.goal for tick in again if tick.planned.action is not None)
    assert np.abs(first - human[-1].goal).max() < 1.0, "and not its plan of before"
    assert seen.said.count("you drive; b gives back to the policy") == 1
    assert b.takeover.count == 1


def test_moving_the_leader_takes_over_and_a_bump_does_not() -> None:
    b = Bench()

    def shake(by: float) -> Callable[[], None]:
        def act() -> None:
            b.leader.position = START + by

        return act

    b.person = at({3.0: shake(15), 3.2: shake(0), 4.0: shake(8), 5.0: shake(0), 6.0: shake(15)})
    seen = b.run(7.0)
    took = next(tick.time_s for tick in seen.ticks if _driver(tick) == "hold")
    assert took == pytest.approx(6.3, abs=0.1)
    watch = MotionWatch(10, 0.3)
    assert not any(watch.see(START + 30 * (i % 2), i / FPS) for i in range(90)), "it was never at rest"
    assert REST_S > 1


def test_a_policy_that_the_guard_refused_can_be_taken_over_and_its_faults_are_over_then() -> None:
    b = Bench(latency_s=0.0)

    def go_mad() -> None:
        b.policy_is_mad = True
        b.pressed += ["t"]

    b.person = at({1.0: go_mad, 3.0: lambda: b.pressed.append("t")})
    seen = b.run(6.0)
    assert seen.outcome.error is None
    assert seen.drivers()[-1] == "human"
    b = Bench(latency_s=0.0)
    b.policy_is_mad = True
    b.person = at({0.7: lambda: b.pressed.append("t"), 2.5: lambda: b.pressed.append("t")})
    seen = b.run(5.0)  # it is mad from the start, and was held
    assert seen.outcome.error is None
    assert seen.ticks[5].mode == "holding"
    assert seen.drivers()[-1] == "human"


@pytest.mark.parametrize("when", ["handover", "human"])
def test_a_leader_that_is_lost_in_a_takeover_makes_the_arm_hold_and_go_home_or_the_policy_drives_on(
    when: str,
) -> None:
    def bench(*more: tuple[float, Callable[[Bench], None]]) -> Seen:
        b = Bench()
        b.leader.position = START + np.array([60.0, 0, 0, 0, 0, 0])

        def lose() -> None:
            assert b.takeover.stage.value == when
            b.leader.lost = True

        acts: dict[float, Callable[[], None]] = {1.0: lambda: b.pressed.append("t"), 2.0: lose}
        if when == "human":
            acts[1.6] = lambda: b.pressed.append("t")
        acts |= {due: (lambda act=act: act(b)) for due, act in more}
        b.person = at(acts)
        return b.run(15.0)

    seen = bench()
    assert seen.outcome.fault == "leader silent"
    assert "the leader: nobody answers" in str(seen.outcome.error)
    held = [tick for tick in seen.ticks if tick.mode == "holding"]
    assert held[-1].time_s - held[0].time_s == pytest.approx(5.0, abs=0.2)
    assert {_driver(tick) for tick in held} == {"hold"}
    assert seen.ticks[-1].phase == "home"
    seen = bench((4.0, lambda b: b.pressed.append("b")))
    assert seen.outcome.error is None
    assert seen.drivers()[-1] == "policy"

    def back(b: Bench) -> None:
        b.leader.lost = False

    seen = bench((4.0, back), (6.0, lambda b: b.pressed.append("t")))
    assert seen.outcome.error is None
    assert seen.drivers()[-1] == "human"


def test_while_the_policy_drives_a_leader_that_is_lost_is_told_once_and_nothing_else() -> None:
    b = Bench()
    acts = {3.0: lambda: setattr(b.leader, "lost", True), 5.0: lambda: setattr(b.leader, "lost", False)}
    b.person = at(acts)
    seen = b.run(7.0)
    assert seen.drivers() == ["policy"]
    assert [text for text in seen.said if "leader" in text] == [
        "the leader does not answer: it cannot take over",
        "the leader answers again",
    ]


def test_one_key_may_take_over_and_give_back_and_keys_that_cannot_be_are_refused() -> None:
    b = Bench()
    b.use(TakeoverConfig(key="space", back_key="space", moved_deg=0))
    b.leader.held = True
    b.leader.position = START + 40.0
    b.person = at({1.0: lambda: b.pressed.append("space"), 4.0: lambda: b.pressed.append("space")})
    assert b.run(6.0).drivers() == ["policy", "hold", "handover", "human", "hold", "policy"]
    for wrong in (
        {"key": "shift"},
        {"back_key": ""},
        {"moved_deg": 200.0},
        {"torque": 0.9},
        {"moved_ms": -1.0},
    ):
        with pytest.raises(ConfigError, match=rf"--takeover\.{next(iter(wrong))}="):
            TakeoverConfig(**wrong)


# the leader at the wire -----


def test_a_leader_that_is_brought_to_a_pose_gets_there_weakly_and_is_let_go_as_it_was() -> None:
    arm = MockArm(MockConfig(camera_fps=1), leader=True)
    arm.servos.set(2, "Torque_Limit", 450)  # weaker than is asked for: it stays so
    leader = Leader(LeaderConfig(port="mock"), arm)
    leader.open()
    limits = [arm.servos.get(i, "Torque_Limit") for i in range(6)]
    reading = leader.read(0.5)
    start = leader.take(0.5, 0.5)
    np.testing.assert_allclose(start, reading.position, atol=0.5)
    assert [arm.servos.get(i, "Torque_Limit") for i in range(6)] == [500, 500, 450, 500, 500, 500]
    assert [arm.servos.get(i, "Torque_Enable") for i in range(6)] == [1] * 6
    target = np.array([20.0, 0, 0, 0, 30, 40])  # stretched out
    for tick in range(1, 90):
        leader.bring(start + min(1.0, tick / 60) * (target - start))
        reading = leader.read(0.5 + tick / FPS)
    np.testing.assert_allclose(reading.position, target, atol=6.0)
    leader.let_go()
    assert [arm.servos.get(i, "Torque_Enable") for i in range(6)] == [0] * 6
    assert [arm.servos.get(i, "Torque_Limit") for i in range(6)] == limits
    leader.take(0.5, 4.0)
    leader.close()
    assert [arm.servos.get(i, "Torque_Enable") for i in range(6)] == [0] * 6, "whatever happens"
