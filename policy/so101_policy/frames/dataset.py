"""A LeRobotDataset on disk: opened with one readable message, and told from another of the same name.

LeRobot answers a slip in a path by making the folder and asking the hub for it. Here a folder must be there, and
hold a dataset, before LeRobot is asked.
"""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import CompatibilityError
from lerobot.utils.feature_utils import dataset_to_policy_features
from lerobot.utils.import_utils import get_safe_default_video_backend

from so101_policy.errors import PolicyError, first_line

INFO = Path("meta", "info.json")


@functools.cache
def video_backend() -> str:
    """LeRobot's choice of a decoder on this machine, without the page that it logs where FFmpeg is missing."""
    logger = logging.getLogger("lerobot.utils.import_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return get_safe_default_video_backend()
    finally:
        logger.setLevel(level)


def open_dataset(
    repo_id: str, root: str | Path | None = None, revision: str | None = None, **options: Any
) -> LeRobotDataset:
    """LeRobot's dataset of a local folder `root`, or of a hub id.

    Args:
        options: for LeRobotDataset, such as `delta_timestamps` or `tolerance_s`.

    Raises:
        PolicyError: there is no such dataset, it is incomplete, or it is of another version.
    """
    if root is not None:
        _check_folder(Path(root))
    options.setdefault("video_backend", video_backend())
    try:
        return LeRobotDataset(repo_id, root=root, revision=revision, **options)
    except (OSError, ValueError, KeyError, IndexError, TypeError, CompatibilityError) as error:
        where = f"in {root}" if root else f"{repo_id} (a hub id, as no folder was given)"
        raise PolicyError(f"the dataset {where} cannot be read: {first_line(error)}") from error


def whole(dataset: Any) -> LeRobotDataset:
    """All episodes of the dataset that `dataset` (or its metadata) is of, as stored: frames uint8, no augmentation.

    Of a hub dataset that was opened with some episodes only, this fetches the others.
    """
    meta = getattr(dataset, "meta", dataset)
    complete = dataset is not meta and dataset.episodes is None
    root = meta.root if complete else meta._requested_root  # without files the hub is asked, by its own rules
    backend = getattr(dataset, "_video_backend", None) or video_backend()
    tolerance_s = getattr(dataset, "tolerance_s", 1e-4)
    return open_dataset(
        meta.repo_id, root, meta.revision, video_backend=backend, tolerance_s=tolerance_s, return_uint8=True
    )


def fingerprint(root: Path) -> str:
    """What tells this dataset from any other, also from one recorded anew in the same place.

    The contents of info.json and of the episodes' table, and path, size and modification time of every file with
    data or video. Contents alone would be surer to mean the same frames, but reading them takes longer than most
    trainings wait for; sizes alone may be the same twice; a recording cannot give its files the old times. A moved
    dataset keeps its fingerprint. A copy that does not keep times gets another: that costs a decoding, never wrong
    frames.
    """
    digest = hashlib.sha256((root / INFO).read_bytes())
    for path in _files(root, "meta/episodes"):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for path in _files(root, "data", "videos"):
        status = path.stat()
        digest.update(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def camera_shapes(
    dataset: LeRobotDataset, cameras: Sequence[str] | None = None
) -> dict[str, tuple[int, int]]:
    """Camera key -> (height, width) [px], of `cameras` or of all that see colours.

    Raises:
        PolicyError: the dataset has no such camera, or none at all, or it is not one of three colours.
    """
    meta = dataset.meta
    there = [key for key in meta.camera_keys if key not in meta.depth_keys]
    asked = list(there if cameras is None else cameras)
    if missing := [key for key in asked if key not in there]:
        raise PolicyError(
            f"the dataset {dataset.root} has no camera {', '.join(missing)}; it has {', '.join(there) or 'none'}"
        )
    if not asked:
        raise PolicyError(
            f"the dataset {dataset.root} has no camera; its features are {', '.join(meta.features)}"
        )
    shapes: dict[str, tuple[int, int]] = {}
    for key, feature in dataset_to_policy_features({key: meta.features[key] for key in asked}).items():
        colours, height, width = feature.shape
        if colours != 3:
            raise PolicyError(f"{key} of {dataset.root} has {colours} channels; needed are the 3 of RGB")
        shapes[key] = (height, width)
    return shapes


def _files(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (root / folder).rglob("*") if path.is_file())


def _check_folder(root: Path) -> None:
    if (root / INFO).is_file():
        return
    if not root.is_dir():
        raise PolicyError(f"there is no dataset folder {root}")
    inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise PolicyError(f"{root} is no LeRobotDataset v3: it has no {INFO}; it holds {inside}")
