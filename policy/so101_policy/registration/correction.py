"""By what a camera has moved since the recordings, from its live picture alone, and how well it can be put back.

The background of the recordings is found again in the live picture (`alignment`). The homography between the two is
exact for the table and wrong for what is above it, so it is taken only where it was shown to work
(docs/guides/camera_correction.md): for a shift of the picture by up to `MOST_MOVED`, found with certainty. Certain is:
the background, looked for once more in the picture that was put back, is where it was, and the two look alike. All else
is refused with a `RegistrationError`; nothing is guessed.

A camera that has not moved, in light that has not changed, is left alone: its pictures stay as they are, bit for bit.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import RegistrationError
from so101_policy.registration.alignment import WORK_WIDTH, align
from so101_policy.registration.background import Background
from so101_policy.registration.homography import Homography, mapped
from so101_policy.registration.light import measure_light
from so101_policy.registration.likeness import Likeness
from so101_policy.registration.warp import Warp

STILL, STILL_PX = 0.002, 0.25
"""A picture that has moved by less than this share of its width, or by less than so many pixels, has not moved: those
of a camera that stands are found up to 0.1 px (96 across) and 0.2 px (640) aside, and an interpolation blurs."""
SAME_LIGHT = 0.03
"""Light within this share of what it was is not levelled."""
MOST_MOVED = 0.20
"""Of the picture's width, mean over the background. Shown up to 19 %."""
MOST_LEFT = 0.01
"""Of the width, what may be left of the shift, the upper end of its 95 % interval."""
LEAST_SHARE = 0.30
"""Of the background's corners that must be found again in the picture that was put back: 0.44 and more in those that
were right."""
LEAST_LIKENESS = 0.40
"""See `likeness`."""
LEAST_SEEN = 0.50
"""Of the background that the moved camera must still see."""
MOST_LIGHT = 3.0
"""Ratio of grey levels, either way, that is levelled."""
MOST_CLIPPED = 0.7
"""Of the background: where more is too dark or too bright, how bright it is cannot be said."""


class Correction(NamedTuple):
    """How one camera's pictures are put back."""

    H: Homography | None
    """(3, 3): takes pixels of the recordings to pixels of the live picture; None: it has not moved."""
    gain: float
    """The live picture's grey levels over the recordings'; 1: not levelled."""
    moved_px: float
    """Mean shift of the background, in pixels of the live picture."""
    left_px: float
    """The same once it is put back, measured anew."""
    left_sd_px: float
    share: float
    """Of the background's corners that were found again, once it is put back."""
    likeness: float

    def in_words(self) -> str:
        """ "moved by 31.0 px, corrected, 0.3 px left"."""
        moved = f"moved by {self.moved_px:.1f} px"
        told = "not moved" if self.H is None else f"{moved}, corrected, {self.left_px:.1f} px left"
        return told if self.gain == 1.0 else f"{told}; light {100 * self.gain:.0f} %, levelled"


def find_correction(background: Background, live: NDArray[np.uint8]) -> Correction:
    """How pictures like `live` (height, width, 3) RGB are put back to where `background` was recorded.

    A background of another size is scaled to the live picture's first. The same input gives the same answer.

    Raises:
        RegistrationError: the background is not found, or not with certainty, or it has moved by more than was shown to
            work.
    """
    background = background.resized((live.shape[1], live.shape[0]))
    grey = np.asarray(cv2.cvtColor(live, cv2.COLOR_RGB2GRAY), np.uint8)
    width = background.size_px[0]
    found = align(background.grey, background.seldom_hidden, grey)
    if found is None:
        raise RegistrationError(
            "what stays the same in the recordings was not found in the live picture: is this the right camera, is its "
            f"lens free, does it look at the same bench? (mean grey level {grey.mean():.0f}, in the recordings "
            f"{background.grey.mean():.0f})"
        )
    points = background.points(background.seldom_hidden)
    moved_px = _shift(found.H, points)
    if moved_px > MOST_MOVED * width:
        raise RegistrationError(
            f"the picture has moved by {moved_px:.0f} px, and putting it back was shown to work up to "
            f"{MOST_MOVED * width:.0f} px"
        )
    H = None if moved_px < max(STILL_PX, STILL * width) else found.H
    warp = Warp(H, 1.0, background.image)
    put_back, seen = np.asarray(cv2.cvtColor(warp(live), cv2.COLOR_RGB2GRAY), np.uint8), warp.seen
    visible = background.seldom_hidden & seen
    if visible.sum() < LEAST_SEEN * background.seldom_hidden.sum():
        part = 100 * visible.sum() / background.seldom_hidden.sum()
        raise RegistrationError(
            f"only {part:.0f} % of what stays the same in the recordings is still in the picture, expected are at "
            f"least {100 * LEAST_SEEN:.0f} %"
        )
    again = align(background.grey, visible, put_back)
    likeness = Likeness(background.grey, background.seldom_hidden, WORK_WIDTH).of(put_back, seen)
    if again is None or again.share < LEAST_SHARE or not likeness >= LEAST_LIKENESS:
        share = 0.0 if again is None else again.share
        raise RegistrationError(
            f"it is not certain how the camera has moved (by about {moved_px:.1f} px?): {100 * share:.0f} % of the "
            f"background fits, expected {100 * LEAST_SHARE:.0f} %; likeness {likeness:.2f}, expected "
            f"{LEAST_LIKENESS:.2f}. Has the table changed, is something large in view?"
        )
    left_px = _shift(again.H, points)
    if left_px + 1.96 * again.sd_px > MOST_LEFT * width:
        raise RegistrationError(
            f"the picture has moved by {moved_px:.1f} px, and {left_px:.1f} ± {1.96 * again.sd_px:.1f} px would be "
            f"left, expected at most {MOST_LEFT * width:.1f} px: the table is not flat, or the camera was zoomed"
        )
    gain = _gain(background, live, np.eye(3) if H is None else H)
    return Correction(H, gain, moved_px, left_px, again.sd_px, again.share, likeness)


def _shift(H: Homography, points: NDArray[np.float64]) -> float:
    """Mean distance [px] by which points (n, 2) go."""
    return float(np.linalg.norm(mapped(H, points) - points, axis=1).mean())


def _gain(background: Background, live: NDArray[np.uint8], H: Homography) -> float:
    light = measure_light(background, live, H)
    size = max(light.brightness, 1 / light.brightness) if light.brightness > 0 else float("inf")
    if size > MOST_LIGHT or light.clipped > MOST_CLIPPED:
        raise RegistrationError(
            f"the picture is {100 * light.brightness:.0f} % as bright as the recordings, expected is "
            f"{100 / MOST_LIGHT:.0f} to {100 * MOST_LIGHT:.0f} %: lamp, exposure?"
        )
    return 1.0 if abs(light.brightness - 1) < SAME_LIGHT else light.brightness
