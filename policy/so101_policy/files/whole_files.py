"""Files that are whole: what is at a path is the new content or the old one, whatever happens, power loss included.

The content is written beside its place, through to the disk, and put there in one step. The name beside it is
hidden, has the process in it and ends in `.partial`; only a kill leaves one behind.
"""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

PARTIAL = ".partial"
"""End of the name of a file that is being written."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A path to write to in the block; what is there when the block ends well is at `path` then.

    Raises:
        OSError: it cannot be written; `path` is as it was and nothing lies beside it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with naming(path):
            yield partial
            sync(partial)
            partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def naming(path: Path) -> Generator[None]:
    """An error of the system in the block says which file it is about: a full disk does not by itself."""
    try:
        yield
    except OSError as problem:
        if problem.filename is None and problem.errno is not None:
            problem.filename = str(path)
        raise


class Lines:
    """A file to which lines are appended; each is whole or, after a kill or a full disk, cut off as the last one.

    Nothing is kept back for later: what `write` has returned from is in the file, and closing cannot fail for it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, line: str, durable: bool = False) -> None:
        """Append it. Raises OSError with the file's name.

        Args:
            durable: through to the disk.
        """
        left = memoryview(f"{line}\n".encode())
        with naming(self.path):
            while left:
                left = left[self._file.write(left) or 0 :]
            if durable:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """May be called twice."""
        self._file.close()


def write_bytes(path: Path, content: bytes) -> None:
    """Raises OSError."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """As UTF-8, line ends as they are. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Readable, with numbers that every parser takes; paths and the like as text.

    Raises:
        ValueError: NaN or infinity in it. OSError: it cannot be written. `path` is as it was then.
    """
    write_text(path, json.dumps(data, indent=2, allow_nan=False, default=str) + "\n")


def sync(path: Path) -> None:
    """A file's content, or the names in a folder, through to the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_partial(path: Path) -> bool:
    """What a kill left behind."""
    return path.name.endswith(PARTIAL)
