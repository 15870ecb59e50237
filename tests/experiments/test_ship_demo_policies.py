"""Giving a study's policies away: halved weights, a card, and nothing half written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments import ship_demo_policies
from experiments.ship_demo_policies import main
from so101_eval.study.design import Design
from so101_eval.study.probing import Findings
from so101_eval.study.training import TrainRun
from so101_policy.inference.act_policy import ActPolicy

QUICK = Design(task="palletize-1-small", variants=("baseline", "phase1"), train_seeds=(0,), steps=40)
START = [1.0, -60.0, 45.0, 63.0, -90.0, 27.0]


@pytest.fixture
def study(tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with one trained policy, baseline:0, and the datasets and probes it takes to describe it."""
    folder = tmp_path / "study"
    QUICK.settle(folder)
    last = folder / "training" / "baseline-s0" / "checkpoints" / "last"
    last.mkdir(parents=True)
    make(last / "pretrained_model")
    rng = np.random.default_rng(0)

    def frame(i: int) -> dict[str, Any]:
        pictures = {
            f"observation.images.{name}": torch.from_numpy(rng.random((3, 24, 24), np.float32))
            for name in ("front", "wrist")
        }
        return pictures | {"observation.state": torch.tensor(START) + i}

    def probed(run: TrainRun, data: Path) -> Findings:
        reliance = {"reliance": {"any": {"executed": {"value": 0.91}}}}
        return Findings(run, {}, {**reliance, "attention": {"shares": {"state": 0.25, "vision": 0.7}}})

    monkeypatch.setattr(ship_demo_policies, "open_dataset", lambda *_: [frame(i) for i in range(40)])
    monkeypatch.setattr(ship_demo_policies, "_start", lambda *_: START)
    monkeypatch.setattr(ship_demo_policies, "probe", probed)
    return folder


def test_a_policy_is_given_away_at_half_the_size_with_its_card_and_start(study: Path, tmp_path: Path):
    out = tmp_path / "given"
    assert main([str(study), "--policies", "stock=baseline:0", "--out", str(out)]) == 0
    full = study / "training" / "baseline-s0" / "checkpoints" / "last" / "pretrained_model"
    given = load_file(out / "stock" / "model.safetensors")
    for name, weights in load_file(full / "model.safetensors").items():
        assert given[name].dtype == torch.float16
        torch.testing.assert_close(given[name].float(), weights, atol=1e-3, rtol=1e-3)
    policy = ActPolicy.load(out / "stock")
    assert policy.start_pose == START
    assert {weights.dtype for weights in policy.policy.parameters()} == {torch.float32}
    pictures = {name: np.full((24, 24, 3), 90, np.uint8) for name in policy.cameras}
    difference = (
        policy.predict(START, pictures).actions - ActPolicy.load(full).predict(START, pictures).actions
    )
    assert 0 < np.abs(difference).max() < 0.05
    card = (out / "stock" / "README.md").read_text()
    assert "reliance on the joint state is 0.91" in card
    assert "--steps=40" in card
    assert "It has not been evaluated." in card
    assert str(tmp_path) not in card


def test_weights_that_half_precision_cannot_hold_are_refused_and_nothing_is_written(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = (
        study / "training" / "baseline-s0" / "checkpoints" / "last" / "pretrained_model" / "model.safetensors"
    )
    weights = load_file(file)
    first = next(iter(weights))
    save_file(weights | {first: torch.full_like(weights[first], 1e6)}, file)
    assert main([str(study), "--policies", "stock=baseline:0", "--out", str(tmp_path / "given")]) == 2
    assert "does not fit into half precision" in capsys.readouterr().err
    assert not (tmp_path / "given" / "stock").exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("stock=phase9:0", "has no policy phase9:0; possible: baseline:0, phase1:0"),
        ("stock=phase1:0", "phase1:0 is not trained yet"),
        ("baseline:0", "expected NAME=VARIANT:SEED"),
    ],
)
def test_what_cannot_be_given_away_is_one_message(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, says: str
):
    assert main([str(study), "--policies", asked, "--out", str(tmp_path / "given")]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_that_holds_no_study_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path), "--policies", "stock=baseline:0", "--out", str(tmp_path / "given")]) == 2
    assert "is no study: it has no design.json" in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "given" / "stock").mkdir(parents=True)
    assert main([str(study), "--policies", "stock=baseline:0", "--out", str(tmp_path / "given")]) == 2
    assert "exists; remove it" in capsys.readouterr().err
