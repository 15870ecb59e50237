"""A LeRobotDataset on disk: opened, or refused with one readable message; distinguished from another of the same name.

LeRobot answers a slip in a path by making the folder and asking the hub for it. Here a folder must be there, and
hold a dataset, before LeRobot is asked.
"""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict, Unpack
from weakref import WeakKeyDictionary

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.utils.feature_utils import dataset_to_policy_features
from lerobot.utils.import_utils import get_safe_default_video_backend

from so101_policy.dataset_check.look import TOLERANCE_S, Look, look, require
from so101_policy.errors import PolicyError, first_line

INFO = Path("meta", "info.json")

AnyDataset = LeRobotDataset | LeRobotDatasetMetadata
"""A dataset with its frames, or what is known of it without them."""


class Options(TypedDict, total=False):
    """Options of `LeRobotDataset` besides where it is; LeRobot's names and defaults."""

    episodes: list[int] | None
    delta_timestamps: dict[str, list[float]] | None
    tolerance_s: float
    video_backend: str
    return_uint8: bool


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


def open_checked(
    repo_id: str,
    root: str | Path | None = None,
    revision: str | None = None,
    *,
    used: Sequence[int] | None = None,
    **options: Unpack[Options],
) -> tuple[LeRobotDataset, Look]:
    """`open_dataset`, looked at first: before LeRobot reads a folder, and when it has fetched what is on the hub.

    Args:
        used: the episodes that will be used; None: those in `options`, else all.
        options: for LeRobotDataset.

    Raises:
        PolicyError: there is no such dataset, or something in it is wrong.
    """
    used = options.get("episodes") if used is None else used
    tolerance_s = options.get("tolerance_s", TOLERANCE_S)
    if root is not None:
        _check_folder(Path(root))
        require(seen := look(Path(root), used, tolerance_s))
        return open_dataset(repo_id, root, revision, **options), seen
    dataset = open_dataset(repo_id, root, revision, **options)
    require(seen := look(dataset.root, used, tolerance_s))
    return dataset, seen


def open_dataset(
    repo_id: str,
    root: str | Path | None = None,
    revision: str | None = None,
    **options: Unpack[Options],
) -> LeRobotDataset:
    """LeRobot's dataset of a local folder `root`, or of a hub id.

    Args:
        options: for LeRobotDataset.

    Raises:
        PolicyError: there is no such dataset, it is incomplete, or it is of another version.
    """
    if root is not None:
        _check_folder(Path(root))
    options.setdefault("video_backend", video_backend())
    try:
        return LeRobotDataset(repo_id, root=root, revision=revision, **options)
    except Exception as error:  # LeRobot's, datasets', pyarrow's and the hub's: one message for all of them
        where = f"in {root}" if root else f"{repo_id} (a hub id, as no folder was given)"
        raise PolicyError(f"the dataset {where} cannot be read: {first_line(error)}") from error


def complete_dataset(dataset: AnyDataset) -> LeRobotDataset:
    """All episodes of the dataset that `dataset` (or its metadata) is of, as stored: frames uint8, no augmentation.

    Of a hub dataset that was opened with some episodes only, this fetches the others. Asked again for the same one, it
    is not opened again.
    """
    asked = dataset.meta if isinstance(dataset, LeRobotDataset) else dataset
    if asked not in _complete:
        _complete[asked] = _open_complete(dataset)
    return _complete[asked]


_complete: WeakKeyDictionary[LeRobotDatasetMetadata, LeRobotDataset] = WeakKeyDictionary()
"""What `complete_dataset` opened, for as long as the dataset that it was asked for is in use."""


def _open_complete(dataset: AnyDataset) -> LeRobotDataset:
    if isinstance(dataset, LeRobotDataset):
        meta, complete = dataset.meta, dataset.episodes is None
        backend, tolerance_s = dataset._video_backend, dataset.tolerance_s  # pyright: ignore[reportPrivateUsage]
    else:
        meta, complete, backend, tolerance_s = dataset, False, video_backend(), TOLERANCE_S
    requested = meta._requested_root  # pyright: ignore[reportPrivateUsage]
    root = meta.root if complete else requested  # without files the hub is asked, by its own rules
    return open_dataset(
        meta.repo_id, root, meta.revision, video_backend=backend, tolerance_s=tolerance_s, return_uint8=True
    )


def fingerprint(root: Path) -> str:
    """What distinguishes this dataset from any other, also from one recorded anew in the same place.

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
            raise PolicyError(f"{key} of {dataset.root} has {colours} channels; expected 3 (RGB)")
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
    raise PolicyError(f"{root} is not a LeRobotDataset v3: it has no {INFO}; it holds {inside}")
