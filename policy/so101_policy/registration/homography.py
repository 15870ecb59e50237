"""Homographies from pairs of points, robust against wrong pairs. Pure functions."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HOMOGRAPHY_INLIERS = 30
"""With fewer a similarity (shift, turn, scale) is fitted: eight numbers from few points run away."""

type Homography = NDArray[np.float64]
"""(3, 3): takes pixels of one picture to pixels of another."""


def maybe(found: NDArray[Any] | None) -> NDArray[Any] | None:
    """`found`, typed as OpenCV really answers: its stubs do not say that it may be None."""
    return found


def mapped(H: Homography, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) where a homography takes points (n, 2)."""
    taken = np.column_stack((points, np.ones(len(points)))) @ H.T
    return taken[:, :2] / taken[:, 2:]


def fit(
    here: NDArray[np.float64], there: NDArray[np.float64], reach_px: float
) -> tuple[Homography | None, NDArray[np.bool_]]:
    """A homography from many points, a similarity from few, and which points agree."""
    H, inlier = homography(here, there, cv2.USAC_MAGSAC, reach_px)
    if H is not None and inlier.sum() >= HOMOGRAPHY_INLIERS:
        # MAGSAC's inliers once more by least squares: its own answer comes from a weighting that favours a few
        polished, _ = homography(here[inlier], there[inlier])
        return unit(H if polished is None else polished), inlier
    return similarity(here, there, reach_px)


def homography(
    here: NDArray[np.float64], there: NDArray[np.float64], method: int = 0, reach_px: float = 3.0
) -> tuple[Homography | None, NDArray[np.bool_]]:
    """By least squares, or by a robust `method` of OpenCV; and which points agree."""
    H, inlier = cv2.findHomography(here, there, method, reach_px, maxIters=5000, confidence=0.9999)
    return _answer(H, inlier, len(here))


def similarity(
    here: NDArray[np.float64], there: NDArray[np.float64], reach_px: float
) -> tuple[Homography | None, NDArray[np.bool_]]:
    """Shift, turn and scale by RANSAC; and which points agree."""
    A, inlier = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=reach_px)
    found, agrees = _answer(A, inlier, len(here))
    return (None if found is None else np.vstack((found, (0, 0, 1)))), agrees


def _answer(
    found: NDArray[Any] | None, inlier: NDArray[Any] | None, count: int
) -> tuple[Homography | None, NDArray[np.bool_]]:
    """OpenCV gives None where it finds nothing."""
    if found is None or inlier is None:
        return None, np.zeros(count, bool)
    return np.asarray(found, float), np.asarray(inlier).ravel() > 0


def unit(H: Homography) -> Homography:
    """Scaled so that its last number is 1."""
    return H / H[2, 2]
