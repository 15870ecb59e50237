"""Some pictures of one camera, spread over a whole LeRobotDataset.

LeRobot makes a folder and asks the hub when a path is mistyped; here something that looks like a path must be a
dataset already.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import UsageError

FRAMES = 48
"""Enough for a median that no single pose of the arm decides; a second of decoding."""
PREFIX = "observation.images."


def read_frames(dataset: str, camera: str, count: int = FRAMES) -> list[NDArray[np.uint8]]:
    """Up to `count` frames (height, width, 3) RGB of `camera`, evenly over all episodes.

    `dataset` is a folder or a repository id. Raises UsageError for a dataset that cannot be opened, or a camera that
    it lacks.
    """
    opened = _open(dataset)
    keys: list[str] = list(opened.meta.camera_keys)
    names = [key.removeprefix(PREFIX) for key in keys]
    if camera not in names:
        raise UsageError(
            f"the dataset {dataset} has no camera {camera!r}; it has {', '.join(names) or 'none'}"
        )
    key = keys[names.index(camera)]
    picked = np.unique(np.linspace(0, len(opened) - 1, min(count, len(opened))).round().astype(int))
    return [_as_levels(opened[int(index)][key]) for index in picked]


def _open(dataset: str) -> Any:
    folder = Path(dataset).expanduser()
    local = folder.is_dir()
    if local and not (folder / "meta" / "info.json").is_file():
        raise UsageError(f"{folder} is no LeRobotDataset: it has no meta/info.json")
    if not local and (dataset.count("/") != 1 or dataset.startswith((".", "/", "~"))):
        raise UsageError(f"there is no folder {folder}, and a repository id is written USER/NAME")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.utils.import_utils import get_safe_default_video_backend

    logger = logging.getLogger("lerobot.utils.import_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)  # where FFmpeg's libraries are missing it says so in a page
    try:
        backend = get_safe_default_video_backend()
        name = f"local/{folder.name}" if local else dataset
        return LeRobotDataset(name, root=folder if local else None, video_backend=backend)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"the dataset {dataset} cannot be read: {first}") from error
    finally:
        logger.setLevel(level)


def _as_levels(picture: Any) -> NDArray[np.uint8]:
    """From LeRobot's (3, height, width) in 0 to 1."""
    levels = np.asarray(picture, np.float32).transpose(1, 2, 0)
    return np.rint(levels * 255).astype(np.uint8)
