"""The frame cache: LeRobot's own pixels, whole or not there, and one message for what cannot be."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image
from rich.console import Console

from so101_policy.errors import PolicyError
from so101_policy.frames import build as frames_build
from so101_policy.frames import cache as frames
from so101_policy.frames.cache import FrameCache, open_cache
from so101_policy.frames.dataset import fingerprint, open_dataset
from so101_policy.frames.folders import LOCK, MANIFEST, PARTIAL, locked

FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def dataset_of(root: Path) -> LeRobotDataset:
    return open_dataset("local/tiny", root)


def pixels(dataset: LeRobotDataset, index: int, camera: str) -> np.ndarray[Any, Any]:
    """LeRobot's, one frame at a time, as k / 255."""
    item: Any = dataset[index]
    return item[camera].permute(1, 2, 0).numpy()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_pixel_is_what_lerobot_decodes(stored: Path, tmp_path: Path):
    dataset = dataset_of(stored)
    cache = open_cache(dataset, folder=tmp_path)
    assert (len(cache), cache.size, set(cache.images)) == (28, (32, 48), {FRONT, WRIST})
    for index in range(28):
        for camera, image in cache.images.items():
            assert np.array_equal(image[index].astype(np.float32) / 255, pixels(dataset, index, camera))
    assert len({image.tobytes() for image in cache.images[FRONT]}) == 28


