"""A small valid SO-101 dataset, recorded by LeRobot: three episodes, two cameras; and how to damage it."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av.logging
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from so101_policy.names import SO101_JOINTS

FPS, FRAMES, EPISODES = 10, 12, 3
DATA, TABLE = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"

type Change = Callable[[dict[str, Any]], object]


def motion(episode: int, frames: int = FRAMES) -> np.ndarray[Any, Any]:
    """(frames, 6) smooth joints in degrees, other ones in every episode."""
    t = np.arange(frames)[:, None] / frames
    where = np.array([20 * episode - 10, -60, 50, 40, 10 * episode, 30])
    return (where + 25 * np.sin(2 * np.pi * t + np.arange(6) + episode)).astype(np.float32)


def record(root: Path) -> Path:
    """The dataset, in `root`."""
    os.environ.setdefault("SVT_LOG", "1")
    av.logging.set_libav_level(av.logging.ERROR)
    joints = {"dtype": "float32", "shape": (6,), "names": [f"{name}.pos" for name in SO101_JOINTS]}
    cameras = {
        f"observation.images.{name}": {
            "dtype": "video",
            "shape": (32, 48, 3),
            "names": ["height", "width", "channels"],
        }
        for name in ("front", "wrist")
    }
    dataset: Any = LeRobotDataset.create(
        "local/small", FPS, {"observation.state": joints, "action": joints, **cameras}, root=root,
        robot_type="so101_follower", video_backend="pyav",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for episode in range(EPISODES):
        states = motion(episode, FRAMES + 1)
        for k in range(FRAMES):
            pictures = {key: rng.integers(0, 200, (32, 48, 3), dtype=np.uint8) for key in cameras}
            frame = {"observation.state": states[k], "action": states[k + 1], "task": "pick"}
            dataset.add_frame(frame | pictures)
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    return root


def edit_json(root: Path, name: str, change: Change) -> None:
    data = json.loads((root / name).read_text())
    change(data)
    (root / name).write_text(json.dumps(data))


def edit_table(root: Path, name: str, change: Change) -> None:
    """`change` gets the columns as lists, and edits or removes some."""
    table = pq.read_table(root / name)
    columns: dict[str, Any] = table.to_pydict()
    before = table.to_pydict()
    change(columns)
    arrays = {
        key: table.column(key) if values == before.get(key) else pa.array(values)
        for key, values in columns.items()
    }  # what is not changed keeps its type
    pq.write_table(pa.table(arrays), root / name)


def set_joint(root: Path, key: str, values: Mapping[tuple[int, int], float]) -> None:
    """`values` by (row, joint)."""

    def change(columns: dict[str, Any]) -> None:
        rows = [list(row) for row in columns[key]]
        for (row, joint), value in values.items():
            rows[row][joint] = value
        columns[key] = rows

    edit_table(root, DATA, change)
