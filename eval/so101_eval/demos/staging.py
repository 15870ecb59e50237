"""Finished episodes as files, until there are enough for a dataset. Each is there whole or not at all."""

import json
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.demos.episode import Episode, play
from so101_eval.demos.settings import Settings
from so101_eval.episode.episode import Stage
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.reset_data import CAMERAS
from so101_policy.files.plain_data import parse_json
from so101_policy.files.whole_files import replacing


class Outcome(NamedTuple):
    """Of one seed."""

    seed: int
    success: bool
    frames: int


def play_and_stage(settings: Settings, staging: Path, stage: Stage, seed: int) -> Outcome:
    """Raises OSError when the disk is full; the file is not there then."""
    episode = play(settings, stage, seed)
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
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def load(staging: Path, seed: int) -> Episode:
    """Back from `store`."""
    with _opened(path_of(staging, seed)) as arrays:
        pictures = {
            name: np.split(arrays[f"{name}.bytes"], np.cumsum(arrays[f"{name}.sizes"])[:-1])
            for name in CAMERAS
        }
        return Episode(arrays["state"], arrays["action"], pictures, parse_json(str(arrays["record"])))


def outcomes(staging: Path) -> Iterator[Outcome]:
    """Of all that is staged, without reading pictures."""
    for path in sorted(staging.glob("*.npz")):
        with _opened(path) as arrays:
            record = parse_json(str(arrays["record"]))
            outcome = Outcome(record["seed"], bool(record["success"]), len(arrays["state"]))
        yield outcome


@contextmanager
def _opened(path: Path) -> Generator[Mapping[str, NDArray[Any]]]:
    """The arrays of a finished episode. Raises ConfigError where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} is damaged; remove it, and it is played again ({error})") from error


def path_of(staging: Path, seed: int) -> Path:
    """The file of that seed."""
    return staging / f"{seed}.npz"
