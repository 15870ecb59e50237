"""The mat under boxes and pallet: where its four tags, its pallet corners, its slots and its pick area are.

Everything is in the arm's base frame (x ahead, y to the left, [m]), where the mat is meant to lie. It fits on A3, or on
two pages of A4 or letter that are cut along the middle and taped. A print that came out small or large is used as it is
once its bar was measured: all places are scaled about the middle of the near edge.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.tags import MODULES, modules
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.sheet import Sheet
from so101_eval.palletizing.scene.tasks import (
    BOX_M,
    PALLET_M,
    PALLET_PLACE_M,
    PAN_AXIS_M,
    WIDE_FROM_BOXES,
    Task,
)

NEAR_M, FAR_M, HALF_WIDTH_M = 0.082, 0.332, 0.200
"""Of the printed rectangle: x of the edge at the arm and of the far one, and half of its width."""
ANCHOR_M = (NEAR_M, 0.0)
"""Middle of the near edge: what a print that is too small or too large keeps."""
TAG_M = 0.034
"""Edge of a tag. At 0.57 m, in a picture 640 px wide, a module is 3 px high."""
BAR_M = 0.100
"""Length of the bar that checks the printer."""
BAR_RANGE_MM = (90.0, 110.0)
"""Beyond, the print was fitted to another page, or the bar was not what was measured."""

TAGS_M = ((0.105, 0.172), (0.105, -0.172), (0.290, 0.165), (0.290, -0.165))
"""Middles of tags 0 to 3: clear of pick area and pallet, seen past a folded or homed arm."""
WIDE_TAG_M = (0.290, 0.0)
"""Of tag 0 where the wide pick area takes the place of the usual one."""
LINE_M = 0.0006
CORNER_M = 0.012
"""Arms of the pallet's corner marks."""
GREY = 0.55


class Shape(NamedTuple):
    """A filled outline."""

    corners_m: NDArray[np.float64]
    """(n, 2) in the base frame."""
    shade: float
    """0 black to 1 white."""


