"""Every number of a training's settings: what cannot be is refused by the flag's name, before anything is read."""

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any

import pytest
from lerobot.optim.optimizers import OptimizerConfig
from lerobot.optim.schedulers import LRSchedulerConfig

from so101_policy.checkpoint.fields import NEEDED, OPTIONAL
from so101_policy.cli import TRAIN
from so101_policy.errors import PolicyError
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.train.augmentation import LIMITS
from so101_policy.train.settings.config import OPTIMIZERS, SO101TrainConfig
from so101_policy.train.settings.flags import parse
from so101_policy.train.settings.lerobot_settings import NO_EFFECT, REFUSED
from so101_policy.train.settings.numbers import NUMBERS, objections_to_numbers

Flags = Callable[..., list[str]]

IMPOSSIBLE = ("nan", ".nan", "inf", "-inf", "1e308", "-1e308", "-1", "9" * 30)
ZERO_IS_RIGHT = {
    *("seed", "save_freq", "eval_steps", "env_eval_freq", "max_eval_samples", "tolerance_s", "held_out"),
    "dataset.eval_split",
    *("dataset.image_transforms.max_num_transforms", "optimizer.lr", "optimizer.weight_decay"),
    *("optimizer.grad_clip_norm", "optimizer.betas", "scheduler.num_warmup_steps"),
    *("policy.temporal_ensemble_coeff", "policy.dropout", "policy.kl_weight", "policy.optimizer_lr"),
    *("policy.optimizer_weight_decay", "policy.optimizer_lr_backbone"),
}
NEGATIVE_IS_RIGHT = {"policy.temporal_ensemble_coeff"}
"""LeRobot's coefficient weighs newer actions more where it is negative."""
LATER = {("dataset.episodes", "9" * 30)}
"""What only the dataset tells: how many episodes it has."""
SWITCHES = {"policy.replace_final_stride_with_dilation"}
"""LeRobot calls it an int."""
ENTRIES = {"dataset.episodes": "[{}]", "optimizer.betas": "[{},0.9]"}
WITH = {
    "optimizer": (
        "--use_policy_training_preset=false",
        "--optimizer.type=adamw",
        "--scheduler.type=diffuser",
    ),
    "scheduler": (
        "--use_policy_training_preset=false",
        "--optimizer.type=adamw",
        "--scheduler.type=diffuser",
    ),
    "policy.temporal_ensemble_coeff": ("--policy.n_action_steps=1",),
    "policy.regularizer.ceiling": ("--regularizer.weight=1", "--regularizer.floor=0.1"),
    "policy.regularizer.adaptive_step": ("--regularizer.preset=adaptive",),
}
"""Without which a number is not looked at."""


def is_numeric(kind: Any) -> bool:
    """int, float, and the same or None, or a list of them."""
    if isinstance(kind, str):
        kind = eval(kind, {"Any": Any})
    parts = typing.get_args(kind) if isinstance(kind, UnionType) or typing.get_args(kind) else (kind,)
    return any(part in (int, float) or (typing.get_args(part) and is_numeric(part)) for part in parts)


def numeric(settings: Any, prefix: str = "") -> Iterator[str]:
    """The name of every number that somebody may set."""
    for f in dataclasses.fields(settings):
        value, name = getattr(settings, f.name), f"{prefix}{f.name}"
        if dataclasses.is_dataclass(value):
            yield from numeric(value, f"{name}.")
        elif f.init and is_numeric(f.type):
            yield name


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("nothing")
    return list(numeric(parse([f"--dataset.root={root}", "--model=small", *WITH["optimizer"]])))


def has_no_effect(name: str) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in (*NO_EFFECT, *REFUSED))


def test_each_number_has_limits_or_no_effect(names: list[str]):
    """A new one of LeRobot's has to be decided about."""
    assert len(names) > 60
    of_policy = {f"policy.{name}" for name in (*NEEDED, *OPTIONAL)}
    regularizer = {f"policy.regularizer.{f.name}" for f in dataclasses.fields(RegularizerConfig)}
    augmentation = {f"augmentation.{name}" for name in LIMITS}
    known = {*NUMBERS, *of_policy, *regularizer, *augmentation, "dataset.episodes"}
    assert {name for name in names if not has_no_effect(name)} - known == set()


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_each_number_of_each_optimizer_and_schedule_has_limits(group: str):
    of: Any = {"optimizer": OptimizerConfig, "scheduler": LRSchedulerConfig}[group]
    for name, kind in of.get_known_choices().items():
        if group == "scheduler" or name in OPTIMIZERS:
            for f in dataclasses.fields(kind):
                if is_numeric(f.type):
                    assert f"{group}.{f.name}" in NUMBERS


