"""With everything extra off, the losses are those of lerobot-train, step by step; fused, they are as good."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from so101_policy.cli import TRAIN

Flags = Callable[..., list[str]]
Losses = Callable[[Path], list[float]]

STEPS = ("--steps=16", "--held_out=0", "--batch_size=4")
"""Two epochs of 30 samples, with a short batch at the end of each."""


def losses_of_lerobot(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of `lerobot-train` with these arguments, its own loader and loop, in this process."""
    from lerobot.scripts import lerobot_train

    found: list[float] = []
    update = lerobot_train.update_policy

    def noted(*given: Any, **named: Any) -> Any:
        tracker, output = update(*given, **named)
        found.append(tracker.loss.val)
        return tracker, output

    monkeypatch.setattr(lerobot_train, "update_policy", noted)
    monkeypatch.setattr(lerobot_train, "init_logging", lambda **_: None)
    monkeypatch.setattr(sys, "argv", ["lerobot-train", *arguments])
    lerobot_train.train()
    return found


@pytest.fixture
def of_lerobot(flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    ours = ("--held_out", "--trackers", "--eval_steps")
    arguments = [flag for flag in flags(tmp_path / "lerobot", *STEPS) if not flag.startswith(ours)]
    arguments += ["--policy.type=regularized_act", "--num_workers=0", "--save_checkpoint=false"]
    arguments += ["--policy.push_to_hub=false", "--dataset.video_backend=pyav"]
    return losses_of_lerobot(arguments, monkeypatch)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_losses_are_those_of_lerobot_train_with_dropout_on(
    flags: Flags, losses: Losses, of_lerobot: list[float], tmp_path: Path
):
    out = tmp_path / "ours"
    assert TRAIN.main(flags(out, *STEPS, "--fused=false", "--save_checkpoint=false")) == 0
    assert losses(out) == pytest.approx(of_lerobot, rel=1e-6)
    assert len(of_lerobot) == 16
    assert not (out / "checkpoints").exists()
