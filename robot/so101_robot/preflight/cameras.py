"""Pre-flight of the cameras: do they deliver, in the right size, at their rate, something that can be seen, and new
pictures?"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from so101_robot.clock import Clock
from so101_robot.preflight.camera_rate import judge_rate
from so101_robot.preflight.findings import Finding, Level
from so101_robot.state import Frame

WATCH_S = 1.0
"""How long a camera may take to deliver a second and a third picture."""

PICTURES = 3
"""So many different pictures of each camera are enough, where its rate is not known."""

RATE_PICTURES = 10
"""So many that came at the right rate, one after the other, are enough."""

RATE_WATCH_S = 3.0
"""How long a camera is watched that does not keep its rate; `so101-calibrate check` watches as long."""

LEAST_RATE = 0.45
"""Below this share of its rate a camera is not to be driven with. Dim light halves the rate of many cameras, and a
policy can work with that: a warning."""

POLL_S = 0.005
"""Between two looks [s]: no picture of a camera at 60 Hz is missed."""

DARK = 16
"""Of 255: a picture whose brightest hundredth is darker than this shows nothing. A covered lens
gives black and a little noise."""

FLAT = 2.0
"""Standard deviation of the grey values, of 255: fog, a lens against the table, a test picture."""


LEAST_GAIN = 0.1
"""By so much, of 1, two cameras' mean colours have to fit better the other way round, both together, before they are
taken for swapped: light that changes shifts both alike, and does not make one look like the other."""

MUCH_BETTER = 0.5
"""And the misfit that is left is at most this share."""


def check_places(
    images: Mapping[str, NDArray[np.uint8]], colours: Mapping[str, Sequence[float]]
) -> list[Finding]:
    """Pairs of cameras whose pictures fit what the policy was trained on better the other way round.

    Only the mean colour of the recordings travels with a checkpoint, so cameras that see alike are not told apart, and
    what is found is a warning.

    Args:
        images: camera -> (height, width, 3), the newest.
        colours: camera -> red, green, blue of the recordings, 0 to 1.
    """
    now = {name: image.mean(axis=(0, 1)) / 255 for name, image in images.items() if name in colours}
    found: list[Finding] = []
    for a, b in combinations(now, 2):
        straight = _misfit(now[a], colours[a]) + _misfit(now[b], colours[b])
        swapped = _misfit(now[a], colours[b]) + _misfit(now[b], colours[a])
        if straight - swapped > LEAST_GAIN and swapped < MUCH_BETTER * straight:
            said = f"the pictures of {a} look like those of {b} in training, and the other way round"
            remedy = "look at both; exchange their index_or_path, or their plugs"
            found.append(Finding(Level.WARN, "cameras", f"{a} and {b}", said, "each in its place", remedy))
    return found


def _misfit(colour: NDArray[np.float64], trained: Sequence[float]) -> float:
    return float(np.abs(colour - np.asarray(trained, np.float64)).mean())


def check_cameras(
    look: Callable[[], dict[str, Frame]],
    sizes: Mapping[str, tuple[int, int]],
    clock: Clock,
    max_age_s: float,
    rates: Mapping[str, float] | None = None,
) -> list[Finding]:
    """Watch all cameras for up to `WATCH_S`, and for `RATE_WATCH_S` where one does not keep its rate.

    Args:
        look: the newest frames, as `SO101.frames` gives them.
        sizes: camera -> (height, width) that is expected.
        clock: the arm's.
        max_age_s: how old a picture may be.
        rates: camera -> pictures a second that are expected; the rate of others is not looked at.

    Raises:
        CameraError: a camera that never delivered one, or has stopped.
    """
    rates = rates or {}
    seen: dict[str, list[Frame]] = {name: [] for name in sizes}
    begin_s = clock.now_s()
    while True:
        for name, frame in look().items():
            pictures = seen.setdefault(name, [])
            if not pictures or frame.sequence != pictures[-1].sequence:
                pictures.append(frame)
        now_s = clock.now_s()
        watched = [name for name in seen if not _is_enough(name, seen[name], rates.get(name))]
        slow = any(name in rates and len(seen[name]) > 1 for name in watched)
        if not watched or now_s - begin_s >= (RATE_WATCH_S if slow else WATCH_S):
            break
        clock.sleep_until(now_s + POLL_S)
    findings = [
        finding
        for name, pictures in seen.items()
        for finding in _camera(name, pictures, sizes, now_s, max_age_s, rates.get(name))
    ]
    return [*findings, *_twins({name: pictures[-1].image for name, pictures in seen.items() if pictures})]


def _is_enough(name: str, pictures: list[Frame], rate: float | None) -> bool:
    """Nothing more has to be seen of this camera."""
    if rate is None:
        return len(pictures) >= PICTURES
    newest = pictures[-RATE_PICTURES:]
    return len(newest) == RATE_PICTURES and _judge_rate(name, newest, rate).level is Level.OK


def _judge_rate(name: str, pictures: list[Frame], rate: float) -> Finding:
    """The self-test's judgement; milder about a rate that can be driven with."""
    stamps_s = [picture.captured_s for picture in pictures]
    finding = judge_rate("cameras", name, stamps_s, RATE_WATCH_S, rate)
    can_drive = finding.value is not None and finding.value >= LEAST_RATE * rate
    return finding._replace(level=Level.WARN) if finding.level is Level.STOP and can_drive else finding


