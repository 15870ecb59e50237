"""The warp that puts a live picture back: one table of places, made once, and a picture through it in about a
millisecond.

What the moved camera does not see is taken from the background of the recordings, which is what was there then.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.registration.homography import Homography


class Warp:
    """Takes a live picture to where the recordings show it.

    Args:
        H: (3, 3) takes pixels of the recordings to pixels of the live picture; None: the picture stays where it is.
        gain: the live picture's grey levels over the recordings'; 1: they stay as they are.
        fill: (height, width, 3) RGB, shown where the live picture shows nothing.
    """

    def __init__(self, H: Homography | None, gain: float, fill: NDArray[np.uint8]) -> None:
        self._gain, self._fill = gain, fill
        self._places = None if H is None else _places(H, fill.shape)

    @property
    def changes(self) -> bool:
        """Whether a picture is changed at all; if not, what comes out is what went in, the same array."""
        return self._places is not None or self._gain != 1.0

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(height, width) where the result is of the live picture and of no fill."""
        full = np.full(self._fill.shape[:2], 255, np.uint8)
        if self._places is None:
            return full > 0
        return np.asarray(cv2.remap(full, *self._places, cv2.INTER_LINEAR, borderValue=0)) == 255

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of the same size; `image` is not written to."""
        level = image
        if self._gain != 1.0:
            level = np.asarray(cv2.convertScaleAbs(image, alpha=1.0 / self._gain), np.uint8)
        if self._places is None:
            return level
        put_back = self._fill.copy()
        cv2.remap(level, *self._places, cv2.INTER_LINEAR, dst=put_back, borderMode=cv2.BORDER_TRANSPARENT)
        return put_back


def _places(H: Homography, shape: tuple[int, ...]) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """For every pixel of the result where it comes from, in OpenCV's fixed-point form, which is the fastest."""
    height, width = shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    from_x, from_y, scale = np.tensordot(H, np.stack((x, y, np.ones_like(x))), axes=1)
    scale = np.where(np.abs(scale) < 1e-9, 1e-9, scale)
    far = 2.0 * max(height, width)
    at_x, at_y = (np.clip(part / scale, -far, far).astype(np.float32) for part in (from_x, from_y))
    whole, rest = cv2.convertMaps(at_x, at_y, cv2.CV_16SC2)
    return np.asarray(whole, np.int16), np.asarray(rest, np.uint16)
