"""Folders of frame caches: what they are called, what describes them, who may work on them.

A cache that is being built has another name, so a folder with a cache's own name is whole. Every work on one goes
under a lock that ends with the process.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from so101_policy.command_line.console import Console
from so101_policy.files.places import frames_folder
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import sync
from so101_policy.frames.build import WrittenPiece

FORMAT = 1
MANIFEST = "cache.json"
PARTIAL, LOCK = ".partial", ".lock"
"""Endings of what is being built, and of the lock beside it."""


class Manifest(NamedTuple):
    """What is known of a cache, as in its cache.json."""

    format: int
    repo_id: str
    root: str
    """Where the dataset lay."""
    fingerprint: str
    size: tuple[int, int]
    frames: int
    cameras: tuple[str, ...]
    decoder: str
    made: str
    """ISO 8601, UTC."""
    pieces: tuple[WrittenPiece, ...]

    @property
    def nbytes(self) -> int:
        """Of all frames."""
        return self.frames * self.size[0] * self.size[1] * 3 * len(self.cameras)


def default_folder() -> Path:
    """See `places`."""
    return frames_folder()


def name_of(manifest: Manifest) -> str:
    """All that decides about the pixels, in a few letters."""
    decisive = (FORMAT, manifest.fingerprint, manifest.size, sorted(manifest.cameras), manifest.decoder)
    height, width = manifest.size
    return f"{width}x{height}-{hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]}"


def read_manifest(folder: Path) -> Manifest:
    """Raises ValueError or OSError for a folder that is no cache of this version."""
    fields: Any = parse_json((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(fields, dict) or cast(dict[str, Any], fields).get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} is not of format {FORMAT}")
    return typed(Manifest, fields)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Raises OSError."""
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(manifest._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


@contextmanager
def locked(place: Path, progress: Console | None = None, wait: bool = True) -> Generator[None]:
    """Work on a cache alone. The lock goes with the process, and its file with the lock.

    Raises:
        BlockingIOError: another process works there, and `wait` is False.
    """
    path = place.with_name(place.name + LOCK)
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                if progress:
                    progress.print("another process decodes these frames; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_still(path, file.fileno()):
                continue  # who held it took the file away
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what interrupted builds left in a cache folder, other than what is being built now."""
    removed: list[Path] = []
    for partial in sorted(folder.glob(f"*{PARTIAL}")):
        try:
            with locked(partial.with_name(partial.name.removesuffix(PARTIAL)), wait=False):
                shutil.rmtree(partial)
                removed.append(partial)
        except BlockingIOError:
            pass
    return removed


def discard(place: Path) -> None:
    """Remove a cache, under its lock; renamed first, so that half of it is never taken for whole."""
    partial = place.with_name(place.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    place.rename(partial)
    shutil.rmtree(partial)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
