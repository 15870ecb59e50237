"""From the command line of `so101-train` to a `SO101TrainConfig`.

The flags are `lerobot-train`'s, read by LeRobot's own parser, so `--policy.path`, `--config_path` and `--resume`
mean what they mean there. Added are short names for what this project is about.
"""

import contextlib
import io
import re
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from draccus.wrappers import docstring
from lerobot.configs import parser

from so101_policy.cli import TRAIN
from so101_policy.command_flags import flags_in, nearest
from so101_policy.errors import PolicyError, TrainError
from so101_policy.model.configuration_regularized_act import MODEL_SIZES
from so101_policy.train.config import SO101TrainConfig

FLAGS = tuple(sorted(flags_in(TRAIN.help_text())))
"""The flags of the help, to name the nearest one when a flag does not exist."""

SWITCHES = ("--resume", "--compile", "--fused", "--device_cache", "--use_degrees")
"""Flags that may stand without a value."""

DEFAULT_POLICY = "regularized_act"


def parse(arguments: Sequence[str]) -> SO101TrainConfig:
    """The configuration that the arguments amount to, checked as far as settings alone allow.

    Raises:
        PolicyError: a flag that does not exist, a value that does not fit, settings that contradict each other.
    """
    with _spoken(), _as_command_line(for_lerobot(arguments)), _without_help_texts():
        config = _lerobots_parser()()
        config.validate()
    return config


def for_lerobot(arguments: Sequence[str]) -> list[str]:
    """The arguments in the words of LeRobot's parser: short names spelled out, sizes expanded.

    Raises:
        TrainError: a value without a flag, or a flag without a value.
    """
    flags = {_spelled_out(flag): value for flag, value in _pairs(arguments)}
    if not {"--policy.path", "--policy.type", "--config_path"} & flags.keys():
        flags["--policy.type"] = DEFAULT_POLICY
    regularized = [flag for flag in flags if flag.startswith("--policy.regularizer.")]
    if flags.get("--policy.type") == "act" and regularized:
        raise TrainError(
            f"{regularized[0].replace('policy.', '')} with --policy.type=act: LeRobot's ACT has no regularizer; "
            f"drop --policy.type or say --policy.type={DEFAULT_POLICY}"
        )
    flags = _of_size(flags) | flags
    return [f"{flag}={value}" for flag, value in flags.items()]


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("--"):
            raise TrainError(
                f"what does {flag!r} belong to? every argument is a flag: --flag=value; see --help"
            )
        if not equals:
            has_value = bool(rest) and not rest[0].startswith("--")
            if not has_value and flag not in SWITCHES:
                raise TrainError(f"{flag} needs a value: {flag}=...")
            value = rest.pop(0) if has_value else "true"
        yield flag, value


def _spelled_out(flag: str) -> str:
    if flag.startswith("--regularizer."):
        return f"--policy.{flag.removeprefix('--')}"
    return {"--policy.fused": "--fused"}.get(flag, flag)


def _of_size(flags: dict[str, str]) -> dict[str, str]:
    """The policy's fields that `--model` stands for."""
    size = flags.get("--model", "default")
    if size == "default" or "--config_path" in flags:
        return {}
    if "--policy.path" in flags:
        raise TrainError(f"--model={size} with --policy.path: the checkpoint has its size already; drop one")
    if size not in MODEL_SIZES:
        raise TrainError(f"--model={size}: possible are {', '.join(MODEL_SIZES)}")
    return {f"--policy.{name}": _as_argument(value) for name, value in MODEL_SIZES[size].items()}


def _as_argument(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _lerobots_parser() -> Any:
    """A function that reads the command line by LeRobot's rules. Importing the
    configurations has registered the policies' types."""

    def given(config: SO101TrainConfig) -> SO101TrainConfig:
        return config

    given.__annotations__ = {"config": SO101TrainConfig}
    return parser.wrap()(given)


@contextlib.contextmanager
def _as_command_line(arguments: list[str]) -> Generator[None]:
    """LeRobot's parser looks at sys.argv, more than once."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _without_help_texts() -> Generator[None]:
    """draccus searches the sources of every registered dataclass for help texts that nobody will see, which is half of
    the time from the command to the first step of a tiny run."""
    real = docstring.get_attribute_docstring
    docstring.get_attribute_docstring = lambda *_: docstring.AttributeDocString()  # pyright: ignore
    try:
        yield
    finally:
        docstring.get_attribute_docstring = real


@contextlib.contextmanager
def _spoken() -> Generator[None]:
    """What draccus, argparse and LeRobot print or raise about wrong flags, as one `TrainError`."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except PolicyError:
        raise
    except SystemExit as problem:
        raise _policy_error_behind(problem) or TrainError(_in_words(printed.getvalue())) from problem
    except Exception as problem:  # draccus, argparse, yaml, LeRobot and the dataclasses raise a dozen kinds
        said = _in_words(str(problem) or type(problem).__name__)
        raise _policy_error_behind(problem) or TrainError(said) from problem


def _policy_error_behind(problem: BaseException | None) -> PolicyError | None:
    while problem is not None:
        if isinstance(problem, PolicyError):
            return problem
        problem = problem.__cause__ or problem.__context__
    return None


def _in_words(text: str) -> str:
    """The last thing that a parser said, with the flag in front, and the nearest flag to an unknown one."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    said = re.sub(r"^(\S+: )?error: ", "", lines[-1]) if lines else "the flags could not be read"
    if unknown := re.search(r"unrecognized arguments: (--[\w.]+)", said):
        return f"there is no flag {unknown[1]}{nearest(unknown[1], FLAGS)} (see {TRAIN.name} --help)"
    if match := re.match(r"`([\w.]+)`: (.*)", said):
        return f"--{match[1]}: {match[2]}"
    return said
