"""Pictures that cost next to nothing: a pattern for each camera on which waves move with the arm.

All that a runner can ask of a picture without a policy is in them: they differ from camera to camera, change with every
movement, and are as bright as a room.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 70, 170
"""Brightness of the pattern, 0 to 255."""
WAVE = 25.0


class Sketch:
    """What a mock arm takes for its renderer.

    Args:
        width, height: of the pictures.
    """

    backend = "sketch"

    def __init__(self, width: int, height: int) -> None:
        self._shape = (height, width, 3)
        self._patterns: dict[str, NDArray[np.float64]] = {}
        self._across = np.linspace(0.0, 6.0, width)[None, :, None]
        self._down = np.linspace(0.0, 4.0, height)[:, None, None]

    def render(self, snapshot: NDArray[np.float64], camera: str) -> NDArray[np.uint8]:
        """(height, width, 3) of the state in `snapshot`."""
        pattern = self._patterns.get(camera)
        if pattern is None:
            rng = np.random.default_rng(zlib.crc32(camera.encode()))
            pattern = self._patterns[camera] = rng.uniform(LEAST, MOST, self._shape)
        turn = float(snapshot @ np.cos(np.arange(len(snapshot))))
        wave = WAVE * np.sin(self._across + 3.0 * turn) * np.cos(self._down - 5.0 * turn)
        return (pattern + wave).astype(np.uint8)

    def refresh(self) -> None:
        """Nothing is kept of the model."""

    def close(self) -> None:
        """Nothing is open."""
