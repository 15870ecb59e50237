"""so101-run with a policy that is not an ACT, on the mock arm: 30 ticks a second, a guard that holds, one message."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from any_policies import PX, untrained_of
from so101_policy.inference.any_policy import AnyPolicy
from so101_policy.inference.loaded import Prediction
from so101_robot.cli import RUN
from so101_robot.runs.log import read_ticks


@pytest.fixture(scope="module")
def vqbet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_of("vqbet", tmp_path_factory.mktemp("vqbet"))


def arguments(checkpoint: Path, out: Path, *more: str) -> list[str]:
    camera = f"--robot.mock.width={PX} --robot.mock.height={PX}"
    return [
        f"--policy.path={checkpoint}",
        *("--robot.port=mock", "--robot.mock.realtime_factor=0", *camera.split()),
        *(f"--output_dir={out}", "--duration_s=2", "--dashboard=off", "--approach_speed=0", "--clip=false"),
        *("--preflight.skip=[ranges]", *more),
    ]


def running(out: Path) -> list[dict[str, Any]]:
    return [tick for tick in read_ticks(out / "ticks.jsonl") if tick.get("phase") == "run"]


def test_a_policy_that_looks_back_is_played_at_thirty_ticks_a_second(
    vqbet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    looked: list[int] = []
    real: Callable[..., Prediction] = AnyPolicy.predict

    def predict(self: AnyPolicy, state: Any, images: Mapping[str, Any], before: Any = ()) -> Prediction:
        looked.append(len(before))
        return real(self, state, images, before)

    monkeypatch.setattr(AnyPolicy, "predict", predict)
    out = tmp_path / "run"
    # slower than a tick, and than the chunk's part that is played
    assert RUN.main(arguments(vqbet, out, "--inference_latency_s=0.15", "--policy.samples=3")) == 0
    printed = capsys.readouterr().out
    assert "no shares of attention: shares are of ACT's decoder" in printed
    assert "spread over samples" in printed

    ticks, about = running(out), json.loads((out / "run.json").read_text())["policy"]
    assert [tick["tick"] for tick in ticks] == list(range(60))
    assert all(tick["guard"] for tick in ticks)
    assert (about["type"], about["n_obs_steps"], about["task"]) == ("vqbet", 3, None)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rate_hz"] == pytest.approx(30, abs=0.01)
    assert summary["shares_mean"] is None
    assert summary["spread"]["p50"] > 0
    assert looked[0] == 1  # the first moment stands for those before it
    assert looked[1:]
    assert set(looked[1:]) == {2}


@pytest.mark.parametrize("nonsense", [np.nan, 1e9])
def test_nonsense_of_the_policy_does_not_move_the_arm(
    vqbet: Path, tmp_path: Path, nonsense: float, monkeypatch: pytest.MonkeyPatch
):
    def predict(self: AnyPolicy, state: NDArray[np.float64], *rest: Any) -> Prediction:
        return Prediction(np.full((8, 6), nonsense, np.float32), None)

    monkeypatch.setattr(AnyPolicy, "predict", predict)
    out = tmp_path / "run"
    RUN.main(arguments(vqbet, out, "--max_stop_s=0.5"))
    goals = np.array([tick["sent"] for tick in running(out) if tick["sent"] is not None])
    if len(goals):
        assert np.isfinite(goals).all()
        steps = np.abs(np.diff(goals, axis=0))
        assert steps.max(initial=0) <= 180 / 30  # a tick of the guard's fastest joint
    if np.isnan(nonsense):
        assert len(goals) == 0 or np.ptp(goals, axis=0).max() < 0.5


def test_what_cannot_be_played_is_one_message(
    vqbet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = json.loads((vqbet / "config.json").read_text())
    for kind, expected in (
        ("smolvla", "smolvla"),
        ("groot", "trust_remote_code"),
        ("magic", "known are act"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | {"type": kind}))
        assert RUN.main(arguments(folder, tmp_path / "run")) == 2
        captured = capsys.readouterr().err
        assert captured.count("so101-run: ") == 1
        assert "Traceback" not in captured
        assert expected in captured
    assert not (tmp_path / "run").exists()
