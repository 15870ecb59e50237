"""An episode again, from its record: the same to the last bit, and a video that others can read."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from so101_eval.cli import EVAL
from so101_eval.errors import ConfigError
from so101_eval.evaluation.records import EPISODES, RUN, EpisodeRecord, read_episodes
from so101_eval.evaluation.replay import DIFFERENT, EVERY, HEIGHT, SAME, WIDTH, describe, film, find, replay
from so101_policy.command_line.command_shell import WRONG_INPUT
from so101_policy.inference.engine import installed_engine


def frames_of(video: Path) -> tuple[int, tuple[int, ...], float]:
    """How many, of what shape, and how different the first and the last are; read by OpenCV."""
    capture = cv2.VideoCapture(str(video))
    frames: list[Any] = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(frame)
    capture.release()
    first, last = (np.asarray(frame, np.float64) for frame in (frames[0], frames[-1]))
    return len(frames), frames[0].shape, float(np.abs(first - last).mean())


def changed(finished: Path, folder: Path, **changes: Any) -> Path:
    """The run with another first record: the expert's in scene 0."""
    out = Path(shutil.copytree(finished, folder))
    records = read_episodes(out / EPISODES)
    records[0] = dataclasses.replace(records[0], **changes)
    (out / EPISODES).write_text("".join(record.to_json() + "\n" for record in records))
    return out


def test_an_episode_is_repeated_to_the_last_bit_and_filmed(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    video = tmp_path / "videos" / "it.mp4"
    assert EVAL.main(["replay", str(finished), "expert,nominal,0", "--video", str(video)]) == SAME
    said = capsys.readouterr().out
    record = read_episodes(finished / EPISODES)[0]
    assert "expert, palletize-1 nominal:0, seed 0: success in" in said
    assert f"repeated to the last bit: state {(record.state_hash or '')[:16]}" in said
    count, shape, difference = frames_of(video)
    assert count == (record.ticks + EVERY - 1) // EVERY
    assert shape == (HEIGHT, 2 * WIDTH, 3)
    assert difference > 0.1
    assert [path.name for path in video.parent.iterdir()] == ["it.mp4"]


def test_a_checkpoint_repeats_itself_with_all_that_it_looked_at(finished: Path):
    record = read_episodes(finished / EPISODES)[-1]
    replayed = replay(finished, record)
    assert (replayed.differing, replayed.other_versions) == ([], [])
    assert replayed.again.state_hash == record.state_hash
    assert replayed.again.shares == record.shares
    assert (record.engine, replayed.again.engine) == (installed_engine(), installed_engine())


def test_a_run_of_before_is_repeated_by_lerobots_own_forward(finished: Path, tmp_path: Path):
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    meta = json.loads((out / RUN).read_text())
    del meta["plan"]["engine"]  # as it was written before there was a choice
    (out / RUN).write_text(json.dumps(meta))
    record = dataclasses.replace(read_episodes(out / EPISODES)[-1], engine=None)
    replayed = replay(out, record)
    assert replayed.again.engine == "plain"
    assert "engine" not in replayed.differing


def test_an_episode_that_went_otherwise_is_told(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = changed(finished, tmp_path / "run", state_hash="another", ticks=7)
    assert EVAL.main(["replay", str(out), "1", "--no_video"]) == DIFFERENT
    assert "went otherwise: success in" in (said := capsys.readouterr().out)
    assert "different are ticks, state_hash" in said
    assert not (out / "media").exists()


def test_other_versions_are_told_and_judged_by_what_happened(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    versions = read_episodes(finished / EPISODES)[0].versions
    out = changed(finished, tmp_path / "run", versions={**versions, "torch": "1.0"})
    assert EVAL.main(["replay", str(out), "1", "--no_video"]) == SAME
    said = capsys.readouterr().out
    assert "other versions than recorded: torch" in said
    assert "repeated to the last bit" in said


def test_an_episode_of_the_real_arm_cannot_be_repeated(finished: Path, tmp_path: Path):
    out = changed(finished, tmp_path / "run", kind="real", state_hash=None)
    with pytest.raises(ConfigError, match="played on the real arm; only a simulation can be repeated"):
        replay(out, read_episodes(out / EPISODES)[0])


def test_a_checkpoint_that_is_gone_is_one_message_and_leaves_no_video(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    meta = json.loads((out / RUN).read_text())
    meta["plan"]["policies"][-1]["path"] = str(tmp_path / "gone")
    (out / RUN).write_text(json.dumps(meta))
    assert EVAL.main(["replay", str(out), "mine,nominal,0"]) == WRONG_INPUT
    assert "there is no checkpoint" in capsys.readouterr().err
    assert list((out / "media").iterdir()) == []


@pytest.mark.parametrize("episode", ["expert,nominal,1", "expert, nominal:0, 1", "2"])
def test_an_episode_is_named_by_what_it_is_or_by_its_line(finished: Path, episode: str):
    record = find(read_episodes(finished / EPISODES), episode)
    assert (record.policy, record.seed) == ("expert", 1)


@pytest.mark.parametrize(
    ("episode", "says"),
    [
        ("0", "there is no episode 0; the run has 1 to 6"),
        ("7", "there is no episode 7; the run has 1 to 6"),
        ("expert", "'expert' means 0 episodes of this run; write .* for example expert,nominal:0,0"),
        ("expert,nominal,9", "means 0 episodes"),
        ("expert,nominal:2,0", "means 0 episodes"),
    ],
)
def test_what_is_no_episode_is_refused(finished: Path, episode: str, says: str):
    with pytest.raises(ConfigError, match=says):
        find(read_episodes(finished / EPISODES), episode)


def test_a_scenario_of_two_levels_needs_its_level(finished: Path):
    one = read_episodes(finished / EPISODES)[0]
    both = [dataclasses.replace(one, scenario="blur", level=level) for level in (1, 2)]
    assert find(both, "expert,blur:2,0").level == 2
    with pytest.raises(ConfigError, match="means 2 episodes"):
        find(both, "expert,blur,0")
    with pytest.raises(ConfigError, match="no episodes yet"):
        find([], "1")


def test_how_it_went_is_told_in_words(finished: Path):
    records: list[EpisodeRecord] = read_episodes(finished / EPISODES)
    assert describe(records[0]).startswith("success in ")
    assert describe(records[2]) == "never_moved in phase approach at 17.5 s"
    nothing = dataclasses.replace(records[0], success=None)
    assert describe(nothing) == "no verdict"


def test_a_film_that_breaks_off_leaves_the_one_before(tmp_path: Path):
    video, grey = tmp_path / "it.mp4", np.full((16, 32, 3), 90, np.uint8)
    with film(video) as show:
        show(grey)
    before = video.read_bytes()

    def breaks_off() -> None:
        with film(video) as show:
            show(grey)
            raise ConfigError("it broke")

    with pytest.raises(ConfigError, match="it broke"):
        breaks_off()
    assert video.read_bytes() == before
    assert list(tmp_path.iterdir()) == [video]
