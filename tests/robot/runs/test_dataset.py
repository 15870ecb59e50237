"""The episode as LeRobot's dataset: what was really sent is what is stored."""

import errno
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray

from so101_policy.errors import DatasetError
from so101_robot.chunks.scheduler import Planned
from so101_robot.commands.compose import ask_outcome, make_recorder
from so101_robot.commands.run import note_losses
from so101_robot.commands.run_config import RecordFlags, RunConfig
from so101_robot.errors import ConfigError
from so101_robot.guard.guard import Verdict
from so101_robot.joints import JOINTS
from so101_robot.loop.observers import Background, Observers
from so101_robot.loop.tick import Tick
from so101_robot.runs.dataset import DatasetRecorder
from so101_robot.runs.log import RunLog
from so101_robot.state import Frame

CAMERAS = {"front": (48, 64), "wrist": (64, 64)}


class State(NamedTuple):
    time_s: float
    position: NDArray[np.float64]
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    health: None


def make_tick(index: int, **changes: Any) -> Tick:
    pose = np.full(6, float(index))
    frames = {
        name: Frame(np.full((*size, 3), 10 * index, np.uint8), index / 30, index, None)
        for name, size in CAMERAS.items()
    }
    parts: dict[str, Any] = {
        "index": index,
        "phase": "run",
        "time_s": index / 30,
        "unix_s": 0.0,
        "late_s": 0.0,
        "state": State(index / 30, pose, np.ones(6, bool), np.zeros(6, np.uint8), None),
        "frames": frames,
        "planned": Planned(pose, None, "chunk", index, 0, 0.1),
        "asked": pose + 30,
        "verdict": Verdict(pose + 10, (), None),
        "sent": pose + 10.25,
        "goal": pose + 10.25,
        "stages_ms": {},
        "fault": None,
    }
    return Tick(**{**parts, **changes})


def record(root: Path, ticks: list[Tick], **options: Any) -> None:
    recorder = DatasetRecorder("me/test", root, task="pick", fps=30, cameras=CAMERAS, **options)
    for tick in ticks:
        recorder.on_tick(tick)
    recorder.close()


def read(root: Path) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("me/test", root=root)


def test_lerobot_reads_the_episode_with_the_actions_that_were_sent(tmp_path: Path) -> None:
    before = make_tick(0, goal=None, sent=None)  # nothing was commanded yet
    held = make_tick(3, sent=None, goal=make_tick(2).goal)  # the servos go on following the last goal
    home = make_tick(5, phase="home", frames={}, planned=None)
    record(tmp_path / "set", [before, make_tick(1), make_tick(2), held, home])
    dataset = read(tmp_path / "set")
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (1, 3, 30)
    assert [float(dataset[i]["action"][0]) for i in range(3)] == [11.25, 12.25, 12.25]
    assert [float(dataset[i]["observation.state"][0]) for i in range(3)] == [1.0, 2.0, 3.0]
    assert tuple(dataset[0]["observation.images.front"].shape) == (3, 48, 64)
    assert dataset.meta.features["action"]["names"] == [f"{joint}.pos" for joint in JOINTS]
    assert dataset.meta.robot_type == "so101_follower"
    assert dataset[0]["task"] == "pick"


@pytest.mark.parametrize("success", [True, False])
def test_the_last_frame_says_whether_the_episode_succeeded(tmp_path: Path, success: bool) -> None:
    asked: list[int] = []

    def outcome() -> bool:
        asked.append(1)
        return success

    ticks = [make_tick(i) for i in range(1, 4)]
    record(tmp_path / "set", ticks, outcome=outcome)
    dataset = read(tmp_path / "set")
    assert [bool(dataset[i]["next.success"]) for i in range(3)] == [False, False, success]
    assert [float(dataset[i]["next.reward"]) for i in range(3)] == [0.0, 0.0, float(success)]
    assert [float(dataset[i]["action"][0]) for i in range(3)] == [11.25, 12.25, 13.25]
    with pytest.raises(ConfigError, match=r"--record\.success=ask"):
        record(tmp_path / "set", ticks, resume=True)
    record(tmp_path / "set", ticks, resume=True, outcome=outcome)
    assert bool(read(tmp_path / "set")[5]["next.success"]) is success
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("typed", "said"), [("y\n", True), ("what\nNo\n", False), ("", False), (KeyboardInterrupt, False)]
)
def test_the_person_at_the_arm_is_asked_and_no_answer_is_no_success(
    monkeypatch: pytest.MonkeyPatch, typed: Any, said: bool
) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    stdin = io.StringIO(typed) if isinstance(typed, str) else SimpleNamespace(readline=interrupted)
    monkeypatch.setattr("sys.stdin", stdin)
    assert ask_outcome() is said


@pytest.mark.parametrize(
    ("success", "told"), [("maybe", "ask, yes, no"), ("ask", "needs a terminal"), ("yes", None)]
)
def test_what_the_flag_takes(tmp_path: Path, success: str, told: str | None) -> None:
    config = RunConfig()
    config.record = RecordFlags("me/test", tmp_path / "set", success=success)
    if told:
        with pytest.raises(ConfigError, match=told):
            make_recorder(config, CAMERAS)
        return
    recorder = make_recorder(config, CAMERAS)
    recorder.on_tick(make_tick(1))
    recorder.close()
    assert bool(read(tmp_path / "set")[0]["next.success"])


