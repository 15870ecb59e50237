"""A checkpoint is whole or not there: a save that dies anywhere leaves the one before, and the next save cleans up."""

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from so101_policy.checkpoint.tensors import system_error
from so101_policy.cli import TRAIN
from so101_policy.errors import StoppedError
from so101_policy.files.whole_files import Lines
from so101_policy.model import export
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
        with pytest.raises(StoppedError, match=r"000002 could not be written: the disk is full.*000001 is"):
            checkpoints.save(trained, Progress(2), [random_state()])
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["000001", "last"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        (
            'Error while serializing: IoError(Os { code: 122, kind: QuotaExceeded, message: "x" })',
            errno.EDQUOT,
        ),
        ("Error while serializing: something else", errno.EIO),
    ],
)
def test_what_the_system_said_is_found_in_the_words_of_safetensors(said: str, code: int):
    error = system_error(SafetensorError(said), Path("x/model.safetensors"))
    assert (error.errno, error.filename) == (code, "x/model.safetensors")
    assert ("something else" in str(error)) == (code == errno.EIO)


@contextlib.contextmanager
def small_files(most_bytes: int) -> Generator[None]:
    """No file may grow beyond this in the block: a real error of the system, wherever it is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_weights_that_the_disk_does_not_take_end_the_run_with_one_message_and_the_checkpoint_before_whole(
    tmp_path: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    save = Checkpoints.save

    def limited(checkpoints: Checkpoints, trained: Trained, progress: Progress, *rest: Any) -> Path:
        with small_files(200_000) if progress.step == 4 else contextlib.nullcontext():
            return save(checkpoints, trained, progress, *rest)

    monkeypatch.setattr(Checkpoints, "save", limited)
    out = tmp_path / "run"
    assert TRAIN.main(flags(out, "--save_freq=2")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        f"so101-train: the checkpoint {out / 'checkpoints' / '000004'} could not be written: File too"
    )
    assert "000002 is complete" in said
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["000002", "last"]
    assert whole(out / "checkpoints" / "last")
    monkeypatch.undo()
    assert TRAIN.main([f"--config_path={out}", "--resume=true"]) == 0


def test_an_export_that_the_disk_does_not_take_names_its_file_and_leaves_nothing(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    folder = Checkpoints(tmp_path / "run", 100).save(trained, Progress(1), [random_state()])
    monkeypatch.setattr(export, "_refuse_what_stock_cannot_do", lambda *_: None)
    with small_files(200_000), pytest.raises(OSError, match=r"File too large.*act/model\.safetensors"):
        export.export_as_act(folder / "pretrained_model", tmp_path / "act")
    assert [path.name for path in tmp_path.iterdir() if "act" in path.name] == []


def test_metrics_that_the_disk_does_not_take_name_their_file(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write = Lines.write

    def limited(lines: Lines, line: str, durable: bool = False) -> None:
        with small_files(100):
            write(lines, line, durable)

    monkeypatch.setattr(Lines, "write", limited)
    assert TRAIN.main(flags(tmp_path / "run")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"so101-train: {tmp_path / 'run' / 'metrics.jsonl'}: File too large"


def test_a_better_checkpoint_replaces_the_best_unless_it_was_due_anyway(tmp_path: Path, trained: Trained):
    checkpoints = Checkpoints(tmp_path / "run", 100)
    for step in (3, 5, 7, 8):
        checkpoints.save(trained, Progress(step), [random_state()], best=step != 8, keep_every=5)
    assert sorted(path.name for path in checkpoints.folder.glob("0*")) == ["000005", "000007", "000008"]
    assert (checkpoints.folder / "best").resolve().name == "000007"
