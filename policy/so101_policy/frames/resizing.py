"""The one function that scales frames, by name: in training, and in whatever shows frames to a policy afterwards.

A checkpoint keeps the name (`checkpoint/trained_on.py`). A function that is once in the table stays as it is.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.checkpoint.trained_on import SCALED_BY


def resize(frames_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 frames at `size` (height, width): bilinear with antialiasing (a triangle as wide as the output's pixels).

    It is torch's `interpolate(mode="bilinear", antialias=True)` on uint8, as torchvision's `resize` does by default.
    The picture is squeezed where the aspect ratios differ, nothing is cut off.
    """
    if tuple(frames_NCHW.shape[2:]) == tuple(size):
        return frames_NCHW
    return torch.nn.functional.interpolate(
        frames_NCHW.contiguous(memory_format=torch.channels_last), size, mode="bilinear", antialias=True
    )


SCALINGS: Mapping[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {SCALED_BY: resize}


def scaled(image_HWC: NDArray[np.uint8], size: tuple[int, int], scaled_by: str = SCALED_BY) -> Tensor:
    """One frame (height, width, 3) uint8 RGB as training saw it, (*size, 3).

    Args:
        scaled_by: one of `SCALINGS`.
    """
    frame_NCHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None]
    return SCALINGS[scaled_by](frame_NCHW, size)[0].permute(1, 2, 0).contiguous()
