"""The background of a dataset, kept beside the servos' calibration, so that every run can be compared with it.

One picture file for a camera, `<robot id>.background.<camera>.png`: its colours are the background, it is opaque where
nothing moved, and its text holds the rest (of which dataset, limits, sharpness). A reader finds the old file or the
new one, never half of one. It can be made again from the dataset, so no older ones are kept.
"""

import io
import json
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from so101_calibration.drift.background import Background
from so101_calibration.drift.judgement import Limits
from so101_calibration.errors import FileError, UsageError
from so101_policy.errors import shown
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import write_bytes

VERSION = 1
TEXT = "so101-calibrate drift"
"""Name of the text in the file."""
NOT_A_PICTURE = (
    *(UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning),
    *(SyntaxError, struct.error, zlib.error, EOFError),
    *(KeyError, TypeError, ValueError, IndexError, UsageError),
)
"""What reading another file, or a damaged one, ends in. (PIL raises a SyntaxError for a broken PNG.)"""
MOVING_OPACITY = 90
"""Opacity of what moved: still visible when a person opens the file."""


class _About(NamedTuple):
    """The text in the file."""

    version: int
    dataset: str
    date: str
    frames: int
    sharpness: float
    gamma: float
    focal_px: float | None
    limits: Limits


class Remembered(NamedTuple):
    """What a live picture is compared with, and how."""

    background: Background
    dataset: str
    date: str
    gamma: float
    focal_px: float | None
    """Of the lens, in pixels of the background; None: not known."""
    limits: Limits


def path_of(calibration: Path, camera: str) -> Path:
    """Beside the servos' calibration file `<robot id>.json`."""
    return calibration.with_name(f"{calibration.stem}.background.{camera}.png")


def write(path: Path, kept: Remembered) -> None:
    """Raises FileError."""
    background = kept.background
    opacity = np.where(background.static, 255, MOVING_OPACITY).astype(np.uint8)
    about = {
        "version": VERSION,
        "dataset": kept.dataset,
        "date": kept.date,
        "frames": background.frames,
        "sharpness": background.sharpness,
        "gamma": kept.gamma,
        "focal_px": kept.focal_px,
        "limits": asdict(kept.limits),
    }
    text = PngImagePlugin.PngInfo()
    text.add_text(TEXT, json.dumps(about))
    buffer = io.BytesIO()
    Image.fromarray(np.dstack((background.image, opacity))).save(buffer, "PNG", pnginfo=text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> Remembered:
    """Raises FileError: not there, or not a remembered background."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
            told = typed(dict[str, Any], parse_json(picture.info[TEXT]))
        if told.get("version") != VERSION:
            raise FileError(
                f"{path} is of version {shown(told.get('version'))}; this program knows version {VERSION}"
            )
        about = typed(_About, told)
        image, static = np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] == 255
        background = Background(image, static, about.sharpness, about.frames)
        return Remembered(background, about.dataset, about.date, about.gamma, about.focal_px, about.limits)
    except FileNotFoundError as error:
        raise FileError(f"there is no {path}; `so101-calibrate drift --remember` makes it") from error
    except NOT_A_PICTURE as error:
        raise FileError(f"{path} is not a remembered background: {type(error).__name__} {error}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from error
