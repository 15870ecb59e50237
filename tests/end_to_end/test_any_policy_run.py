"""so101-run with a policy that is not an ACT, on the mock arm: 30 ticks a second, a guard that holds, one message."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from any_policies import KINDS, PX, untrained_in, untrained_of
from so101_policy.checkpoint.types import TYPES
from so101_policy.cli import TRAIN
from so101_policy.inference.any_policy import AnyPolicy
from so101_policy.inference.loaded import Prediction
from so101_policy.inference.seen import Ahead
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_policy_of_any_type_is_played_at_thirty_ticks_a_second(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    checkpoint = untrained_in(tmp_path, kind)
    back = {"vqbet": 2, "diffusion": 1, "smolvla": 0}[kind]
    looked: list[int] = []
    real: Callable[..., Prediction] = AnyPolicy.predict

    def predict(self: AnyPolicy, state: Any, images: Mapping[str, Any], before: Any = ()) -> Prediction:
        looked.append(len(before))
        return real(self, state, images, before)

    monkeypatch.setattr(AnyPolicy, "predict", predict)
    out = tmp_path / "run"
    # slower than a tick, and than the chunk's part that is played
    more = ["--inference_latency_s=0.15", "--policy.samples=3", "--task=put the box on the pallet"]
    assert RUN.main(arguments(checkpoint, out, *more)) == 0
    printed = capsys.readouterr().out
    assert "no shares of attention: shares are of ACT's decoder" in printed
    assert "spread over samples" in printed

    ticks, about = running(out), json.loads((out / "run.json").read_text())["policy"]
    assert [tick["tick"] for tick in ticks] == list(range(60))
    assert all(tick["guard"] for tick in ticks)
    task = "put the box on the pallet" if kind == "smolvla" else None
    assert (about["type"], about["n_obs_steps"], about["task"]) == (kind, back + 1, task)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rate_hz"] == pytest.approx(30, abs=0.01)
    assert summary["shares_mean"] is None
    assert summary["spread"]["p50"] > 0
    assert looked[0] == min(back, 1)  # the first moment stands for those before it
    assert len(looked) > 3
    assert set(looked[1:]) == {back}


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


def test_real_time_chunking_of_a_policy_that_cannot_is_one_message_or_a_cross_fade(
    vqbet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert RUN.main(arguments(vqbet, tmp_path / "run", "--policy.rtc.enabled=true")) == 2
    error = capsys.readouterr().err
    assert error.count("so101-run: ") == 1
    assert "a vqbet cannot be guided by its own plan" in error
    assert not (tmp_path / "run").exists()
    auto = ["--policy.rtc.enabled=auto", "--duration_s=0.2"]
    assert RUN.main(arguments(vqbet, tmp_path / "run", *auto)) == 0
    assert "chunks are cross-faded: a vqbet cannot" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["policy"]["rtc"] is False


@pytest.mark.parametrize("kind", [KINDS[2]])
def test_real_time_chunking_of_a_policy_that_can_runs_at_thirty_ticks_a_second(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    checkpoint, told = untrained_in(tmp_path, kind), list[Ahead | None]()
    real = AnyPolicy.be_guided

    def be_guided(self: AnyPolicy, ahead: Ahead | None) -> None:
        told.append(ahead)
        real(self, ahead)

    monkeypatch.setattr(AnyPolicy, "be_guided", be_guided)
    rtc = ["--policy.rtc.enabled=true", "--task=put the box"]
    more = [*rtc, "--policy.rtc.execution_horizon=4", "--inference_latency_s=0.1"]
    assert RUN.main(arguments(checkpoint, tmp_path / "run", *more)) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["policy"]["rtc"] is True
    assert len(running(tmp_path / "run")) == 60
    assert told[0] is None
    assert len(told) > 5
    assert all(ahead is not None and ahead.delay == 3 and 4 <= len(ahead.actions) <= 8 for ahead in told[1:])
    for flag, expected in (
        ("--chunks.mode=synchronous", "expected --chunks.mode=asynchronous"),
        ("--policy.rtc.execution_horizon=10", "expected less than the 10 actions"),
    ):
        assert RUN.main(arguments(checkpoint, tmp_path / "none", *rtc, flag)) == 2
        assert expected in capsys.readouterr().err


# the page -----

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
OF_THE_PAGE = {command.name: command for command in (RUN, TRAIN)}


def on_the_page() -> list[list[str]]:
    """The commands of docs/policies.md, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_page_knows_every_type_and_every_flag_on_it_exists():
    for words in on_the_page():
        OF_THE_PAGE[words[0]].check_flags([word for word in words[1:] if word.startswith("-")])
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = {name: "refused" in row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named.pop("regularized_act") is False
    assert named == {name: bool(about.refused) for name, about in TYPES.items()}


@pytest.mark.slow
def test_the_page_can_be_followed(vqbet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    quick = [f"--robot.mock.width={PX}", f"--robot.mock.height={PX}", "--robot.mock.realtime_factor=0"]
    quick += ["--dashboard=off", "--approach_speed=0", "--clip=false", "--preflight.skip=[ranges]"]
    followed = 0
    for words in on_the_page():
        words = [word.replace("CHECKPOINT", str(vqbet)) for word in words]
        if words[0] == RUN.name:
            assert RUN.main([*words[1:], *quick]) == 0
            followed += 1
    assert followed == 4
