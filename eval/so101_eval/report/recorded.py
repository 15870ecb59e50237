"""The film of a trial on an arm, for a report: what was filmed, and in its last second what the camera measured."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from so101_eval.errors import EvalError
from so101_eval.evaluation.records import EpisodeRecord
from so101_robot.runs.clip import CLIP

Picture = NDArray[np.uint8]
MEASURED_S = 1.0
"""How long what was measured is shown."""


class Filmed(NamedTuple):
    """An episode: pictures at equal times."""

    pictures: list[Picture]
    same: bool
    """Played again, it went as its record says; a film always does."""


def recorded(folder: Path, record: EpisodeRecord, size: tuple[int, int], rate: Fraction) -> Filmed:
    """A trial's film.

    Args:
        folder: of the study.
        record: whose `media` names the trial's folder, and the picture of what was measured where there is one.
        size: width and height of the pictures [px]; what has another shape gets black edges.
        rate: pictures a second.

    Raises:
        EvalError: there is no film, or it or the picture cannot be read.
    """
    media = record.media or {}
    path = _inside(folder, f"{media.get('trial')}/{CLIP}")
    pictures: list[Picture] = []
    try:
        with av.open(str(path)) as container:
            filmed_at = container.streams.video[0].average_rate or rate
            for number, frame in enumerate(container.decode(video=0)):
                picture: Picture | None = None
                while len(pictures) / rate <= number / filmed_at:
                    if picture is None:
                        picture = fitted(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), size)
                    pictures.append(picture)
        if measured := media.get("measured"):
            still = np.asarray(Image.open(_inside(folder, measured)).convert("RGB"), np.uint8)
            pictures += [fitted(still, size)] * round(MEASURED_S * rate)
    except (FFmpegError, UnidentifiedImageError, OSError, IndexError) as problem:
        raise EvalError(f"{record.key}: its film cannot be shown: {problem}") from problem
    if not pictures:
        raise EvalError(f"{record.key}: {path} holds no picture")
    return Filmed(pictures, True)


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """The whole picture in a frame of that width and height."""
    width, height = size
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = (min(width, round(picture.shape[1] * scale)), min(height, round(picture.shape[0] * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    frame = np.zeros((height, width, 3), np.uint8)
    small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    frame[top : top + inner[1], left : left + inner[0]] = small
    return frame


def _inside(folder: Path, name: str) -> Path:
    """A file of the study. Raises `EvalError` for a path that leads elsewhere."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise EvalError(f"a record names a file outside of {folder}")
    return path
