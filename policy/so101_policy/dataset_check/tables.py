"""The tables of a dataset, read by pyarrow before LeRobot reads them: columns of numbers in memory, and the episodes.

Pictures that are stored in tables are not read here.

Shapes: N frames of the dataset, E episodes, K entries of a vector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from so101_policy.dataset_check.description import COUNTERS, Description, Feature
from so101_policy.dataset_check.folder import DATA, EPISODES, TASKS, file_in, tables_in
from so101_policy.errors import DatasetError, first_line, shown

type Column = NDArray[Any]

MOST_ROWS = 1_000_000_000


class Rows(NamedTuple):
    """A row is a frame."""

    columns: dict[str, Column]
    """(N,), or (N, K) for a vector; features of more sizes are left out."""
    files: tuple[Path, ...]
    ends: NDArray[np.int64]
    """(files,) the row after the last one of each file."""

    def file_of(self, row: int) -> Path:
        return self.files[int(np.searchsorted(self.ends, row, side="right"))]

    def __len__(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return int(self.ends[-1]) if len(self.ends) else 0


class Episodes(NamedTuple):
    """The table of episodes."""

    columns: dict[str, Column]
    """(E,) numbers, among them places in videos and statistics."""
    tasks: list[list[str]]
    files: tuple[Path, ...]

    @property
    def first(self) -> NDArray[np.int64]:
        """(E,) the first frame of each."""
        return self.columns["dataset_from_index"]

    @property
    def end(self) -> NDArray[np.int64]:
        """(E,) the frame after the last one of each."""
        return self.columns["dataset_to_index"]


def read_rows(about: Description) -> Rows:
    """All columns of numbers.

    Raises:
        DatasetError: a file is missing or damaged, or its columns are not those of the description.
    """
    files = tables_in(about.root, DATA)
    parts = [_read_part(path, about) for path in files]
    ends = np.cumsum([len(part["index"]) for part in parts])
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Rows(columns, tuple(files), ends)


def read_episodes(about: Description) -> Episodes:
    """The table of episodes, without statistics.

    Raises:
        DatasetError: a file is missing or damaged, or a column is.
    """
    numbers = ["episode_index", "length", "dataset_from_index", "dataset_to_index"]
    numbers += ["data/chunk_index", "data/file_index"]
    places = [
        f"videos/{key}/{what}"
        for key in about.videos
        for what in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    ]
    files = tables_in(about.root, EPISODES)
    columns: dict[str, list[Column]] = {name: [] for name in (*numbers, *places)}
    tasks: list[list[str]] = []
    for path in files:
        table = _read(path, [*columns, "tasks"])
        for name in columns:
            kind = "float" if name.endswith("timestamp") else "int"
            columns[name].append(_numbers(path, name, table.column(name), kind))
        tasks += _task_lists(path, table.column("tasks"))
    return Episodes({name: np.concatenate(parts) for name, parts in columns.items()}, tasks, tuple(files))


def read_statistics(about: Description, episodes: Sequence[int], keys: Sequence[str]) -> list[dict[str, Any]]:
    """What was written about each of `episodes` when it was recorded: feature -> statistic -> array.

    Raises:
        DatasetError: see `read_episodes`; statistics that are not there are left out.
    """
    tables: list[pa.Table] = []
    for path in tables_in(about.root, EPISODES):
        schema = _open(path).schema_arrow
        tables.append(
            _read(
                path, [name for name in schema.names if name.startswith(tuple(f"stats/{k}/" for k in keys))]
            )
        )
    rows: list[dict[str, Any]] = [row for table in tables for row in table.to_pylist()] if tables else []
    found: list[dict[str, Any]] = []
    for episode in episodes:
        by_key: dict[str, Any] = {}
        for name, value in rows[episode].items():
            key, _, statistic = name.removeprefix("stats/").rpartition("/")
            if value is not None:
                by_key.setdefault(key, {})[statistic] = np.asarray(value, np.float64)
        found.append(by_key)
    return found


def read_tasks(about: Description) -> int:
    """How many tasks there are in words.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    if about.tasks == 0:
        return 0
    path = file_in(about.root, TASKS)
    table = _read(path, ["task_index"])
    numbers = _numbers(path, "task_index", table.column("task_index"), "int")
    words = [name for name in _open(path).schema_arrow.names if name != "task_index"]
    if len(words) != 1 or not np.array_equal(numbers, np.arange(len(numbers))):
        raise DatasetError(f"{path} is damaged: expected a task in words for each of 0 to {about.tasks - 1}")
    return len(numbers)