def changed(settings: Any, name: str, value: Any) -> Any:
    """A copy in which one number is another."""
    first, _, rest = name.partition(".")
    inner = changed(getattr(settings, first), rest, value) if rest else value
    copy = object.__new__(type(settings))
    copy.__dict__.update(settings.__dict__ | {first: inner})
    return copy


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1.0, -1, 10**30, True])
def test_a_number_that_cannot_be_is_named(value: float, tmp_path: Path):
    config = parse([f"--dataset.root={tmp_path}", "--model=small", *WITH["optimizer"]])
    assert objections_to_numbers(config) == []
    for name in set(numeric(config)) & NUMBERS.keys():
        (objection,) = objections_to_numbers(changed(config, name, value))
        assert objection.startswith(f"--{name} is {value!r}"[:40])
    for name in ("eval.n_episodes", "num_workers"):
        if value != value or abs(value) == math.inf:
            assert len(objections_to_numbers(changed(config, name, value))) == 1


def test_zero_is_right_where_it_means_something(tmp_path: Path):
    config = parse([f"--dataset.root={tmp_path}", "--model=small", *WITH["optimizer"]])
    wrong = {
        name
        for name in set(numeric(config)) & NUMBERS.keys()
        if objections_to_numbers(changed(config, name, 0))
    }
    assert wrong == set(NUMBERS.keys() & set(numeric(config))) - ZERO_IS_RIGHT


def flag(name: str, value: str) -> list[str]:
    """One flag, and those without which nobody looks at it."""
    needed = WITH.get(name) or WITH.get(name.partition(".")[0], ())
    given = ENTRIES.get(name, "{}").format(value)
    return [*needed, f"--{name.removeprefix('policy.') if 'regularizer' in name else name}={given}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "-1"),
        ("seed", "9" * 30),
        ("seed", "1e30"),
        ("optimizer.lr", "nan"),
        ("optimizer.grad_clip_norm", "-1"),
        ("optimizer.betas", "2"),
        ("tolerance_s", "inf"),
        ("save_freq", "-5"),
        ("dataset.episodes", "-1"),
        ("dataset.episodes", "1e308"),
        ("cache.jobs", "0"),
        ("dataset.episodes", ".nan"),
        ("dataset.episodes", "9" * 30),
        ("policy.n_obs_steps", "-1"),
        ("policy.optimizer_lr", "nan"),
        ("policy.chunk_size", "1e308"),
        ("policy.regularizer.weight", "nan"),
        ("policy.regularizer.warmup_end", "nan"),
        ("augmentation.hue", "1e308"),
    ],
)
def test_the_command_refuses_it_by_the_flags_name(
    name: str, value: str, tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
):
    assert TRAIN.main(flags(tmp_path / "run", *flag(name, value))) == 2
    said = capsys.readouterr().err
    assert said.count("so101-train:") == 1
    assert name.removeprefix("policy.") in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_line_refuses_every_number_that_cannot_be(names: list[str], flags: Flags, tmp_path: Path):
    through: list[str] = []
    for name in names:
        if has_no_effect(name) or name in SWITCHES:
            continue
        for value in (*IMPOSSIBLE, "0"):
            if (name, value) in LATER or (name in NEGATIVE_IS_RIGHT and value == "-1"):
                continue
            elsewhere = any(group in name for group in ("regularizer", "augmentation", "episodes"))
            is_right = value == "0" and (name in ZERO_IS_RIGHT or elsewhere)
            try:
                parse(flags(tmp_path / "run", *flag(name, value)))
            except PolicyError as refused:
                if name.rpartition(".")[2] not in str(refused):
                    through.append(f"{name}={value}: {refused}")
            else:
                if not is_right:
                    through.append(f"{name}={value} passed")
    assert through == []


def test_a_config_of_the_command_is_found_right(flags: Flags, tmp_path: Path):
    config = parse(flags(tmp_path / "run"))
    assert isinstance(config, SO101TrainConfig)
    assert objections_to_numbers(config) == []