def test_a_second_run_adds_an_episode_only_when_asked(tmp_path: Path) -> None:
    ticks = [make_tick(i) for i in range(1, 4)]
    record(tmp_path / "set", ticks)
    with pytest.raises(ConfigError, match="exists already"):
        record(tmp_path / "set", ticks)
    record(tmp_path / "set", ticks, resume=True)
    assert read(tmp_path / "set").num_episodes == 2


@pytest.mark.parametrize("where", ["add_frame", "save_episode"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_full_disk_costs_this_episode_and_no_other_and_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    resume: bool,
) -> None:
    ticks = [make_tick(i) for i in range(1, 4)]
    if resume:
        record(tmp_path / "set", ticks)
    log = RunLog(tmp_path / "run", {})
    recorder = DatasetRecorder(
        "me/test", tmp_path / "set", task="pick", fps=30, cameras=CAMERAS, resume=resume
    )
    side = Background(recorder, capacity=10)

    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LeRobotDataset, where, full)
    observers = Observers([log, side])
    for tick in ticks:
        observers.on_tick(tick)
    observers.close()
    Observers([side]).close()  # as a run does at its end, for one that was dropped
    summary = log.summary()
    assert note_losses(log, [side], summary)
    assert "No space left" in capsys.readouterr().err
    assert "No space left" in json.loads((tmp_path / "run" / "summary.json").read_text())["lost"]["recorder"]
    monkeypatch.undo()
    if resume:
        assert read(tmp_path / "set").num_episodes == 1
        record(tmp_path / "set", ticks, resume=True)
        assert read(tmp_path / "set").num_episodes == 2
    else:
        assert not (tmp_path / "set").exists()


def test_nothing_is_said_of_a_run_that_was_kept(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", {})
    log.on_tick(make_tick(1))
    log.close()
    summary = log.summary()
    assert not note_losses(log, [], summary)
    assert "lost" not in summary


def test_a_dataset_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "set", [make_tick(1), make_tick(2)])
    with pytest.raises(ConfigError, match="this run has 15"):
        DatasetRecorder("me/test", tmp_path / "set", task="", fps=15, cameras=CAMERAS, resume=True)
    with pytest.raises(ConfigError, match="no dataset to resume"):
        DatasetRecorder("me/test", tmp_path / "none", task="", fps=30, cameras=CAMERAS, resume=True)
    with pytest.raises(ConfigError, match="whole number"):
        DatasetRecorder("me/test", tmp_path / "new", task="", fps=29.97, cameras=CAMERAS)


def test_a_dataset_is_looked_at_before_an_episode_is_added(tmp_path: Path) -> None:
    root = tmp_path / "set"
    record(root, [make_tick(1), make_tick(2)])
    info = root / "meta" / "info.json"
    whole = info.read_text()
    told = json.loads(whole)
    for key in ("action", "observation.state"):
        told["features"][key]["names"] = [f"{joint}.pos" for joint in reversed(JOINTS)]
    info.write_text(json.dumps(told))
    with pytest.raises(DatasetError, match="an arm would move other joints"):
        record(root, [make_tick(3)], resume=True)
    told["features"]["action"]["names"] = [f"{joint}_joint" for joint in JOINTS]
    told["features"]["observation.state"]["names"] = told["features"]["action"]["names"]
    info.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"has the joints .*shoulder_pan_joint.*expected shoulder_pan\.pos"):
        record(root, [make_tick(3)], resume=True)
    info.write_text(whole)
    (table,) = root.glob("data/*/*.parquet")
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=table.name):
        record(root, [make_tick(3)], resume=True)


def test_degrees_are_not_added_to_another_unit(tmp_path: Path) -> None:
    root = tmp_path / "set"
    ends = [np.array([100.0, -99.7, 60, 50, 10, 30]), np.array([-20.0, 40, -30, 10, -60, 60])]
    parts = [{"goal": pose, "sent": pose} for pose in ends]
    ticks = [make_tick(i, **part) for i, part in enumerate(parts, 1)]
    for tick, pose in zip(ticks, ends, strict=True):
        tick.state.position[:] = pose
    record(root, ticks)
    with pytest.raises(ConfigError, match=r"look like -100\.\.100; so101-run records degrees"):
        record(root, [make_tick(3)], resume=True)


def test_what_a_recording_does_not_say_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = RecordFlags("me/test", tmp_path / "set")
    make_recorder(RunConfig(record=flags), CAMERAS).close()
    assert "--record.success=ask" in capsys.readouterr().out
    flags = RecordFlags("me/test", tmp_path / "other", success="yes")
    make_recorder(RunConfig(record=flags), CAMERAS).close()
    assert "--record.success" not in capsys.readouterr().out


def test_a_run_without_a_command_leaves_no_dataset(tmp_path: Path) -> None:
    record(tmp_path / "set", [make_tick(0, goal=None, sent=None)])
    assert not (tmp_path / "set").exists()
