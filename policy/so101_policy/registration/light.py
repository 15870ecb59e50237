"""How much brighter a live picture is than the recordings: over what stays the same in both and does not clip."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.registration.background import BRIGHT, DARK, Background
from so101_policy.registration.homography import Homography

LEAST_PIXELS = 50


class Light(NamedTuple):
    """Live over recorded."""

    brightness: float
    """Ratio of grey levels."""
    colour: tuple[float, float]
    """Red and blue against green, relative; 0 is no change."""
    clipped: float
    """Share of the background that is too bright or too dark to compare in one of the two."""


def measure_light(background: Background, live: NDArray[np.uint8], H: Homography) -> Light:
    """Of a live picture (height, width, 3) RGB of the background's size, H as in `alignment.Alignment`."""
    size = background.size_px
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = np.asarray(cv2.warpPerspective(live, H, size, flags=flags), float)
    inside = cv2.warpPerspective(np.full(live.shape[:2], 255, np.uint8), H, size, flags=flags)
    seen = background.static & (np.asarray(inside) == 255)
    before, now = background.image[seen].astype(float), back[seen]
    usable = ((before > DARK) & (before < BRIGHT) & (now > DARK) & (now < BRIGHT)).all(1)
    if usable.sum() < LEAST_PIXELS:
        ratio = now.mean() / max(before.mean(), 1.0) if len(now) else float("nan")
        return Light(float(ratio), (0.0, 0.0), 1.0)
    red, green, blue = np.median(now[usable] / before[usable], axis=0).tolist()
    brightness = float(np.median(now[usable].sum(1) / before[usable].sum(1)))
    return Light(brightness, (red / green - 1, blue / green - 1), float(1 - usable.mean()))
