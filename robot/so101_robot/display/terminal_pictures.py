"""The cameras' pictures in the terminal itself, where it can show pictures (kitty's graphics protocol, or sixel).

    pictures = terminal_pictures()        # None: this terminal shows letters alone
    pictures.of(frames, rows=12)          # for rich

To import this asks the terminal (textual-image does, and waits a tenth of a second for the answer), so it is imported
only where `dashboard.can_be_asked` says so, and before anything reads the keyboard.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import RenderableType
from textual_image import renderable

GAP = 0.03
"""Between two cameras, of the height."""
HEIGHT_PX = 240
"""The pictures are brought to this height; the terminal's own size decides about the rest."""


class TerminalPictures:
    """Draws pictures by one of the two protocols."""

    def __init__(self, kind: type[renderable.TGPImage | renderable.SixelImage]) -> None:
        self._kind = kind

    def of(self, frames: Mapping[str, NDArray[np.uint8]], rows: int) -> RenderableType | None:
        """Side by side, in that many rows of the terminal; None without a picture.

        Args:
            frames: camera -> (height, width, 3) RGB.
            rows: lines of text that it may cover.
        """
        if not frames:
            return None
        return self._kind(Image.fromarray(side_by_side(frames)), width="auto", height=rows)


def side_by_side(frames: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(HEIGHT_PX, width, 3): one picture of all cameras, with a black gap between them."""
    gap = np.zeros((HEIGHT_PX, round(GAP * HEIGHT_PX), 3), np.uint8)
    parts: list[NDArray[np.uint8]] = []
    for image in frames.values():
        width = round(image.shape[1] * HEIGHT_PX / image.shape[0])
        parts += [gap, np.asarray(cv2.resize(image, (width, HEIGHT_PX)), np.uint8)]
    return np.hstack(parts[1:])


def terminal_pictures() -> TerminalPictures | None:
    """None where the terminal shows no pictures. It was asked when this module was imported."""
    kind = renderable.Image
    if kind is renderable.TGPImage or kind is renderable.SixelImage:
        return TerminalPictures(kind)
    return None
