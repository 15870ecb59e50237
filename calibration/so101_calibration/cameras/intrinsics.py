"""Focal length, principal point and distortion of a camera from views of a board, with their uncertainty.

Zhang's method as OpenCV does it, and the distortion model of Brown and Conrady with two radial and two
tangential terms: a third radial term is not needed for webcams and, from a dozen views, mostly fits noise. A
view whose corners lie far off is left out once and named. A result that is too uncertain is refused: that is
what too few tilted views look like, from inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.board_views import View, check_enough, distinct
from so101_calibration.cameras.boards import Board
from so101_calibration.errors import ImplausibleError

PARAMETERS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")

MAX_FOCAL_SD = 0.005
"""Standard deviation of the focal length over itself; above, distances are wrong by more than they may be."""
MAX_RMS_PX = 1.0
"""Of a good webcam and a flat board: 0.1 to 0.4. Above 1 the board is bent, or not the one that was stated."""
OUTLIER = 3.0
"""A view with this many times the median error is left out: it moved, or a marker was misread."""


@dataclass(frozen=True)
class Intrinsics:
    """How a camera maps directions to pixels; the centre of the first pixel is at 0, 0."""

    size_px: tuple[int, int]
    """Width and height."""
    fx: float
    fy: float
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    sd: tuple[float, ...] = (0.0,) * len(PARAMETERS)
    """Standard deviations in the order of `PARAMETERS`."""
    rms_px: float = 0.0
    """Re-projection error, root mean square over all corners."""
    view_rms_px: tuple[float, ...] = ()
    """The same view by view."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3), what OpenCV calls the camera matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def distortion(self) -> NDArray[np.float64]:
        """(5,), in OpenCV's order."""
        return np.array([self.k1, self.k2, self.p1, self.p2, 0.0])

    @property
    def field_deg(self) -> tuple[float, float]:
        """Horizontal and vertical field of view, without distortion."""
        width, height = self.size_px
        return (
            float(np.rad2deg(2 * np.arctan(width / 2 / self.fx))),
            float(np.rad2deg(2 * np.arctan(height / 2 / self.fy))),
        )

    def scaled(self, size_px: tuple[int, int]) -> "Intrinsics":
        """For pictures of the same camera in another size. Raises ImplausibleError where the shape differs,
        because then the camera cuts and nobody knows where."""
        across, down = size_px[0] / self.size_px[0], size_px[1] / self.size_px[1]
        if abs(across / down - 1) > 0.01:
            raise ImplausibleError(
                f"the camera was calibrated at {self.size_px[0]}x{self.size_px[1]}; pictures of "
                f"{size_px[0]}x{size_px[1]} have another shape - calibrate it again at that size"
            )
        scale = np.array([across, down, across, down])
        fx, fy, cx, cy = (np.array([self.fx, self.fy, self.cx + 0.5, self.cy + 0.5]) * scale).tolist()
        sd = (*(np.array(self.sd[:4]) * scale).tolist(), *self.sd[4:])
        rest = (self.k1, self.k2, self.p1, self.p2)
        return Intrinsics(size_px, fx, fy, cx - 0.5, cy - 0.5, *rest, sd, self.rms_px * across)


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what was left out of it."""

    intrinsics: Intrinsics
    views: tuple[View, ...]
    """Those that were used."""
    refused: tuple[str, ...]
    """Views that were not, and why."""


def calibrate(views: Sequence[View], board: Board) -> Calibrated:
    """Intrinsics from views of one camera.

    Raises:
        ImplausibleError: views of several sizes, too few or too similar ones, or a result that is too uncertain.
    """
    sizes = {view.size_px for view in views}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise ImplausibleError(
            f"pictures of several sizes ({found}); all must come from one camera as it is used"
        )
    kept, refused = distinct(views)
    check_enough(kept)
    found = _solve(kept, board)
    bad = np.array(found.view_rms_px) > OUTLIER * np.median(found.view_rms_px)
    if bad.any():
        for view, rms in zip(kept, found.view_rms_px, strict=True):
            if rms > OUTLIER * np.median(found.view_rms_px):
                refused.append(f"{view.name or 'view'}: corners are {rms:.2f} px off, the others much less")
        kept = [view for view, is_bad in zip(kept, bad.tolist(), strict=True) if not is_bad]
        check_enough(kept)
        found = _solve(kept, board)
    _check_result(found)
    return Calibrated(found, tuple(kept), tuple(refused))


def _solve(views: Sequence[View], board: Board) -> Intrinsics:
    solved = cv2.calibrateCameraExtended(
        [board.corners_m[view.ids].astype(np.float32) for view in views],
        [view.corners_px.astype(np.float32) for view in views],
        views[0].size_px,
        np.eye(3),
        np.zeros(5),
        flags=cv2.CALIB_FIX_K3,
    )
    rms, matrix, distortion, _, _, sd, _, per_view = solved
    k1, k2, p1, p2 = np.asarray(distortion, float).ravel()[:4].tolist()
    return Intrinsics(
        views[0].size_px,
        float(matrix[0, 0]),
        float(matrix[1, 1]),
        float(matrix[0, 2]),
        float(matrix[1, 2]),
        k1,
        k2,
        p1,
        p2,
        tuple(np.asarray(sd, float).ravel()[: len(PARAMETERS)].tolist()),
        float(rms),
        tuple(np.asarray(per_view, float).ravel().tolist()),
    )


def _check_result(found: Intrinsics) -> None:
    if not found.rms_px < MAX_RMS_PX:
        raise ImplausibleError(
            f"corners are {found.rms_px:.2f} px off (root mean square), allowed are {MAX_RMS_PX} px: is the board "
            "flat, and are its squares as stated?"
        )
    uncertain = max(found.sd[0] / found.fx, found.sd[1] / found.fy)
    if not uncertain < MAX_FOCAL_SD:
        raise ImplausibleError(
            f"the focal length is uncertain by {100 * uncertain:.2f} %, allowed are {100 * MAX_FOCAL_SD:.1f} %: "
            "take more views in which the board is tilted by 20 to 45 degrees, to all sides"
        )
