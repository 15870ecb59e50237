"""Runs that `lerobot-train` began and `so101-train` goes on with, and the other way; what `--config_path` may be."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from so101_policy.cli import TRAIN
from so101_policy.errors import TrainError
from so101_policy.train.checkpoints import read_progress
from so101_policy.train.settings.settings_file import OURS, split_settings

Flags = Callable[..., list[str]]
Train = Callable[..., Path]
Losses = Callable[[Path], list[float]]

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)

LONG = "--steps=4"


def lerobot_train(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`lerobot-train` in this process."""
    from lerobot.scripts import lerobot_train

    monkeypatch.setattr(lerobot_train, "init_logging", lambda **_: None)
    monkeypatch.setattr(sys, "argv", ["lerobot-train", *arguments])
    lerobot_train.train()


def for_lerobot(given: list[str], *more: str) -> list[str]:
    ours = ("--held_out", "--trackers", "--eval_steps")
    kept = [flag for flag in given if not flag.startswith(ours)]
    return [*kept, "--policy.type=regularized_act", "--num_workers=0", "--policy.push_to_hub=false", *more]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")


def settings(out: Path, step: str = "last") -> Path:
    return out / "checkpoints" / step / "pretrained_model" / "train_config.json"


def test_a_run_of_lerobot_train_goes_on_here_as_it_would_have_there(
    tmp_path: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch
):
    given = for_lerobot(flags(tmp_path / "theirs", LONG), "--save_freq=2")
    lerobot_train(given, monkeypatch)
    whole = weights(tmp_path / "theirs")
    begun = settings(tmp_path / "theirs", "000002")
    assert TRAIN.main([f"--config_path={begun}", "--resume=true", "--trackers=none"]) == 0
    gone_on = weights(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "checkpoints" / "set-aside-000004").is_dir()
    for name, weight in whole.items():
        torch.testing.assert_close(gone_on[name], weight, rtol=1e-5, atol=1e-6)


def test_a_run_of_so101_train_goes_on_there(tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch):
    """Without anything random: a loader that begins again draws a number, also after a run of lerobot-train."""
    exact = ("--fused=false", "--held_out=0", LONG, "--policy.dropout=0", "--policy.use_vae=false")
    whole = train(tmp_path / "whole", *exact)
    cut = train(tmp_path / "cut", *exact, "--save_freq=2")
    begun = settings(cut, "000002")
    lerobot_train([f"--config_path={begun}", "--resume=true", "--num_workers=0"], monkeypatch)
    there, here = weights(cut), weights(whole)
    for name, weight in here.items():
        torch.testing.assert_close(there[name], weight, rtol=1e-5, atol=1e-6)


def test_lerobot_train_refuses_by_name_what_it_would_do_otherwise(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = train(tmp_path / "run", "--cache.size=16x16", "--steps=1")
    stored = json.loads(settings(out).read_text())
    assert stored["cache"]["size"] == "16x16"
    assert "fused" not in stored
    assert json.loads((settings(out).parent / OURS).read_text())["fused"] is True
    with pytest.raises(SystemExit):
        lerobot_train([f"--config_path={settings(out)}", "--resume=true"], monkeypatch)
    assert "`cache`" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["precision", "cache"])
def test_only_what_changes_the_learning_is_in_lerobots_file(setting: str):
    plain: dict[str, Any] = {"steps": 3, "precision": "fp32", "cache": {"size": None}, "trackers": "none"}
    theirs, ours = split_settings(plain)
    assert theirs == {"steps": 3}
    assert ours.keys() == plain.keys() - {"steps"}
    more = {"precision": "bf16", "cache": {"size": "8x8"}}[setting]
    assert split_settings(plain | {setting: more})[0] == {"steps": 3, setting: more}


def test_a_checkpoint_from_before_there_were_two_files_goes_on(tmp_path: Path, train: Train, losses: Losses):
    whole = train(tmp_path / "whole", LONG)
    out = train(tmp_path / "run", "--steps=2", "--trackers=none")
    ours = settings(out).parent / OURS
    both = json.loads(settings(out).read_text()) | json.loads(ours.read_text())
    settings(out).write_text(json.dumps(both))
    ours.unlink()
    assert TRAIN.main([f"--config_path={settings(out)}", "--resume=true", LONG]) == 0
    assert losses(out) == losses(whole)


@pytest.mark.parametrize(
    "place", ["", "checkpoints", "checkpoints/last", "checkpoints/last/pretrained_model"]
)
def test_the_folder_of_a_run_is_enough(tmp_path: Path, train: Train, losses: Losses, place: str):
    out = train(tmp_path / "run", "--steps=1")
    assert TRAIN.main([f"--config_path={out / place}", "--resume=true", "--steps=2"]) == 0
    assert len(losses(out)) == 2


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert TRAIN.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("so101-train:") == 1, said
    assert "Traceback" not in said
    return said


