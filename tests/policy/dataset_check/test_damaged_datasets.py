"""A valid dataset, damaged at random: one message that names a file, or the same numbers and pictures as before.

Each mutant is a copy with one to three changes: in `info.json` or `stats.json` something is dropped, retyped, resized,
made NaN, infinite or huge, reordered, or nested deep; in a table a column is dropped, retyped or shortened, or a number
is spoiled; a file is cut, overwritten in places, emptied, or replaced by a link, a folder or a pipe. The interpreter is
watched: an audit hook sees every process and every file that is opened for writing.
"""

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import IN_PLACE, JUNK, SEEDED, WATCH, damage, damage_bytes, listing
from so101_dataset import EPISODES
from so101_policy.errors import PolicyError
from so101_policy.frames.cache import open_cache
from so101_policy.frames.dataset import open_checked

OURS: tuple[Any, ...] = (
    *(*JUNK, "v2.1", "float32", "int64", "image", "video", "{0.__class__}", [6], [32, 48, 3]),
    *({"dtype": "float32", "shape": [1]}, {"a": ["b"]}),
)
"""Junk, and what other fields expect."""
NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e30, -1e9, 0.0, -1.0, 2.0**40)
HARMLESS = frozenset(
    ("robot_type", "splits", "total_videos", "total_tasks", "chunks_size", "video_path", "tools")
)
HARMLESS |= {"data_files_size_in_mb", "video_files_size_in_mb", "info", "added", "stats"}
"""What nothing that is compared here depends on, or what another right value of changes nothing."""


type Change = Callable[[Path, random.Random], str]
"""Damages the folder; returns what was changed."""


def in_json(root: Path, rng: random.Random) -> str:
    path = root / rng.choice(("meta/info.json", "meta/info.json", "meta/stats.json"))
    if not path.is_file():  # a pipe would never answer
        return "nothing"
    data = json.loads(path.read_text())
    key = damage(data, rng, junk=OURS)
    path.write_text(json.dumps(data))
    return "stats" if path.name == "stats.json" else key


def in_table(root: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(path for path in root.rglob("*.parquet") if path.is_file()))
    table = pq.read_table(path)
    columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
    name = rng.choice([name for name in columns if not name.startswith("stats/")])
    values = columns[name].to_pylist()
    act = rng.choice(
        ("drop", "retype", "spoil", "spoil", "spoil", "gap", "shuffle", "shorten", "rename", "resize")
    )
    if act == "drop":
        del columns[name]
    elif act == "retype":
        columns[name] = pa.array([rng.choice(([str(v)], str(v))) for v in values][:1] * len(values))
    elif act == "spoil":
        row, number = rng.randrange(len(values)), rng.choice(NUMBERS)
        if isinstance(values[row], list) and values[row] and isinstance(values[row][0], float):
            values[row][rng.randrange(len(values[row]))] = number
        elif isinstance(values[row], float | int):
            values[row] = int(number) if np.isfinite(number) and isinstance(values[row], int) else number
        columns[name] = pa.array(values)
    elif act == "gap":
        values[rng.randrange(len(values))] = None
        columns[name] = pa.array(values)
    elif act == "shuffle":
        rng.shuffle(values)
        columns[name] = pa.array(values)
    elif act == "shorten":
        columns = {key: column.slice(0, len(values) - 1) for key, column in columns.items()}
    elif act == "rename":
        columns["\x1b]0;" + name] = columns.pop(name)
    elif act == "resize" and isinstance(values[0], list):
        columns[name] = pa.array([value[:-1] for value in values])
    pq.write_table(pa.table(columns), path)
    return "numbers"


def in_bytes(root: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    act = damage_bytes(path, rng, root.parent / "outside")
    return "numbers" if act in IN_PLACE else "stats" if path.name == "stats.json" else "files"


CHANGES: tuple[Change, ...] = (in_json, in_table, in_table, in_bytes)


def check_mutant(valid: Path, rng: random.Random) -> str:
    """Returns what became of it."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as decoded:
        root = shutil.copytree(valid, Path(scratch) / "copy")
        changed = set[str]()
        for _ in range(rng.choice((1, 1, 2, 3))):
            try:
                changed.add(rng.choice(CHANGES)(root, rng))
            except Exception:  # damaged by the change before
                changed.add("numbers")
        before = listing(root.parent)
        try:
            with WATCH(str(datasets.config.HF_DATASETS_CACHE), decoded):
                numbers = everything(root, Path(decoded))
        except PolicyError as error:
            check_message(error, root)
            outcome = "refused"
        else:
            outcome = "ran"
            if not changed - HARMLESS:
                for key, value in RIGHT[valid].items():
                    np.testing.assert_allclose(numbers[key], value, rtol=1e-5, err_msg=key)
        assert listing(root.parent) == before
    assert WATCH.seen == []
    return outcome


def everything(root: Path, decoded: Path) -> dict[str, Any]:
    """What a training would take: all numbers, all pictures, and what it would scale with."""
    opened, seen = open_checked("local/small", root)
    columns = opened.hf_dataset.with_format("numpy", columns=["action", "observation.state"])[:]
    scaled = seen.statistics_of(range(EPISODES)).statistics
    pictures = open_cache(opened, folder=decoded, jobs=1).images
    found = {key: np.asarray(columns[key]) for key in columns} | {k: np.array(v) for k, v in pictures.items()}
    return found | {f"{key} std": scaled[key]["std"].astype(np.float32) for key in columns}


RIGHT: dict[Path, dict[str, Any]] = {}


@pytest.fixture(autouse=True)
def _right(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf"
    )  # LeRobot's copies of the tables
    if valid not in RIGHT:
        RIGHT[valid] = everything(valid, tmp_path)


def check_message(error: PolicyError, root: Path) -> None:
    """What a person can read."""
    message = str(error)
    assert error.exit_code == 2
    assert message.replace("\n", "").isprintable(), "nothing that steers a terminal"
    assert str(root) in message, "the folder or a file of it is named"
    assert len(message) < 4000


@pytest.mark.timeout(300)
@settings(max_examples=60, derandomize=True, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_sixty_mutants_are_refused_in_one_message_or_read_right(valid: Path, seed: int):
    check_mutant(valid, random.Random(seed))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=600, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_six_hundred_mutants(valid: Path, seed: int):
    check_mutant(valid, random.Random(seed))