def _camera(
    name: str,
    pictures: list[Frame],
    sizes: Mapping[str, tuple[int, int]],
    now_s: float,
    max_age_s: float,
    rate: float | None,
) -> list[Finding]:
    if name not in sizes:
        return []
    if not pictures:
        return [
            Finding(Level.STOP, "cameras", name, "no picture", "pictures", "check its cable and its name")
        ]
    last = pictures[-1]
    (height, width), (asked_height, asked_width) = last.image.shape[:2], sizes[name]
    asked = f"{asked_width}x{asked_height}"
    found: list[Finding] = []
    if (height, width) != (asked_height, asked_width):
        remedy = "set width and height in --robot.cameras to what it delivers"
        found.append(Finding(Level.STOP, "cameras", name, f"{width}x{height} pixels", asked, remedy))
    if now_s - last.captured_s > max_age_s:
        age = f"the newest picture is {now_s - last.captured_s:.2f} s old"
        found.append(
            Finding(Level.STOP, "cameras", name, age, f"{max_age_s:g} s at most", "is it still plugged in?")
        )
    elif len(pictures) == 1:
        remedy = "unplug it and plug it in again"
        found.append(
            Finding(
                Level.STOP, "cameras", name, f"no new picture in {WATCH_S:g} s", "moving pictures", remedy
            )
        )
    elif last.renderer is None and all(np.array_equal(picture.image, last.image) for picture in pictures):
        same = f"{len(pictures)} new pictures that are the same to the last bit, so it may be frozen"
        found.append(
            Finding(Level.WARN, "cameras", name, same, "noise, at least", "wave a hand before it and look")
        )
    if rate is not None and len(pictures) > 1 and not _is_enough(name, pictures, rate):
        judged = _judge_rate(name, pictures, rate)
        found += [judged] if judged.level is not Level.OK else []
    if (unseen := _shows_nothing(last.image)) is not None:
        found.append(Finding(Level.STOP, "cameras", name, unseen, "a picture", "lens cap? light? exposure?"))
    return found or [
        Finding(Level.OK, "cameras", name, f"{asked}, brightness {last.image.mean():.0f} of 255")
    ]


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
            Level.STOP,
            "cameras",
            f"{a} and {b}",
            "they show the same picture",
            "two cameras",
            "check their indices",
        )
        for a, b in combinations(images, 2)
        if np.array_equal(images[a], images[b]) and _shows_nothing(images[a]) is None
    ]
