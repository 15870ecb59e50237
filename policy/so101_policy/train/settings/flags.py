"""From the command line of `so101-train` to a `SO101TrainConfig`.

The flags are `lerobot-train`'s, read by LeRobot's own parser, so `--policy.path`, `--config_path` and `--resume`
mean what they mean there. Added are short names for what this project is about.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from draccus.utils import DraccusException
from draccus.wrappers import docstring
from lerobot.configs import parser
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import check_device
from so101_policy.cli import TRAIN
from so101_policy.command_line.command_flags import flags_in, nearest
from so101_policy.errors import CheckpointError, PolicyError, TrainError, printable
from so101_policy.model.configuration_regularized_act import MODEL_SIZES, TORCHVISION, weights_of
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.train.settings.lerobot_settings import BEFORE
from so101_policy.train.settings.recipes import expanded
from so101_policy.train.settings.settings_file import find_settings, read_settings, require_known

FLAGS = tuple(sorted(flags_in(TRAIN.help_text())))
"""The flags of the help, to name the nearest one when a flag does not exist."""

SWITCHES = ("--resume", "--compile", "--fused", "--device_cache", "--use_degrees")
"""Flags that may stand without a value."""

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
"""What draccus calls them, in words."""

MOST_SHOWN = 100
"""Characters of a flag in a message."""

DEFAULT_POLICY = "regularized_act"


def parse(arguments: Sequence[str]) -> SO101TrainConfig:
    """The configuration that the arguments amount to, checked as far as settings alone allow.

    Raises:
        PolicyError: a flag that does not exist, a value that does not fit, settings that contradict each other.
    """
    flags = for_lerobot(arguments)
    with private_temporary_folder() as scratch, _spoken(flags), _without_help_texts():
        file, settings = _settings_file(flags)
        flags = _found(flags, settings)
        _check_device(flags, settings)
        read = flags
        if file is not None:
            (whole := scratch / "settings.json").write_text(json.dumps(settings))
            flags, read = _with(flags, "--config_path", file), _with(flags, "--config_path", whole)
        with _as_command_line(read):
            config = _lerobots_parser()()
        with _as_command_line(flags):
            config.validate()
    return config


def for_lerobot(arguments: Sequence[str]) -> list[str]:
    """The arguments in the words of LeRobot's parser: short names spelled out, sizes expanded.

    Raises:
        TrainError: a value without a flag, or a flag without a value.
    """
    flags = {_spelled_out(flag): value for flag, value in expanded(dict(pairs(arguments))).items()}
    if not {"--policy.path", "--policy.type", "--config_path"} & flags.keys():
        flags["--policy.type"] = DEFAULT_POLICY
    regularized = [flag for flag in flags if flag.startswith("--policy.regularizer.")]
    if flags.get("--policy.type") == "act" and regularized:
        raise TrainError(
            f"{regularized[0].replace('policy.', '')} with --policy.type=act: LeRobot's ACT has no regularizer; "
            f"drop --policy.type or say --policy.type={DEFAULT_POLICY}"
        )
    flags = _following(_of_size(flags), flags) | flags
    return [f"{flag}={value}" for flag, value in flags.items()]


def pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags with their values, as typed. Raises as `for_lerobot`."""
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


def _following(of_size: dict[str, str], flags: dict[str, str]) -> dict[str, str]:
    """The policy's fields that follow one that was given, where they would contradict it otherwise; and what a name of
    the dataset is where only its folder was given."""
    fields = dict(of_size)
    if (root := flags.get("--dataset.root")) and "--config_path" not in flags:
        fields["--dataset.repo_id"] = f"local/{Path(root).name}"
    chunk = flags.get("--policy.chunk_size", "")
    played = of_size.get("--policy.n_action_steps", str(ACTConfig.n_action_steps))
    if "--policy.path" in flags or "--config_path" in flags:
        return fields  # these have all of it
    if chunk.isdecimal() and int(chunk) < int(played):
        fields["--policy.n_action_steps"] = chunk
    if (backbone := flags.get("--policy.vision_backbone")) in TORCHVISION:
        fields["--policy.pretrained_backbone_weights"] = weights_of(backbone)
    return fields


def _settings_file(flags: Sequence[str]) -> tuple[Path | None, dict[str, Any]]:
    """The file that `--config_path` means, and all settings in it, looked at before LeRobot reads them."""
    if (given := parser.parse_arg("config_path", flags)) is None:
        return None, {}
    resume = parser.parse_arg("resume", flags) == "true"
    file = find_settings(given, resume)
    settings = read_settings(file, resume)
    require_known(file, settings, SO101TrainConfig)
    return file, settings


