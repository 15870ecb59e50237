"""Tiny datasets with pictures in their tables, and so101-train run on them in this process."""

import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from so101_policy.cli import TRAIN
from tiny_training import THIN, policy_flags

JOINTS = ("a.pos", "b.pos", "c.pos")
CAMERAS = {"front": (32, 32), "wrist": (32, 32)}
"""(height, width)"""

TINY = policy_flags(THIN | {"optimizer_lr": 0.003})

Record = Callable[..., Path]
Flags = Callable[..., list[str]]

torch.set_num_threads(1)


def record(
    root: Path,
    lengths: Sequence[int] = (8, 7, 6, 9),
    joints: Sequence[str] = JOINTS,
    cameras: Mapping[str, tuple[int, int]] = CAMERAS,
    seed: int = 0,
    corrected: bool = False,
) -> Path:
    """Episodes in which the action follows state and picture, a little; `corrected`: a person drove on the third and
    fourth frame of each."""
    numbers = {"dtype": "float32", "shape": (len(joints),), "names": list(joints)}
    features: dict[str, Any] = {"observation.state": numbers, "action": numbers} | {
        f"observation.images.{name}": {
            "dtype": "image",
            "shape": (*size, 3),
            "names": ["height", "width", "channels"],
        }
        for name, size in cameras.items()
    }
    if corrected:
        features["intervention"] = {"dtype": "bool", "shape": (1,), "names": None}
    dataset: Any = LeRobotDataset.create("local/tiny", 10, features, root=root, use_videos=False)
    rng = np.random.default_rng(seed)
    for length in lengths:
        for k in range(length):
            drove = {"intervention": np.array([k in (2, 3)])} if corrected else {}
            pictures = {
                f"observation.images.{name}": rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                for name, size in cameras.items()
            }
            state = rng.normal(size=len(joints)).astype(np.float32)
            dataset.add_frame(
                pictures | drove | {"observation.state": state, "action": 30 * state + 5, "task": "wave"}
            )
        dataset.save_episode()
    dataset.finalize()
    return root


@pytest.fixture(scope="session")
def recorded() -> Record:
    """`recorded(root, lengths=..., joints=..., cameras=..., seed=0)` records a dataset and gives its root."""
    return record


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes, 30 frames, two cameras."""
    return record(tmp_path_factory.mktemp("datasets") / "tiny")


@pytest.fixture(scope="session", autouse=True)
def _frame_cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    before = os.environ.get("SO101_CACHE")
    os.environ["SO101_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("SO101_CACHE")
    if before is not None:
        os.environ["SO101_CACHE"] = before


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing a checkpoint's files takes seconds on a busy disk. The test that dies while saving flushes."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def flags(dataset: Path) -> Flags:
    """`flags(out, "--steps=9", ...)`: a tiny policy on the tiny dataset, a line of metrics per step."""

    def make(out: Path, *more: str, root: Path = dataset) -> list[str]:
        given = ["--dataset.repo_id=local/tiny", f"--dataset.root={root}", f"--output_dir={out}", *TINY]
        given += ["--steps=6", "--batch_size=4", "--log_freq=1", "--eval_steps=0", "--held_out=0.25"]
        return [*given, "--trackers=none", *more]

    return make


@pytest.fixture
def train(flags: Flags) -> Callable[..., Path]:
    """`train(out, ...)` runs so101-train to a good end and gives its folder."""

    def run(out: Path, *more: str, **options: Any) -> Path:
        assert TRAIN.main(flags(out, *more, **options)) == 0
        return out

    return run


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def losses() -> Callable[[Path], list[float]]:
    """The loss of every step, from metrics.jsonl."""
    return lambda out: [line["loss"] for line in lines(out)]


@pytest.fixture(scope="session")
def metrics() -> Callable[[Path], list[dict[str, Any]]]:
    return lines
