"""A checkpoint is whole or not there: a save that dies anywhere leaves the one before, and the next save cleans up."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from so101_policy.cli import TRAIN
from so101_policy.errors import StoppedError
from so101_policy.train import stages as training_run
from so101_policy.train.checkpoints import Checkpoints, Progress, Trained, random_state, read_progress
from so101_policy.train.trainer import Ending, Trainer

Flags = Callable[..., list[str]]
CALLS = ("fsync", "rename", "replace", "symlink")


class Killed(BaseException):
    """kill -9: nothing is tidied up behind it."""


@pytest.fixture
def trained(tmp_path: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """What a run holds before its first step."""
    found: list[Trained] = []

    def caught(trainer: Trainer) -> Ending:
        found.append(trainer._trained)  # pyright: ignore[reportPrivateUsage]
        return Ending.DONE

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", caught)
        patch.setattr(training_run, "finish", lambda *_: 0)
        assert TRAIN.main(flags(tmp_path / "unused")) == 0
    return found[0]


def dying(monkeypatch: pytest.MonkeyPatch, at: int, death: BaseException) -> list[int]:
    """Patch the calls that change a disk for good; number `at` of them raises."""
    calls = [0]

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == at:
                raise death
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, patched(getattr(os, name)))
    return calls


def whole(checkpoint: Path) -> bool:
    load_file(checkpoint / "pretrained_model" / "model.safetensors")
    load_file(checkpoint / "training_state" / "optimizer_state.safetensors")
    return read_progress(checkpoint).step == int(checkpoint.resolve().name)


def test_a_save_that_is_killed_anywhere_leaves_the_one_before_whole(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = Checkpoints(tmp_path / "run", 100)
    checkpoints.save(trained, Progress(1), [random_state()], best=True)
    with monkeypatch.context() as patch:
        calls = dying(patch, at=0, death=Killed())
        checkpoints.save(trained, Progress(2), [random_state()], best=True)
        count = calls[0]
    assert count > 15
    for at in range(1, count + 1):
        step = 2 + at
        with monkeypatch.context() as patch:
            dying(patch, at, Killed())
            with pytest.raises(Killed):
                checkpoints.save(trained, Progress(step), [random_state()], best=True)
        for link in ("last", "best"):
            assert whole(checkpoints.folder / link), at
    checkpoints.save(trained, Progress(90), [random_state()])
    assert whole(checkpoints.folder / "last")
    assert not list(checkpoints.folder.glob(".writing-0*"))


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = Checkpoints(tmp_path / "run", 100)
    checkpoints.save(trained, Progress(1), [random_state()])
    with monkeypatch.context() as patch:
        dying(patch, 5, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(StoppedError, match="No space left on device"):
            checkpoints.save(trained, Progress(2), [random_state()])
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["000001", "last"]


def test_a_better_checkpoint_replaces_the_best_unless_it_was_due_anyway(tmp_path: Path, trained: Trained):
    checkpoints = Checkpoints(tmp_path / "run", 100)
    for step in (3, 5, 7, 8):
        checkpoints.save(trained, Progress(step), [random_state()], best=step != 8, keep_every=5)
    assert sorted(path.name for path in checkpoints.folder.glob("0*")) == ["000005", "000007", "000008"]
    assert (checkpoints.folder / "best").resolve().name == "000007"
