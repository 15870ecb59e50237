"""Giving a study's policies away: halved weights, a card, and nothing half written."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments import ship_demo_policies
from experiments.levers.run import Stage
from experiments.ship_demo_policies import main
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.registration.background import Background
from so101_policy.registration.files import write_background

BACKGROUND = "so101_background.front.png"
START = [1.0, -60.0, 45.0, 63.0, -90.0, 27.0]


@pytest.fixture
def study(tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with one trained policy, stock:11, and the datasets and probes it takes to describe it."""
    folder = tmp_path / "study"
    rng = np.random.default_rng(0)
    checkpoint = Stage("screening", folder, [], jobs=1).checkpoint("stock", 11)
    checkpoint.parent.mkdir(parents=True)
    make(checkpoint)
    grey = rng.integers(0, 255, (24, 24, 1), np.uint8).repeat(3, axis=2)
    everywhere = np.ones((24, 24), bool)
    write_background(
        checkpoint / BACKGROUND, Background(grey, everywhere, 1.0, 48, everywhere), "local/demos"
    )

    def frame(i: int) -> dict[str, Any]:
        pictures = {
            f"observation.images.{name}": torch.from_numpy(rng.random((3, 24, 24), np.float32))
            for name in ("front", "wrist")
        }
        return pictures | {"observation.state": torch.tensor(START) + i}

    probes = {
        "reliance": {"any": {"executed": {"value": 0.91}}},
        "attention": {"shares": {"state": 0.25, "vision": 0.7}},
    }
    monkeypatch.setattr(ship_demo_policies, "open_dataset", lambda *_: [frame(i) for i in range(40)])
    monkeypatch.setattr(ship_demo_policies, "_start", lambda *_: START)
    monkeypatch.setattr(ship_demo_policies, "_probes", lambda *_: probes)
    return folder


@pytest.fixture
def full(study: Path) -> Path:
    return Stage("screening", study, [], jobs=1).checkpoint("stock", 11)


def test_a_policy_is_given_away_at_half_the_size_with_its_card_and_start(
    study: Path, full: Path, tmp_path: Path
):
    out = tmp_path / "given"
    assert main([str(study), "--policies", "stock=stock:11", "--out", str(out)]) == 0
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
    assert "--steps=9000" in card
    assert "--seed=11" in card
    assert "--recovery" not in card
    assert "It has not been evaluated." in card
    assert str(tmp_path) not in card
    assert (out / "stock" / BACKGROUND).read_bytes() == (full / BACKGROUND).read_bytes()


def test_the_card_counts_the_policys_own_episodes_by_scenario_with_and_without_correction(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @dataclasses.dataclass
    class Record:
        policy: str
        scenario: str
        level: int
        success: bool | None

    def records(file: Path) -> list[Record]:
        won = 3 if file.parent.name == "plain" else 7
        mine = [Record("stock", "camera-pose", 2, n < won) for n in range(8)]
        return [*mine, Record("stock", "camera-pose", 2, None), Record("other", "nominal", 0, True)]

    monkeypatch.setattr(ship_demo_policies, "read_episodes", records)
    runs = ["--evaluation", str(tmp_path / "plain"), "--corrected", str(tmp_path / "corrected")]
    out = tmp_path / "given"
    assert main([str(study), "--policies", "stock=stock:11", "--out", str(out), *runs]) == 0
    rows = [line for line in (out / "stock" / "README.md").read_text().splitlines() if line.startswith("| ")]
    assert rows == [
        "| scenario | as it comes | moved cameras put back |",
        "| camera-pose:2 | 3/8 [0.14, 0.69] | 7/8 [0.53, 0.98] |",
    ]


def test_weights_that_half_precision_cannot_hold_are_refused_and_nothing_is_written(
    study: Path, full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = full / "model.safetensors"
    weights = load_file(file)
    first = next(iter(weights))
    save_file(weights | {first: torch.full_like(weights[first], 1e6)}, file)
    assert main([str(study), "--policies", "stock=stock:11", "--out", str(tmp_path / "given")]) == 2
    assert "does not fit into half precision" in capsys.readouterr().err
    assert not (tmp_path / "given" / "stock").exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("stock=phase9:0", "expected NAME=LEVER:SEED, e.g. stock=stock:11; levers: stock, "),
        ("stock=corrected:11", "expected NAME=LEVER:SEED"),  # plays the policies of another
        ("stock=stock:12", "stock:12 is not trained yet"),
        ("stock:11", "expected NAME=LEVER:SEED"),
    ],
)
def test_what_cannot_be_given_away_is_one_message(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, says: str
):
    assert main([str(study), "--policies", asked, "--out", str(tmp_path / "given")]) == 2
    assert says in capsys.readouterr().err


def test_what_is_there_is_not_overwritten(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "given" / "stock").mkdir(parents=True)
    assert main([str(study), "--policies", "stock=stock:11", "--out", str(tmp_path / "given")]) == 2
    assert "exists; remove it" in capsys.readouterr().err
