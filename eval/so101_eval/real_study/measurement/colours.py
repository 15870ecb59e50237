"""Which pixels are a box, which are what lay there before, and which neither: weights for a fit.

A weight is the logarithm of a likelihood ratio, cut off at both ends: positive where a pixel looks like one of the
box's own colours, negative where it looks as before, 0 where it looks like neither (a hand, another
box). Both may be darker or
brighter than they were (a shadow, a side face, another lamp); only what the hue says as well counts fully.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]

SMOOTH_PX = 0.8
"""Before anything is compared: JPEG and the sensor's mosaic scatter colours."""
SIGMA = 14.0
"""[grey levels] by which a surface's colour scatters."""
SHADE = (0.45, 1.25)
"""A surface's brightness against what it was, that still is the same surface at little cost."""
SHADE_COST = 6.0
"""Of a surface at half or double its brightness."""
MOST = 4.0
"""A weight's size at most: no pixel decides alone."""
STRANGE = 10.0
"""Half squared distance from which on a pixel is neither."""
COLOURS = 6
"""Of a box: three faces, each with its print."""


def smooth(picture: NDArray[np.uint8]) -> Floats:
    """(h, w, 3)"""
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), SMOOTH_PX).astype(float)


def palette(pixels: Floats, count: int = COLOURS) -> Floats:
    """(k, 3) the colours of pixels (n, 3), by k-means from fixed starts; fewer where there are few pixels."""
    if len(pixels) <= count:
        return pixels
    order = np.argsort(pixels @ np.array([0.3, 0.6, 0.1]), kind="stable")
    first = np.arange(len(pixels))
    first[order] = np.arange(len(pixels)) * count // len(pixels)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
    labels = first.astype(np.int32)[:, None]
    flags = cv2.KMEANS_USE_INITIAL_LABELS
    _, _, centres = cv2.kmeans(pixels.astype(np.float32), count, labels, criteria, 1, flags)
    return np.asarray(centres, float)


def distance(pixels: Floats, surface: Floats) -> Floats:
    """(...) half squared distance of pixels (..., 3) from a surface's colour (3,) or (..., 3) at its best shade."""
    bright = np.einsum("...c,...c->...", surface, surface) + 1.0
    shade = np.clip(np.einsum("...c,...c->...", pixels, surface) / bright, 0.05, 20.0)
    kept = np.clip(shade, *SHADE)
    off = pixels - kept[..., None] * surface
    return np.einsum("...c,...c->...", off, off) / (2 * SIGMA**2) + SHADE_COST * np.log2(shade) ** 2 / 2


def nearest(pixels: Floats, colours: Floats) -> Floats:
    """(...) distance from the nearest of colours (k, 3)."""
    return np.min([distance(pixels, colour) for colour in colours], axis=0)


def weights(as_box: Floats, as_before: Floats, as_others: Sequence[Floats] = ()) -> Floats:
    """(h, w) from the distances of every pixel."""
    weight = np.clip(as_before - as_box, -MOST, MOST)
    weight = np.where(np.minimum(as_box, as_before) > STRANGE, 0.0, weight)
    for other in as_others:
        hidden = (other < as_box) & (other < as_before)
        weight = np.where(hidden, 0.0, weight)
    return weight
