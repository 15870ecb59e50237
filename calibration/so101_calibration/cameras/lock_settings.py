"""Exposure, gain, white balance and focus: switched to manual, set, and read back.

A camera that regulates itself shows the same bench differently from day to day, and a policy sees that. What a
camera allows differs (drivers ignore, round or refuse), so nothing is believed: every setting is read back, and what
was refused is in the answer. Values are the driver's own units (V4L2: exposure in 0.1 ms, white balance in kelvin);
they mean something only for the same camera on the same system, which is what they are kept for.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import cv2


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def get(self, propId: int, /) -> float: ...
    def set(self, propId: int, value: float, /) -> bool: ...


class Setting(NamedTuple):
    """One thing that a camera regulates."""

    name: str
    automatic: int | None
    """OpenCV's property that switches the regulation; None where there is none."""
    manual: float
    """Its value for off."""
    value: int
    """OpenCV's property that holds the value."""


# V4L2 counts exposure modes: 1 is manual, 3 regulates. Other systems' backends take 0.25 for manual.
MANUAL_EXPOSURE = 1.0 if sys.platform.startswith("linux") else 0.25

SETTINGS = (
    Setting("exposure", cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL_EXPOSURE, cv2.CAP_PROP_EXPOSURE),
    Setting("gain", None, 0.0, cv2.CAP_PROP_GAIN),
    Setting("white_balance", cv2.CAP_PROP_AUTO_WB, 0.0, cv2.CAP_PROP_WB_TEMPERATURE),
    Setting("focus", cv2.CAP_PROP_AUTOFOCUS, 0.0, cv2.CAP_PROP_FOCUS),
)
NAMES = tuple(setting.name for setting in SETTINGS)

CLOSE = 0.01
"""Relative difference that drivers' rounding may leave."""


class Lock(NamedTuple):
    """What became of one setting."""

    name: str
    asked: float
    value: float
    """What the camera says that it has."""
    held: bool
    """Regulation is off and the value is the one that was asked for."""
    refused: str
    """Why it is not held; empty if it is."""


def lock(capture: Capture, wanted: Mapping[str, float] | None = None) -> list[Lock]:
    """Switch regulation off and set every setting to its value in `wanted`, or to the one it has now.

    Let the camera regulate for a second before, so that what it has now is good. Never raises: a camera that allows
    nothing has a list of refusals.
    """
    values = {setting.name: capture.get(setting.value) for setting in SETTINGS} | dict(wanted or {})
    return [_lock_one(capture, setting, values[setting.name]) for setting in SETTINGS]


def _lock_one(capture: Capture, setting: Setting, asked: float) -> Lock:
    if asked in (-1.0, 0.0) and not capture.set(setting.value, asked):
        return Lock(setting.name, asked, capture.get(setting.value), False, "the camera does not have it")
    refused = ""
    if setting.automatic is not None:
        capture.set(setting.automatic, setting.manual)
        if not _close(capture.get(setting.automatic), setting.manual):
            refused = "its regulation cannot be switched off"
    taken = capture.set(setting.value, asked)
    value = capture.get(setting.value)
    if not refused and not _close(value, asked):
        refused = f"asked for {asked:g}, it stays at {value:g}"
    if not refused and not taken:
        refused = "the camera does not take it"
    return Lock(setting.name, asked, value, not refused, refused)


def _close(value: float, asked: float) -> bool:
    return abs(value - asked) <= CLOSE * max(abs(asked), 1.0)


def in_words(locks: Sequence[Lock]) -> list[str]:
    """A line for each setting."""
    return [
        f"{lock.name}: locked at {lock.value:g}" if lock.held else f"{lock.name}: NOT locked, {lock.refused}"
        for lock in locks
    ]
