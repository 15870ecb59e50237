"""A checkpoint is whole or not there: a save that dies anywhere leaves the one before, and the next save cleans up."""

import contextlib
import errno
import json
import os
import re
import resource
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.tensors import system_error
from so101_policy.checkpoint.training_state import check_schedule
from so101_policy.cli import TRAIN
from so101_policy.errors import CheckpointError, StoppedError
from so101_policy.files.whole_files import Lines
from so101_policy.model import export
from so101_policy.train import stages as training_run
from so101_policy.train.checkpoints import (
    Checkpoints,
    Progress,
    Trained,
    random_state,
    read_progress,
    restore,
)
from so101_policy.train.trainer import Ending, Trainer
from training_states import GROUPS, OPTIMIZER, RANDOM, saved_state, small

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


type Damage = Callable[[Path], object]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint after one step, as LeRobot writes its state."""
    return saved_state(tmp_path)


def tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(state: Path) -> None:
        found = load_file(state / file)
        change(found)
        save_file(found, state / file)

    return damage


def of_groups(name: str, value: object) -> Damage:
    def damage(state: Path) -> None:
        groups = json.loads((state / GROUPS).read_text())
        groups[0][name] = value
        (state / GROUPS).write_text(json.dumps(groups))

    return damage


def put(
    name: str, value: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda found: found.__setitem__(name, value(found[name]).contiguous())


STATES: dict[str, tuple[Damage, str, str]] = {
    # what is done -> (damage, file, what the message has)
    "moments of another size": (
        tensors(OPTIMIZER, put("state/0/exp_avg", lambda _: torch.zeros(3))),
        OPTIMIZER,
        "has the shape [3], expected",
    ),
    "moments that are one number": (
        tensors(OPTIMIZER, put("state/0/exp_avg", lambda _: torch.zeros(()))),
        OPTIMIZER,
        "has the shape [], expected",
    ),
    "moments that are NaN": (
        tensors(OPTIMIZER, put("state/0/exp_avg", lambda v: v * torch.nan)),
        OPTIMIZER,
        "NaN",
    ),
    "moments that are halves of floats": (
        tensors(OPTIMIZER, put("state/0/exp_avg", lambda v: v.half())),
        OPTIMIZER,
        "state/0/exp_avg is of the type torch.float16, expected torch.float32",
    ),
    "steps that are true": (
        tensors(OPTIMIZER, put("state/1/step", lambda v: v.bool())),
        OPTIMIZER,
        "state/1/step is of the type torch.bool, expected torch.float32",
    ),
    "half a step": (
        tensors(OPTIMIZER, put("state/1/step", lambda v: v / 2)),
        OPTIMIZER,
        "state/1/step is 0.5, expected a whole number of steps",
    ),
    "a mean that its square denies": (
        tensors(OPTIMIZER, put("state/0/exp_avg", lambda v: v * 8)),
        OPTIMIZER,
        "state/0/exp_avg is larger than any gradients leave it beside exp_avg_sq",
    ),
    "squares below 0": (tensors(OPTIMIZER, put("state/1/exp_avg_sq", lambda v: v - 1)), OPTIMIZER, "below 0"),
    "steps below 0": (tensors(OPTIMIZER, put("state/1/step", lambda v: v - 9)), OPTIMIZER, "below 0"),
    "of a parameter that there is not": (
        tensors(OPTIMIZER, lambda d: d.__setitem__("state/9999/step", torch.zeros(()))),
        OPTIMIZER,
        "is of none of the",
    ),
    "of no parameter": (
        tensors(OPTIMIZER, lambda d: d.__setitem__("x", torch.zeros(1))),
        OPTIMIZER,
        "'x' is of none of the",
    ),
    "half of a parameter's": (
        tensors(OPTIMIZER, lambda d: d.pop("state/2/exp_avg_sq")),
        OPTIMIZER,
        "state/2 has no exp_avg_sq",
    ),
    "a rate of 1e308": (of_groups("lr", 1e308), GROUPS, "lr of group 0 is 1e+308"),
    "a rate below 0": (of_groups("lr", -1e-6), GROUPS, "lr of group 0 is -1e-06"),
    "a rate that is a text": (of_groups("lr", "x"), GROUPS, "lr of group 0 is 'x'"),
    "a rate that is NaN": (of_groups("lr", float("nan")), GROUPS, "NaN is not a finite number"),
    "other betas": (of_groups("betas", [2, -1]), GROUPS, "betas of group 0 is [2, -1]"),
    "another Adam": (of_groups("amsgrad", True), GROUPS, "amsgrad of group 0 is True, expected False"),
    "fused by a number": (
        of_groups("fused", 3),
        GROUPS,
        "fused of group 0 is 3, expected true, false or null",
    ),
    "other parameters": (of_groups("params", [10**9]), GROUPS, "params of group 0 is [1000000000]"),
    "no groups": (lambda state: (state / GROUPS).write_text('{"a": 1}'), GROUPS, "expected"),
    "groups that are numbers": (lambda state: (state / GROUPS).write_text("[3]"), GROUPS, "group 0 is 3"),
    "deep groups": (lambda state: (state / GROUPS).write_text("[" * 5000), GROUPS, "nested 5000 deep"),
    "NumPy's place": (
        tensors(RANDOM, put("np_rng_state_index", lambda v: v * 0 + 10**9)),
        RANDOM,
        "is 1000000000, expected 0 to 624",
    ),
    "NumPy's words": (
        tensors(RANDOM, put("np_rng_state_values", lambda v: v[:3])),
        RANDOM,
        "has not 624 values",
    ),
    "Python's words": (
        tensors(RANDOM, put("py_rng_state", lambda v: v * 0 - 1)),
        RANDOM,
        "not a whole number",
    ),
    "torch's bytes": (tensors(RANDOM, put("torch_rng_state", lambda v: v[:10])), RANDOM, "torch_rng_state"),
    "cut": (lambda state: (state / RANDOM).write_bytes(b"123"), RANDOM, "cannot be resumed from"),
    "gone": (lambda state: (state / OPTIMIZER).unlink(), OPTIMIZER, "No such file"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_is_refused_before_it_is_restored(saved: Path, name: str):
    """Moments of another size make torch write past the end of memory, and NumPy's place makes it read there."""
    damage, file, told = STATES[name]
    damage(saved / "training_state")
    before = random_state()
    with pytest.raises(CheckpointError, match="cannot be resumed from") as problem:
        restore(saved, small())
    assert str(saved / "training_state" / file) in str(problem.value)
    assert told in str(problem.value)
    assert all(torch.equal(value, before[key]) for key, value in random_state().items())


