"""What `drive` joins: the loop's settings, whoever asks for the end, the port that may come back, the watchdog."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned
from so101_robot.commands import drive as driving
from so101_robot.commands.drive import drive, loop_config
from so101_robot.commands.run_config import RunConfig
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.loop import LoopConfig, Outcome
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.mock.arm import MockArm, MockConfig

FAST = MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0)
SECONDS = 0.5
TICKS = 15


class Steady:
    """A scheduler that wants the arm to stay."""

    def __init__(self, pose: NDArray[np.float64]) -> None:
        self._pose = pose
        self.closed = False

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        return Planned(self._pose, None, "chunk", 0, tick, 0.0)

    def wait(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Watch:
    """An observer that keeps the ticks, and does something on each."""

    name = "watch"

    def __init__(self, then: Callable[[Tick], Any] = lambda tick: None) -> None:
        self.ticks = list[Tick]()
        self._then = then

    def on_tick(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self._then(tick)

    def on_message(self, text: str) -> None: ...

    def close(self) -> None: ...

    def phase(self, phase: str) -> list[Tick]:
        return [tick for tick in self.ticks if tick.phase == phase]


@pytest.fixture
def robot() -> Iterator[SO101]:
    arm = MockArm(FAST)
    robot = SO101(SO101Config(port="mock", mock=FAST), arm)
    robot.connect()
    yield robot
    robot.disconnect(release=False)
    arm.close()


def driven(
    robot: SO101, folder: Path, watch: Watch, stop: StopRequests | None = None, **settings: Any
) -> Outcome:
    config = RunConfig(**{"robot": robot.config, "duration_s": SECONDS, "approach_speed": 0.0, **settings})
    return drive(config, robot, Steady(robot.read().position), [watch], folder, stop or StopRequests())


def test_every_setting_of_the_loop_is_the_runs():
    robot = SO101Config(port="mock", disable_torque_on_disconnect=False)
    pose = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    config = RunConfig(
        robot=robot, fps=50.0, duration_s=7.0, max_stop_s=3.0, approach_speed=11.0, start_pose=pose,
        ending=EndingConfig(home=False, speed=9.0),
    )  # fmt: skip
    made, default = loop_config(config), LoopConfig()
    settings = {field.name for field in dataclasses.fields(LoopConfig)} - {"rules", "release"}
    assert {name: getattr(made, name) for name in settings} == {
        name: getattr(config, name) for name in settings
    }
    assert made.release is False
    same = [name for name in settings if getattr(made, name) == getattr(default, name)]
    assert same == [], "what is at its default here shows nothing"


def test_an_arm_that_is_not_to_go_home_is_not_taken_there(robot: SO101, tmp_path: Path):
    watch = Watch()
    outcome = driven(robot, tmp_path, watch, ending=EndingConfig(home=False))
    assert (outcome.cause, len(watch.phase("run")), watch.phase("home")) == ("time is up", TICKS, [])


def test_who_asks_for_the_end_is_heard(robot: SO101, tmp_path: Path):
    stop = StopRequests()
    watch = Watch(lambda tick: stop.request("enough") if tick.index == 4 else None)
    outcome = driven(robot, tmp_path, watch, stop)
    assert (outcome.cause, len(watch.phase("run"))) == ("asked to stop", 5)


def test_a_port_that_comes_back_is_taken_up_again(robot: SO101, tmp_path: Path):
    assert robot.mock is not None
    arm = robot.mock

    def pull(tick: Tick) -> None:
        arm.port_is_out = 3 <= tick.index < 6

    watch = Watch(pull)
    outcome = driven(robot, tmp_path, watch, ending=EndingConfig(home=False), duration_s=3 * SECONDS)
    assert outcome.error is None
    assert any("port gone" in tick.faults for tick in watch.ticks)
    assert watch.ticks[-1].sent is not None


class Dog:
    """In the watchdog's place; knows in which order the observers were told."""

    told: ClassVar[list[str]] = []
    name = "watchdog"

    def __init__(self, job: object) -> None:
        assert job == "the job"

    def __enter__(self) -> Self:
        self.told.append("watches")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.told.append("left")

    def beat(self) -> None:
        self.told.append("beat")

    def on_tick(self, tick: Tick) -> None:
        self.told.append("tick")

    def on_message(self, text: str) -> None: ...

    def close(self) -> None:
        self.told.append("goodbye")


def test_the_watchdog_watches_before_the_first_tick_and_hears_each_before_anybody_else(
    robot: SO101, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driving, "Watchdog", Dog)
    monkeypatch.setattr(driving, "job_for", lambda robot, config, report: "the job")
    Dog.told.clear()
    watch = Watch(lambda tick: Dog.told.append("others"))
    driven(robot, tmp_path, watch, ending=EndingConfig(home=False))
    assert Dog.told == ["watches", "beat", *["tick", "others"] * TICKS, "goodbye", "left"]


def test_servos_that_are_overloaded_do_not_keep_the_arm_from_going_home(
    robot: SO101, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert robot.guard is not None
    budgets = robot.guard._load_limits  # pyright: ignore[reportPrivateUsage]
    judge, overloaded = budgets.judge, list[bool]()
    monkeypatch.setattr(budgets, "judge", lambda state: judge(state)._replace(stop=bool(overloaded)))
    watch = Watch(lambda tick: overloaded.append(True) if tick.index == TICKS - 1 else None)
    outcome = driven(robot, tmp_path, watch)
    assert outcome.ending.at_home
    assert watch.phase("home")[0].sent is not None
