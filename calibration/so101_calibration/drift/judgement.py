"""Drift of a camera, as numbers; from which size on it is a warning or a no-go."""

from dataclasses import dataclass
from typing import NamedTuple

from so101_calibration.errors import UsageError
from so101_policy.registration.homography import Homography
from so101_robot.preflight.findings import Level

ANSWERS = {Level.OK: "go", Level.WARN: "warn", Level.STOP: "no-go"}
"""The command's words for a level."""


@dataclass(frozen=True)
class Limits:
    """Where a warning and a refusal begin. A value at the limit counts as over it."""

    warn_px: float = 2.0
    no_go_px: float = 5.0
    """Mean shift of the background. The upper end of its 95 % interval is compared, so that a true shift of this
    size does not pass because it was measured a little short."""
    warn_light: float = 1.2
    no_go_light: float = 1.6
    """Ratio of brightness in the picture, either way: 1.2 is also 1 / 1.2."""
    warn_colour: float = 0.08
    """Red or blue against green, relative: white balance."""
    warn_sharpness: float = 1.25
    no_go_sharpness: float = 2.0
    """Ratio of sharpness, either way."""

    def __post_init__(self) -> None:
        pairs = (("px", 0.0), ("light", 1.0), ("sharpness", 1.0))
        for name, least in pairs:
            warn, no_go = getattr(self, f"warn_{name}"), getattr(self, f"no_go_{name}")
            if not least < warn <= no_go:
                raise UsageError(
                    f"drift limits for {name}: warn at {warn:g}, no-go at {no_go:g}; expected is "
                    f"{least:g} < warn <= no-go"
                )


class Drift(NamedTuple):
    """What has changed, live against dataset. Numbers are NaN where the background was not found."""

    level: Level
    """What to do: OK is go, STOP is no-go."""
    reasons: tuple[str, ...]
    """Why it is not go, worst first."""
    shift_px: float
    """Mean distance by which the background moved in the picture."""
    shift_sd_px: float
    turn_deg: tuple[float, float, float]
    """How to turn the camera to put it back: to the right, up, and clockwise as the camera sees it."""
    angle_deg: float
    """Size of that turn."""
    unexplained_px: float
    """Mean distance that stays after the best turn: the camera was also carried, or zoomed."""
    zoom: float
    """Size of things in the live picture over that in the dataset."""
    light: float
    """Ratio of linear light."""
    brightness: float
    """Ratio of grey levels in the picture, which is what a policy sees."""
    colour: tuple[float, float]
    """Red and blue against green, relative to the dataset: 0 is no change."""
    clipped: float
    """Share of the background that is now too bright or too dark to compare."""
    sharpness: float
    """Ratio; below 1 the live picture is softer."""
    found: float
    """Share of the background's corners that were found again."""
    H: Homography | None
    """Takes pixels of the dataset to pixels of the live picture."""

    @property
    def answer(self) -> str:
        """The level in the command's words: go, warn or no-go."""
        return ANSWERS[self.level]


def judged(drift: Drift, limits: Limits) -> Drift:
    """The drift with its level and the reasons for it."""
    reasons: list[tuple[Level, str]] = []
    upper_px = drift.shift_px + 1.96 * drift.shift_sd_px
    if upper_px >= limits.warn_px:
        level = Level.STOP if upper_px >= limits.no_go_px else Level.WARN
        reasons.append((level, f"the picture has moved by {drift.shift_px:.1f} px (at most {upper_px:.1f})"))
    for name, ratio, warn, no_go in (
        ("bright", drift.brightness, limits.warn_light, limits.no_go_light),
        ("sharp", drift.sharpness, limits.warn_sharpness, limits.no_go_sharpness),
    ):
        size = max(ratio, 1 / ratio) if ratio > 0 else float("inf")
        if not size < warn:  # also NaN
            level = Level.STOP if not size < no_go else Level.WARN
            reasons.append((level, f"the picture is {100 * ratio:.0f} % as {name} as in the dataset"))
    cast = max(drift.colour, key=abs)
    if abs(cast) >= limits.warn_colour:
        which = "red" if cast == drift.colour[0] else "blue"
        reasons.append(
            (Level.WARN, f"{which} is {100 * cast:+.0f} % against green: white balance, or another lamp")
        )
    reasons.sort(key=lambda reason: reason[0] is not Level.STOP)
    worst = reasons[0][0] if reasons else Level.OK
    return drift._replace(level=worst, reasons=tuple(text for _, text in reasons))
