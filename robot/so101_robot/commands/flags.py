"""From the command line of `so101-run` and `so101-replay` to a `RunConfig`.

Help, unknown flags and old spellings were dealt with before (`so101_policy.command_shell`).
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import draccus
import yaml
from lerobot.cameras import CameraConfig
from lerobot.utils.import_utils import register_third_party_plugins

from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import ConfigError, RobotError

SWITCHES = ("--per_head", "--verbose", "--display", "--record.resume", "--ending.home")
"""Flags that may stand without a value."""

OLD_FIELDS = {"out": "output_dir"}
"""Fields of a configuration file as they were called before, and are called now."""

MODEL_OF_TYPE = {"so101": "so101", "so101_follower": "so101", "so100_follower": "so100"}
"""LeRobot's names of robots that this drives, and which arm each is."""


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
        found[flag] = value
    return found


def parse(flags: dict[str, str]) -> RunConfig:
    """The configuration that `flags` (from `normalised`) amount to.

    Raises:
        ConfigError: a value does not fit its flag.
    """
    if "--robot.cameras" in flags or "--config_path" in flags:
        register_third_party_plugins()  # brings further camera types
    if file := flags.get("--config_path"):
        return _parse_file(file, flags)
    return _parse(flags)


def _parse_file(file: str, flags: dict[str, str]) -> RunConfig:
    """With a configuration file, whose fields may have the names that they had before."""
    try:
        given = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as problem:
        raise ConfigError(f"--config_path={file}: {problem}") from problem
    if not isinstance(given, dict) or not OLD_FIELDS.keys() & given.keys():
        return _parse(flags)
    renamed = {OLD_FIELDS.get(str(name), name): value for name, value in given.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as now:
        yaml.safe_dump(renamed, now)
        now.flush()
        return _parse({**flags, "--config_path": now.name})


def _parse(flags: dict[str, str]) -> RunConfig:
    arguments = [f"{flag}={value}" for flag, value in flags.items()]
    try:
        return draccus.parse(RunConfig, args=arguments, exit_on_error=False)
    except RobotError:
        raise
    except Exception as problem:  # draccus, argparse, yaml and the dataclasses raise a dozen kinds
        cause = _robot_error_behind(problem)
        if cause is not None:
            raise cause from problem
        raise ConfigError(_in_words(problem)) from problem


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
    if "Couldn't instantiate" in text and problem.__cause__ is not None:
        text = " ".join(str(problem.__cause__).split())  # the dataclass says what is wrong
    if "Couldn't find a choice class" in text:
        text = f"{text.partition(' in <')[0]}; possible are {', '.join(CameraConfig.get_known_choices())}"
    if "<unicode string>" in text:
        text = f"a value is not YAML ({text}); are the brackets closed and the quotes in place?"
    if match := re.match(r"`([\w.]+)`: (.*)", text):
        return f"--{match[1]}: {match[2]}"
    return text or type(problem).__name__
