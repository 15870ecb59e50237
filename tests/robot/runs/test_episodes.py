"""Episodes as a person's keys say, and a dataset that is whole whenever the program is killed."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from so101_robot.errors import ConfigError
from so101_robot.guard.guard import Verdict
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.runs import whole_dataset
from so101_robot.runs.dataset import DatasetRecorder
from so101_robot.runs.episodes import EpisodeRecorder, EpisodesConfig, State

FPS = 10.0
PATIENCE_S = 60.0


def make_tick(index: int, **changes: Any) -> Tick:
    pose = np.full(6, float(index))
    parts: dict[str, Any] = {
        "index": index,
        "phase": "run",
        "time_s": index / FPS,
        "unix_s": 0.0,
        "late_s": 0.0,
        "state": SimpleNamespace(time_s=index / FPS, position=pose),
        "frames": {},
        "planned": None,
        "asked": pose,
        "verdict": Verdict(pose, (), None),
        "sent": pose,
        "goal": pose,
        "stages_ms": {},
        "fault": None,
    }
    return Tick(**{**parts, **changes})


class Session:
    """A recorder whose keys, time and readiness are the test's. Without cameras: a video takes seconds."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.keys: list[str] = []
        self.said: list[str] = []
        self.ended: list[str] = []
        self.ready = True
        self.known: dict[str, Any] = {}
        self.index = 0

        def pressed() -> list[str]:
            keys, self.keys = self.keys, []
            return keys

        def tell(message: Message) -> None:
            self.said.append(message.text)

        config = EpisodesConfig("me/set", root, "pick", FPS, {}, **options)
        self.recorder = EpisodeRecorder(
            config, pressed, lambda: self.ready, tell, self.ended.append, self.known
        )

    def run(self, ticks: int, *keys: str) -> State:
        """So many ticks; the keys are pressed before the first."""
        self.keys += keys
        for _ in range(ticks):
            self.recorder.on_tick(make_tick(self.index))
            self.index += 1
        return self.recorder.state

    def saved(self) -> State:
        """Ticks until the disk has it."""
        deadline = time.monotonic() + PATIENCE_S
        while self.recorder.state is State.SAVING:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            self.run(1)
        return self.recorder.state

    def kill(self) -> None:
        """What kill -9 leaves: nothing is said any more to the writer."""
        self.recorder._items.put(None)
        self.recorder._thread.join()


def dataset(root: Path) -> LeRobotDataset:
    return LeRobotDataset("me/set", root=root)


def lengths(root: Path) -> list[int]:
    return [int(length) for length in dataset(root).meta.episodes["length"]]


def test_keys_begin_end_and_throw_away_and_say_whether_it_succeeded(tmp_path: Path) -> None:
    session = Session(tmp_path / "set", num_episodes=2, ask=True)
    assert session.run(3) is State.WAITING, "no key, no episode"
    session.ready = False
    assert session.run(1, "n") is State.WAITING, "the follower has not caught up"
    session.ready = True
    assert session.run(4, "right") is State.RECORDING
    assert session.run(2, "r") is State.WAITING
    assert session.run(5, "space") is State.RECORDING
    assert session.run(3, "n") is State.ASKING
    assert session.run(1, "x") is State.ASKING
    session.run(1, "y")
    assert session.saved() is State.WAITING
    session.run(7, "enter")
    session.run(1, "right")
    session.run(1, "n")
    assert session.saved() is State.DONE
    assert session.ended == ["all episodes are recorded"]
    session.recorder.close()
    assert lengths(session.root) == [5, 7]
    found = dataset(session.root)
    assert [bool(found[i]["next.success"]) for i in range(12)] == [False] * 4 + [True] + [False] * 7
    assert session.known["record"] == {
        "dataset": str(session.root),
        "episodes": 2,
        "thrown_away": 1,
        "dropped_ticks": 0,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_episode_begins_and_ends_by_the_clock_where_times_are_given_and_q_keeps_what_there_is(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "set", episode_time_s=1.0, reset_time_s=0.5)
    session.run(5)
    assert session.run(1) is State.RECORDING
    session.run(10)
    assert session.saved() is State.WAITING
    session.run(8)
    assert session.recorder.state is State.RECORDING
    session.run(1, "q")
    assert session.saved() is State.DONE
    session.recorder.close()
    assert session.ended == ["the recording was ended by a key"]
    assert len(lengths(session.root)) == 2
    assert lengths(session.root)[0] == 10


def test_what_is_under_way_when_the_run_ends_is_thrown_away_and_what_was_asked_about_is_kept(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "set", ask=True)
    session.run(4, "n")
    session.recorder.close()
    assert "not kept" in session.said[-1]
    assert not session.root.exists()
    session = Session(tmp_path / "set", ask=True)
    session.run(4, "n")
    session.run(1, "n")
    session.recorder.close()
    assert lengths(session.root) == [4]
    session.recorder.close()  # twice is once


def test_a_killed_program_costs_the_episode_under_way_and_the_dataset_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "set"
    session = Session(root)
    session.run(6, "n")
    session.run(1, "n")
    session.saved()
    session.run(4, "n")
    session.kill()
    assert whole_dataset.next_of(root).exists()
    assert lengths(root) == [6]
    again = Session(root, resume=True)
    again.run(3, "n")
    again.run(1, "n")
    again.saved()
    again.recorder.close()
    assert lengths(root) == [6, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_program_that_is_killed_while_it_saves_leaves_the_episodes_before_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    session = Session(root)
    session.run(6, "n")
    session.run(1, "n")
    session.saved()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def killed(self: DatasetRecorder) -> None:
        """Everything is written but the ends of the files."""
        self._dataset.save_episode(parallel_encoding=False)
        raise RuntimeError("killed")

    monkeypatch.setattr(DatasetRecorder, "close", killed)
    session.run(4, "n")
    session.run(1, "n")
    session.kill()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert lengths(root) == [6]


def test_a_recording_that_fails_ends_the_run_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tmp_path / "set")

    def full(self: DatasetRecorder, tick: Tick) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DatasetRecorder, "on_tick", full)
    session.run(1, "n")

    def until_it_is_told() -> None:
        for _ in range(1000):
            session.run(1)
            time.sleep(0.01)

    with pytest.raises(OSError, match="No space left"):
        until_it_is_told()
    assert session.ended == ["the recording failed"]
    with pytest.raises(OSError, match="No space left"):
        session.recorder.close()
    assert not (tmp_path / "set").exists()


