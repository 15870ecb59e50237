"""The leader as what plays: it ramps, it forgives a lost read, and it says why it cannot go on."""

from types import SimpleNamespace
from typing import NamedTuple, cast

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.commands.flags import parse_as
from so101_robot.commands.teleop import stage_of
from so101_robot.commands.teleop_config import TeleopConfig
from so101_robot.errors import BusTimeoutError
from so101_robot.faults.fault import SourceFault
from so101_robot.guard.guard import Guard
from so101_robot.guard.height import Height
from so101_robot.guard.limits import GuardLimits
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.leader.disturbance import BOUND_DEG, FULL_M, JAWS_REST_S, OFF_M, PERIODS_S, Disturbance
from so101_robot.leader.grip import GripHint
from so101_robot.leader.lag import FEWEST, Sample, delay_s
from so101_robot.leader.leader import LeaderReading, unrolled
from so101_robot.leader.source import ASK_AGAIN_S, LED_SPEED, MISSING_S, LeaderSource
from so101_robot.leader.stage import ABOVE_TABLE_M, Stage, is_disturbed
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.motion.soft_start import SOFT_SPEED

LOWER, UPPER = np.array([-100.0, -100, -100, -95, -160, 0]), np.array([100.0, 100, 97, 95, 160, 100])
FPS = 60.0


class Fake:
    """A leader whose pose is set, and which can be silent."""

    def __init__(self, *pose: float) -> None:
        self.pose = np.array(pose)
        self.silent = False
        self.asked: list[float] = []

    def read(self, now_s: float) -> LeaderReading:
        self.asked.append(now_s)
        if self.silent:
            raise BusTimeoutError("nobody answers")
        return LeaderReading(now_s, 0.0, self.pose.copy())


class Clock:
    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


class Bench(NamedTuple):
    leader: Fake
    source: LeaderSource
    guard: Guard
    clock: Clock
    said: list[str]

    def tick(self) -> NDArray[np.float64]:
        """One tick of a loop whose guard lets everything pass."""
        clock = self.clock
        clock.time_s += 1 / FPS
        planned = self.source.next(0, clock.time_s, nothing_to_observe)
        assert planned.action is not None
        self.guard.reset(planned.action)
        return planned.action

    def tick_often(self, count: int) -> None:
        for _ in range(count):
            self.tick()


def nothing_to_observe() -> Observation:
    raise AssertionError("a leader sees nothing")


def bench(*pose: float, stands: ArrayLike = (0.0, 0, 0, 0, 0, 50)) -> Bench:
    leader, clock, said = Fake(*pose), Clock(), []
    guard = Guard(GuardLimits(), LOWER, UPPER)
    guard.reset(stands)

    def tell(message: Message) -> None:
        said.append(message.text)

    return Bench(leader, LeaderSource(leader, guard, clock, tell), guard, clock, said)


def test_the_follower_is_led_slowly_to_the_leader_and_then_follows_it_as_it_is() -> None:
    b = bench(40.0, -30, 20, 10, 0, 80)
    way = [b.tick() for _ in range(150)]
    steps = np.abs(np.diff([np.array((0.0, 0, 0, 0, 0, 50)), *way], axis=0))
    assert steps.max() <= SOFT_SPEED / FPS * 3  # it grows while the leader is not reached
    assert steps[: int(FPS)].max() <= SOFT_SPEED / 30 + 1e-9
    np.testing.assert_allclose(way[-1], b.leader.pose)
    assert b.source.caught_up
    assert b.said == ["the follower is where the leader is, and follows it"]
    b.leader.pose = b.leader.pose + 3.0
    np.testing.assert_allclose(b.tick(), b.leader.pose)


def test_after_a_hold_it_has_to_catch_up_anew() -> None:
    b = bench(0.0, 0, 0, 0, 0, 50)
    for _ in range(int(FPS) + 2):
        b.tick()
    b.leader.pose = np.array((60.0, 0, 0, 0, 0, 50))
    b.source.wait()
    b.source.reset()
    assert not b.source.caught_up
    assert b.tick()[0] <= SOFT_SPEED / 30


def test_a_read_that_is_lost_keeps_the_pose_and_a_silent_leader_is_a_fault_and_is_not_asked_all_the_time() -> (
    None
):
    b = bench(0.0, 0, 0, 0, 0, 50)
    b.tick()
    b.leader.silent = True
    for _ in range(int(MISSING_S * FPS)):
        np.testing.assert_allclose(b.tick(), b.leader.pose)
    with pytest.raises(SourceFault, match="the leader: nobody answers") as fault:
        b.tick_often(3)
    assert fault.value.fault == "leader silent"
    before = len(b.leader.asked)
    for _ in range(int(FPS)):
        with pytest.raises(SourceFault):
            b.tick()
    assert len(b.leader.asked) - before <= 1 / ASK_AGAIN_S + 1
    b.leader.silent = False
    b.clock.time_s += ASK_AGAIN_S
    b.tick()
    assert b.source.missed > 0


