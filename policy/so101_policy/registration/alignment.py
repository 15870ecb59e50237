"""How one picture of a scene is shifted against another: features, tracked points and a robust homography.

Tables have patterns that repeat, and a match of features may be off by a whole square of it. So several guesses
compete: the camera has not moved, the shift that makes the spectra fit (phase correlation), and the homography of
SIFT features. Each guess is refined by tracking corners of the background (pyramidal Lucas-Kanade, there and back)
and fitting a homography that outliers cannot pull (MAGSAC); the guess that explains most of the background wins.

Pictures are freed of local brightness and contrast first, so light does not matter where it does not clip.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.registration.homography import (
    HOMOGRAPHY_INLIERS,
    Homography,
    fit,
    homography,
    mapped,
    maybe,
    similarity,
    unit,
)

WORK_WIDTH = 320
"""Smaller pictures are enlarged to this width: corners of 96 pixels across are too few and too small."""
MAX_CORNERS = 500
INLIER_PX = 1.5
BACK_PX = 0.6
"""A point that, tracked there and back, ends farther from its start has been lost."""
WINDOW = (17, 17)
"""About a point, by which it is tracked."""
MIN_INLIERS = 12
MIN_SHARE = 0.15
"""Of the background's corners that must be found again: chance finds less."""
RESAMPLES = 40
TRACKING_SD_PX = 0.06
"""Of the mean shift, in the working picture: by what all corners are off together (interpolation, what hides behind the
noise), which drawing them again cannot see. Measured over 40 shifts of 2 and 5 px, see docs/guides/cameras.md."""
CELLS = 4
"""Points are drawn evenly from a grid of so many cells across and down, for one rich corner not to decide."""


class Alignment(NamedTuple):
    """Where the background of one picture is in another."""

    H: Homography
    """(3, 3): takes pixels of the reference to pixels of the live picture."""
    inliers: int
    """Corners of the background that agree with it."""
    share: float
    """Of all corners of the background that would be in the picture."""
    sd_px: float
    """Standard deviation of the mean shift over the background: by bootstrap, and `TRACKING_SD_PX`."""


def align(
    reference: NDArray[np.uint8], static: NDArray[np.bool_], live: NDArray[np.uint8], seed: int = 0
) -> Alignment | None:
    """Find the background of `reference` (height, width), where `static`, in `live` of the same size; both grey.

    None if it is not to be found: too dark, covered, or looking elsewhere. The same input gives the same answer.
    """
    scale = max(1.0, WORK_WIDTH / reference.shape[1])
    first, second = (levelled(_enlarged(image, scale)) for image in (reference, live))
    mask = cv2.resize(static.astype(np.uint8), first.shape[::-1], interpolation=cv2.INTER_NEAREST)
    corners = _corners(first, np.asarray(mask, np.uint8))
    if len(corners) < MIN_INLIERS:
        return None
    cv2.setRNGSeed(seed)
    best: tuple[Homography, NDArray[np.float64], NDArray[np.float64]] | None = None
    for guess in _guesses(first, second, np.asarray(mask, np.uint8)):
        found = _refined(first, second, corners, guess)
        if found is not None and (best is None or len(found[1]) > len(best[1])):
            best = found
    if best is None:
        return None
    H, here, there = best
    share = len(here) / max(_in_sight(corners, H, second.shape), 1)
    if len(here) < MIN_INLIERS or share < MIN_SHARE:
        return None
    size = np.diag([scale, scale, 1.0])
    shrink = np.array([[1, 0, (scale - 1) / 2], [0, 1, (scale - 1) / 2], [0, 0, 1]]) @ size  # pixel centres
    sd_px = (
        float(np.hypot(_spread(here, there, corners, np.random.default_rng(seed)), TRACKING_SD_PX)) / scale
    )
    return Alignment(unit(np.linalg.inv(shrink) @ H @ shrink), len(here), min(share, 1.0), sd_px)


