"""Views of a board: what was detected, whether it is sharp, still and new, and whether there are enough.

Automatic capture takes a view when the board has been still for half a second, the picture is not blurred and
shows the board elsewhere or otherwise tilted than every view before. Many equal views add no information and make
the stated uncertainties too small, so they are refused one by one, and a set that leaves most of the picture
empty is refused as a whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.boards import Board
from so101_calibration.errors import ImplausibleError
from so101_policy.registration.homography import maybe

MIN_CORNERS = 8
"""Of one view: four give a pose without any check, eight tell a wrong corner."""
MIN_VIEWS = 10
MIN_COVERAGE = 0.6
"""Of the picture's cells, in at least one view. Distortion is strongest where the board is seldom shown."""
GRID = (8, 6)
"""Cells of the coverage map, across and down."""

STILL_S = 0.5
STILL_PX = 0.7
"""A hand that rests a board on something stays below; a hand in the air does not."""
NEW_SHARE = 0.04
"""Of the picture's diagonal by which corners must differ on the average from every earlier view."""
MIN_EDGE = 0.6
"""Sharpness: grey levels per pixel at the steepest edge of a board, as a share of its contrast. A perfect edge
through pixel centres has 1, a blur of sigma s pixels 0.4 / s; corners of a 1 px blur are still found to 0.05
px."""


class View(NamedTuple):
    """A board in one picture."""

    corners_px: NDArray[np.float64]
    """(n, 2), centre of the first pixel at 0, 0."""
    ids: NDArray[np.int32]
    """(n,) inner corners, see `Board.corners_m`."""
    size_px: tuple[int, int]
    """Width and height of the picture."""
    edge: float
    """Sharpness of the board's edges, 0 to 1 (see `MIN_EDGE`)."""
    name: str = ""
    """The file that it came from."""


def detect(image: NDArray[np.uint8], board: Board, name: str = "") -> View | None:
    """The board in a picture, RGB or grey; None with fewer than `MIN_CORNERS` corners in sight."""
    grey = as_grey(image)
    settings = cv2.aruco.CharucoParameters()
    markers = cv2.aruco.DetectorParameters()
    markers.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found = cv2.aruco.CharucoDetector(board.charuco, settings, markers).detectBoard(grey)
    corners, ids = maybe(found[0]), maybe(found[1])
    if corners is None or ids is None or len(ids) < MIN_CORNERS:
        return None
    height, width = grey.shape
    points, window = _refined(grey, np.asarray(corners, np.float32), board)
    border = window + 2  # closer to the edge the search would leave the picture
    inside = ((points > border) & (points < np.array((width, height)) - 1 - border)).all(1)
    if inside.sum() < MIN_CORNERS:
        return None
    points, numbers = points[inside], np.asarray(ids, np.int32).ravel()[inside]
    return View(points, numbers, (width, height), _edge(grey, points), name)


def _refined(
    grey: NDArray[np.uint8], corners: NDArray[np.float32], board: Board
) -> tuple[NDArray[np.float64], int]:
    """Corners (n, 2) found again, the centre of the first pixel at 0, 0; half the width [px] of the window searched.

    OpenCV's ChArUco detector counts from the corner of the first pixel, half a pixel more than everything else in
    OpenCV (measured: +0.49 px in 4.13). The search stays within the white between square and marker.
    """
    points = corners.reshape(-1, 2)
    nearest = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(nearest, np.inf)
    gap_px = float(nearest.min()) * (board.square_mm - board.marker_mm) / 2 / board.square_mm
    window = int(np.clip(gap_px, 2, 8))
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    start = np.ascontiguousarray(points[:, None] - np.float32(0.5))
    refined = cv2.cornerSubPix(grey, start, (window, window), (-1, -1), criteria)
    return np.asarray(refined, float).reshape(-1, 2), window


def as_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width) from RGB or grey."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) if image.ndim == 3 else image


def _edge(grey: NDArray[np.uint8], points: NDArray[np.float64]) -> float:
    """Steepest slope near corners over the contrast there; the median over the corners."""
    slope_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3) / 8
    slope_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3) / 8
    slope = np.hypot(np.asarray(slope_x), np.asarray(slope_y))
    shares: list[float] = []
    for x, y in np.rint(points).astype(int).tolist():
        rows, columns = slice(max(y - 6, 0), y + 7), slice(max(x - 6, 0), x + 7)
        contrast = float(np.ptp(grey[rows, columns]))
        if contrast > 0:
            # a step between two pixels has half its slope in the Sobel operator
            shares.append(min(1.0, 2 * float(slope[rows, columns].max()) / contrast))
    return float(np.median(shares)) if shares else 0.0


