"""From the command line of `so101-run`, `so101-replay` and `so101-teleop` to a configuration.

Help, unknown flags and old spellings were dealt with before (`so101_policy.command_line.command_shell`).
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

import draccus
import yaml
from lerobot.cameras import CameraConfig
from lerobot.cameras.configs import ColorMode, Cv2Backends, Cv2Rotation
from lerobot.utils.import_utils import register_third_party_plugins

from so101_policy.command_line.command_shell import say
from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError, RobotError
from so101_robot.so101_yaml.flags import filled

SWITCHES = (
    "--per_head",
    "--verbose",
    "--display",
    "--record.resume",
    "--ending.home",
    "--teleop.was_follower",
)
"""Flags that may stand without a value."""

LISTS = ("--preflight.skip", "--robot.home", "--start_pose")
"""Flags whose value is a list: its brackets may be left out, `--preflight.skip=all`."""

OLD_FIELDS = {"out": "output_dir"}
"""Fields of a configuration file as they were called before, and are called now."""

OF_CAMERAS: dict[str, type[Enum]] = {
    choice.__name__: choice for choice in (ColorMode, Cv2Rotation, Cv2Backends)
}
"""Settings of LeRobot's cameras that have a few values."""

MODEL_OF_TYPE = {"so101": "so101", "so101_follower": "so101", "so100_follower": "so100"}
"""LeRobot's names of robots that this drives, and which arm each is."""

LEADER_TYPES = ("so101_leader", "so100_leader")
"""LeRobot's names of leaders that are read here: one class of LeRobot's, too."""


def normalised(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments as flag -> value: `--a=b`, `--a b` and bare switches.

    Raises:
        ConfigError: a value without a flag or a flag without one, another robot.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        flag = "--verbose" if flag == "-v" else flag
        if not flag.startswith("-"):
            raise ConfigError(
                f"what does {flag!r} belong to? every argument is a flag: --flag=value; see --help"
            )
        if not equals:
            has_value = bool(rest) and not rest[0].startswith("--") and rest[0] != "-v"
            if not has_value and flag not in SWITCHES:
                raise ConfigError(f"{flag} needs a value: {flag}=...")
            value = rest.pop(0) if has_value else "true"
        if flag == "--robot.type":
            _check_robot_type(value)
            if (model := MODEL_OF_TYPE[value]) != "so101":
                found["--robot.model"] = model
            continue
        if flag == "--teleop.type":
            if value not in LEADER_TYPES:
                raise ConfigError(f"--teleop.type={value}: expected one of {', '.join(LEADER_TYPES)}")
            continue
        bare = flag in LISTS and not value.startswith("[") and value not in ("", "null")
        found[flag] = f"[{value}]" if bare else value
    return found


def with_so101_yaml(flags: dict[str, str], sections: Sequence[str]) -> dict[str, str]:
    """`flags` with what the so101.yaml that counts says of those sections; which file that is, is printed.

    Raises:
        ConfigError: it cannot be read, or has what cannot be in it.
    """
    found = filled(flags, sections)
    if found.said:
        say(found.said, sys.stderr)
    return found.flags


def parse(flags: dict[str, str]) -> RunConfig:
    """The configuration of a run that `flags` (from `normalised`) amount to.

    Raises:
        ConfigError: a value does not fit its flag.
    """
    return parse_as(RunConfig, flags)


def parse_as[Configuration](kind: type[Configuration], flags: dict[str, str]) -> Configuration:
    """The same for another command's configuration. Raises ConfigError."""
    if "--robot.cameras" in flags or "--config_path" in flags:
        register_third_party_plugins()  # brings further camera types
    if file := flags.get("--config_path"):
        return _parse_file(kind, file, flags)
    return _parse(kind, flags)


def _parse_file[Configuration](kind: type[Configuration], file: str, flags: dict[str, str]) -> Configuration:
    """With a configuration file, whose fields may have the names that they had before."""
    try:
        given = parse_yaml(
            read_text(Path(file)), finite=False
        )  # numbers are checked by the name of their flag
    except (OSError, ValueError) as problem:
        raise ConfigError(f"--config_path={file}: {first_line(problem)}") from problem
    if not isinstance(given, dict) or not OLD_FIELDS.keys() & given.keys():
        return _parse(kind, flags)
    renamed = {OLD_FIELDS.get(str(name), name): value for name, value in given.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as now:
        yaml.safe_dump(renamed, now)
        now.flush()
        return _parse(kind, {**flags, "--config_path": now.name})


def _parse[Configuration](kind: type[Configuration], flags: dict[str, str]) -> Configuration:
    arguments = [f"{flag}={value}" for flag, value in flags.items()]
    try:
        return draccus.parse(kind, args=arguments, exit_on_error=False)
    except RobotError:
        raise
    except Exception as problem:  # draccus, argparse, yaml and the dataclasses raise a dozen kinds
        cause = _robot_error_behind(problem)
        if cause is not None:
            raise cause from problem
        words = _in_words(problem)
        if not words.startswith("--") and (camera := _camera_at_fault(flags)):
            words = f"--robot.cameras: camera {camera!r}: {words}"
        raise ConfigError(words) from problem


def _camera_at_fault(flags: dict[str, str]) -> str:
    """The camera of `--robot.cameras` that cannot be read by itself; empty: none. Draccus does not always say it."""
    try:
        cameras = yaml.safe_load(flags.get("--robot.cameras", ""))
    except (yaml.YAMLError, RecursionError):
        return ""
    for name, settings in cameras.items() if isinstance(cameras, dict) else ():
        try:
            draccus.decode(SO101Config, {"cameras": {name: settings}})
        except Exception:  # as many kinds as above
            return str(name)
    return ""


def _check_robot_type(value: str) -> None:
    if value not in MODEL_OF_TYPE:
        raise ConfigError(f"--robot.type={value}: so101-run drives {', '.join(MODEL_OF_TYPE)}")


def _robot_error_behind(problem: BaseException | None) -> RobotError | None:
    while problem is not None:
        if isinstance(problem, RobotError):
            return problem
        problem = problem.__cause__ or problem.__context__
    return None


def _in_words(problem: Exception) -> str:
    """What draccus and its like have to say, as one line with the flag in front."""
    text = " ".join(str(problem).split())
    text = re.sub(r"Could not decode the value into any of the given types: (\w+: )?", "", text)
    if "Couldn't instantiate" in text and problem.__cause__ is not None:
        text = " ".join(str(problem.__cause__).split())  # the dataclass says what is wrong
    if match := re.match(r"(`[\w.]+`: ).*value=(.*?) into field .* of type <enum '(\w+)'>", text):
        possible = ", ".join(str(item.value) for item in OF_CAMERAS.get(match[3], ()))
        text = f"{match[1]}{match[2]} is not possible; expected one of {possible}" if possible else text
    if "Couldn't find a choice class" in text:
        text = f"{text.partition(' in <')[0]}; possible are {', '.join(CameraConfig.get_known_choices())}"
    if "<unicode string>" in text:
        text = f"a value is not YAML ({text}); are the brackets closed and the quotes in place?"
    if match := re.match(r"`([\w.]+)`: (.*)", text):
        return f"--{match[1]}: {match[2]}"
    return text or type(problem).__name__
