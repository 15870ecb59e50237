"""A background as a picture file: its colours are the background, it is opaque where nothing moved and nearly so where
it was hidden only now and then, and a text in it holds the rest.

A reader finds the old file or the new one, never half of one. What is read is looked at first: kind, size and number of
pixels, so a file from a stranger costs no more than one of ours.
"""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from so101_policy.errors import shown
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed
from so101_policy.files.whole_files import write_bytes
from so101_policy.registration.background import MIN_STATIC, Background

VERSION = 1
TEXT = "so101 background"
"""Name of the text in a file that travels with a checkpoint."""
REMEMBERED = "so101-calibrate drift"
"""The same of one that `so101-calibrate drift --remember` keeps beside the servos' calibration, with more in it."""
PREFIX, SUFFIX = "so101_background.", ".png"
STATIC_OPACITY, SELDOM_HIDDEN_OPACITY, MOVING_OPACITY = 255, 200, 90
"""What moved is still visible when a person opens the file."""
MOST_BYTES = 16_000_000
MOST_PIXELS = 2_100_000
"""1920x1080 and a little."""
LEAST_PX = 8
DAMAGED = (
    *(UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning),
    *(SyntaxError, struct.error, zlib.error, EOFError),
    *(KeyError, TypeError, ValueError, IndexError),
)
"""What reading another file, or a damaged one, ends in. (PIL raises a SyntaxError for a broken PNG.)"""


class About(NamedTuple):
    """The text in a checkpoint's file."""

    version: int
    dataset: str
    frames: int
    sharpness: float


class Painted(NamedTuple):
    """What a file of any kind holds."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""
    static: NDArray[np.bool_]
    """(height, width)"""
    seldom_hidden: NDArray[np.bool_]
    """(height, width), what is static included."""
    told: dict[str, Any]
    """Its text, not looked at yet."""


def name_of(camera: str) -> str:
    """The name of a camera's file in a checkpoint's folder."""
    return f"{PREFIX}{camera}{SUFFIX}"


def camera_of(name: str) -> str | None:
    """The camera to which a file of that name belongs; None: it is no background's."""
    if not name.startswith(PREFIX) or not name.endswith(SUFFIX):
        return None
    return name[len(PREFIX) : -len(SUFFIX)] or None


def write_background(path: Path, background: Background, dataset: str) -> None:
    """Beside a checkpoint's weights, or anywhere. Raises OSError."""
    about = About(VERSION, dataset, background.frames, background.sharpness)
    write_painted(path, background, TEXT, about._asdict())


def read_background(path: Path) -> Background:
    """Back from `write_background`. Raises ValueError for another or a damaged file, OSError."""
    return _background(read_painted(path, TEXT))


def remembered_path(calibration: Path, camera: str) -> Path:
    """Where `so101-calibrate drift --remember` keeps one: beside the servos' calibration file `<robot id>.json`."""
    return calibration.with_name(f"{calibration.stem}.background.{camera}.png")


def read_remembered(path: Path) -> Background:
    """The background alone of such a file. Raises as `read_background`."""
    painted = read_painted(path, REMEMBERED)
    return _background(painted._replace(told={name: painted.told.get(name) for name in About._fields}))


def _background(painted: Painted) -> Background:
    image, static, seldom_hidden, told = painted
    if told.get("version") != VERSION:
        raise ValueError(
            f"it is of version {shown(told.get('version'))}; this program knows version {VERSION}"
        )
    about = typed(About, told)
    if not about.sharpness >= 0 or about.frames < 1:
        raise ValueError(f"it is of {about.frames} frames, its sharpness is {about.sharpness:g}")
    if static.mean() < MIN_STATIC:
        raise ValueError(
            f"only {100 * static.mean():.0f} % of it stays the same, expected {100 * MIN_STATIC:.0f} %"
        )
    return Background(image, static, about.sharpness, about.frames, seldom_hidden)


def write_painted(path: Path, background: Background, text: str, about: Mapping[str, Any]) -> None:
    """Any background with a text of that name. Raises OSError."""
    opacity = np.where(background.seldom_hidden, SELDOM_HIDDEN_OPACITY, MOVING_OPACITY).astype(np.uint8)
    opacity[background.static] = STATIC_OPACITY
    texts = PngImagePlugin.PngInfo()
    texts.add_text(text, json.dumps(dict(about)))
    buffer = io.BytesIO()
    Image.fromarray(np.dstack((background.image, opacity))).save(buffer, "PNG", pnginfo=texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())


def read_painted(path: Path, text: str) -> Painted:
    """Back from `write_painted`. Raises ValueError for another or a damaged file, OSError."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is not a file")  # a pipe would be waited for without end
    if size > MOST_BYTES:
        raise ValueError(f"it is too large: {size} bytes, expected at most {MOST_BYTES}")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            width, height = picture.size
            if picture.mode != "RGBA" or min(width, height) < LEAST_PX or width * height > MOST_PIXELS:
                raise ValueError(
                    f"it is a picture of kind {picture.mode}, {width}x{height}; expected RGBA of at most "
                    f"{MOST_PIXELS} pixels"
                )
            pixels = np.asarray(picture)
            told = typed(dict[str, Any], parse_json(picture.info[text]))
    except DAMAGED as error:
        raise ValueError(f"{type(error).__name__} {error}") from error
    opacity = pixels[..., 3]
    seldom_hidden = opacity >= SELDOM_HIDDEN_OPACITY
    return Painted(np.ascontiguousarray(pixels[..., :3]), opacity == STATIC_OPACITY, seldom_hidden, told)
