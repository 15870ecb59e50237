"""Attention maps as pictures, to lie over what the cameras saw."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
"""(rows, columns) of `so101_policy.attention.maps`."""


def coloured(maps: Mapping[str, Map], sizes: Mapping[str, tuple[int, int]]) -> dict[str, NDArray[np.uint8]]:
    """Each camera's map as a picture (height, width, 3) RGB of the size of the camera's own.

    From black (no attention) over red to yellow (the most that any token of any camera gets): one scale for all
    cameras, so that one which is not looked at stays dark. Between tokens it is interpolated, up to the edges it is
    constant.

    Args:
        maps: camera -> (rows, columns).
        sizes: camera -> (height, width) [px]; cameras without one are left out.
    """
    most = max((float(cells.max()) for cells in maps.values() if cells.size), default=0.0)
    scale = 255.0 / most if most > 0 else 0.0
    pictures: dict[str, NDArray[np.uint8]] = {}
    for name, cells in maps.items():
        if name not in sizes:
            continue
        height, width = sizes[name]
        bytes_HW = np.asarray(np.rint(np.nan_to_num(cells) * scale), np.uint8)
        wide: Any = cv2.resize(bytes_HW, (width, height), interpolation=cv2.INTER_LINEAR)
        pictures[name] = np.asarray(
            cv2.cvtColor(cv2.applyColorMap(wide, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        )
    return pictures
