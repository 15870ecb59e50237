"""Files are whole or as they were, whatever fails."""

import json
import os
from pathlib import Path

import pytest

from so101_policy.files.whole_files import is_partial, replacing, write_bytes, write_json, write_text


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "1,2\r\né\n")
    assert (tmp_path / "a.csv").read_bytes() == "1,2\r\né\n".encode()
    write_bytes(tmp_path / "b", b"\x00\n")
    assert (tmp_path / "b").read_bytes() == b"\x00\n"
    write_json(tmp_path / "c.json", {"path": tmp_path, "x": 0.5})
    assert json.loads((tmp_path / "c.json").read_text()) == {"path": str(tmp_path), "x": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b", "c.json"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_the_content_is_on_the_disk_before_it_has_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        fsync(handle)

    def replaced(old: object, new: Path) -> None:
        done.append("replace")
        replace(old, new)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_text(tmp_path / "file", "new")
    assert done == [f".file.{os.getpid()}.partial", "replace", tmp_path.name]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "file") as partial:
            partial.write_text("half")
            assert is_partial(partial)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_nan_is_refused_and_the_file_is_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
