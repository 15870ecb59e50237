"""What a camera saw while data was recorded, without what moved: the background, its light and its sharpness.

From some frames over the whole dataset the median of every pixel is taken, which shows the bench where the arm was
only now and then. Pixels that differ from their median in more than a few frames are where arm and boxes work; they
say nothing about the camera and are masked, with a margin. Frames are brought to a common brightness first, so a
lamp that changed between episodes does not look like motion.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import RegistrationError

MIN_FRAMES = 8
MOVED_LEVELS = 8.0
"""Grey levels from the median that count as motion: above the noise of a webcam and of video compression."""
MOVED_SHARE = 0.05
"""Of the frames; where more differ, something moves."""
HIDDEN_SHARE = 0.25
"""Of the frames; where fewer differ, the median shows the bench, and a moved camera has something to hold on to: the
corners that are hidden at the moment do not fit and do not count. With `MOVED_SHARE` a third of the picture is left;
cameras that were moved by 50 mm were mostly refused then, the others put back less well
(docs/guides/camera_correction.md)."""
MARGIN = 1 / 96
"""Of the picture's width, left out about what hides the bench more often."""
MIN_STATIC = 0.1
"""Of the picture that must stay: with less there is nothing to hold on to."""
STAYS = 0.99
"""Of a pixel that is made of several: so much of it must stay the same."""
DARK, BRIGHT = 8.0, 250.0
"""Grey levels between which a pixel tells how much light there is."""


class Background(NamedTuple):
    """What stays the same in the frames of a dataset."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB, the median of every pixel."""
    static: NDArray[np.bool_]
    """(height, width): where nothing moved."""
    sharpness: float
    """Median over the frames, see `sharpness`."""
    frames: int
    seldom_hidden: NDArray[np.bool_]
    """(height, width): where nothing moved, or only now and then; what a moved camera's picture is found by."""

    @property
    def grey(self) -> NDArray[np.uint8]:
        """(height, width)"""
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY), np.uint8)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[1], self.image.shape[0]

    def points(self, where: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, 2) pixels (x, y) of a mask (height, width), evenly."""
        step = max(2, self.size_px[0] // 64)
        rows, columns = np.nonzero(where[::step, ::step])
        return np.column_stack((columns, rows)).astype(float) * step

    def resized(self, size_px: tuple[int, int]) -> "Background":
        """For pictures of another width and height; itself where they are the same. Sharpness stays as it is."""
        if size_px == self.size_px:
            return self
        image = np.asarray(cv2.resize(self.image, size_px, interpolation=cv2.INTER_AREA), np.uint8)
        static, seldom_hidden = (_resized(mask, size_px) for mask in (self.static, self.seldom_hidden))
        return self._replace(image=image, static=static, seldom_hidden=seldom_hidden)


def _resized(mask: NDArray[np.bool_], size_px: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(cv2.resize(mask.astype(np.float32), size_px, interpolation=cv2.INTER_AREA)) > STAYS


def learn(frames: Sequence[NDArray[np.uint8]]) -> Background:
    """The background of frames (height, width, 3) RGB of one camera that stood still.

    Raises RegistrationError for too few frames, frames of several sizes, or a view in which everything moves.
    """
    if len(frames) < MIN_FRAMES:
        raise RegistrationError(
            f"{len(frames)} frames; at least {MIN_FRAMES} are needed to tell what moves from what stays"
        )
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise RegistrationError(f"frames of several sizes: {', '.join(map(str, sorted(shapes)))}")
    stack = np.stack(frames)
    levels = stack.mean(-1)  # (frames, height, width)
    middle = np.median(levels, axis=0)
    gains = np.array([_gain(frame, middle) for frame in levels])
    levelled = np.clip(levels / gains[:, None, None], 0, 255)
    middle = np.median(levelled, axis=0)
    moved_share = (np.abs(levelled - middle) > MOVED_LEVELS).mean(0)
    width = frames[0].shape[1]
    static = _away_from(moved_share > MOVED_SHARE, max(3, width // 64) | 1)
    seldom_hidden = static | _away_from(moved_share > HIDDEN_SHARE, max(1, round(width * MARGIN)))
    if static.mean() < MIN_STATIC:
        raise RegistrationError(
            f"only {100 * static.mean():.0f} % of the picture stays the same over the dataset, expected are at least "
            f"{100 * MIN_STATIC:.0f} %: a camera that moves with the arm, or that was moved between episodes, cannot "
            "be compared with its own background"
        )
    image = np.rint(np.median(stack, axis=0)).astype(np.uint8)
    sharp = float(np.median([sharpness(frame, static) for frame in frames]))
    return Background(image, static, sharp, len(frames), seldom_hidden)


def _away_from(moving: NDArray[np.bool_], reach_px: int) -> NDArray[np.bool_]:
    """(height, width): farther than that from anything that moves; single pixels do not count."""
    cleaned = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return np.asarray(cv2.dilate(cleaned, np.ones((2 * reach_px + 1,) * 2, np.uint8))) == 0


def _gain(level: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    usable = (level > DARK) & (level < BRIGHT) & (middle > DARK) & (middle < BRIGHT)
    return float(np.median(level[usable] / middle[usable])) if usable.mean() > 0.01 else 1.0


def sharpness(image: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Steepness of edges over brightness: root mean square of the slope, over the mean grey level [1/pixel].

    A little smoothing first keeps noise and compression out. Clipped pixels and their neighbours do not count. Zero
    where there is nothing to measure.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    clipped = ((image >= BRIGHT).any(-1) | (grey < DARK)).astype(np.uint8)
    usable = where & (np.asarray(cv2.dilate(clipped, np.ones((9, 9), np.uint8))) == 0)
    if usable.sum() < 100:
        return 0.0
    soft = cv2.GaussianBlur(grey, (0, 0), 0.7)
    slope_x, slope_y = cv2.Sobel(soft, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(soft, cv2.CV_32F, 0, 1) / 8
    power = np.asarray(slope_x) ** 2 + np.asarray(slope_y) ** 2
    return float(np.sqrt(power[usable].mean()) / grey[usable].mean())