def test_a_little_beyond_the_followers_range_is_its_end_and_far_beyond_is_a_fault_but_not_of_the_roll() -> (
    None
):
    stands = (99.0, 0.0, 0, 0, 150, 50)
    b = bench(110.0, 0, 0, 0, 179, 50, stands=stands)
    for _ in range(int(2 * FPS)):
        sent = b.tick()
    assert (sent[0], sent[4]) == (100.0, 160.0)
    assert set(b.source.beyond) == {"shoulder_pan", "wrist_roll"}
    b.leader.pose = np.array((140.0, 0, 0, 0, 0, 50))
    with pytest.raises(SourceFault, match="shoulder_pan at 140, 40 beyond the follower's range") as fault:
        b.tick()
    assert fault.value.fault == "leader far out"


def test_a_roll_goes_on_where_the_encoder_begins_anew() -> None:
    assert unrolled(float("nan"), -170.0) == -170.0
    assert unrolled(178.0, -179.0) == pytest.approx(181.0)
    assert unrolled(181.0, -170.0) == pytest.approx(190.0)
    assert unrolled(-178.0, 175.0) == pytest.approx(-185.0)


@pytest.mark.parametrize("delay", [0.05, 0.12, 0.3])
def test_the_delay_between_two_paths_is_found_whatever_the_offset_between_them(delay: float) -> None:
    times = np.arange(0.0, 6.0, 1 / 60)

    def pose(time_s: float) -> NDArray[np.float64]:
        return np.array([20 * np.sin(1.3 * time_s), 15 * np.cos(0.9 * time_s), 0, 0, 0, 0])

    offset = np.array([3.0, -4.0, 1, 0, 0, 0])
    path = [Sample(t, pose(t), t - 0.002, pose(t - 0.002 - delay) + offset) for t in times.tolist()]
    assert delay_s(path) == pytest.approx(delay, abs=0.005)


def test_no_delay_is_named_of_a_leader_that_stands_or_of_a_moment() -> None:
    still = [Sample(t / 60, np.zeros(6), t / 60, np.zeros(6)) for t in range(600)]
    assert delay_s(still) is None
    assert delay_s(still[: FEWEST - 1]) is None
    assert len(JOINTS) == still[0].leader.size


# disturbed on purpose -----

ABOVE = np.array([0.0, -75, 46, 63, 0, 30])
"""The hand well above the table."""
HEIGHT = Height(Guard(GuardLimits(), LOWER, UPPER).rig)


def wobbling(
    pose: NDArray[np.float64], seconds: float, asked_jaws: float | None = None
) -> tuple[NDArray[np.float64], list[NDArray[np.float64] | None]]:
    """What a follower in `pose` got beside what was asked, (ticks, 6), and what it was said that the person wanted."""
    guard = Guard(GuardLimits(), LOWER, UPPER)
    guard.reset(pose)
    asked = pose.copy()
    leader, clock = Fake(*asked), Clock()
    disturbance = Disturbance(guard, seed=3)
    source = LeaderSource(leader, guard, clock, disturbance=disturbance)
    offsets, wanted = [], []
    disturbance.begin()
    for i in range(int(seconds * FPS)):
        if asked_jaws is not None and i == int(3 * FPS):
            leader.pose[GRIPPER] = asked_jaws
        clock.time_s += 1 / FPS
        planned = source.next(0, clock.time_s, lambda: Observation(clock.time_s, pose, {}))
        assert planned.action is not None
        offsets.append(planned.action - leader.pose)
        wanted.append(planned.wanted)
        guard.reset(planned.action)
    return np.array(offsets), wanted


def test_a_disturbed_follower_wobbles_slowly_within_bounds_and_what_the_person_asked_for_goes_along() -> None:
    assert HEIGHT.m(ABOVE) > FULL_M
    offsets, wanted = wobbling(ABOVE, 30.0)
    assert (np.abs(offsets) <= BOUND_DEG + 1e-9).all()
    assert (np.abs(offsets).max(axis=0)[:5] > 0.5 * BOUND_DEG[:5]).all()
    assert np.abs(np.diff(offsets, axis=0)).max() * FPS <= 2 * np.pi / PERIODS_S[0] * BOUND_DEG.max() + 20
    assert not offsets[: int(FPS)].any(), "it has to catch up first"
    for offset, asked in zip(offsets, wanted, strict=True):
        assert (asked is not None) == bool(offset.any())
        assert asked is None or (asked == ABOVE).all()


def test_there_is_no_wobble_near_the_table_and_none_that_leads_there() -> None:
    low = ABOVE + np.array([0.0, 60, 0, 0, 0, 0])
    while HEIGHT.m(low) < OFF_M:
        low[1] -= 1.0
    assert OFF_M <= HEIGHT.m(low) < OFF_M + 0.01
    offsets, _ = wobbling(low, 20.0)
    assert min(HEIGHT.m(low + offset) for offset in offsets) > OFF_M - 0.003
    below = low + np.array([0.0, 3, 0, 0, 0, 0])
    assert HEIGHT.m(below) < OFF_M
    assert not wobbling(below, 10.0)[0].any()


