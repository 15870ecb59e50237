"""A bench that is a texture: a camera that moves sees it through a homography, so the truth is exact."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.registration.background import Background, learn

type Picture = NDArray[np.uint8]

SPREAD = 1.5
"""The bench is so much larger than what a camera sees of it."""


class TextureBench:
    """Spots and lines that do not repeat.

    Args:
        width, height: of its pictures [px].
        seed: of the texture: another one is another bench.
    """

    def __init__(self, width: int = 96, height: int = 96, seed: int = 0) -> None:
        self.size = (width, height)
        rng = np.random.default_rng(seed)
        wide, high = int(SPREAD * width), int(SPREAD * height)
        bench = np.full((high, wide, 3), 120, np.uint8)
        for _ in range(160):
            x, y = rng.integers(0, wide), rng.integers(0, high)
            colour = tuple(int(level) for level in rng.integers(30, 210, 3))
            corner = (int(x + rng.integers(width // 30, width // 8)), int(y + rng.integers(2, height // 8)))
            cv2.rectangle(bench, (int(x), int(y)), corner, colour, -1)
        self._bench = np.asarray(cv2.GaussianBlur(bench, (0, 0), width / 160), np.uint8)
        left, top = (SPREAD - 1) / 2 * width, (SPREAD - 1) / 2 * height
        self._middle = np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])

    def picture(
        self,
        rng: np.random.Generator,
        H: NDArray[np.float64] | None = None,
        light: float = 1.0,
        hides: Sequence[int] = (),
    ) -> Picture:
        """What a camera sees, with noise of one grey level and a grey thing that is elsewhere every time.

        Args:
            rng: of the noise and the thing.
            H: (3, 3) takes pixels of the unmoved camera to pixels of this one; None: it has not moved.
            light: on the bench.
            hides: left, top, right, bottom [px] of something large before the lens.
        """
        width, height = self.size
        seen = self._middle if H is None else self._middle @ np.linalg.inv(H)
        clean = cv2.warpPerspective(
            self._bench, seen, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        ).astype(np.float32)
        side = width // 8
        x = int(rng.integers(width // 3, width // 2))
        y = int(rng.integers(height // 3, height // 2))
        clean[y : y + side, x : x + side] = 90
        if hides:
            left, top, right, bottom = hides
            clean[top:bottom, left:right] = 70
        noisy = clean * light + rng.normal(0, 1.0, clean.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def background(self, frames: int = 16) -> Background:
        """As recorded with the camera where it was."""
        rng = np.random.default_rng(3)
        return learn([self.picture(rng) for _ in range(frames)])

    def moved(self, share: float, turn_deg: float = 0.0, towards_rad: float = 0.6) -> NDArray[np.float64]:
        """(3, 3) a shift by that share of the width, and a turn about the picture's middle."""
        width, height = self.size
        angle = np.deg2rad(turn_deg)
        middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1.0]])
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        shift = np.array(
            [
                [1, 0, share * width * np.cos(towards_rad)],
                [0, 1, share * width * np.sin(towards_rad)],
                [0, 0, 1.0],
            ]
        )
        return shift @ middle @ turn @ np.linalg.inv(middle)