def test_pieces_smaller_than_an_episode_and_several_threads_change_nothing(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = open_cache(dataset_of(videos), folder=tmp_path / "one", jobs=1)
    monkeypatch.setattr(frames_build, "PIECE_BYTES", 4 * 32 * 48 * 3)
    many = open_cache(dataset_of(videos), folder=tmp_path / "many", jobs=4)
    assert len(many.manifest.pieces) == 2 * (3 + 2 + 3)
    assert len(one.manifest.pieces) == 2 * 3
    assert all(np.array_equal(one.images[camera], many.images[camera]) for camera in (FRONT, WRIST))


def test_frames_are_resized_with_antialiasing(videos: Path, tmp_path: Path):
    dataset = dataset_of(videos)
    cache = open_cache(dataset, (8, 16), tmp_path)
    for index in (0, 13):
        picture = Image.fromarray((pixels(dataset, index, FRONT) * 255).round().astype(np.uint8))
        by_pillow = np.asarray(picture.resize((16, 8), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(cache.images[FRONT][index] - by_pillow).max() <= 1


def test_a_cache_is_found_again_and_sizes_lie_side_by_side(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = dataset_of(videos)
    made = open_cache(dataset, folder=tmp_path)
    small = open_cache(dataset, (8, 8), tmp_path)
    front = open_cache(dataset, folder=tmp_path, cameras=[FRONT])
    assert set(front.images) == {FRONT}
    assert len({made.folder, small.folder, front.folder}) == 3
    assert names(tmp_path) == {made.folder.name, small.folder.name, front.folder.name}
    monkeypatch.setattr(frames, "build", None)  # would fail
    assert open_cache(dataset, folder=tmp_path).folder == made.folder
    assert open_cache(dataset.meta, (32, 48), tmp_path).folder == made.folder
    with pytest.raises(ValueError, match="read-only"):
        made.images[FRONT][0] = 0


def test_the_folder_is_the_users_unless_it_is_said(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SO101_CACHE", raising=False)
    assert open_cache(dataset_of(videos)).folder.parent == tmp_path / "home/.cache/so101/frames"
    monkeypatch.setenv("SO101_CACHE", str(tmp_path / "said"))
    assert open_cache(dataset_of(videos)).folder.parent == tmp_path / "said"


def test_a_dataset_recorded_anew_in_the_same_place_is_noticed(record: Callable[..., Path], tmp_path: Path):
    root = record(tmp_path / "set", lengths=(4,), cameras={"front": (32, 32)})
    before = open_cache(dataset_of(root), folder=tmp_path / "caches")
    shutil.move(root, tmp_path / "moved")
    assert fingerprint(tmp_path / "moved") == before.manifest.fingerprint
    record(root, lengths=(4,), cameras={"front": (32, 32)}, seed=1)
    after = open_cache(dataset_of(root), folder=tmp_path / "caches")
    assert after.folder != before.folder
    assert not np.array_equal(after.images[FRONT], before.images[FRONT])


@pytest.mark.parametrize("where", ["meta/info.json", "data", "videos"])
def test_touching_any_file_with_frames_changes_the_fingerprint(videos: Path, tmp_path: Path, where: str):
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    was = fingerprint(root)
    path = root / where
    if path.is_file():
        path.write_text(path.read_text() + "\n")
    else:
        file = next(file for file in path.rglob("*") if file.is_file())
        os.utime(file, ns=(1, 1))
    assert fingerprint(root) != was


def test_an_interruption_leaves_nothing_behind(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(frames_build, "_compare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_cache(dataset_of(videos), folder=tmp_path)
    assert names(tmp_path) == set()


def test_ctrl_c_while_decoding_ends_after_the_pieces_at_hand(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decode, begun = frames_build._decode, []  # pyright: ignore[reportPrivateUsage]

    def slowly(*arguments: Any) -> Any:
        begun.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return decode(*arguments)

    monkeypatch.setattr(frames_build, "_decode", slowly)
    with pytest.raises(KeyboardInterrupt):
        open_cache(dataset_of(videos), folder=tmp_path, jobs=1)
    assert len(begun) < 6
    assert names(tmp_path) == set()


KILLED_WHILE_COMPARING = """
import os, signal, sys
from pathlib import Path
from so101_policy.frames import build as frames_build
from so101_policy.frames.dataset import open_dataset
from so101_policy.frames.cache import open_cache
frames_build._compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_cache(open_dataset("local/tiny", Path(sys.argv[1])), folder=Path(sys.argv[2]))
"""


def test_what_a_killed_process_left_is_no_cache_and_goes_the_next_time(videos: Path, tmp_path: Path):
    dataset = dataset_of(videos)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_COMPARING, videos, tmp_path], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert {Path(name).suffix for name in names(tmp_path)} == {PARTIAL, LOCK}
    (tmp_path / f"9x9-of-another{PARTIAL}").mkdir()
    cache = open_cache(dataset, folder=tmp_path)
    assert names(tmp_path) == {cache.folder.name}


def test_two_that_want_the_same_cache_build_it_once(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build, built = frames.build, []

    def counted(*arguments: Any) -> Any:
        built.append(1)
        time.sleep(0.3)
        return build(*arguments)

    monkeypatch.setattr(frames, "build", counted)
    caches: list[FrameCache] = []
    dataset = dataset_of(videos)
    said = StringIO()

    def want() -> None:
        caches.append(open_cache(dataset, folder=tmp_path, progress=Console(file=said)))

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caches) == 2
    assert len(built) == 1
    assert "waiting" in said.getvalue()
    assert names(tmp_path) == {caches[0].folder.name}


def test_what_is_being_built_elsewhere_is_not_taken_for_a_leftover(videos: Path, tmp_path: Path):
    other = tmp_path / f"9x9-other{PARTIAL}"
    other.mkdir()
    with locked(tmp_path / "9x9-other"):
        open_cache(dataset_of(videos), folder=tmp_path)
        assert other.is_dir()


def test_a_full_disk_is_noticed_before_anything_is_written(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(PolicyError, match=r"disk is full.*0 MB.*so101-frames remove") as caught:
        open_cache(dataset_of(videos), folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("where", ["posix_fallocate", "pwrite", "fdatasync"])
def test_a_disk_that_fills_up_while_writing_is_one_message_and_leaves_nothing(
    where: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, where, full)
    with pytest.raises(PolicyError, match="the disk is full"):
        open_cache(dataset_of(videos), folder=tmp_path)
    assert names(tmp_path) == set()


def test_short_writes_are_completed(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: pwrite(file, data[:1000], place))  # pyright: ignore[reportUnknownLambdaType]
    open_cache(dataset_of(videos), folder=tmp_path).check()


def test_a_damaged_cache_is_noticed_and_built_again(videos: Path, tmp_path: Path):
    dataset = dataset_of(videos)
    cache = open_cache(dataset, folder=tmp_path)
    whole = {camera: np.array(image) for camera, image in cache.images.items()}
    file = cache.folder / f"{FRONT}.npy"
    for damage in (_flip_a_byte, _cut_off):
        damage(file)
        with pytest.raises(PolicyError, match=r"not what was written|damaged"):
            FrameCache.load(cache.folder).check()
        said = StringIO()
        while "decoding again" not in said.getvalue():  # not every opening looks at every piece
            open_cache(dataset, folder=tmp_path, progress=Console(file=said))
        again = open_cache(dataset, folder=tmp_path)
        assert all(np.array_equal(again.images[camera], whole[camera]) for camera in whole)
    (cache.folder / MANIFEST).write_text(json.dumps({"format": 0}))
    open_cache(dataset, folder=tmp_path).check()


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_frames_that_lerobot_decodes_differently_at_random_are_refused(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decode = frames_build._decode  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(frames_build, "_decode", lambda *a: decode(*a)[::-1].copy())  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(PolicyError, match="came out differently"):
        open_cache(dataset_of(videos), folder=tmp_path)
    assert names(tmp_path) == set()


def test_a_damaged_video_is_one_message(videos: Path, tmp_path: Path):
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    video = next((root / "videos" / WRIST).rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(PolicyError, match=rf"{WRIST} cannot be decoded from .*mp4"):
        open_cache(dataset_of(root), folder=tmp_path / "caches")
    assert names(tmp_path / "caches") == set()


def test_videos_of_another_size_than_described_are_refused(videos: Path, tmp_path: Path):
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    info = json.loads((root / "meta/info.json").read_text())
    for camera in (FRONT, WRIST):
        info["features"][camera]["shape"] = [30, 40, 3]
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(PolicyError, match=r"frames of \(3, 32, 48\).*says uint8 of \(3, 30, 40\)"):
        open_cache(dataset_of(root), folder=tmp_path / "caches")


def test_what_cannot_be_asked_is_refused_with_what_can(
    videos: Path, record: Callable[..., Path], tmp_path: Path
):
    dataset = dataset_of(videos)
    with pytest.raises(PolicyError, match=f"no camera observation.images.top; it has {FRONT}, {WRIST}"):
        open_cache(dataset, folder=tmp_path, cameras=["observation.images.top"])
    with pytest.raises(PolicyError, match="cannot be 0x8 pixels"):
        open_cache(dataset, (8, 0), tmp_path)
    with pytest.raises(PolicyError, match="1 or more"):
        open_cache(dataset, folder=tmp_path, jobs=0)
    (tmp_path / "file").touch()
    with pytest.raises(PolicyError, match="cannot be used"):
        open_cache(dataset, folder=tmp_path / "file")
    uneven = record(tmp_path / "uneven", lengths=(3,), cameras={"front": (32, 32), "wrist": (32, 48)})
    with pytest.raises(PolicyError, match=r"differ in size: .*front 32x32, .*wrist 48x32; .*--cache.size"):
        open_cache(dataset_of(uneven), folder=tmp_path / "caches")
    assert open_cache(dataset_of(uneven), (16, 16), tmp_path / "caches").size == (16, 16)
    blind = record(tmp_path / "blind", lengths=(3,), cameras={})
    with pytest.raises(PolicyError, match=r"has no camera; its features are observation.state"):
        open_cache(dataset_of(blind), folder=tmp_path)


def test_a_folder_without_a_dataset_is_one_message_and_stays_as_it_was(tmp_path: Path):
    with pytest.raises(PolicyError, match="there is no dataset folder"):
        dataset_of(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(PolicyError, match=r"no meta/info.json; it holds photo.jpg"):
        dataset_of(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text('{"codebase_version": "v2.1"')
    with pytest.raises(PolicyError, match="cannot be read"):
        dataset_of(tmp_path)


def test_frames_go_to_a_device_once_and_only_where_they_fit(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = open_cache(dataset_of(videos), folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(frames, "free_bytes", lambda _: 2 * cache.manifest.nbytes - 2)  # pyright: ignore[reportUnknownLambdaType]
        assert cache.to("cpu") is None
    there = cache.to("cpu")
    assert there is not None
    assert cache.to(torch.device("cpu")) is there
    assert all(np.array_equal(there[camera].numpy(), image) for camera, image in cache.images.items())