@dataclass(frozen=True)
class Mat:
    """The mat of a task, as it was printed. Raises `ConfigError` for a bar that is far from its length."""

    task: Task
    bar_mm: float = BAR_M * 1000
    """The bar on the print, measured with a ruler."""

    def __post_init__(self) -> None:
        if not BAR_RANGE_MM[0] <= self.bar_mm <= BAR_RANGE_MM[1]:
            raise ConfigError(
                f"the bar of the mat is {self.bar_mm:g} mm long, expected {BAR_RANGE_MM[0]:g} to {BAR_RANGE_MM[1]:g}: "
                "print it again at 100 %, not fitted to the page, and measure from end to end"
            )

    @property
    def scale(self) -> float:
        """Printed over meant."""
        return self.bar_mm / (BAR_M * 1000)

    def as_printed(self, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (..., 2) [m] of the drawing are on the print."""
        return np.asarray(ANCHOR_M) + self.scale * (points_m - np.asarray(ANCHOR_M))

    @property
    def tags_m(self) -> dict[int, tuple[float, float]]:
        """Middles of the tags in the drawing."""
        places = dict(enumerate(TAGS_M))
        if self.task.boxes >= WIDE_FROM_BOXES:
            places[0] = WIDE_TAG_M
        return places

    @property
    def corners_m(self) -> dict[int, NDArray[np.float64]]:
        """(4, 3) corners of each tag on the print, clockwise from the far left one as seen from the arm."""
        half = TAG_M / 2
        square = np.array([(half, half), (half, -half), (-half, -half), (-half, half)])
        return {
            number: np.column_stack((self.as_printed(square + place), np.zeros(4)))
            for number, place in self.tags_m.items()
        }

    @property
    def middle_m(self) -> NDArray[np.float64]:
        """(3,) middle of the tags on the print."""
        return np.concatenate(list(self.corners_m.values())).mean(0)

    def shapes(self) -> Iterator[Shape]:
        """What is drawn, in the drawing's places: later ones cover earlier ones."""
        yield from (Shape(outline, GREY) for outline in _pick_lines(self.task))
        yield from (Shape(outline, 0.0) for outline in _pallet_marks())
        half = BOX_M / 2
        for u, v in sorted({(slot.u_m, slot.v_m) for slot in self.task.slots}):
            middle = (PALLET_PLACE_M[0] + u, PALLET_PLACE_M[1] + v)
            ring = [(half, half), (half, -half), (-half, -half), (-half, half)]
            corners = [(middle[0] + x, middle[1] + y) for x, y in ring]
            yield from (
                Shape(_line(*ends), GREY) for ends in zip(corners, corners[1:] + corners[:1], strict=True)
            )
        for number, place in self.tags_m.items():
            yield from _tag(number, place)

    def picture(self, pixels_per_mm: float) -> NDArray[np.uint8]:
        """(h, w) grey levels of the sheet as seen from above with the arm at the lower edge; for a simulated mat."""
        height, width = (round(side * 1000 * pixels_per_mm) for side in (FAR_M - NEAR_M, 2 * HALF_WIDTH_M))
        y = HALF_WIDTH_M - (np.arange(width, dtype=np.float64) + 0.5) / (1000 * pixels_per_mm)
        x = FAR_M - (np.arange(height, dtype=np.float64) + 0.5) / (1000 * pixels_per_mm)
        sheet = np.ones((height, width))
        for shape in self.shapes():
            low, high = shape.corners_m.min(0), shape.corners_m.max(0)
            rows = np.flatnonzero((x >= low[0]) & (x <= high[0]))
            columns = np.flatnonzero((y >= low[1]) & (y <= high[1]))
            if rows.size and columns.size:
                inside = _inside(shape.corners_m, x[rows, None], y[None, columns])
                sheet[np.ix_(rows, columns)] = np.where(inside, shape.shade, sheet[np.ix_(rows, columns)])
        return (sheet * 255 + 0.5).astype(np.uint8)

    def sheet(self, pixels_per_mm: float = 4.0) -> Sheet:
        """For a simulated scene: as it was printed."""
        scale = self.scale
        size_m = ((FAR_M - NEAR_M) * scale, 2 * HALF_WIDTH_M * scale)
        return Sheet(self.picture(pixels_per_mm), (ANCHOR_M[0] + size_m[0] / 2, 0.0), size_m)


def _inside(
    corners: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Of a convex outline."""
    sides = [
        (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)
    ]
    return np.logical_or(np.min(sides, axis=0) >= -1e-15, np.max(sides, axis=0) <= 1e-15)


def _line(
    start: tuple[float, float], end: tuple[float, float], width_m: float = LINE_M
) -> NDArray[np.float64]:
    along = np.subtract(end, start) / math.dist(start, end)
    across = np.array((-along[1], along[0])) * width_m / 2
    return np.array([start + across, start - across, end - across, end + across])


def _pick_lines(task: Task) -> Iterator[NDArray[np.float64]]:
    """The sector in which boxes' middles lie, clipped to the sheet."""
    area = task.pick_area
    angles = np.linspace(*area.azimuth_rad, 25)
    ring = [(area.radius_m[1], a) for a in angles] + [(area.radius_m[0], a) for a in angles[::-1]]
    points = [(PAN_AXIS_M[0] + r * math.cos(a), PAN_AXIS_M[1] + r * math.sin(a)) for r, a in ring]
    for start, end in zip(points, points[1:] + points[:1], strict=True):
        if all(NEAR_M < x < FAR_M and abs(y) < HALF_WIDTH_M for x, y in (start, end)):
            yield _line(start, end)


def _pallet_marks() -> Iterator[NDArray[np.float64]]:
    """An angle at each corner of the pallet, outside of it, so that the pallet does not hide it."""
    (x, y), gap = PALLET_PLACE_M, LINE_M
    for u, v in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        corner = (x + u * (PALLET_M[0] / 2 + gap), y + v * (PALLET_M[1] / 2 + gap))
        yield _line(corner, (corner[0] - u * CORNER_M, corner[1]), 2 * LINE_M)
        yield _line(corner, (corner[0], corner[1] - v * CORNER_M), 2 * LINE_M)


def _tag(number: int, middle_m: tuple[float, float]) -> Iterator[Shape]:
    """Black modules of a tag, runs in a row as one."""
    side, half = TAG_M / MODULES, TAG_M / 2
    for row, black in enumerate(modules(number)):
        column = 0
        while column < MODULES:
            end = column
            while end < MODULES and black[end]:
                end += 1
            if end > column:
                far, left = middle_m[0] + half - row * side, middle_m[1] + half - column * side
                near, right = far - side, middle_m[1] + half - end * side
                yield Shape(np.array([(far, left), (far, right), (near, right), (near, left)]), 0.0)
            column = max(end, column + 1)
