"""Picture files: read and written as RGB, with one message where that fails."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import FileError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) RGB. Raises FileError."""
    if not path.is_file():
        raise FileError(f"there is no picture {path}")
    found = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if found is None:
        raise FileError(f"{path} is not a picture that can be read; possible are {', '.join(ENDINGS)}")
    return np.ascontiguousarray(np.asarray(found, np.uint8)[..., ::-1])


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """RGB or grey. Raises FileError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)
    except cv2.error as error:
        raise FileError(f"{path}: {ENDINGS} are possible") from error
    if not done:
        raise FileError(f"cannot write {path}")


def find(places: Sequence[Path]) -> list[Path]:
    """Picture files: those given, and all in folders that are given, in order. Raises FileError if there are none."""
    found: list[Path] = []
    for place in places:
        inside = (
            sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS)
            if place.is_dir()
            else [place]
        )
        found += inside
    if not found:
        raise FileError(
            f"no pictures in {', '.join(map(str, places)) or 'nothing'}; possible are {', '.join(ENDINGS)}"
        )
    return found