def test_what_cannot_go_on_says_why(tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]):
    out = train(tmp_path / "run", "--steps=1")
    file = settings(out)
    stored = json.loads(file.read_text())
    resume = [f"--config_path={file}", "--resume=true", "--steps=2"]

    nowhere = tmp_path / "nowhere"
    assert f"there is no dataset folder {nowhere}" in refused([*resume, f"--dataset.root={nowhere}"], capsys)
    assert "there is no checkpoint" in refused([f"--config_path={tmp_path / 'rum'}", "--resume=true"], capsys)

    file.write_text(json.dumps(stored | {"parallelism": {"dp_shard": 2}, "ema2": 1}))
    said = refused(resume, capsys)
    assert f"{file} has settings that do not exist here: ema2" in said
    assert "another version of LeRobot" in said

    policy = stored["policy"] | {"push_to_hub": True, "repo_id": "me/x"}
    file.write_text(json.dumps(stored | {"env": {"type": "pusht"}, "policy": policy}))
    said = refused(resume, capsys)
    assert "--env: episodes are played with --eval.task" in said
    assert "a new one from its weights: --policy.path" in said

    file.write_text(json.dumps(stored))
    state = file.parent.parent / "training_state"
    state.rename(tmp_path / "state")
    assert "has no training state to resume from" in refused(resume, capsys)


OURS_STATE, LEROBOTS_STATE = "so101_training.json", "training_step.json"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        *[
            (file, text, told)
            for file in (OURS_STATE, LEROBOTS_STATE)
            for text, told in (
                ("", "Expecting value"),
                ("[1]", "it is [1]"),
                ("[" * 5000, "nested 5000 deep"),
                ("{}", "step is missing"),
                ('{"step": "1"}', "step is '1'"),
                ('{"step": -1}', "step is -1"),
                ('{"step": 1e400}', "1e400"),
                ('{"step": 1, "losses": [NaN]}', "NaN"),
            )
        ],
        (OURS_STATE, '{"step": 1, "losses": {"a": 1}}', "losses is"),
        (OURS_STATE, '{"step": 1, "data": 3}', "data is 3"),
        (OURS_STATE, '{"step": 1, "more": 3}', "unknown: 'more'"),
        (LEROBOTS_STATE, '{"step": 1, "batch_size": [4]}', "batch_size is [4]"),
        (LEROBOTS_STATE, '{"step": 1, "num_processes": -2}', "processes is -2"),
    ],
)
def test_a_training_state_that_is_damaged_is_refused_with_its_file(
    tmp_path: Path, file: str, text: str, told: str
):
    state = tmp_path / "training_state"
    state.mkdir()
    (state / file).write_text(text)
    with pytest.raises(TrainError, match="has no training state to resume from") as problem:
        read_progress(tmp_path)
    assert f"{state / file}: " in str(problem.value)
    assert told in str(problem.value)


def test_what_a_resumed_run_was_to_push_is_said_and_not_pushed(
    tmp_path: Path, train: Train, caplog: pytest.LogCaptureFixture
):
    out = train(tmp_path / "run", "--steps=1")
    stored = json.loads(settings(out).read_text())
    stored["policy"] |= {"push_to_hub": True, "repo_id": "me/x"}
    settings(out).write_text(json.dumps(stored))
    with caplog.at_level(logging.WARNING):
        assert TRAIN.main([f"--config_path={out}", "--resume=true", "--steps=2"]) == 0
    assert "not pushed to me/x" in caplog.text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 100_000, "nested 100000 deep"),
        ('{"steps": NaN}', "NaN is not a finite number"),
        ('{"steps": ', "damaged or cut short"),
        ('{"x": "' + "x" * 4_100_000 + '"}', "too large"),
        ("[1]", "not an object"),
        ('{"policy": {"type": ["act"]}}', ""),
        ('{"policy": {"type": "act", "chunk_size": "many"}}', "chunk_size"),
        ('{"dataset": 3}', "dataset"),
    ],
    ids=["deep", "nan", "cut", "large", "list", "type", "text", "number"],
)
@pytest.mark.parametrize("ours", [False, True])
def test_a_file_of_settings_is_looked_at_before_it_is_read(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str], content: str, told: str, ours: bool
):
    out = once(tmp_path, train)
    file = settings(out).with_name(OURS) if ours else settings(out)
    file.write_text(content)
    said = refused([f"--config_path={settings(out)}", "--resume=true", "--steps=2"], capsys)
    assert told in said
    if ours and told.startswith(("nested", "NaN", "damaged", "too", "not an")):
        assert str(file) in said


_made: list[Path] = []


def once(tmp_path: Path, train: Train) -> Path:
    """A copy of one trained run."""
    if not _made:
        _made.append(train(tmp_path / "made", "--steps=1"))
    return Path(shutil.copytree(_made[0], tmp_path / "copy", symlinks=True))


def test_a_link_out_of_the_checkpoint_is_not_followed(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
):
    out = once(tmp_path, train)
    (other := tmp_path / "other.json").write_text(settings(out).read_text())
    settings(out).unlink()
    settings(out).symlink_to(other)
    assert "is a link out of the checkpoint's folder" in refused(
        [f"--config_path={out}", "--resume=true", "--steps=2"], capsys
    )
