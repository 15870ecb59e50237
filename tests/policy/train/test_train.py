"""so101-train, whole: what it writes, that it goes on exactly where it stopped, and that LeRobot can use it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file

from so101_policy.cli import TRAIN
from so101_policy.frames.samples import Samples
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.train.trainer import Trainer

Train = Callable[..., Path]
Flags = Callable[..., list[str]]
Losses = Callable[[Path], list[float]]

RECOMMENDED = "--regularizer.preset=recommended"


def resumed(out: Path, *more: str, step: str = "last") -> int:
    config = out / "checkpoints" / step / "pretrained_model" / "train_config.json"
    return TRAIN.main([f"--config_path={config}", "--resume=true", *more])


def weights(out: Path, step: str = "last") -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / step / "pretrained_model" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_metrics_and_lerobots_checkpoints(tmp_path: Path, train: Train, metrics: Any):
    out = train(tmp_path / "run", RECOMMENDED, "--eval_steps=2", "--save_freq=4")
    found = metrics(out)
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "l1", "kld", "share_state", "lr", "grad_norm", "samples_per_s"} <= found[0].keys()
    assert [line["step"] for line in found if "heldout_l1" in line] == [2, 4, 6]
    assert (out / "checkpoints" / "last").resolve().name == "000006"
    best = min((line for line in found if "heldout_l1" in line), key=lambda line: line["heldout_l1"])
    assert (out / "checkpoints" / "best").resolve().name == f"{best['step']:06d}"
    policy = ActPolicy.load(out)
    assert policy.type == "regularized_act"
    assert set(policy.cameras) == {"front", "wrist"}


@pytest.mark.parametrize(("use", "samples"), [("only", 2 * 2), ("weighted", 8 + 7 + 2 * 2 * 2)])
def test_corrections_are_drawn_alone_or_more_often_and_their_chunks_end_with_them(
    use: str,
    samples: int,
    tmp_path: Path,
    recorded: Callable[..., Path],
    flags: Flags,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    padded: list[int] = []

    def batch(self: Samples, indices: Any) -> dict[str, torch.Tensor]:
        found = taken(self, indices)
        padded.extend((~found["action_is_pad"]).sum(1).tolist())
        return found

    taken = Samples.batch
    monkeypatch.setattr(Samples, "batch", batch)
    root = recorded(tmp_path / "corrected", lengths=(8, 7), corrected=True)
    asked = [
        "--held_out=0",
        "--steps=1",
        "--batch_size=4",
        f"--corrections.use={use}",
        "--corrections.weight=3",
    ]
    assert TRAIN.main(flags(tmp_path / "run", *asked, root=root)) == 0
    said = capsys.readouterr().out
    assert f"{samples} samples of 2 episodes" in said
    assert f"--dataset.root={root} --episodes=held-out:0.1" in said.partition("next:")[2]
    if use == "only":
        assert sorted(padded) == [1, 1, 2, 2]


def test_corrections_of_a_dataset_without_any_are_refused(
    tmp_path: Path, flags: Flags, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TRAIN.main(flags(tmp_path / "run", "--corrections.use=only")) == 2
    assert "the dataset has no column intervention" in capsys.readouterr().err


def test_a_policy_knows_where_its_demonstrations_began(tmp_path: Path, train: Train, dataset: Path):
    policy = ActPolicy.load(train(tmp_path / "run", RECOMMENDED, "--steps=1", "--held_out=0"))
    table = pandas.concat([pandas.read_parquet(file) for file in sorted(dataset.rglob("data/**/*.parquet"))])
    first = np.stack(list(table[table.frame_index == 0]["observation.state"]))
    assert len(first) > 1
    assert policy.start_pose == pytest.approx(np.median(first, axis=0), abs=1e-3)


@pytest.mark.parametrize("extra", [(), (RECOMMENDED, "--regularizer.state_noise=0.1"), ("--fused=false",)])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    tmp_path: Path, train: Train, losses: Losses, extra: tuple[str, ...]
):
    schedule = ("--scheduler.type=cosine_annealing_with_warmup", "--scheduler.num_warmup_steps=2")
    every = (*extra, *schedule, "--steps=14", "--save_freq=5", "--eval_steps=3")
    whole = train(tmp_path / "whole", *every)
    cut = train(tmp_path / "cut", *every)
    assert resumed(cut, step="000005") == 0  # after the end of an epoch, which has 6 steps, comes step 7
    assert losses(cut) == losses(whole)
    assert same(weights(cut), weights(whole))
    aside = [path.name for path in (cut / "checkpoints").glob("set-aside-*")]
    assert "set-aside-000010" in aside


def test_a_schedule_of_the_regularizer_is_resumed(tmp_path: Path, train: Train, metrics: Any):
    pi = (
        "--regularizer.preset=adaptive",
        "--regularizer.weight_schedule=pi",
        "--regularizer.ceiling=0.02",
        "--regularizer.floor=0",
    )
    every = (*pi, "--regularizer.warmup_start=0", "--regularizer.warmup_end=8", "--steps=10", "--save_freq=5")
    out = train(tmp_path / "run", *every)
    before = [line["lambda"] for line in metrics(out)]
    assert resumed(out, step="000005") == 0
    assert [line["lambda"] for line in metrics(out)] == before
    assert len(set(before)) > 5


def test_several_settings_may_change_on_resume_and_others_not(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
):
    out = train(tmp_path / "run", "--steps=3")
    before = sorted(path.name for path in out.rglob("*"))
    assert resumed(out, "--steps=4", "--policy.optimizer_lr=0.1", "--batch_size=3", "--seed=3") == 2
    said = capsys.readouterr().err
    assert "batch_size: was 4, now 3" in said
    assert "policy.optimizer_lr: was 0.003, now 0.1" in said
    assert "steps" not in said.replace("n_action_steps", "")
    assert sorted(path.name for path in out.rglob("*")) == before
    assert resumed(out, "--steps=4", "--log_freq=2", "--save_freq=2") == 0


def test_a_run_that_is_at_its_end_says_so(tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]):
    out = train(tmp_path / "run", "--steps=2")
    assert resumed(out) == 2
    assert "already done 2 of 2 steps" in capsys.readouterr().err


def test_ctrl_c_saves_and_says_how_to_go_on(
    tmp_path: Path,
    train: Train,
    flags: Flags,
    losses: Losses,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    whole, cut = train(tmp_path / "whole"), tmp_path / "cut"
    step = Trainer._step  # pyright: ignore[reportPrivateUsage]

    def interrupted(trainer: Trainer, log: bool) -> Any:
        if trainer.progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainer, log)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    assert TRAIN.main(flags(cut)) == 130
    monkeypatch.undo()
    said = capsys.readouterr().out
    assert "stopped at step 3" in said
    command = said.split("so101-train ")[-1].split()
    assert TRAIN.main(command) == 0
    assert losses(cut) == losses(whole)


def test_a_loss_that_is_no_number_stops_with_the_state_saved(
    tmp_path: Path, flags: Flags, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    poisoned = flags(tmp_path / "run", "--steps=60", "--save_freq=5")
    from so101_policy.train.device_batch import DeviceBatch

    prepare, calls = DeviceBatch.augmented, [0]

    def broken(self: DeviceBatch, raw: Any) -> Any:
        batch = prepare(self, raw)
        calls[0] += 1
        if calls[0] > 7:
            batch["action"] = batch["action"] * torch.nan
        return batch

    monkeypatch.setattr(DeviceBatch, "augmented", broken)
    assert TRAIN.main(poisoned) == 1
    said = capsys.readouterr().err
    assert "became nan at step 8" in said
    assert "--policy.optimizer_lr" in said
    checkpoints = tmp_path / "run" / "checkpoints"
    aside = next(checkpoints.glob("diverged-*"))
    for place in (checkpoints / "last", aside):  # gradients that are no numbers have changed no weight
        state = load_file(place / "pretrained_model" / "model.safetensors")
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_while_saving_leaves_the_checkpoint_before_whole(tmp_path: Path, flags: Flags):
    """In another process, for real; `test_train_state` dies at every system call of a save."""
    out = tmp_path / "run"
    program = (
        "import os, signal, sys\n"
        "calls, where = [0], int(sys.argv[1])\n"
        "def dying(name):\n"
        "    real = getattr(os, name)\n"
        "    def call(*arguments, **named):\n"
        "        calls[0] += 1\n"
        "        if calls[0] == where: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return real(*arguments, **named)\n"
        "    setattr(os, name, call)\n"
        "for name in ('fsync', 'rename', 'replace', 'symlink'): dying(name)\n"
        "from so101_policy.cli import TRAIN\n"
        "TRAIN.main(sys.argv[2:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "45", *flags(out, "--steps=6", "--save_freq=2")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    ActPolicy.load(out)
    assert resumed(out) == 0
    assert (out / "checkpoints" / "last").resolve().name == "000006"
    assert not list((out / "checkpoints").glob(".writing-*"))


def test_an_act_of_lerobots_is_fine_tuned_with_a_regularizer_and_becomes_an_act_again(
    tmp_path: Path, train: Train, flags: Flags
):
    backbone = ("--policy.vision_backbone=resnet18", "--policy.pretrained_backbone_weights=null")
    stock = train(tmp_path / "stock", "--policy.type=act", *backbone, "--steps=1")
    source = f"--policy.path={stock / 'checkpoints/last/pretrained_model'}"
    data = [flag for flag in flags(tmp_path / "tuned", "--steps=1") if not flag.startswith("--policy.")]
    assert TRAIN.main([*data, source, "--regularizer.preset=phase1", "--export=act"]) == 0
    tuned = tmp_path / "tuned" / "checkpoints" / "last" / "pretrained_model"
    configs = [
        json.loads((f / "config.json").read_text()) for f in (stock_of(stock), tuned, tmp_path / "tuned/act")
    ]
    assert [config["type"] for config in configs] == ["act", "regularized_act", "act"]
    assert configs[1]["regularizer"]["preset"] == "phase1"
    assert configs[1]["dim_model"] == 16
    before, after = weights(stock), weights(tmp_path / "tuned")
    assert any(name.startswith("model.modality_dropout.") for name in after)
    changes = [(after[name] - before[name]).abs().max() for name in before]
    assert 0 < max(changes) < 0.02  # one step from the weights that it was given
    assert set(ActPolicy.load(tmp_path / "tuned/act").cameras) == {"front", "wrist"}


def stock_of(out: Path) -> Path:
    return out / "checkpoints" / "last" / "pretrained_model"
