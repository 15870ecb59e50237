"""so101-frames: shows caches, and removes those it is told to and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from so101_policy.cli import FRAMES
from so101_policy.frames.cache import FrameCache, open_cache
from so101_policy.frames.dataset import open_dataset
from so101_policy.frames.folders import PARTIAL, locked


@pytest.fixture
def folder(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two caches of one dataset, and something that is none."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "caches"
    for size in ((8, 8), (16, 16)):
        open_cache(open_dataset("local/tiny", videos), size, folder)
    (folder / "my-notes").mkdir()
    return folder


def names(folder: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in folder.iterdir()}


def run(folder: Path, *words: str) -> int:
    return FRAMES.main(["--folder", str(folder), *words])


def test_caches_are_listed_with_what_they_are_of(
    folder: Path, videos: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / f"9x9-cut-off{PARTIAL}").mkdir()
    assert run(folder, "list") == 0
    shown = capsys.readouterr().out
    for part in ("8x8-", "16x16-", "local/tiny", "front", "wrist", "28", "current", "unfinished"):
        assert part in shown
    assert "my-notes" not in shown
    assert run(folder / "nowhere", "list") == 0
    assert "no frame caches" in capsys.readouterr().out


def test_only_what_is_named_is_removed(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / f"9x9-cut-off{PARTIAL}").mkdir()
    assert run(folder, "remove", "8x8") == 0
    assert names(folder) == {"16x16", "my"}
    assert "removed 8x8-" in capsys.readouterr().out
    assert run(folder, "remove", "--all") == 0
    assert names(folder) == {"my"}


def test_what_cannot_be_removed_is_one_message(folder: Path, capsys: pytest.CaptureFixture[str]):
    for words, said in (
        (["my-notes"], "no cache begins with 'my-notes'"),
        (["../caches"], "no cache begins"),
        ([""], "several caches begin"),
        ([], "--stale, or --all"),
    ):
        assert run(folder, "remove", *words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1
    cache = next(folder.glob("8x8-*"))
    with locked(cache):
        assert run(folder, "remove", "8x8") == 2
    assert "another process is at work" in capsys.readouterr().err
    assert names(folder) == {"8x8", "16x16", "my"}


def test_caches_that_nobody_can_use_are_stale(record: Callable[..., Path], folder: Path, tmp_path: Path):
    root = record(tmp_path / "set", lengths=(3,), cameras={"front": (32, 32)})
    open_cache(open_dataset("local/tiny", root), folder=folder)
    assert run(folder, "remove", "--stale") == 0
    assert names(folder) == {"8x8", "16x16", "32x32", "my"}
    info = root / "meta/info.json"
    info.write_text(info.read_text() + "\n")
    assert run(folder, "remove", "--stale") == 0
    assert names(folder) == {"8x8", "16x16", "my"}


def test_a_damaged_cache_is_found_by_checking(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run(folder, "check") == 0
    assert capsys.readouterr().out.count("whole") == 2
    file = next(next(folder.glob("8x8-*")).glob("*.npy"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert run(folder, "check") == 1
    assert run(folder, "check", "16x16") == 0
    assert "not what was written" in capsys.readouterr().out
    next(folder.glob("16x16-*/cache.json")).write_text("{}")
    assert run(folder, "list") == 0
    assert "damaged" in capsys.readouterr().out
    assert run(folder, "remove", "--stale") == 0
    assert names(folder) == {"8x8", "my"}


def test_a_cache_in_use_stays_readable_when_it_is_removed(folder: Path):
    cache = FrameCache.load(next(folder.glob("8x8-*")))
    assert run(folder, "remove", "--all") == 0
    cache_sum = int(cache.images["observation.images.front"].sum())
    assert cache_sum > 0
