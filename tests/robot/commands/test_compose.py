"""The rate of a policy in `so101-run`: its checkpoint's, else the user's, else the loop's; and a run at two rates."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from checkpoints import untrained
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_robot.chunks.planning import Playing
from so101_robot.cli import RUN
from so101_robot.commands.compose import playing, policy_fps, with_alarm
from so101_robot.commands.run_config import ChunkFlags, PolicyFlags, RunConfig
from so101_robot.errors import ConfigError
from so101_robot.loop import attention_alarm
from so101_robot.runs.log import read_ticks


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained policy of 10 Hz whose statistics keep its actions near a pose of the arm."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config, policy = RegularizedACTConfig, RegularizedACTPolicy
    return untrained(folder, px=32, config=config, policy=policy, n_action_steps=5, fps=10.0)


def on_the_mock(checkpoint: Path, out: Path, *more: str) -> list[str]:
    mock = ["--robot.port=mock", "--robot.mock.realtime_factor=0"]
    size = ["--robot.mock.width=32", "--robot.mock.height=32", "--dashboard=off", "--ending.home=false"]
    return [f"--policy.path={checkpoint}", f"--output_dir={out}", *mock, *size, *more]


@pytest.mark.parametrize(("fps", "every"), [(30, 3), (60, 6)])
def test_a_policy_of_ten_hertz_moves_the_arm_straight_between_its_actions(
    checkpoint: Path, tmp_path: Path, fps: int, every: int
) -> None:
    out, answers = tmp_path / "run", ("--duration_s=1.5", "--inference_latency_s=0.05", "--approach_speed=0")
    assert RUN.main(on_the_mock(checkpoint, out, f"--fps={fps}", *answers)) == 0
    about = json.loads((out / "run.json").read_text())["policy"]
    assert (about["fps"], about["ticks_per_action"]) == (10.0, every)
    ticks = [tick for tick in read_ticks(out / "ticks.jsonl") if tick.get("phase") == "run"]
    playing = [tick for tick in ticks if tick["asked"] is not None]
    assert len(playing) == len(ticks) - every  # the answer is there for the second window
    asked = np.array([tick["asked"] for tick in playing])
    steps = np.diff(asked, axis=0)[every - 1 :].reshape(-1, every, 6)  # window by window
    np.testing.assert_allclose(steps, np.repeat(steps[:, :1], every, axis=1), atol=0.0021)  # logged to 0.001
    assert np.abs(steps).max() > 0.01
    observed = {tick["chunk"]["observed_tick"] for tick in playing}
    assert len(observed) > 2
    assert all(index % every == 0 for index in observed)
    assert json.loads((out / "summary.json").read_text())["starved_ticks"] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--fps=25",), "loops of 10, 20, 30"),
        (("--fps=5",), "policies of 5, 2.5"),
        (("--policy.fps=30",), "was trained on 10 actions per second"),
        (("--policy.fps=0",), "--policy.fps=0: expected 0.1 to 200"),
        (("--fps=201",), "--fps=201: expected 1 to 200"),
    ],
)
def test_a_rate_that_cannot_be_is_one_message_and_leaves_no_run_folder(
    checkpoint: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert RUN.main(on_the_mock(checkpoint, tmp_path / "run", *flags)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("own", "said", "expected"),
    [(10.0, None, 10.0), (10.0, 10.0, 10.0), (None, 15.0, 15.0), (None, None, 30.0)],
)
def test_the_checkpoint_knows_best_then_the_user_then_the_loop(
    own: float | None, said: float | None, expected: float
) -> None:
    policy = cast("Any", SimpleNamespace(fps=own, path=Path("p")))
    assert policy_fps(RunConfig(policy=PolicyFlags(fps=said)), policy) == expected


def test_a_user_who_contradicts_the_checkpoint_is_told() -> None:
    policy = cast("Any", SimpleNamespace(fps=10.0, path=Path("p")))
    with pytest.raises(ConfigError, match=r"leave --policy\.fps out"):
        policy_fps(RunConfig(policy=PolicyFlags(fps=30.0)), policy)


def test_what_the_flags_say_about_chunks_is_how_the_policy_is_played() -> None:
    policy = cast(Any, SimpleNamespace(fps=10.0, path="x", n_action_steps=50, temporal_ensemble_coeff=0.2))
    config = RunConfig(
        policy=PolicyFlags(n_action_steps=7),
        chunks=ChunkFlags("synchronous", 0.5),
        fps=20.0,
        inference_latency_s=0.3,
    )
    assert playing(config, policy) == Playing(10.0, 20.0, "synchronous", 7, 0.3, 0.2, 0.5)


def test_the_attention_alarm_goes_by_the_runs_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(attention_alarm, "AttentionAlarm", made.append)
    config = RunConfig(blind=attention_alarm.AttentionAlarmConfig(share=0.3, for_s=9.0))
    with_alarm(config, [])
    assert made == [config.blind]
