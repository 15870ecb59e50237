"""The leader as what plays: it ramps, it forgives a lost read, and it says why it cannot go on."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.errors import BusTimeoutError
from so101_robot.faults.fault import SourceFault
from so101_robot.guard.guard import Guard
from so101_robot.guard.limits import GuardLimits
from so101_robot.joints import JOINTS
from so101_robot.leader.lag import FEWEST, Sample, delay_s
from so101_robot.leader.leader import LeaderReading, unrolled
from so101_robot.leader.source import ASK_AGAIN_S, MISSING_S, LeaderSource
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
