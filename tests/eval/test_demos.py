"""Demonstrations: what LeRobot reads, what can be replayed, what an interruption costs, and what is refused."""

import dataclasses
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pexpect
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from so101_eval.cli import DEMOS
from so101_eval.demos import command as demos_command
from so101_eval.demos import jobs as demo_jobs
from so101_eval.demos import staging
from so101_eval.demos.dataset import EPISODES
from so101_eval.demos.episode import Episode, draw_demo, from_png, open_stage, play
from so101_eval.demos.folder import SETTINGS, STAGING, prepare, write_settings
from so101_eval.demos.recovery import START_OFF_RAD, WOBBLE_DEG, Recovering, recovers
from so101_eval.demos.settings import Settings
from so101_eval.demos.staging import Outcome
from so101_eval.episode.episode import Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError, EvalError
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, Reset, draw
from so101_robot.chunks.inference import Observation
from so101_robot.joints import JOINTS

SMALL = Settings("palletize-1", 2, width=32, height=32)
FIRST = DEMO_SEEDS.start


def command(out: Path, *more: str, task: str = "palletize-1") -> list[str]:
    size = ["--width", "32", "--height", "32"]
    return ["--task", task, "--episodes", "2", "--output_dir", str(out), "--num_workers", "1", *size, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes."""
    out = tmp_path_factory.mktemp("demos") / "set"
    assert DEMOS.main(command(out)) == 0
    return out


def read(root: Path) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("local/so101_demos", root=root)


def column(dataset: Any, key: str) -> np.ndarray[Any, Any]:
    return np.array(dataset.hf_dataset[key][:])


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "meta" / EPISODES).read_text().splitlines()]


def test_lerobot_loads_the_dataset_with_its_own_names_and_shapes(made: Path):
    dataset = read(made)
    assert (dataset.num_episodes, dataset.fps, dataset.meta.robot_type) == (2, 30, "so101_follower")
    for key in ("action", "observation.state"):
        assert dataset.meta.features[key]["names"] == [f"{joint}.pos" for joint in JOINTS]
    first, last = dataset[0], dataset[len(dataset) - 1]
    for camera in ("front", "wrist"):
        assert tuple(first[f"observation.images.{camera}"].shape) == (3, 32, 32)
        assert abs(first[f"observation.images.{camera}"] - last[f"observation.images.{camera}"]).max() > 0.1
    assert "box" in first["task"]
    ends = np.flatnonzero(np.diff(column(dataset, "episode_index"), append=-1))
    assert np.flatnonzero(column(dataset, "next.success")).tolist() == ends.tolist()
    assert np.array_equal(column(dataset, "next.reward"), column(dataset, "next.success").astype(float))
    off = np.abs(column(dataset, "action") - column(dataset, "observation.state"))[:, :5]
    assert 0.05 < off.mean() < 6.0  # the arm follows what is recorded, and it is not what was measured
    assert {path.name for path in made.iterdir()} == {"data", "meta", "videos"}


def test_an_episode_replays_from_its_stored_seed_and_reset(made: Path):
    dataset, records = read(made), lines(made)
    assert [record["seed"] for record in records] == [FIRST, FIRST + 1]
    with open_stage(SMALL) as stage:
        again = play(SMALL, stage, FIRST + 1)
    assert again.record == {key: value for key, value in records[1].items() if key != "episode_index"}
    assert Reset.from_json(json.dumps(records[1]["reset"])) == draw("palletize-1", seed=FIRST + 1)
    assert records[1]["score"]["success"] is True
    rows = column(dataset, "episode_index") == 1
    assert np.array_equal(column(dataset, "observation.state")[rows], again.state)
    assert np.array_equal(column(dataset, "action")[rows], again.action)
    shown = (
        dataset[int(np.flatnonzero(rows)[40])]["observation.images.front"].numpy().transpose(1, 2, 0) * 255
    )
    assert np.abs(shown - from_png(again.pictures["front"][40])).mean() < 12


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_an_interrupted_recording_goes_on_to_the_same_dataset_with_any_number_of_jobs(
    jobs: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "set"

    def play_one(settings: Settings, stage: Stage, seed: int) -> Episode:
        if seed > FIRST:
            raise KeyboardInterrupt
        return play(settings, stage, seed)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "play", play_one)
        assert DEMOS.main(command(out)) == 130
    assert "same command again" in capsys.readouterr().err
    staged = staging.path_of(out / STAGING, FIRST)
    when_ns = staged.stat().st_mtime_ns
    kept: list[int] = []
    assemble = demos_command.assemble

    def look(*arguments: Any) -> None:
        kept.append(staged.stat().st_mtime_ns)
        assemble(*arguments)

    monkeypatch.setattr(demos_command, "assemble", look)
    assert DEMOS.main([*command(out), "--num_workers", jobs]) == 0
    assert kept == [when_ns]  # not played again
    assert lines(out) == lines(made)
    for key in ("action", "observation.state", "timestamp", "episode_index"):
        assert np.array_equal(column(read(out), key), column(read(made), key))
    videos = [path.relative_to(made) for path in made.rglob("*.mp4")]
    assert len(videos) == 2
    frame, same = read(made)[100], read(out)[100]
    assert all(
        bool((frame[f"observation.images.{c}"] == same[f"observation.images.{c}"]).all())
        for c in ("front", "wrist")
    )
    capsys.readouterr()
    assert DEMOS.main(command(out)) == 0
    assert "is complete" in " ".join(capsys.readouterr().err.split())


def test_a_full_disk_is_one_message_and_leaves_no_half_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    nothing = np.zeros((0, 6), np.float32)
    empty = Episode(nothing, nothing, {"front": [], "wrist": []}, {"success": True, "frames": 0})
    monkeypatch.setattr(staging, "play", lambda *_: empty)
    monkeypatch.setattr(np, "savez", full)
    assert DEMOS.main(command(tmp_path / "set")) == 2
    error = capsys.readouterr().err
    assert "the disk is full" in error
    assert "Traceback" not in error
    assert {path.name for path in (tmp_path / "set" / STAGING).iterdir()} == {"lock", SETTINGS}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--task", "palletize-99"], "palletize-2"),
        (["--scenario", "rain"], "randomised"),
        (["--scenario", "randomised", "--level", "4"], "no level 4"),
        (["--fps", "7"], "possible are"),
        (["--fps", "0"], "possible are"),
        (["--width", "33"], "even"),
        (["--height", "0"], "even"),
        (["--episodes", "0"], "1 or more"),
        (["--num_workers", "0"], "1 or more"),
        (["--recovery", "1.5"], "0 to 1"),
        (["--recovery", "nan"], "0 to 1"),
        (["--seed", "-1"], "possible are 0 to"),
        (["--seed", "999999"], "possible are 0 to"),
    ],
)
def test_what_cannot_be_is_one_message_and_touches_nothing(
    wrong: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert DEMOS.main([*command(tmp_path / "set"), *wrong]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "set").exists()


def test_folders_of_others_and_of_other_settings_are_left_alone(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "mine.txt").write_text("precious")
    assert DEMOS.main(command(tmp_path)) == 2
    assert "not made by so101-demos" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert DEMOS.main(command(tmp_path / "mine.txt")) == 2
    assert "not made by so101-demos" in capsys.readouterr().err
    assert DEMOS.main(command(made, "--recovery", "--seed", "5")) == 2
    assert "--seed 0 (now 5), --recovery 0.0 (now 1.0)" in capsys.readouterr().err
    assert DEMOS.main(command(tmp_path / "mine.txt" / "below")) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_first_seeds_that_succeed_are_kept_whoever_finishes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextmanager
    def threads(*_: object) -> Generator[Callable[[int], Future[Outcome]]]:
        def attempt(seed: int) -> Outcome:
            time.sleep(0.001 * (seed * 7 % 5))
            return Outcome(seed, seed % 3 != 1, 10)

        with ThreadPoolExecutor(4) as pool:
            yield lambda seed: pool.submit(attempt, seed)

    monkeypatch.setattr(demo_jobs, "players", threads)
    expected = [seed for seed in range(FIRST, FIRST + 100) if seed % 3 != 1][:12]
    for jobs in (1, 4):
        seeds, _ = demo_jobs.play_all(Settings("palletize-1", 12), tmp_path, jobs, Console(quiet=True))
        assert seeds == expected


def test_an_expert_that_never_succeeds_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def threads(*_: object) -> Generator[Callable[[int], Future[Outcome]]]:
        with ThreadPoolExecutor(1) as pool:
            yield lambda seed: pool.submit(Outcome, seed, False, 0)

    monkeypatch.setattr(demo_jobs, "players", threads)
    with pytest.raises(EvalError, match="failed in 20 of 20"):
        demo_jobs.play_all(Settings("palletize-1", 5), tmp_path, 1, Console(quiet=True))


class Still:
    """An expert that stands."""

    phase = "carry"

    def __call__(self, observation: Observation) -> np.ndarray[Any, Any]:
        return np.zeros(6)


def test_recovery_pushes_the_command_and_records_what_the_expert_asked_for():
    still = Still()
    recovering = Recovering(cast(Expert, still), draw("palletize-1", seed=FIRST))
    observation = cast(Observation, None)
    commands = np.array([recovering(observation) for _ in range(6000)])
    assert recovering.clean is not None
    assert not recovering.clean.any()
    assert np.allclose(commands.std(axis=0), WOBBLE_DEG, rtol=0.25)
    still.phase = "close"
    assert not np.array([recovering(observation) for _ in range(20)])[10:].any()


def test_recovery_starts_elsewhere_and_the_boxes_lie_as_before():
    settings = Settings("palletize-1", 1, recovery=True)
    nominal, off = draw("palletize-1", seed=FIRST), draw_demo(settings, FIRST)
    assert off.boxes == nominal.boxes
    moved_rad = np.abs(np.array(off.arm_rad) - nominal.arm_rad)
    assert 0.03 < moved_rad.max() <= START_OFF_RAD
    assert off == draw_demo(settings, FIRST)
    with pytest.raises(EvalError, match="not for demo"):
        draw_demo(settings, 7)


def test_a_share_of_the_seeds_recovers_and_a_larger_share_keeps_them():
    seeds = range(FIRST, FIRST + 1000)
    half, most = ({seed for seed in seeds if recovers(share, seed)} for share in (0.5, 0.8))
    assert 450 < len(half) < 550
    assert half < most
    assert not any(recovers(0.0, seed) for seed in seeds)
    assert all(recovers(1.0, seed) for seed in seeds)
    settings = Settings("palletize-1", 1, recovery=0.5)
    for seed in seeds[:10]:
        moved = draw_demo(settings, seed).arm_rad != draw("palletize-1", seed=seed).arm_rad
        assert moved == (seed in half)


@pytest.mark.parametrize(
    ("asked", "share"), [([], 0.0), (["--recovery"], 1.0), (["--recovery", "0.25"], 0.25)]
)
def test_recovery_is_for_all_episodes_or_for_a_share_of_them(
    asked: list[str], share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[Settings] = []
    monkeypatch.setattr(demos_command, "make_dataset", lambda settings, *_: told.append(settings))
    assert DEMOS.main(command(tmp_path / "set", *asked)) == 0
    assert told[0].recovery == share


def test_in_a_share_of_the_episodes_something_is_moved_and_the_place_it_is_moved_to_is_recorded():
    settings = Settings("palletize-1", 1, moved=0.5)
    moves = [draw_demo(settings, FIRST + i).moves for i in range(40)]
    there = [move for move in moves if move is not None]
    assert 10 < len(there) < 30
    assert {move.pallet_m is None for move in there} == {True, False}
    assert all(draw_demo(Settings("palletize-1", 1), FIRST + i).moves is None for i in range(5))


@pytest.mark.parametrize("flag", ["--moved", "--teleop"])
def test_moved_and_teleop_reach_the_episodes_that_are_recorded(flag: str, tmp_path: Path):
    out = tmp_path / "set"
    assert DEMOS.main(command(out, flag, "--episodes", "1")) == 0
    (line,) = (out / "meta" / EPISODES).read_text().splitlines()
    record = json.loads(line)
    assert record["success"]
    plain = play(Settings("palletize-1", 1, width=16, height=16), stage_of_one(), FIRST)
    if flag == "--moved":
        assert set(record["happened"]) <= {"box 0 moved", "pallet moved"}
        assert record["happened"]
        assert record["reset"]["moves"]
    else:
        (table,) = (out / "data").rglob("*.parquet")
        states = np.stack(pq.read_table(table)["observation.state"].to_pylist())
        assert np.ptp(states[:15, :5], axis=0).max() < 1.0  # idle at first
        assert record["frames"] > len(plain.state) + 15


@cache
def stage_of_one() -> Stage:
    return open_stage(Settings("palletize-1", 1, width=16, height=16))


def test_a_dataset_that_an_older_version_began_goes_on(tmp_path: Path):
    settings = Settings("palletize-1", 2)
    old = dataclasses.asdict(settings)
    for name in ("moved", "teleop"):
        del old[name]
    (tmp_path / STAGING).mkdir()
    (tmp_path / STAGING / SETTINGS).write_text(json.dumps(old))
    assert prepare(settings, tmp_path)
    with pytest.raises(ConfigError, match=r"--moved 0.0 \(now 0.5\)"):
        prepare(dataclasses.replace(settings, moved=0.5), tmp_path)


SLOW = Settings("palletize-1", 1, width=16, height=16, fps=10)


@pytest.mark.parametrize("recovery", [0.0, 1.0])
def test_at_a_lower_rate_a_frame_has_what_is_seen_at_its_start_and_what_is_asked_for_at_its_end(
    recovery: float,
):
    settings = dataclasses.replace(SLOW, recovery=recovery)
    with open_stage(settings) as stage:
        slow = play(settings, stage, FIRST)
        fast = play(dataclasses.replace(settings, fps=30), stage, FIRST)
    ends = np.minimum(np.arange(len(slow.state)) * 3 + 2, len(fast.state) - 1)
    assert np.array_equal(slow.state, fast.state[::3])
    assert np.array_equal(slow.action, fast.action[ends])
    for camera in ("front", "wrist"):
        assert all(map(np.array_equal, slow.pictures[camera], fast.pictures[camera][::3]))
    assert slow.record["state_hash"] == fast.record["state_hash"]
    assert slow.record["recovery"] is bool(recovery)


def test_of_a_recovery_the_dataset_has_what_the_expert_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked, sent = list[Any](), list[Any]()
    push = Recovering.__call__

    def noted(self: Recovering, observation: Observation) -> Any:
        sent.append(push(self, observation))
        asked.append(self.clean)
        return sent[-1]

    monkeypatch.setattr(Recovering, "__call__", noted)
    with open_stage(SLOW) as stage:
        episode = play(dataclasses.replace(SLOW, recovery=1.0, fps=30), stage, FIRST)
    clean, pushed = (np.array([x for x in seen if x is not None], np.float32) for seen in (asked, sent))
    assert np.array_equal(episode.action, clean)
    assert np.abs(pushed - clean).max() > 1.0


def test_straight_lines_between_the_actions_of_a_lower_rate_do_the_task():
    with open_stage(SLOW) as stage:
        action = play(SLOW, stage, FIRST).action.astype(np.float64)

        def replay(stage: Stage) -> Scripted:
            corners = np.vstack([stage.robot.read().position, action])
            ticks = np.arange(1, 3 * len(action) + 1) / 3
            targets = zip(*(np.interp(ticks, range(len(corners)), joint) for joint in corners.T), strict=True)
            return Scripted(lambda observation: next(targets, None))

        again = stage.attempt(draw_demo(SLOW, FIRST), replay)
    assert again.score.success, again.score.failure


@pytest.mark.slow  # three processes that import all; test_pool.py has what they do with Ctrl-C
@pytest.mark.timeout(900)
def test_ctrl_c_while_processes_play_is_one_message_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a terminal, where Ctrl-C goes to the playing processes too."""
    out = tmp_path / "set"
    asked = [*command(out), "--episodes", "3", "--num_workers", "2"]
    run = pexpect.spawn(sys.executable, ["-m", "so101_eval.demos", *asked], encoding="utf-8", timeout=600)
    run.expect("1/3")
    run.sendintr()
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 130
    said = str(run.before)
    assert said.count("interrupted; finished episodes are kept") == 1
    assert "Traceback" not in said
    kept = {outcome.seed for outcome in staging.outcomes(out / STAGING)}
    assert kept
    played: list[int] = []

    def play_one(settings: Settings, stage: Stage, seed: int) -> Episode:
        played.append(seed)
        return play(settings, stage, seed)

    monkeypatch.setattr(staging, "play", play_one)
    assert DEMOS.main([*asked, "--num_workers", "1"]) == 0
    assert not kept & set(played)
    assert [record["seed"] for record in lines(out)] == sorted(kept | set(played))


@pytest.mark.parametrize(
    "seam", ["PIL.Image.Image.save", "lerobot.datasets.lerobot_dataset.LeRobotDataset.save_episode"]
)
def test_a_disk_that_is_full_while_the_dataset_is_written_is_one_message_and_costs_no_episode(
    seam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "set"
    folder = out / STAGING
    folder.mkdir(parents=True)
    write_settings(folder / SETTINGS, SMALL)
    with open_stage(SMALL) as stage:
        short = play(SMALL, stage, FIRST)
    short = Episode(
        short.state[:20], short.action[:20], {n: p[:20] for n, p in short.pictures.items()}, short.record
    )
    for seed in (FIRST, FIRST + 1):
        staging.store(folder, seed, short._replace(record={**short.record, "seed": seed}))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(seam, full)
        assert DEMOS.main(command(out)) == 2
    said = capfd.readouterr().err.splitlines()
    assert "the disk is full" in said[-1]
    assert not [line for line in said if "Traceback" in line or "ERROR" in line]
    assert [path.name for path in out.iterdir()] == [STAGING]
    assert not (folder / "dataset").exists()
    assert len(list(staging.outcomes(folder))) == 2
    assert DEMOS.main(command(out)) == 0
    assert len(read(out)) == 40
