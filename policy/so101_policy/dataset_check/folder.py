"""The files of a dataset: where they may be, and how they are opened before LeRobot opens them.

All files lie in the dataset's folder. A link that leads out of it is not followed; the one exception is the hub's
cache, whose folders hold links into `blobs` beside them. What cannot be read is refused with the name of the file.
"""

import stat
from pathlib import Path
from typing import Any, cast

from so101_policy.errors import DatasetError, first_line
from so101_policy.files.plain_data import parse_json

INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES, DATA = "meta/episodes", "data"
"""Folders of tables."""
MOST_BYTES = 16_000_000
"""Of a JSON file: statistics of a hundred cameras have less."""


def file_in(root: Path, name: str) -> Path:
    """The file `name`, a path from the dataset's folder.

    Raises:
        DatasetError: it is not there, is not an ordinary file, or is not in this folder.
    """
    path = root / name
    try:
        real = path.resolve(strict=True)
        ordinary = stat.S_ISREG(real.stat().st_mode)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing - copy or download the dataset again") from error
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; a name with a zero byte
        raise DatasetError(f"{path} cannot be read: {first_line(error)}") from error
    if not any(real.is_relative_to(place) for place in _places(root.resolve())):
        raise DatasetError(
            f"{path} leads out of the dataset's folder, to {real}: nothing there is read - "
            "copy the file into the folder"
        )
    if not ordinary:
        raise DatasetError(f"{path} is not an ordinary file")
    return path


def tables_in(root: Path, folder: str) -> list[Path]:
    """The parquet files of a folder, in the order in which LeRobot reads them.

    Raises:
        DatasetError: there are none, or see `file_in`.
    """
    try:
        found = sorted((root / folder).glob("*/*.parquet"))
    except OSError as error:
        raise DatasetError(f"{root / folder} cannot be read: {first_line(error)}") from error
    if not found:
        raise DatasetError(
            f"{root / folder} has no table (chunk-000/file-000.parquet) - copy or download the dataset again"
        )
    return [file_in(root, str(path.relative_to(root))) for path in found]


def read_object(root: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of bounded size and depth, whose numbers are finite.

    Raises:
        DatasetError: it is not one; see `file_in`.
    """
    path = file_in(root, name)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"{size} bytes, expected at most {MOST_BYTES}")
        data = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged or cut short: {first_line(error)}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} is damaged: it holds a {type(data).__name__}, expected an object")
    return cast(dict[str, Any], data)


def _places(root: Path) -> list[Path]:
    """Where files may be: in the folder or, of a dataset in the hub's cache, in the cache's blobs."""
    snapshots = [parent for parent in root.parents if parent.name == "snapshots"]
    return [root] + [
        snapshot.parent / "blobs" for snapshot in snapshots if snapshot.parent.name.startswith("datasets--")
    ]