def difference(one: View, other: View) -> float:
    """Mean distance of the corners that two views share, as a share of the picture's diagonal; infinite with
    fewer than four in common, for then they show different parts of the board."""
    common, first, second = np.intersect1d(one.ids, other.ids, return_indices=True)
    if len(common) < 4:
        return float("inf")
    moved = one.corners_px[first] - other.corners_px[second]
    return float(np.linalg.norm(moved, axis=1).mean() / np.hypot(*one.size_px))


def coverage(views: Sequence[View]) -> NDArray[np.int64]:
    """(rows, columns) of `GRID`: corners seen in each cell, over all views."""
    counts = np.zeros(GRID[::-1], np.int64)
    for view in views:
        cells = (view.corners_px + 0.5) / view.size_px * GRID
        column, row = np.clip(cells.astype(int), 0, np.array(GRID) - 1).T
        np.add.at(counts, (row, column), 1)
    return counts


def coverage_share(views: Sequence[View]) -> float:
    """Share of the cells that some view reached."""
    return float((coverage(views) > 0).mean())


def coverage_text(views: Sequence[View]) -> str:
    """The coverage map for a terminal: one character a cell, ` ` none, `.` few, `o` some, `#` many corners."""
    steps = " .oO#"
    counts = coverage(views)
    level = np.digitize(counts, (1, 4, 12, 30))
    return "\n".join("|" + "".join(steps[i] * 2 for i in row) + "|" for row in level.tolist())


def distinct(views: Sequence[View]) -> tuple[list[View], list[str]]:
    """The views that show something new, in their order, and for each of the others why it was left out."""
    kept: list[View] = []
    refused: list[str] = []
    for view in views:
        reason = objection(view, kept)
        if reason is None:
            kept.append(view)
        else:
            refused.append(f"{view.name or 'view'}: {reason}")
    return kept, refused


def objection(view: View, kept: Sequence[View]) -> str | None:
    """Why a view should not be added to others; None if it may."""
    if view.edge < MIN_EDGE:
        return f"blurred (edges {view.edge:.2f}, needed {MIN_EDGE}): hold still, more light, check the focus"
    nearest = min((difference(view, other) for other in kept), default=float("inf"))
    if nearest < NEW_SHARE:
        return (
            f"shows the board as an earlier view does ({100 * nearest:.1f} % of the picture apart, needed "
            f"{100 * NEW_SHARE:.0f} %): move or tilt it"
        )
    return None


def check_enough(views: Sequence[View]) -> None:
    """Raises ImplausibleError where views are too few, or leave too much of the picture empty."""
    if len(views) < MIN_VIEWS:
        raise ImplausibleError(
            f"{len(views)} different views of the board; at least {MIN_VIEWS} are needed, tilted to all sides"
        )
    share = coverage_share(views)
    if share < MIN_COVERAGE:
        raise ImplausibleError(
            f"the board was seen in {100 * share:.0f} % of the picture; at least {100 * MIN_COVERAGE:.0f} % are "
            f"needed, the corners of the picture above all. Where it was seen:\n{coverage_text(views)}"
        )


class AutoCapture:
    """Takes a view when the board is still, sharp and somewhere new. Feed it every frame with its time."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self._resting: View | None = None
        self._since_s = 0.0

    def feed(self, view: View | None, time_s: float) -> str:
        """What became of the newest frame, in words for the person with the board: `captured` if it was kept."""
        if view is None:
            self._resting = None
            return "no board in sight"
        if self._resting is None or self._moved(view, self._resting):
            self._resting, self._since_s = view, time_s
            return "moving"
        if time_s - self._since_s < STILL_S:
            return "hold still"
        reason = objection(view, self.views)
        if reason is not None:
            return reason
        self.views.append(view)
        return "captured"

    @staticmethod
    def _moved(view: View, other: View) -> bool:
        return difference(view, other) * np.hypot(*view.size_px) > STILL_PX
