"""The film of a run: what is in it, what a killed process leaves, and that it costs no more than it should."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from shown_ticks import make_tick
from so101_robot.runs.clip import CLIP, FPS, HEIGHTS, WAITING, Film
from so101_robot.state import Frame

SUPPORT = Path(__file__).parents[2] / "support"


def pictures_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def two_cameras(brightness: int) -> dict[str, Frame]:
    front, wrist = np.full((48, 64, 3), brightness, np.uint8), np.full((32, 64, 3), 255, np.uint8)
    return {"wrist": Frame(wrist, 0.0, brightness, None), "front": Frame(front, 0.0, brightness, None)}


def test_all_cameras_stand_side_by_side_ten_times_a_second(tmp_path: Path):
    film = Film(tmp_path / CLIP, 30.0, heights=HEIGHTS)
    film.on_tick(make_tick(0, phase="approach"))
    for index in range(60):
        film.on_tick(make_tick(index, pictures=two_cameras(4 * index)))
    film.close()
    film.close()
    found = pictures_of(tmp_path / CLIP)
    assert len(found) == 2 * FPS
    assert found[0].shape == (240, 640, 3)  # enlarged, front on the left
    assert found[0][100, 150].max() < 30
    assert found[-1][100, 150].min() > 200
    assert found[0][20, 450].min() > 240
    assert found[0][-20, 450].max() < 20  # the lower one is filled up


def test_large_pictures_are_made_smaller_and_a_film_without_limits_is_as_it_was(tmp_path: Path):
    for name, heights, shape in (("small", (24, 36), (36, 96, 3)), ("as_is", None, (48, 128, 3))):
        film = Film(tmp_path / name, 30.0, heights=heights)
        for index in range(6):
            film.on_tick(make_tick(index, pictures=two_cameras(100)))
        film.close()
        assert pictures_of(tmp_path / name)[0].shape == shape


def test_it_ends_at_its_longest_and_a_run_without_pictures_has_none(tmp_path: Path):
    film = Film(tmp_path / CLIP, 30.0, longest_s=1.0)
    for index in range(90):
        film.on_tick(make_tick(index, pictures=two_cameras(100)))
    film.close()
    assert len(pictures_of(tmp_path / CLIP)) == 10
    film = Film(tmp_path / "none.mp4", 30.0)
    film.on_tick(make_tick(0, pictures={}))
    film.close()
    assert not (tmp_path / "none.mp4").exists()


def test_a_film_that_ends_is_bounded_in_size_whatever_the_cameras_see(tmp_path: Path):
    """Noise is what costs most."""
    random, sizes = np.random.default_rng(0), {}
    noise = [random.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(5)]
    for name, longest_s in (("bounded", 600.0), ("not", np.inf)):
        film = Film(tmp_path / name, 10.0, longest_s=longest_s)
        for index in range(60):
            film.on_tick(make_tick(index, pictures={"front": Frame(noise[index % 5], 0.0, index, None)}))
        film.close()
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["bounded"] < 2.3e6 < sizes["not"]  # six seconds of 2 Mbit/s, and what is buffered


def test_an_encoder_that_does_not_keep_up_leaves_pictures_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    film = Film(tmp_path / CLIP, 10.0)
    monkeypatch.setattr(film, "_encode", lambda: None)
    for index in range(WAITING + 7):
        film.on_tick(make_tick(index, pictures=two_cameras(100)))
    assert film.left_out == 7


def test_what_the_disk_says_is_raised_where_observers_are_dropped(tmp_path: Path):
    film = Film(tmp_path / "no" / "folder.mp4", 10.0)
    with pytest.raises(OSError, match="No such file"):  # noqa: PT012 - in one of them
        for index in range(200):
            film.on_tick(make_tick(index, pictures=two_cameras(100)))
        film.close()


KILLED = """
from shown_ticks import make_tick
from so101_robot.runs.clip import Film
import sys, time
film = Film(sys.argv[1], 10.0)
for index in range(40):
    film.on_tick(make_tick(index))
while film._queue.qsize():
    time.sleep(0.01)
print("played", flush=True)
time.sleep(60)
"""


def test_what_a_killed_run_leaves_can_be_played(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / CLIP)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"played\n"
        run.send_signal(signal.SIGKILL)
    assert len(pictures_of(tmp_path / CLIP)) >= 29  # all but the last second, which was not written yet
