"""The robot's options as `so101-run` has them, for the commands on cameras: a line that works there works here.

Nothing heavy is imported to read them; `live` opens what they name.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from so101_calibration import files
from so101_policy.command_line.command_shell import say
from so101_robot.so101_yaml.flags import filled_arguments

MOCK_PORT = "mock"
OPTIONS = (
    ("--robot.port", "`mock` for the mock arm's cameras; the serial port is not opened"),
    ("--robot.id", "names the files beside the servos' calibration"),
    ("--robot.calibration_dir", "where they are, by default LeRobot's folder"),
    ("--robot.cameras", 'LeRobot\'s cameras by name: "{front: {type: opencv, index_or_path: 0, ...}}"'),
    ("--robot.mock.scene", "of the mock arm"),
    ("--robot.mock.seed", "of the mock arm"),
    ("--robot.mock.width", "of the mock arm's pictures"),
    ("--robot.mock.height", "of the mock arm's pictures"),
    ("--robot.mock.renderer", "of the mock arm: auto, egl, osmesa or ray"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name the robot and its cameras."""
    group = parser.add_argument_group("robot")
    for flag, text in OPTIONS:
        group.add_argument(flag, metavar="VALUE", help=text)


def with_so101_yaml(arguments: Sequence[str], section: str) -> list[str]:
    """Arguments with port and id of the so101.yaml that counts, where no port is given; which file that is, is printed.

    Args:
        section: "arm" or "leader".

    Raises:
        ConfigError: it cannot be read, or has what cannot be in it.
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    port = next((value for flag, value in pairwise(words) if flag == "--robot.port"), None)
    filled, said = filled_arguments(arguments, port, section)
    if said:
        say(said, sys.stderr)
    return filled


def given(options: argparse.Namespace) -> dict[str, str]:
    """The robot's options that were given: flag -> value."""
    return {flag: value for flag, _ in OPTIONS if (value := getattr(options, flag[2:])) is not None}


def calibration_path(options: argparse.Namespace) -> Path | None:
    """The servos' calibration file of the robot, which need not exist; None without --robot.id.

    Raises FileError for an id that is no file name.
    """
    robot = given(options)
    if "--robot.id" not in robot:
        return None
    folder = robot.get("--robot.calibration_dir")
    return files.path_of(robot["--robot.id"], Path(folder) if folder else None)