def test_a_state_that_fits_is_restored(saved: Path):
    run = small()
    assert restore(saved, run).step == 1
    assert len(run.optimizer.state_dict()["state"]) == 3


def test_the_random_state_of_another_process_of_the_run_is_looked_at_too(saved: Path):
    random = saved / "training_state" / RANDOM
    shutil.copy(random, saved / "training_state" / "rng_state_1.safetensors")
    tensors("rng_state_1.safetensors", put("np_rng_state_index", lambda v: v * 0 + 625))(random.parent)
    assert restore(saved, small()).step == 1
    with pytest.raises(CheckpointError, match=r"rng_state_1.*is 625, expected 0 to 624"):
        restore(saved, small(), rank=1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base_lrs": [1.0]}, "base_lrs has 1.0"),
        ({"_last_lr": [1e300]}, "_last_lr is 1e+300"),
        ({"_last_lr": "x"}, "_last_lr: 'x'"),
        ({"last_epoch": -1}, "last_epoch is -1"),
        ({"_step_count": 1e14}, "_step_count is 1"),
    ],
)
def test_a_schedule_of_other_rates_is_refused(change: dict[str, object], told: str):
    weights = torch.nn.Parameter(torch.zeros(2))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        torch.optim.SGD([weights], lr=0.1), lambda step: 1 / (1 + step)
    )
    stored = scheduler.state_dict()
    check_schedule(stored, scheduler)
    with pytest.raises(ValueError, match=re.escape(told)):
        check_schedule(stored | change, scheduler)


@pytest.mark.parametrize("place", ["000009", "last", "/etc"])
def test_a_link_to_the_last_checkpoint_that_leads_nowhere_is_no_reason_to_take_another_one(
    saved: Path, place: str, tmp_path: Path
):
    run = tmp_path / "run"
    (saved / "pretrained_model").mkdir()
    (saved / "pretrained_model" / "config.json").write_text("{}")
    assert find_checkpoint(run).parent.name == saved.name  # there never was one: the highest step
    (run / "checkpoints" / "last").symlink_to(place)
    for given in (run, run / "checkpoints"):
        with pytest.raises(CheckpointError, match=f"last leads to {place}, where there is no checkpoint"):
            find_checkpoint(given)
