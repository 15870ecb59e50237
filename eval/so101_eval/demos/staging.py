"""Finished episodes as files, until there are enough for a dataset. Each is there whole or not at all."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from so101_eval.demos.episode import Episode, play
from so101_eval.demos.settings import Settings
from so101_eval.episode.episode import Bench
from so101_eval.palletizing.scene.reset_data import CAMERAS


class Outcome(NamedTuple):
    """Of one seed."""

    seed: int
    success: bool
    frames: int


def play_and_stage(settings: Settings, staging: Path, bench: Bench, seed: int) -> Outcome:
    """Raises OSError when the disk is full; the file is not there then."""
    episode = play(settings, bench, seed)
    if not episode.success and not settings.keep_failures:  # that it failed is all there is to remember
        episode = episode.without_frames()
    store(staging, seed, episode)
    return Outcome(seed, episode.success, episode.record["frames"])


def store(staging: Path, seed: int, episode: Episode) -> None:
    """Whole or not at all, also when the power goes."""
    arrays: dict[str, Any] = {"state": episode.state, "action": episode.action}
    for name, pictures in episode.pictures.items():
        arrays[f"{name}.sizes"] = np.array([len(png) for png in pictures])
        arrays[f"{name}.bytes"] = np.concatenate(pictures) if pictures else np.zeros(0, np.uint8)
    arrays["record"] = np.array(json.dumps(episode.record))
    path = path_of(staging, seed)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def load(staging: Path, seed: int) -> Episode:
    """Back from `store`."""
    with np.load(path_of(staging, seed)) as arrays:
        pictures = {
            name: np.split(arrays[f"{name}.bytes"], np.cumsum(arrays[f"{name}.sizes"])[:-1])
            for name in CAMERAS
        }
        return Episode(arrays["state"], arrays["action"], pictures, json.loads(str(arrays["record"])))


def outcomes(staging: Path) -> Iterator[Outcome]:
    """Of all that is staged, without reading pictures."""
    for path in sorted(staging.glob("*.npz")):
        with np.load(path) as arrays:
            record = json.loads(str(arrays["record"]))
            yield Outcome(record["seed"], bool(record["success"]), len(arrays["state"]))


def path_of(staging: Path, seed: int) -> Path:
    """The file of that seed."""
    return staging / f"{seed}.npz"