def test_a_dataset_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(ConfigError, match=r"--record\.resume=true"):
        Session(tmp_path / "set")
    with pytest.raises(ConfigError, match="no dataset to resume"):
        Session(tmp_path / "other", resume=True)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        root = tmp_path / "set"
        for name in (
            "data/chunk-000/file-000.parquet",
            "meta/episodes/chunk-000/file-000.parquet",
            "meta/info.json",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return make


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_copy_takes_the_datasets_place_and_shares_what_is_finished(
    tree: Callable[[str], Path], can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(whole_dataset, "_exchanged", lambda one, other: False)
    root = tree("old")
    copy = whole_dataset.copy_of(root)
    assert os.path.samefile(
        copy / "data/chunk-000/file-000.parquet", root / "data/chunk-000/file-000.parquet"
    )
    assert not os.path.samefile(copy / "meta/info.json", root / "meta/info.json")
    (copy / "meta/info.json").write_text("new")
    assert (root / "meta/info.json").read_text() == "old"
    whole_dataset.publish(root)
    assert (root / "meta/info.json").read_text() == "new"
    assert [path.name for path in root.parent.iterdir()] == ["set"]


def test_a_program_killed_between_two_renames_is_put_right(tree: Callable[[str], Path]) -> None:
    root = tree("old")
    root.rename(whole_dataset.before_of(root))
    whole_dataset.recover(root)
    assert (root / "meta/info.json").read_text() == "old"
    shutil.copytree(root, whole_dataset.before_of(root))
    whole_dataset.recover(root)
    assert [path.name for path in root.parent.iterdir()] == ["set"]


class FakeStage:
    """A way of three ticks to where an episode begins."""

    may_set_out = True

    def __init__(self) -> None:
        self.left, self.arrived = 0, False
        self.log: list[str] = []

    @property
    def under_way(self) -> bool:
        self.left -= 1
        self.arrived = self.left == 0
        return self.left >= 0

    def set_out(self) -> bool:
        self.left, self.arrived = 3, False
        return True

    def give_up(self) -> None:
        self.left = 0

    def begin(self, number: int) -> str:
        self.log.append(f"begin {number}")
        return "DISTURBED" if number == 1 else ""

    def end(self) -> None:
        self.log.append("end")


def test_an_episode_begins_where_the_stage_has_led_the_arm_and_the_stage_hears_of_it(tmp_path: Path) -> None:
    session = Session(tmp_path / "set", num_episodes=2)
    stage = session.recorder.stage = FakeStage()
    assert session.run(1, "n") is State.SETTING_OUT
    assert session.run(1, "n") is State.SETTING_OUT
    assert session.run(1, "r") is State.WAITING
    assert "did not get to its start" in session.said[-1]
    assert session.run(5, "n") is State.RECORDING
    assert session.run(2, "r") is State.WAITING
    session.run(5, "n")
    session.run(2, "n")
    assert session.saved() is State.WAITING
    session.run(5, "n")
    assert "DISTURBED" in session.said[-1]
    session.run(2, "n")
    assert session.saved() is State.DONE
    assert stage.log == ["begin 0", "end", "begin 0", "end", "begin 1", "end"], "as many as are kept"
    assert session.recorder.figures()["disturbed"] == [1]
    session.recorder.close()