def _read_part(path: Path, about: Description) -> dict[str, Column]:
    stored = set(_open(path).schema_arrow.names)
    expected = {key for key, feature in about.features.items() if feature.dtype != "video"}
    if stored != expected:
        missing, more = sorted(expected - stored), sorted(stored - expected)
        said = [f"{shown(missing)} is missing"] if missing else []
        said += [f"{shown(more)} is not in meta/info.json"] if more else []
        raise DatasetError(f"{path} has other columns than meta/info.json: {'; '.join(said)}")
    wanted = {key: f for key, f in about.features.items() if f.is_numbers and len(f.shape) == 1}
    table = _read(path, list(wanted))
    return {key: _column(path, key, table.column(key), feature) for key, feature in wanted.items()}


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > MOST_ROWS:
            raise ValueError(f"{file.metadata.num_rows} rows, expected at most {MOST_ROWS}")
    except Exception as error:  # whatever pyarrow raises for bytes that are no table
        raise _damaged(path, error) from error
    return file


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    file = _open(path)
    if missing := [name for name in columns if name not in file.schema_arrow.names]:
        raise DatasetError(f"{path} is damaged: it has no column {', '.join(missing)}")
    try:
        return file.read(columns=list(columns), use_threads=False)
    except Exception as error:  # as above
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DatasetError:
    size = path.stat().st_size
    said = "it is empty" if size == 0 else f"{first_line(error)} ({size} bytes)"
    return DatasetError(f"{path} is damaged or cut short: {said} - copy or download the dataset again")


def _column(path: Path, key: str, column: pa.ChunkedArray | pa.Array, feature: Feature) -> Column:
    kind = COUNTERS.get(key, "number")
    if feature.shape == (1,) and not _is_list(column.type):
        return _numbers(path, key, column, kind)
    if not _is_list(column.type):
        raise DatasetError(
            f"{path}, column {key}: {column.type}, expected {feature.shape[0]} numbers in each row (meta/info.json)"
        )
    whole = _combined(column)
    sizes: Any = pc.call_function("list_value_length", [whole]).to_numpy(zero_copy_only=False)
    if whole.null_count or not np.all(sizes == feature.shape[0]):
        row = int(np.flatnonzero(~(sizes == feature.shape[0]))[0])
        raise DatasetError(
            f"{path}, column {key}, row {row}: {shown(whole[row].as_py())}, expected {feature.shape[0]} numbers "
            "(meta/info.json)"
        )
    flat = _numbers(path, key, pc.call_function("list_flatten", [whole]), kind)
    return flat.reshape(len(sizes), feature.shape[0])


def _numbers(path: Path, name: str, column: pa.ChunkedArray | pa.Array, kind: str) -> Column:
    """(rows,) of a column without gaps; whole numbers where `kind` is "int"."""
    right = pa.types.is_integer(column.type)
    right |= kind != "int" and (pa.types.is_floating(column.type) or pa.types.is_boolean(column.type))
    if not right:
        expected = "whole numbers" if kind == "int" else "numbers"
        raise DatasetError(f"{path}, column {name}: {column.type}, expected {expected}")
    whole = _combined(column)
    if whole.null_count:
        row = int(np.flatnonzero(whole.is_null().to_numpy(zero_copy_only=False))[0])
        raise DatasetError(f"{path}, column {name}, row {row}: no number is there")
    return whole.to_numpy(zero_copy_only=False)


def _task_lists(path: Path, column: pa.ChunkedArray | pa.Array) -> list[list[str]]:
    found: list[Any] = column.to_pylist()
    for row, words in enumerate(found):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DatasetError(f"{path}, column tasks, row {row}: {shown(words)}, expected tasks in words")
    return found


def _combined(column: pa.ChunkedArray | pa.Array) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