def test_there_is_no_wobble_while_the_jaws_move_or_hold_something() -> None:
    offsets, wanted = wobbling(ABOVE, 8.0, asked_jaws=ABOVE[GRIPPER] + 20.0)
    rest = int((3 + 0.4) * FPS), int((3 + JAWS_REST_S) * FPS) - 1
    assert not offsets[rest[0] : rest[1]].any()
    assert offsets[int(6 * FPS)].any(), "they rest again"
    assert wanted[int(3.45 * FPS)] is None
    held, _ = wobbling(ABOVE, 8.0, asked_jaws=ABOVE[GRIPPER] - 20.0)
    assert held[int(2.9 * FPS)].any()
    assert not held[int(3.5 * FPS) :].any(), "the jaws stay more open than asked: something is in them"


def test_an_episode_begins_in_a_random_pose_above_the_table_to_which_the_way_is_slow_and_clear() -> None:
    b = bench(*ABOVE, stands=ABOVE)
    b.tick_often(int(2 * FPS))
    stage = Stage(b.source, b.guard, lambda message: b.said.append(message.text), random_start=True, seed=1)
    ends = []
    for _ in range(6):
        assert stage.ready
        assert stage.may_set_out
        assert stage.set_out()
        path = [b.tick()]
        while stage.under_way:
            assert not stage.ready
            path.append(b.tick())
        assert stage.arrived
        assert min(HEIGHT.m(pose) for pose in path) >= ABOVE_TABLE_M - 0.005
        assert np.abs(np.diff(path, axis=0)).max() <= LED_SPEED / FPS + 1e-6
        assert path[-1][GRIPPER] == ABOVE[GRIPPER]
        ends.append(path[-1])
        back = [b.tick() for _ in range(int(6 * FPS))]
        np.testing.assert_allclose(back[-1], ABOVE)
        assert np.abs(np.diff(back[: int(FPS)], axis=0)).max() <= SOFT_SPEED / FPS + 1e-6
    assert np.std(ends, axis=0)[:5].min() > 10
    assert stage.set_out()
    b.tick()
    b.source.reset()  # a fault: the arm was held
    assert not stage.under_way
    assert not stage.arrived


def test_the_flag_for_a_random_start_makes_a_stage_that_sets_out_and_without_flags_there_is_none() -> None:
    b = bench(*ABOVE, stands=ABOVE)
    named = {"--robot.port": "mock", "--record.repo_id": "me/set"}

    def stage(flags: dict[str, str]) -> Stage | None:
        config = parse_as(TeleopConfig, named | flags)
        return stage_of(config, b.source, b.guard, lambda message: None, None)

    assert stage({}) is None
    random = stage({"--record.random_start": "true"})
    assert random is not None
    assert random.set_out()
    assert b.source.led


def test_from_near_the_table_it_does_not_set_out_and_says_why() -> None:
    low = ABOVE + np.array([0.0, 40, 0, 0, 0, 0])
    b = bench(*low, stands=low)
    stage = Stage(b.source, b.guard, lambda message: b.said.append(message.text), random_start=True)
    assert not stage.may_set_out
    assert "first lift the leader, to 60 mm above the table" in b.said[-1]


def test_every_second_episode_is_disturbed_where_half_of_them_shall_be() -> None:
    assert [is_disturbed(i, 0.5) for i in range(4)] == [False, True, False, True]
    assert all(is_disturbed(i, 1.0) for i in range(9))
    assert sum(is_disturbed(i, 0.3) for i in range(100)) == 30
    assert not any(is_disturbed(i, 0.0) for i in range(9))


def test_jaws_that_press_are_told_once_and_again_when_they_press_more_and_when_they_let_go() -> None:
    said: list[str] = []
    hint = GripHint(lambda message: said.append(message.text))

    def tick(load: float, velocity: float = 0.0, phase: str = "run") -> None:
        health = SimpleNamespace(load_percent=np.full(6, load), velocity_steps_s=np.full(6, velocity))
        hint.on_tick(cast("Tick", SimpleNamespace(phase=phase, state=SimpleNamespace(health=health))))

    for load in (5.0, 20.0, -31.0, 33.0, 36.0, 45.0, 20.0, 10.0, 5.0, float("nan")):
        tick(load)
    assert said == [
        "the jaws press: 31 % of the gripper's motor",
        "the jaws press: 45 % of the gripper's motor",
        "the jaws do not press any more",
    ]
    tick(60.0, velocity=900.0)
    tick(60.0, phase="home")
    hint.on_tick(cast("Tick", SimpleNamespace(phase="run", state=SimpleNamespace(health=None))))
    assert len(said) == 3, "moving jaws, or none that were asked, press nothing"
