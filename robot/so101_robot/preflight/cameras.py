"""Pre-flight of the cameras: do they deliver, in the right size, something that can be seen, and new pictures?"""

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from so101_robot.clock import Clock
from so101_robot.preflight.findings import Finding
from so101_robot.state import Frame

WATCH_S = 1.0
"""How long a camera may take to deliver a second and a third picture."""

PICTURES = 3
"""So many different pictures of each camera are enough."""

DARK = 16
"""Of 255: a picture whose brightest hundredth is darker than this shows nothing. A covered lens
gives black and a little noise."""

FLAT = 2.0
"""Standard deviation of the grey values, of 255: fog, a lens against the table, a test picture."""


def check_cameras(
    look: Callable[[], dict[str, Frame]], sizes: Mapping[str, tuple[int, int]], clock: Clock, max_age_s: float
) -> list[Finding]:
    """Watch all cameras for up to `WATCH_S`.

    Args:
        look: the newest frames, as `SO101.frames` gives them.
        sizes: camera -> (height, width) that was asked for.
        clock: the arm's.
        max_age_s: how old a picture may be.

    Raises:
        CameraError: a camera that never delivered one.
    """
    seen: dict[str, list[Frame]] = {name: [] for name in sizes}
    end_s = clock.now_s() + WATCH_S
    while True:
        for name, frame in look().items():
            pictures = seen.setdefault(name, [])
            if not pictures or frame.sequence != pictures[-1].sequence:
                pictures.append(frame)
        now_s = clock.now_s()
        if all(len(pictures) >= PICTURES for pictures in seen.values()) or now_s >= end_s:
            break
        clock.sleep_until(now_s + 0.01)
    findings = [
        finding
        for name, pictures in seen.items()
        for finding in _camera(name, pictures, sizes, now_s, max_age_s)
    ]
    return [*findings, *_twins({name: pictures[-1].image for name, pictures in seen.items() if pictures})]


def _camera(
    name: str, pictures: list[Frame], sizes: Mapping[str, tuple[int, int]], now_s: float, max_age_s: float
) -> list[Finding]:
    if name not in sizes:
        return []
    if not pictures:
        return [Finding("stop", "cameras", name, "no picture", "pictures", "check its cable and its name")]
    last = pictures[-1]
    (height, width), (asked_height, asked_width) = last.image.shape[:2], sizes[name]
    asked = f"{asked_width}x{asked_height}"
    found: list[Finding] = []
    if (height, width) != (asked_height, asked_width):
        remedy = "set width and height in --robot.cameras to what it delivers"
        found.append(Finding("stop", "cameras", name, f"{width}x{height} pixels", asked, remedy))
    if now_s - last.captured_s > max_age_s:
        age = f"the newest picture is {now_s - last.captured_s:.2f} s old"
        found.append(
            Finding("stop", "cameras", name, age, f"{max_age_s:g} s at most", "is it still plugged in?")
        )
    elif len(pictures) == 1:
        remedy = "unplug it and plug it in again"
        found.append(
            Finding("stop", "cameras", name, f"no new picture in {WATCH_S:g} s", "moving pictures", remedy)
        )
    elif last.renderer is None and all(np.array_equal(picture.image, last.image) for picture in pictures):
        same = f"{len(pictures)} new pictures that are the same to the last bit, so it may be frozen"
        found.append(
            Finding("warn", "cameras", name, same, "noise, at least", "wave a hand before it and look")
        )
    if (unseen := _shows_nothing(last.image)) is not None:
        found.append(Finding("stop", "cameras", name, unseen, "a picture", "lens cap? light? exposure?"))
    return found or [Finding("ok", "cameras", name, f"{asked}, brightness {last.image.mean():.0f} of 255")]


def _shows_nothing(image: NDArray[np.uint8]) -> str | None:
    grey = image.mean(axis=-1)
    if (brightest := float(np.percentile(grey, 99))) < DARK:
        return f"the picture is dark: 99 % of it is below {brightest:.0f} of 255"
    if (contrast := float(grey.std())) < FLAT:
        return f"the picture is one grey: its contrast is {contrast:.1f} of 255"
    return None


def _twins(images: Mapping[str, NDArray[np.uint8]]) -> list[Finding]:
    """Two names for one device."""
    return [
        Finding(
            "stop",
            "cameras",
            f"{a} and {b}",
            "they show the same picture",
            "two cameras",
            "check their indices",
        )
        for a, b in combinations(images, 2)
        if np.array_equal(images[a], images[b]) and _shows_nothing(images[a]) is None
    ]
