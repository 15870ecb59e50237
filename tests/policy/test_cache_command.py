"""so101-cache: everything that is kept is shown, and nothing but caches is ever removed."""

from pathlib import Path

import pytest

from so101_policy.cli import CACHE
from so101_policy.commands import cache
from so101_policy.files.places import cache_home, engines_folder, frames_folder
from so101_policy.frames import cache as frame_cache
from so101_policy.frames import folders
from so101_policy.inference import exported_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SO101_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def test_all_caches_obey_the_same_variables(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert frames_folder() == home / ".cache" / "so101" / "frames"
    assert engines_folder() == home / ".cache" / "so101" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert frames_folder() == home / "xdg" / "so101" / "frames"
    assert exported_files.default_folder() == home / "xdg" / "so101" / "engines"
    monkeypatch.setenv("SO101_CACHE", "~/mine")
    assert cache_home() == frames_folder() == folders.default_folder() == home / "mine"
    assert exported_files.default_folder() == home / "mine" / "engines"
    assert frame_cache.default_folder is folders.default_folder


def fill(home: Path) -> tuple[Path, list[Path]]:
    """Caches of no use, and what only lies beside them. Returns what must stay."""
    frames, engines = frames_folder(), engines_folder()
    for folder in (frames / "96x96-gone", frames / "96x96-half.partial", engines):
        folder.mkdir(parents=True)
    (frames / "96x96-gone" / folders.MANIFEST).write_text("{damaged")
    (frames / "96x96-gone" / "pixels").write_bytes(bytes(3_000_000))
    (frames / "96x96-half.partial" / "pixels").write_bytes(bytes(1_000_000))
    (engines / "a.onnx").write_bytes(bytes(2_000_000))
    (engines / "fastest.json").write_text("{}")
    others = [frames / "notes.txt", engines / "mine.txt", home / "outputs" / "train" / "model.safetensors"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("keep me")
    return frames, others


def test_the_list_has_every_place_with_its_size(home: Path, capsys: pytest.CaptureFixture[str]):
    assert CACHE.main(["list"]) == 0
    assert "so101-run," in capsys.readouterr().out
    fill(home)
    found = {place.what: place for place in cache.places()}
    assert (found["exported policies"].files, found["exported policies"].nbytes) == (2, 2_000_002)
    decoded = found["decoded frames of datasets"]
    assert (decoded.files, decoded.useless) == (2, decoded.nbytes)
    assert decoded.nbytes == 4_000_008


def test_clean_takes_what_is_of_no_use_and_all_takes_every_cache_and_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    frames, others = fill(home)
    assert CACHE.main(["clean"]) == 0
    assert "4 MB removed" in capsys.readouterr().out
    assert not (frames / "96x96-gone").exists()
    assert not (frames / "96x96-half.partial").exists()
    assert (engines_folder() / "a.onnx").exists()
    assert CACHE.main(["clean", "--all"]) == 0
    assert "2 MB removed" in capsys.readouterr().out
    assert sorted(path.name for path in engines_folder().iterdir()) == ["mine.txt"]
    assert [path.read_text() for path in others] == ["keep me"] * 3
    assert CACHE.main([]) == 2
