"""A cable that is pulled while a person drives, both arms at real ports: the arm holds, goes home, and says it once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned
from so101_robot.commands.both_arms import connect
from so101_robot.faults.fault import Mode
from so101_robot.faults.supervisor import FAULT_RULES
from so101_robot.guard.guard import Guard
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.leader.leader import Leader
from so101_robot.leader.source import LeaderSource
from so101_robot.leader.takeover import NEAR, Stage, Takeover
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from two_arms import TwoArms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HOLD_S = 1.0
"""In place of the 5 and 30 s that a cable is given to come back."""
RULES = dict(FAULT_RULES) | {
    fault: replace(FAULT_RULES[fault], hold_s=HOLD_S) for fault in ("leader silent", "port gone")
}
DRIVES_TICKS = 15


class Stays:
    """A policy that stays where the arm is."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        return Planned(self._guard.last_command, None, "chunk", 0, tick, 0.0)

    def wait(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Person:
    """Takes over by key, drives for a while, and pulls a cable."""

    name = "person"

    def __init__(self, pull: Callable[[], None]) -> None:
        self._pull, self.takeover = pull, None
        self.keys: list[str] = []
        self.ticks: list[Tick] = []
        self.said: list[str] = []
        self.pulled = 0
        """The tick before which it was."""

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)
        drivers = [each.planned.driver for each in self.ticks if each.planned is not None]
        if drivers[-1:] in (["policy"], ["handover"]) and not self.pulled:
            self.keys.append("t")
        if drivers.count("human") == DRIVES_TICKS and not self.pulled:
            self._pull()
            self.pulled = len(self.ticks)

    def on_message(self, message: Message) -> None:
        self.said.append(message.text)

    def pressed(self) -> list[str]:
        found, self.keys = self.keys, []
        return found

    def close(self) -> None: ...


@pytest.fixture
def arms(tmp_path: Path) -> Iterator[TwoArms]:
    two = TwoArms(tmp_path)
    yield two
    two.follower.close()
    two.leader.close()


def driven(arms: TwoArms, person: Person) -> Outcome:
    """The loop, from connecting to letting go."""
    robot = SO101(
        SO101Config(
            port=arms.follower.server.path,
            id="follower",
            calibration_dir=arms.folder,
        )
    )
    leader = Leader(LeaderConfig(port=arms.leader.server.path, id="leader", calibration_dir=arms.folder))
    try:
        connect(robot, leader, was_follower=False)
        leader.free()
        assert robot.guard is not None
        source = LeaderSource(leader, robot.guard, robot.clock, person.on_message, NEAR)
        takeover = Takeover(
            Stays(robot.guard), source, leader, robot.guard, TakeoverConfig(moved_deg=0), person.pressed,
            person.on_message,
        )  # fmt: skip
        config = LoopConfig(
            fps=30, duration_s=60, rules=RULES, approach_speed=0, ending=EndingConfig(speed=90)
        )
        loop = ControlLoop(robot, takeover, robot.guard, robot.clock, config=config, observers=[person])
        outcome = loop.run()
        assert takeover.stage is Stage.HUMAN
        return outcome
    finally:
        robot.disconnect(release=False)
        leader.close()


def test_the_leaders_cable_is_pulled_and_the_arm_holds_goes_home_and_is_let_go(arms: TwoArms) -> None:
    person = Person(lambda: arms.leader.do(arms.leader.server.unplug))
    outcome = driven(arms, person)
    after = person.ticks[person.pulled :]
    held = [tick for tick in after if tick.phase == "run" and tick.mode is Mode.HOLDING]
    assert len(held) == pytest.approx(HOLD_S * 30, abs=15)
    assert all(tick.sent is None for tick in held), "the servos kept their goal"
    assert {tick.phase for tick in after} == {"run", "home"}
    assert outcome.fault == "leader silent"
    assert len([text for text in person.said if "leader" in text and "takeover" not in text]) <= 3
    assert arms.torque[:6] == [0] * 6


def test_the_followers_cable_is_pulled_and_nothing_is_sent_any_more_and_the_leader_is_free(
    arms: TwoArms,
) -> None:
    person = Person(lambda: arms.follower.do(arms.follower.server.unplug))
    outcome = driven(arms, person)
    after = person.ticks[person.pulled :]
    assert [tick for tick in after if tick.mode is Mode.HOLDING]
    assert outcome.fault == "port gone"
    assert arms.torque[6:] == [0] * 6
