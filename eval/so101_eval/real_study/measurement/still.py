"""Whether nothing moves in the picture: hands are away, and no box still rocks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_eval.real_study.measurement.protocol import Pictures

WIDTH_PX, HEIGHT_PX = 160, 120
CHANGE = 12.0
"""[grey levels] of a pixel of the reduced picture; noise stays below 3."""
SHARE = 0.002
"""Of pixels that changed so much: 40 of 19200, a fingertip."""


class Still:
    """Remembers the last picture that was another one.

    Args:
        camera: that is looked at.
        for_s: how long nothing has to move [s]; 0: never mind.
    """

    def __init__(self, camera: str, for_s: float) -> None:
        self._camera, self._for_s = camera, for_s
        self._last: NDArray[np.int16] | None = None
        self._since_s = 0.0

    def seen(self, pictures: Pictures, now_s: float) -> bool:
        """Whether the picture has been still for so long; also true where there is no picture to judge by."""
        picture = pictures.get(self._camera)
        if self._for_s <= 0 or picture is None:
            return True
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        small = np.asarray(cv2.resize(grey, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA), np.int16)
        if self._last is None or float((np.abs(small - self._last) > CHANGE).mean()) > SHARE:
            self._last, self._since_s = small, now_s
        return now_s - self._since_s >= self._for_s
