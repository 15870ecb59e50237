"""AprilTags at known places on a flat thing, and where the camera is that sees them.

A tag's corners are counted as OpenCV does: clockwise from the top left one, as the tag is printed. Tags of one size
fix the camera's pose, but a print that is 1 % small looks exactly like a camera that is 1 % nearer; only a second
measure of the camera's height (its calibration), or a ruler on the print, tells the two apart.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.placing import camera_at_points
from so101_calibration.cameras.poses import Matrix, Placed, inverse
from so101_calibration.errors import ImplausibleError

DICTIONARY = "DICT_APRILTAG_36h11"
MODULES = 8
"""Along an edge of a tag, its black border included."""
FEWEST = 2
"""Tags for a pose: one alone is small, and its tilt is known badly."""

type Corners = Mapping[int, NDArray[np.float64]]
"""(4, 2) or (4, 3) corners by the number of the tag."""


def modules(number: int) -> NDArray[np.bool_]:
    """(8, 8) which modules of a tag are black, from its top left corner."""
    return np.asarray(cv2.aruco.generateImageMarker(_dictionary(), number, MODULES)) == 0


def find_tags(picture: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    """Tags in a picture (h, w, 3) RGB or (h, w): number -> corners (4, 2) [px]. Numbers seen twice are left out."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    corners, numbers, _ = _detector().detectMarkers(grey)
    found: dict[int, NDArray[np.float64]] = {}
    twice: set[int] = set()
    for number, places in zip(() if numbers is None else numbers.ravel().tolist(), corners, strict=True):
        if number in found:
            twice.add(number)
        found[number] = np.asarray(places, float).reshape(4, 2)
    return {number: places for number, places in found.items() if number not in twice}


def camera_from_tags(seen: Corners, places_m: Corners, intrinsics: Intrinsics) -> Placed:
    """X_mat_camera: the camera in the frame in which the tags' corners are known.

    Args:
        seen: number -> corners (4, 2) [px]; numbers that are not in `places_m` are passed over.
        places_m: number -> corners (4, 3) [m].
        intrinsics: for the size of the picture.

    Raises:
        ImplausibleError: fewer than two known tags are seen, or their corners fit no camera.
    """
    known = sorted(set(seen) & set(places_m))
    if len(known) < FEWEST:
        missing = ", ".join(str(number) for number in sorted(set(places_m) - set(seen)))
        raise ImplausibleError(
            f"{len(known)} of the mat's {len(places_m)} tags are seen, at least {FEWEST} are needed; not seen: "
            f"{missing}. Is something on them, are they in the picture and sharp, is the light even?"
        )
    points = np.concatenate([places_m[number] for number in known])
    return camera_at_points(
        points, np.concatenate([seen[number] for number in known]), intrinsics, len(known)
    )


def print_scale(X_mat_camera: Matrix, X_base_camera: Matrix) -> float:
    """How large the print is against what was meant: 0.99 is 1 % small.

    By the camera's height over the mat: as the tags have it, and as its calibration has it, which knows nothing of the
    print. Off by what the calibrated height is off; 0.5 mm in 400 are 0.1 %.
    """
    return float(X_base_camera[2, 3] / X_mat_camera[2, 3])


class Laid(NamedTuple):
    """Where a mat lies against where it should: to be corrected by hand, or known."""

    dx_mm: float
    dy_mm: float
    turn_deg: float


def laid(X_mat_camera: Matrix, X_base_camera: Matrix, middle_m: NDArray[np.float64]) -> Laid:
    """Where the mat's point `middle_m` (3,) lies against the same point of the base frame."""
    X_base_mat = X_base_camera @ inverse(X_mat_camera)
    off = X_base_mat[:3, :3] @ middle_m + X_base_mat[:3, 3] - middle_m
    turn = np.arctan2(X_base_mat[1, 0], X_base_mat[0, 0])
    return Laid(float(off[0] * 1000), float(off[1] * 1000), float(np.rad2deg(turn)))


@cache
def _dictionary() -> Any:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))


@cache
def _detector() -> Any:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.cornerRefinementWinSize = (
        3  # a module is 3 px in a 640x480 picture: a wider window sees the next one
    )
    return cv2.aruco.ArucoDetector(_dictionary(), parameters)
