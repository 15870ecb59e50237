"""Every setting of `lerobot-train`: done, refused by name, or without effect and said so."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from so101_policy.cli import TRAIN
from so101_policy.frames.dataset import video_backend
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.train import command
from so101_policy.train.data import describe
from so101_policy.train.settings import lerobot_settings
from so101_policy.train.settings.config import SO101TrainConfig
from so101_policy.train.settings.flags import parse
from so101_policy.train.settings.lerobot_settings import DONE, GROUPS, NO_EFFECT, REFUSED, settings

Flags = Callable[..., list[str]]

AFTER_0_6_1 = {"checkpoint_format", "parallelism", "accelerator", "ema", "dataset.exclude_episodes"}
DEEPER = {"job.target", "wandb.disable_artifact"}
"""Part of a group that is in another table."""
OURS = {"policy.fps", "policy.start_pose"}

ASKING = {
    "env": "--env.type=pusht",
    "reward_model": "--reward_model.path=somewhere",
    "peft": "--peft.r=4",
    "sample_weighting": "--sample_weighting.type=rabc",
    "job.target": "--job.target=a10g-small",
    "dataset.streaming": "--dataset.streaming=true",
    "dataset.repo_type": "--dataset.repo_type=bucket",
    "save_checkpoint_to_hub": "--save_checkpoint_to_hub=true",
    "policy.push_to_hub": "--policy.push_to_hub=true",
    "policy.use_amp": "--policy.use_amp=true",
    "policy.use_peft": "--policy.use_peft=true",
    "policy.pretrained_revision": "--policy.pretrained_revision=main",
}


def test_each_setting_of_the_installed_lerobot_is_in_one_table():
    """A new one has to be decided about: done, refused, or without effect?"""
    tables = [*DONE, *REFUSED, *NO_EFFECT]
    assert len(tables) == len(set(tables))
    there = {name for name in settings() if f"{name}." not in GROUPS}
    assert there - set(tables) == set()
    assert set(tables) - there <= AFTER_0_6_1 | DEEPER | OURS


def test_a_field_of_our_policy_that_the_dataset_decides_is_said_to_have_no_effect():
    ours = {f.name for f in dataclasses.fields(RegularizedACTConfig)} - {
        name.removeprefix("policy.") for name in settings()
    }
    assert ours == {"regularizer", "fused", "fps", "start_pose"}


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in AFTER_0_6_1])
def test_what_is_not_done_is_refused_by_its_name(
    name: str, tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
):
    more = ["--dataset.streaming=true"] if name == "dataset.repo_type" else []
    assert TRAIN.main(flags(tmp_path / "run", ASKING[name], *more)) == 2
    said = capsys.readouterr().err
    assert f"--{name}" in said
    assert REFUSED[name].instead in said
    assert not (tmp_path / "run").exists()


def test_whoever_names_a_place_on_the_hub_is_told_that_nothing_is_pushed(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
):
    """LeRobot pushes then, without being asked again."""
    assert TRAIN.main(flags(tmp_path / "run", "--policy.repo_id=me/x")) == 2
    assert "--policy.push_to_hub: nothing is pushed" in capsys.readouterr().err
    config = parse(flags(tmp_path / "run", "--policy.repo_id=me/x", "--policy.push_to_hub=false"))
    assert not config.act.push_to_hub


@pytest.mark.parametrize(
    "flag", ["--env=null", "--job.target=local", "--policy.use_amp=false", "--dataset.streaming=false"]
)
def test_a_value_that_asks_for_nothing_is_taken(flag: str, tmp_path: Path, flags: Flags):
    assert parse(flags(tmp_path / "run", flag)).steps == 6


def test_a_settings_file_is_asked_the_same(tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]):
    (file := tmp_path / "settings.yaml").write_text(
        "policy:\n  type: act\n  use_amp: true\njob:\n  target: a10g\n"
    )
    given = [flag for flag in flags(tmp_path / "run") if not flag.startswith("--policy")]
    assert TRAIN.main([*given, f"--config_path={file}"]) == 2
    said = capsys.readouterr().err
    assert "--policy.use_amp: " in said
    assert "--job.target: " in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy: {", "it is not YAML"),
        ("optimizer_lr: .nan", "not a finite number"),
        ("- 1", "expected to have settings"),
        (
            "a: &a [x, x, x, x, x, x]\n" + "".join(f"{k}: &{k} [*a, *a]\n" for k in "bcd") + "e: " + "[" * 40,
            "nested 33 deep",
        ),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_one_message_with_its_name(
    text: str, words: str, tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
):
    (file := tmp_path / "settings.yaml").write_text(text)
    assert TRAIN.main([*flags(tmp_path / "run"), f"--config_path={file}"]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said
    assert said.count("\n") == 1


def test_a_setting_that_is_newer_than_this_trainer_is_refused_and_not_dropped(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lerobot_settings, "DONE", tuple(name for name in DONE if name != "policy.dropout"))
    assert parse(flags(tmp_path / "run")).act.dropout == 0.1
    assert TRAIN.main(flags(tmp_path / "run", "--policy.dropout=0.2")) == 2
    assert "--policy.dropout: it is newer than so101-train" in capsys.readouterr().err


def test_what_has_no_effect_is_said_once_each(
    tmp_path: Path, flags: Flags, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    ran: list[SO101TrainConfig] = []

    def run(config: SO101TrainConfig) -> int:
        ran.append(config)
        return 0

    monkeypatch.setattr(command, "run", run)
    more = ("--num_workers=0", "--eval.n_episodes=3", "--policy.fps=5", "--job.target=local")
    with caplog.at_level(logging.WARNING):
        assert TRAIN.main(flags(tmp_path / "run", *more)) == 0
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == [f"{flag.partition('=')[0]} has no effect" for flag in more[:3]]
    assert len(ran) == 1


def test_the_decoder_that_is_asked_for_is_used(tmp_path: Path, flags: Flags, dataset: Path):
    config = parse(flags(tmp_path / "run", "--dataset.video_backend=pyav"))
    opened: Any = describe("local/tiny", dataset, None, config.dataset).dataset
    assert opened._video_backend == "pyav"
    other = "torchcodec" if video_backend() == "pyav" else "pyav"
    config.dataset.video_backend = other
    assert describe("local/tiny", dataset, None, config.dataset).dataset._video_backend == other  # pyright: ignore
