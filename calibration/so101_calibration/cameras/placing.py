"""Where the board and the front camera are: from touched corners, and from views of a board at a known place.

The stated uncertainties are standard deviations from the residuals of the fit. They include the noise of the corners
and of the intrinsics; they cannot include a base that was bumped or a board that is not flat.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.board_views import View
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix, Placed, inverse, perturbed, standard_deviations, transform
from so101_calibration.errors import ImplausibleError

MAX_TOUCH_MM = 3.0
"""Residual of touched points, root mean square; above, a point was another corner than the one given."""
MAX_CORNER_RMS_PX = 3.0
"""Residual of the corners of a view, root mean square; above, the board is another one, or elsewhere."""


def board_from_touches(corners_m: NDArray[np.float64], touched_m: NDArray[np.float64]) -> Placed:
    """X_base_board from corners (n, 3) in the board's frame that the arm touched at (n, 3) in the base frame.

    Kabsch's solution (Acta Cryst. A32, 1976). Raises ImplausibleError for fewer than three points, points in a
    line, or points that do not fit together.
    """
    if len(corners_m) < 3 or np.linalg.matrix_rank(corners_m - corners_m.mean(0), tol=0.02) < 2:
        raise ImplausibleError(
            f"{len(corners_m)} touched corners; at least three are needed, not in one line and centimetres apart"
        )
    middle, middle_touched = corners_m.mean(0), touched_m.mean(0)
    left, _, right = np.linalg.svd((corners_m - middle).T @ (touched_m - middle_touched))
    proper = np.diag([1, 1, np.sign(np.linalg.det(right.T @ left.T))])
    R = right.T @ proper @ left.T
    X = transform(R, middle_touched - R @ middle)
    levers = (corners_m - middle) @ R.T
    residuals = middle_touched + levers - touched_m
    rms_mm = float(np.sqrt((residuals**2).sum(1).mean()) * 1000)
    if rms_mm > MAX_TOUCH_MM:
        raise ImplausibleError(
            f"the touched corners do not fit the board: {rms_mm:.1f} mm residual (rms), allowed are {MAX_TOUCH_MM} mm; "
            "was each corner the one that was named, and is the arm calibrated?"
        )
    variance = (residuals**2).sum() / max(3 * len(corners_m) - 6, 1)
    inertia = (levers**2).sum() * np.eye(3) - levers.T @ levers
    turn = variance * np.linalg.inv(inertia)
    arm = np.asarray(_cross(X[:3, 3] - middle_touched))  # the origin is away from the middle of the points
    position = variance / len(corners_m) * np.eye(3) + arm @ turn @ arm.T
    return Placed(
        X, standard_deviations(position) * 1000, np.rad2deg(standard_deviations(turn)), rms_mm, len(corners_m)
    )


def board_in_camera(view: View, intrinsics: Intrinsics, board: Board) -> Placed:
    """X_camera_board of one view."""
    return _camera_of(board.corners_m[view.ids], view.corners_px, intrinsics, 1, seen_from_camera=True)


def camera_in_base(
    views: Sequence[View], X_base_board: Sequence[Matrix], intrinsics: Intrinsics, board: Board
) -> Placed:
    """X_base_camera of a camera that does not move, from views of a board at known places: one for each view.

    Several places far apart give a better answer than one; they are fitted together. Raises ImplausibleError where the
    corners do not fit.
    """
    points = [
        board.corners_m[view.ids] @ X[:3, :3].T + X[:3, 3]
        for view, X in zip(views, X_base_board, strict=True)
    ]
    corners = np.concatenate([view.corners_px for view in views])
    return camera_at_points(np.concatenate(points), corners, intrinsics, len(views))


def camera_at_points(
    points_m: NDArray[np.float64], corners_px: NDArray[np.float64], intrinsics: Intrinsics, views: int
) -> Placed:
    """The camera in the frame of points (n, 3) [m] that it sees at (n, 2) [px]. Raises ImplausibleError."""
    return _camera_of(points_m, corners_px, intrinsics, views, seen_from_camera=False)


def _camera_of(
    points_m: NDArray[np.float64],
    corners_px: NDArray[np.float64],
    intrinsics: Intrinsics,
    count: int,
    *,
    seen_from_camera: bool,
) -> Placed:
    """Fit X_camera_points; answer with it (`seen_from_camera`) or with its inverse."""
    matrix, distortion = intrinsics.matrix, intrinsics.distortion
    found, turn, shift = cv2.solvePnP(points_m, corners_px, matrix, distortion, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        raise ImplausibleError(
            "the board's corners fit no pose of the camera; are board and intrinsics the right ones?"
        )
    turn, shift = cv2.solvePnPRefineLM(points_m, corners_px, matrix, distortion, turn, shift)
    projected, jacobian = cv2.projectPoints(points_m, turn, shift, matrix, distortion)
    residuals = np.asarray(projected, float).reshape(-1, 2) - corners_px
    rms_px = float(np.sqrt((residuals**2).sum(1).mean()))
    if rms_px > MAX_CORNER_RMS_PX:
        raise ImplausibleError(
            f"corners are {rms_px:.1f} px off; is it the right board, and where you said it is?"
        )
    X_camera_points = transform(np.asarray(turn, float).ravel(), np.asarray(shift, float).ravel())
    X = X_camera_points if seen_from_camera else inverse(X_camera_points)

    def corners_after(step: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = perturbed(X, step)
        return project(points_m, moved if seen_from_camera else inverse(moved), intrinsics).ravel()

    J = _numeric_jacobian(corners_after, 6)
    variance = (residuals**2).sum() / max(residuals.size - 6, 1)
    normal = np.linalg.inv(J.T @ J)
    of_lens = (
        normal @ J.T @ np.asarray(jacobian, float)[:, 6:14]
    )  # what an error of fx .. p2 does to the pose
    covariance = variance * normal + (of_lens * np.array(intrinsics.sd) ** 2) @ of_lens.T
    sd = standard_deviations(covariance)
    return Placed(X, sd[3:] * 1000, np.rad2deg(sd[:3]), rms_px, count)


def project(
    points_m: NDArray[np.float64], X_camera_points: Matrix, intrinsics: Intrinsics
) -> NDArray[np.float64]:
    """(n, 2) [px]"""
    turn = cv2.Rodrigues(X_camera_points[:3, :3])[0]
    shift = np.ascontiguousarray(X_camera_points[:3, 3])
    projected = cv2.projectPoints(points_m, turn, shift, intrinsics.matrix, intrinsics.distortion)[0]
    return np.asarray(projected, float).reshape(-1, 2)


def _numeric_jacobian(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]], size: int, step: float = 1e-6
) -> NDArray[np.float64]:
    """At zero, by central differences."""
    steps = np.eye(size) * step
    return np.stack([(function(one) - function(-one)) / (2 * step) for one in steps], axis=1)


def _cross(vector: NDArray[np.float64]) -> list[list[float]]:
    """(3, 3): the matrix that multiplies like the cross product."""
    x, y, z = vector.tolist()
    return [[0, -z, y], [z, 0, -x], [-y, x, 0]]
