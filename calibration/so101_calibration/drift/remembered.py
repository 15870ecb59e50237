"""The background of a dataset, kept beside the servos' calibration, so that every run can be compared with it.

One picture file for a camera, `<robot id>.background.<camera>.png`: its colours are the background, it is opaque where
nothing moved, and its text holds the rest (of which dataset, limits, sharpness). A reader finds the old file or the
new one, never half of one. It can be made again from the dataset, so no older ones are kept.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from so101_calibration.drift.judgement import Limits
from so101_calibration.errors import FileError
from so101_policy.errors import first_line, shown
from so101_policy.files.typed_data import typed
from so101_policy.registration.background import Background
from so101_policy.registration.files import REMEMBERED, read_painted, remembered_path, write_painted

VERSION = 1


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
    return remembered_path(calibration, camera)


def write(path: Path, kept: Remembered) -> None:
    """Raises FileError."""
    background = kept.background
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
    try:
        write_painted(path, background, REMEMBERED, about)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path) -> Remembered:
    """Raises FileError: not there, or not a remembered background."""
    try:
        image, static, seldom_hidden, told = read_painted(path, REMEMBERED)
        if told.get("version") != VERSION:
            raise FileError(
                f"{path} is of version {shown(told.get('version'))}; this program knows version {VERSION}"
            )
        about = typed(_About, told)
        background = Background(image, static, about.sharpness, about.frames, seldom_hidden)
        return Remembered(background, about.dataset, about.date, about.gamma, about.focal_px, about.limits)
    except FileNotFoundError as error:
        raise FileError(f"there is no {path}; `so101-calibrate drift --remember` makes it") from error
    except FileError:
        raise
    except ValueError as error:
        raise FileError(f"{path} is not a remembered background: {error}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {first_line(error)}") from error