def _enlarged(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1.0:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def levelled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Free of slow changes of brightness and of the size of contrasts, about 128."""
    grey = image.astype(np.float32)
    sigma = image.shape[1] / 24
    rest = grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma))
    square = np.asarray(rest**2, np.float32)
    contrast = np.sqrt(np.asarray(cv2.GaussianBlur(square, (0, 0), sigma)))
    floor = 1.5 + 0.015 * float(grey.mean())  # what is nearly flat stays so
    return np.clip(128 + 48 * rest / (contrast + floor), 0, 255).astype(np.uint8)


def _corners(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 2) points that can be tracked, spread over the mask."""
    height, width = image.shape
    found: list[NDArray[np.float32]] = []
    for row in range(CELLS):
        for column in range(CELLS):
            cell = np.zeros_like(mask)
            rows = slice(row * height // CELLS, (row + 1) * height // CELLS)
            columns = slice(column * width // CELLS, (column + 1) * width // CELLS)
            cell[rows, columns] = mask[rows, columns]
            points = maybe(
                cv2.goodFeaturesToTrack(image, MAX_CORNERS // CELLS**2, 0.02, width / 80, mask=cell)
            )
            if points is not None:
                found.append(np.asarray(points, np.float32).reshape(-1, 2))
    return np.concatenate(found) if found else np.empty((0, 2), np.float32)


def _guesses(
    first: NDArray[np.uint8], second: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> list[Homography]:
    guesses = [np.eye(3)]
    flat = np.where(mask > 0, first, 128)
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(flat.astype(np.float32) - 128, second.astype(np.float32) - 128, window)
    guesses.append(np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]))
    by_features = _by_features(first, second, mask)
    return guesses if by_features is None else [*guesses, by_features]


def _by_features(
    first: NDArray[np.uint8], second: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> Homography | None:
    """SIFT, Lowe's ratio test, MAGSAC."""
    finder = cv2.SIFT.create(nfeatures=1500, contrastThreshold=0.02)
    points, features = finder.detectAndCompute(first, mask)
    others, other_features = finder.detectAndCompute(second, None)
    if maybe(features) is None or maybe(other_features) is None or len(others) < 2:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(features, other_features, k=2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.8 * pair[1].distance]
    if len(good) < MIN_INLIERS:
        return None
    here = np.array([points[match.queryIdx].pt for match in good])
    there = np.array([others[match.trainIdx].pt for match in good])
    return fit(here, there, 3.0)[0]


def _refined(
    first: NDArray[np.uint8], second: NDArray[np.uint8], corners: NDArray[np.float32], guess: Homography
) -> tuple[Homography, NDArray[np.float64], NDArray[np.float64]] | None:
    """Track corners from a guess, twice; the homography, and the inliers in both pictures."""
    estimate = guess
    here = there = np.empty((0, 2))
    for levels in (2, 1):
        warped = cv2.warpPerspective(
            second, estimate, first.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        here, near = _tracked(first, np.asarray(warped, np.uint8), corners, levels)
        if len(here) < MIN_INLIERS:
            return None
        there = mapped(estimate, near)
        found, inlier = fit(here, there, INLIER_PX)
        if found is None or inlier.sum() < MIN_INLIERS or not _plausible(found, first.shape):
            return None
        estimate, here, there = found, here[inlier], there[inlier]
    return estimate, here, there


def _tracked(
    first: NDArray[np.uint8], warped: NDArray[np.uint8], corners: NDArray[np.float32], levels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    start = np.ascontiguousarray(corners[:, None])
    ahead, seen, _ = cv2.calcOpticalFlowPyrLK(
        first, warped, start, start.copy(), winSize=WINDOW, maxLevel=levels
    )
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(
        warped, first, ahead, ahead.copy(), winSize=WINDOW, maxLevel=levels
    )
    astray = np.linalg.norm(np.asarray(back) - start, axis=-1).ravel()
    good = (np.asarray(seen).ravel() > 0) & (np.asarray(seen_back).ravel() > 0) & (astray < BACK_PX)
    return corners[good].astype(float), np.asarray(ahead, float).reshape(-1, 2)[good]


def _plausible(H: Homography, shape: tuple[int, ...]) -> bool:
    """The picture keeps its orientation, and roughly its size: no fold, no collapse."""
    height, width = shape[:2]
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    taken = mapped(H, frame).astype(np.float32)
    area = float(cv2.contourArea(taken, oriented=True)) / (width * height)
    return bool(cv2.isContourConvex(taken[:, None])) and 0.4 < area < 2.5


def _in_sight(corners: NDArray[np.float32], H: Homography, shape: tuple[int, ...]) -> int:
    taken = mapped(H, corners.astype(float))
    return int(((taken >= 0) & (taken < np.array(shape[::-1]))).all(1).sum())


def _spread(
    here: NDArray[np.float64],
    there: NDArray[np.float64],
    corners: NDArray[np.float32],
    rng: np.random.Generator,
) -> float:
    """Standard deviation of the mean shift of all corners when inliers are drawn again."""
    points, means = corners.astype(float), list[float]()
    for _ in range(RESAMPLES):
        pick = rng.integers(0, len(here), len(here))
        if len(here) >= HOMOGRAPHY_INLIERS:
            resampled, _ = homography(here[pick], there[pick])
        else:
            resampled, _ = similarity(here[pick], there[pick], 3.0)
        if resampled is not None:
            means.append(float(np.linalg.norm(mapped(resampled, points) - points, axis=1).mean()))
    return float(np.std(means)) if len(means) > 1 else float("inf")
