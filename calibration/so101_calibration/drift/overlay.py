"""The picture that helps to put a camera back: the dataset's view and the live one, one over the other.

Left the dataset's background, right the live picture with the outlines of the background where they should be and
arrows from where things are to where they should be. Below, in words, how to turn the camera.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.drift.judgement import Drift
from so101_policy.registration.background import Background
from so101_policy.registration.homography import mapped
from so101_robot.preflight.findings import Level

PANEL_WIDTH = 480
COLOUR = {Level.OK: (60, 160, 70), Level.WARN: (220, 140, 0), Level.STOP: (205, 40, 40)}
OUTLINE = (0, 220, 255)
ARROW = (255, 40, 160)
MOVED_PX = 0.5
"""Arrows shorter than this are not drawn."""
LINE_PX = 20


def overlay(background: Background, live: NDArray[np.uint8], drift: Drift) -> NDArray[np.uint8]:
    """A picture (height, width, 3) RGB."""
    scale = PANEL_WIDTH / background.size_px[0]
    before, now = (_enlarged(picture, scale) for picture in (background.image, live))
    shaded = _enlarged(np.repeat(background.static[..., None].astype(np.uint8), 3, axis=2) * 255, scale) > 127
    left = np.where(shaded, before, (before * 0.45 + 40).astype(np.uint8))
    right = _outlined(background, now, scale)
    if drift.H is not None:
        _draw_arrows(right, background, drift.H, scale)
    captions = ("dataset (grey: moves, not compared)", "live; blue lines: where the background should be")
    panels = [_captioned(panel, text) for panel, text in zip((left, right), captions, strict=True)]
    return np.vstack((np.hstack(panels), _words(drift, 2 * PANEL_WIDTH)))


def instruction(drift: Drift) -> str:
    """How to turn the camera to put it back, in words."""
    if drift.H is None:
        return "the background was not found"
    right, up, clockwise = drift.turn_deg
    parts = [
        f"{abs(angle):.1f} deg {word if angle > 0 else other}"
        for angle, word, other in (
            (right, "to the right", "to the left"),
            (up, "up", "down"),
            (clockwise, "clockwise", "counter-clockwise"),
        )
        if abs(angle) >= 0.1
    ]
    return f"turn the camera {', '.join(parts)}" if parts else "nothing to turn"


def _enlarged(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    how = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)


def _outlined(background: Background, now: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Edges of the static background drawn over the live picture."""
    grey = cv2.GaussianBlur(_enlarged(background.image, scale), (0, 0), 1.2)
    edges = np.asarray(cv2.Canny(cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY), 20, 50)) > 0
    static = cv2.resize(background.static.astype(np.uint8), now.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    drawn = now.copy()
    drawn[edges & (np.asarray(static) > 0)] = OUTLINE
    return drawn


def _draw_arrows(
    picture: NDArray[np.uint8], background: Background, H: NDArray[np.float64], scale: float
) -> None:
    width, height = background.size_px
    x, y = np.meshgrid((np.arange(8) + 0.5) * width / 8, (np.arange(6) + 0.5) * height / 6)
    belongs = np.column_stack((x.ravel(), y.ravel()))
    static = background.static[belongs[:, 1].astype(int), belongs[:, 0].astype(int)]
    for place, target in zip(mapped(H, belongs)[static], belongs[static], strict=True):
        if np.linalg.norm(place - target) >= MOVED_PX:
            tip, tail = _pixel(target * scale), _pixel(place * scale)
            cv2.arrowedLine(picture, tail, tip, ARROW, 2, cv2.LINE_AA, tipLength=0.3)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(point).astype(int).tolist()
    return x, y


def _captioned(panel: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    strip = np.full((LINE_PX + 4, panel.shape[1], 3), 30, np.uint8)
    _write(strip, text, 0, (235, 235, 235))
    return np.vstack((strip, panel))


def _words(drift: Drift, width: int) -> NDArray[np.uint8]:
    lines = [f"{drift.answer.upper()}: {instruction(drift)}", *drift.reasons]
    letters = width // 8
    rows = [line[start : start + letters] for line in lines for start in range(0, len(line), letters)]
    strip = np.full((LINE_PX * len(rows) + 8, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        _write(strip, row, number, COLOUR[drift.level] if number == 0 else (40, 40, 40))
    return strip


def _write(picture: NDArray[np.uint8], text: str, line: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(
        picture, text, (8, 16 + LINE_PX * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA
    )
