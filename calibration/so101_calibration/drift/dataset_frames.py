"""Some pictures of one camera, spread over a whole LeRobotDataset.

LeRobot makes a folder and asks the hub when a path is mistyped; here something that looks like a path must be a
dataset already.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray
from torch import Tensor

from so101_calibration.errors import UsageError
from so101_policy.errors import first_line
from so101_policy.frames.dataset import open_checked

FRAMES = 48
"""Enough that no single pose of the arm decides the median; decoding them takes a second."""
PREFIX = "observation.images."


def read_frames(dataset: str, camera: str, count: int = FRAMES) -> list[NDArray[np.uint8]]:
    """Up to `count` frames (height, width, 3) RGB of `camera`, evenly over all episodes.

    `dataset` is a folder or a repository id. Raises UsageError for an unknown camera or a frame that cannot be
    decoded, PolicyError for a dataset in which something is wrong.
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
    return [_as_levels(_row(opened, int(index))[key]) for index in picked]


def _open(dataset: str) -> LeRobotDataset:
    folder = Path(dataset).expanduser()
    local = folder.is_dir()
    if not local and (dataset.count("/") != 1 or dataset.startswith((".", "/", "~"))):
        raise UsageError(f"there is no folder {folder}, and a repository id is written USER/NAME")
    name = f"local/{folder.name}" if local else dataset
    opened, _ = open_checked(name, folder if local else None, used=())  # pictures alone count here
    return opened


def _row(opened: LeRobotDataset, index: int) -> Mapping[str, Tensor]:
    try:
        return cast("Mapping[str, Tensor]", opened[index])
    except Exception as error:  # whatever the decoder says
        raise UsageError(f"frame {index} of {opened.root} cannot be decoded: {first_line(error)}") from error


def _as_levels(picture: Tensor) -> NDArray[np.uint8]:
    """From LeRobot's (3, height, width) in 0 to 1."""
    levels = np.asarray(picture.numpy(), np.float32).transpose(1, 2, 0)
    return np.rint(levels * 255).astype(np.uint8)
