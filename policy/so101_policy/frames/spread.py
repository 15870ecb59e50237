"""Some pictures of every camera, spread over the episodes of a dataset, as they were recorded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import PolicyError, first_line
from so101_policy.frames.dataset import AnyDataset, complete_dataset

FRAMES = 48
"""Enough that no single pose of the arm decides a median; decoding them takes a second or two."""


def spread_frames(
    dataset: AnyDataset, cameras: Sequence[str], episodes: Sequence[int], count: int = FRAMES
) -> dict[str, list[NDArray[np.uint8]]]:
    """Up to `count` frames (height, width, 3) RGB of each camera, evenly over `episodes`.

    Args:
        cameras: keys such as "observation.images.front".

    Raises:
        PolicyError: a frame cannot be decoded.
    """
    plain = complete_dataset(dataset)
    table: Any = plain.meta.episodes
    starts, ends = table["dataset_from_index"], table["dataset_to_index"]
    frames = np.concatenate([np.arange(starts[k], ends[k]) for k in episodes] or [np.arange(0)])
    picked = frames[np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))]
    found: dict[str, list[NDArray[np.uint8]]] = {camera: [] for camera in cameras}
    for index in picked.tolist():
        try:
            row: Any = plain[index]
        except Exception as error:  # whatever the decoder says
            raise PolicyError(
                f"frame {index} of {plain.root} cannot be decoded: {first_line(error)}"
            ) from error
        for camera in cameras:
            found[camera].append(_as_levels(row[camera].numpy()))
    return found


def _as_levels(picture_CHW: NDArray[Any]) -> NDArray[np.uint8]:
    """(height, width, 3); a picture that is no video comes in 0 to 1 from some versions of LeRobot."""
    image_HWC = picture_CHW.transpose(1, 2, 0)
    if image_HWC.dtype != np.uint8:
        image_HWC = np.rint(image_HWC * 255).astype(np.uint8)
    return np.ascontiguousarray(image_HWC)
