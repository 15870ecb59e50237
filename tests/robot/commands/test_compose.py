"""The rate and the units of a policy in `so101-run`: its checkpoint's, else the user's; and a run at two rates."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from checkpoints import thin
from so101_policy.checkpoint.trained_on import TrainedOn
from so101_policy.units import Units
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus.units import Scale
from so101_robot.chunks.planning import Playing
from so101_robot.cli import RUN
from so101_robot.commands.compose import playing, policy_fps, start_pose, units, with_alarm
from so101_robot.commands.run_config import ChunkFlags, PolicyFlags, RecordFlags, RunConfig
from so101_robot.errors import ConfigError
from so101_robot.joints import JOINTS
from so101_robot.loop import attention_alarm
from so101_robot.runs.log import read_ticks


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained policy of 10 Hz whose statistics keep its actions near a pose of the arm."""
    folder = tmp_path_factory.mktemp("checkpoint")
    return thin(folder, px=32, n_action_steps=5, fps=10.0)


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


def policy_of(fps: float | None, *, stated: bool = True, units: Units | None = None) -> Any:
    """A policy as far as its rate and units matter."""
    known = TrainedOn(fps=fps, stated=stated and fps is not None, units=units, unknown="nothing is there")
    more = {
        "n_action_steps": 50,
        "temporal_ensemble_coeff": 0.2,
        "start_pose": [10.0] * 6,
        "n_obs_steps": 3,
        "guided": False,
    }
    return cast(Any, SimpleNamespace(trained_on=known, path=Path("p"), **more))


@pytest.mark.parametrize(
    ("known", "said", "loop", "expected"),
    [
        (policy_of(10.0), None, None, 10.0),
        (policy_of(10.0), None, 60.0, 10.0),
        (policy_of(10.0), 10.0, None, 10.0),
        (policy_of(10.0, stated=False), None, 60.0, 10.0),
        (policy_of(10.0, stated=False), 15.0, None, 15.0),
        (policy_of(None), 15.0, 60.0, 15.0),
        (policy_of(None), None, 60.0, 60.0),
    ],
)
def test_the_checkpoint_knows_best_then_the_user_then_the_dataset_then_the_loop_that_was_asked_for(
    known: Any, said: float | None, loop: float | None, expected: float
) -> None:
    assert policy_fps(RunConfig(policy=PolicyFlags(fps=said), fps=loop), known) == expected


def test_a_rate_that_nobody_says_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match=r"nothing is there. Give --policy\.fps"):
        policy_fps(RunConfig(), policy_of(None))


def test_a_user_who_contradicts_the_checkpoint_is_told() -> None:
    with pytest.raises(ConfigError, match=r"leave --policy\.fps out"):
        policy_fps(RunConfig(policy=PolicyFlags(fps=30.0)), policy_of(10.0))


@pytest.mark.parametrize("use_degrees", [True, False])
def test_units_are_the_checkpoints_else_the_users(use_degrees: bool) -> None:
    robot = SO101Config(use_degrees=use_degrees)
    said = Units.DEGREES if use_degrees else Units.RANGE
    other = Units.RANGE if use_degrees else Units.DEGREES
    assert units(RunConfig(), policy_of(10.0)) is None
    assert units(RunConfig(), policy_of(10.0, units=other)) is other
    assert units(RunConfig(robot=robot), policy_of(10.0)) is said
    assert units(RunConfig(robot=robot), policy_of(10.0, units=said)) is said
    with pytest.raises(ConfigError, match=r"leave --robot\.use_degrees out"):
        units(RunConfig(robot=robot), policy_of(10.0, units=other))


def test_two_units_do_not_get_into_one_dataset() -> None:
    config = RunConfig(robot=SO101Config(use_degrees=False), record=RecordFlags(repo_id="me/x", resume=True))
    with pytest.raises(ConfigError, match="so101-run records degrees"):
        units(config, policy_of(10.0))
    assert units(RunConfig(record=config.record), policy_of(10.0)) is None


def test_a_start_pose_in_other_units_is_converted() -> None:
    rows = {joint: SimpleNamespace(range_min=1000, range_max=3000, drive_mode=0) for joint in JOINTS}
    scale = Scale(cast(Any, rows))
    assert start_pose(policy_of(10.0), Units.DEGREES, scale) == [10.0] * 6
    assert start_pose(policy_of(10.0), Units.RANGE, scale) == pytest.approx([100 * 360 / 4095] * 5 + [10.0])


def test_what_the_flags_say_about_chunks_is_how_the_policy_is_played() -> None:
    config = RunConfig(
        policy=PolicyFlags(n_action_steps=7),
        chunks=ChunkFlags("synchronous", 0.5),
        fps=20.0,
        inference_latency_s=0.3,
    )
    assert playing(config, policy_of(10.0)) == Playing(10.0, 20.0, "synchronous", 7, 0.3, 0.2, 0.5, 3)
    guided = policy_of(10.0)
    guided.guided = True
    assert playing(config, guided).guided_ticks == 10


def test_the_attention_alarm_goes_by_the_runs_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(attention_alarm, "AttentionAlarm", made.append)
    config = RunConfig(blind=attention_alarm.AttentionAlarmConfig(share=0.3, for_s=9.0))
    with_alarm(config, [])
    assert made == [config.blind]