def _found(flags: list[str], settings: dict[str, Any]) -> list[str]:
    """With `--policy.path`, on the command line or in a file, as the folder that it means. (LeRobot takes no run's.)"""
    policy = settings.get("policy")
    if isinstance(policy, dict) and isinstance(path := policy.get("path"), str):
        policy["path"] = str(find_checkpoint(path))
    if path := parser.parse_arg("policy.path", flags):
        return _with(flags, "--policy.path", find_checkpoint(path))
    return flags


def _check_device(flags: Sequence[str], settings: Mapping[str, Any]) -> None:
    """A device that is named is there. (LeRobot would take another one.)"""
    policy = settings.get("policy")
    of_file = policy.get("device") if isinstance(policy, Mapping) else None
    device = parser.parse_arg("policy.device", flags) or of_file
    if not isinstance(device, str) or device in ("null", "None"):
        return
    try:
        check_device(device)
    except CheckpointError as problem:
        raise TrainError(
            f"--policy.device={device}: {problem}; --policy.device=cpu trains there"
        ) from problem


def _with(flags: Sequence[str], flag: str, value: Path) -> list[str]:
    return [*(word for word in flags if word.partition("=")[0] != flag), f"{flag}={value}"]


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
def private_temporary_folder() -> Generator[Path]:
    """Temporary files of this process are in a folder that is removed: LeRobot's parser leaves its own behind. What it
    remembers of a settings file is forgotten, too."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="so101-train-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before
            for kept in ("_config_path_args", "_config_yaml_overrides"):
                getattr(parser, kept).clear()


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
def _spoken(flags: Sequence[str]) -> Generator[None]:
    """What draccus, argparse and LeRobot print or raise about wrong flags, as one `TrainError`."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except PolicyError:
        raise
    except SystemExit as problem:
        said = _in_words(printed.getvalue(), problem.__context__, flags)
        raise _policy_error_behind(problem) or TrainError(said) from problem
    except Exception as problem:  # draccus, argparse, yaml, LeRobot and the dataclasses raise a dozen kinds
        said = _in_words(str(problem) or type(problem).__name__, problem, flags)
        raise _policy_error_behind(problem) or TrainError(said) from problem


def _policy_error_behind(problem: BaseException | None) -> PolicyError | None:
    while problem is not None:
        if isinstance(problem, PolicyError):
            return problem
        problem = problem.__cause__ or problem.__context__
    return None


def _in_words(text: str, problem: BaseException | None, flags: Sequence[str] = ()) -> str:
    """The last thing that a parser said, with the flag in front, and the nearest flag to an unknown one."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    said = (
        re.sub(r"^((\S+: )?error|PreTrainedConfig): ", "", lines[-1])
        if lines
        else "the flags could not be read"
    )
    if said.startswith("Underlying error is"):
        said = f"{lines[0]} {said}"
    if unknown := re.search(r"unrecognized arguments: (--[\w.]+)", said):
        instead = BEFORE.get(unknown[1].removeprefix("--"))
        hint = f": {instead}" if instead else nearest(unknown[1], FLAGS)
        return f"there is no flag {unknown[1]}{hint} (see {TRAIN.name} --help)"
    if (wrong := re.search(r"Couldn't parse '(.*)' into an? (\w+)", said)) and (
        flag := _flag_of(wrong[1], flags)
    ):
        return f"{flag}: expected {KINDS.get(wrong[2], wrong[2])}"
    if "Couldn't instantiate class" in said and (reason := _reason(problem)):
        if episodes := [
            flag for flag in flags if flag.startswith("--dataset.episodes=") and "pisode" in reason
        ]:
            return f"{episodes[0][:MOST_SHOWN]}: {reason}"
        return f"the policy's settings do not go together: {reason}"
    if match := re.match(r"`([\w.]+)`: (.*)", said):
        return f"--{match[1]}: {match[2]}"
    return said


def _flag_of(text: str, flags: Sequence[str]) -> str | None:
    """The flag whose value a parser could not read: it names the value, and of the flag the last part or nothing."""
    given = [
        flag
        for flag in flags
        if text
        in [word.replace(".nan", "nan").replace(".inf", "inf") for word in re.split(r"[=,\[\]\s]+", flag)[1:]]
    ]
    return printable(given[0][:MOST_SHOWN]) if given else None


def _reason(problem: BaseException | None) -> str | None:
    """What was wrong in the end: draccus wraps a dataclass's own sentence in one that leaves it out."""
    while isinstance(problem, DraccusException) and problem.__cause__ is not None:
        problem = problem.__cause__
    # LeRobot calls n_obs_steps by another name there
    return (
        " ".join(str(problem).split()).replace("`nobs_steps", "`n_obs_steps") if problem is not None else None
    )
