"""Home and start pose are asked about before the arm moves, and what cannot be is refused by its flag."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args, get_type_hints

import numpy as np
import pytest

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import HOME, SO101Config
from so101_robot.commands.drive import drive
from so101_robot.commands.flags import normalised, parse
from so101_robot.commands.poses import require_poses
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError
from so101_robot.guard.guard import Guard
from so101_robot.guard.kinematics import above_rest_m
from so101_robot.guard.rig import Rig
from so101_robot.loop.ending import EndingConfig
from so101_robot.loop.stopping import StopRequests
from so101_robot.mock.arm import MockConfig
from so101_robot.watchdog.client import WatchdogConfig

IN_THE_AIR = [0.0] * 6


@pytest.fixture(scope="module")
def connected() -> Iterator[SO101]:
    arm = SO101(
        SO101Config(port="mock", mock=MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0))
    )
    arm.connect()
    yield arm
    arm.disconnect()


@pytest.fixture
def robot(connected: SO101, monkeypatch: pytest.MonkeyPatch) -> SO101:
    monkeypatch.setattr(connected, "config", dataclasses.replace(connected.config))
    monkeypatch.setattr(connected, "guard", connected.guard)
    return connected


def ask(robot: SO101, home: Any = HOME, release: bool = True, **run: Any) -> None:
    robot.config.home = list(home)
    robot.config.disable_torque_on_disconnect = release
    require_poses(RunConfig(robot=robot.config, **run), robot)


def test_the_default_home_is_fine_and_so_is_one_turned_aside(robot: SO101):
    ask(robot)
    ask(robot, [80.0, *HOME[1:]])
    ask(robot, [0.0, -103.0, *HOME[2:]])  # a little beyond the range, as calibrations differ


@pytest.mark.parametrize(
    ("home", "says"),
    [
        (IN_THE_AIR, r"would fall by \d\d cm"),
        ([0.0, -98.0, 92.0, 65.0, 172.0, 5.0], "wrist_roll at 172.0 is not within"),
        ([0.0, -170.0, 92.0, 65.0, 0.0, 5.0], "shoulder_lift at -170.0 is not within"),
        ([0.0, 90.0, 60.0, 0.0, 0.0, 5.0], "table"),
    ],
)
def test_a_home_that_is_none_is_refused_before_the_arm_moves(robot: SO101, home: list[float], says: str):
    with pytest.raises(ConfigError, match=rf"--robot\.home: .*{says}"):
        ask(robot, home)


def test_a_home_in_the_air_is_only_for_who_does_not_let_go_there(robot: SO101):
    ask(robot, IN_THE_AIR, release=False)
    ask(robot, IN_THE_AIR, ending=EndingConfig(home=False))
    ask(robot, IN_THE_AIR, ending=EndingConfig(if_stuck="release"))
    with pytest.raises(ConfigError, match="would fall"):
        ask(robot, IN_THE_AIR, release=False, watchdog=WatchdogConfig(on_death="park"))


def test_a_table_higher_than_the_default_home_is_noticed(robot: SO101):
    robot.guard = Guard(robot.config.limits, *robot.joint_limits(), Rig(table_m=0.07))
    with pytest.raises(ConfigError, match=r"--robot\.home: .*table"):
        ask(robot)


@pytest.mark.parametrize("wrong", [1e308, -1e308, math.nan, math.inf, 150.0])
def test_a_start_pose_of_a_checkpoint_far_out_of_range_is_not_gone_to(robot: SO101, wrong: float):
    config = RunConfig(robot=robot.config)
    config.start_pose = [0.0, wrong, 0.0, 0.0, 0.0, 50.0]  # as `so101-run` takes it over
    with pytest.raises(ConfigError, match=r"--start_pose.* .*checkpoint's start_pose") as refused:
        require_poses(config, robot)
    assert len(str(refused.value)) < 300


def test_a_run_asks_before_anything_moves(robot: SO101, tmp_path: Path):
    robot.config.home = IN_THE_AIR
    scheduler: Any = SimpleNamespace(close=lambda: None)
    with pytest.raises(ConfigError, match="would fall"):
        drive(RunConfig(robot=robot.config), robot, scheduler, [], tmp_path, StopRequests())
    assert robot.mock is not None
    assert [robot.mock.servos.get(i, "Torque_Enable") for i in range(6)] == [0] * 6


def test_what_an_arm_falls_by_is_measured_from_where_it_would_end():
    assert above_rest_m(HOME) == 0.0
    assert above_rest_m(IN_THE_AIR) > 0.1
    lying = np.array([0.0, 90.0, -40.0, -40.0, 0.0, 0.0])
    assert above_rest_m(HOME, lying) == 0.0  # folded, though higher than a home that lies
    assert above_rest_m(lying) <= 0.0


@pytest.mark.parametrize(
    "flag",
    [
        *(f"--duration_s={value}" for value in ("1e308", "inf", ".inf", "nan", ".nan", "-1")),
        *(f"--robot.mock.realtime_factor={value}" for value in ("nan", "inf", "-1", "1e308")),
        "--robot.mock.seed=-1",
        *(f"--max_stop_s={value}" for value in ("nan", "inf", "-1")),
        *(f"--ending.speed={value}" for value in ("nan", "inf", "0")),
        *(f"--ending.wait_s={value}" for value in ("nan", "inf", "-1")),
        *(f"--approach_speed={value}" for value in ("nan", "inf", "-1")),
        *(f"--fps={value}" for value in ("nan", "inf", "-1", "1e308")),
        *(f"--inference_latency_s={value}" for value in ("nan", "inf", "-1")),
        *(f"--robot.home=[{value},0,0,0,0,0]" for value in ("1e308", ".nan", ".inf", "-400")),
        *(f"--start_pose=[0,0,{value},0,0,0]" for value in ("1e308", ".nan", "-.inf", "400")),
        *(f"--robot.limits.joint_speed_deg_s={value}" for value in ("nan", "inf", "1e308", "-1")),
        *(f"--watchdog.hang_s={value}" for value in ("nan", "inf", "-1")),
    ],
)
def test_values_that_cannot_be_are_refused_by_the_name_of_the_flag(flag: str):
    with pytest.raises(ConfigError) as refused:
        parse(normalised([flag]))
    assert flag.partition("=")[0] in str(refused.value)


def numbers(settings: type, prefix: str = "--") -> Iterator[tuple[str, type]]:
    """Flag and type of every field that holds one number."""
    for name, hint in get_type_hints(settings).items():
        for kind in get_args(hint) or (hint,):
            if is_dataclass(kind):
                yield from numbers(cast(type, kind), f"{prefix}{name}.")
            elif kind in (int, float):
                yield f"{prefix}{name}", kind


NUMBERS = dict(numbers(RunConfig))


def test_the_walk_finds_the_numbers_of_all_parts():
    assert len(NUMBERS) > 30
    assert {
        "--fps",
        "--duration_s",
        "--policy.fps",
        "--robot.limits.margin_deg",
        "--robot.mock.width",
    } <= set(NUMBERS)


@pytest.mark.parametrize("flag", NUMBERS)
def test_no_flag_takes_a_number_that_cannot_be(flag: str):
    huge = "999999999999999999999" if NUMBERS[flag] is int else "1e308"
    for value in (huge, "-1", "nan", ".nan", "inf", ".inf", "-.inf"):
        with pytest.raises(ConfigError) as refused:
            parse(normalised([f"{flag}={value}"]))
        assert flag in str(refused.value)
        assert len(str(refused.value)) < 300


RATES = ("--fps", "--policy.fps", "--robot.mock.camera_fps", "--ending.speed", "--watchdog.speed")


@pytest.mark.parametrize("flag", [*RATES, *(f for f in NUMBERS if "limits" in f and "margin" not in f)])
def test_no_rate_is_zero(flag: str):
    with pytest.raises(ConfigError, match=f"{flag}=0"):
        parse(normalised([f"{flag}=0"]))
