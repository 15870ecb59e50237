"""Tiny LeRobotDatasets: noise on gradients, so that every frame is its own, recorded by LeRobot itself."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av.logging
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

CAMERAS = {"front": (32, 48), "wrist": (32, 48)}
"""(height, width)"""
LENGTHS = (9, 7, 12)


Record = Callable[..., Path]


@pytest.fixture(scope="session")
def record() -> Record:
    """`record(root, lengths=(9, 7, 12), cameras={...}, videos=True, seed=0)` records a dataset and gives its root."""
    return _record


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes, two cameras of 48x32."""
    return _record(tmp_path_factory.mktemp("datasets") / "videos")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with pictures in the tables."""
    return _record(tmp_path_factory.mktemp("datasets") / "pictures", videos=False)


@pytest.fixture(params=["videos", "pictures"])
def stored(request: pytest.FixtureRequest) -> Path:
    """A dataset of either kind."""
    return request.getfixturevalue(request.param)


def _record(
    root: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    cameras: Mapping[str, tuple[int, int]] = CAMERAS,
    videos: bool = True,
    seed: int = 0,
) -> Path:
    """Record episodes of `lengths` frames; the seed changes what is seen, not how much."""
    os.environ.setdefault("SVT_LOG", "1")
    av.logging.set_libav_level(av.logging.ERROR)
    joints = {"dtype": "float32", "shape": (3,), "names": ["a.pos", "b.pos", "c.pos"]}
    kind = "video" if videos else "image"
    features: dict[str, Any] = {"observation.state": joints, "action": joints} | {
        f"observation.images.{name}": {
            "dtype": kind,
            "shape": (*size, 3),
            "names": ["height", "width", "channels"],
        }
        for name, size in cameras.items()
    }
    dataset: Any = LeRobotDataset.create(
        "local/tiny", 10, features, root=root, use_videos=videos, video_backend="pyav"
    )
    rng = np.random.default_rng(seed)
    for length in lengths:
        for _ in range(length):
            frame = {f"observation.images.{name}": _picture(rng, size) for name, size in cameras.items()}
            state, action = rng.normal(size=(2, 3)).astype(np.float32)
            dataset.add_frame(frame | {"observation.state": state, "action": action, "task": "wave"})
        dataset.save_episode()
    dataset.finalize()
    return root


def _picture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    height, width = size
    ramp = np.linspace(0, 150, height)[:, None, None] * rng.random(3) + np.linspace(0, 50, width)[:, None]
    return (ramp + rng.integers(0, 50, (height, width, 3))).astype(np.uint8)
