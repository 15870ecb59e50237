"""Where cameras are: the front camera in the arm's base frame, the wrist camera on the hand, with uncertainties.

Frames are written by monogram: `X_base_camera` is the pose of the camera in the base frame, a (4, 4) matrix that
takes points in the camera's frame to the base frame. A camera looks along its z axis, x to the right, y down, as in
OpenCV; the board's frame is that of `boards`, the base frame and the hand (the link `gripper`) those of
`so101_robot.guard.kinematics`.

The stated uncertainties are standard deviations from what the fit left over. They know the noise of the corners and
of the intrinsics, and for the hand also that of the joints, which is larger; they do not know of a base that was
bumped or a board that is not flat.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from so101_calibration.cameras.board_views import View
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.errors import ImplausibleError

type Matrix = NDArray[np.float64]

MIN_HAND_VIEWS = 8
"""Of the board from different poses of the hand; three are the least that mathematics asks for."""
MIN_TURN_DEG = 20.0
"""By which the hand must have turned about two different axes: without, hand-eye has no answer."""
LEVER_M = 0.25
"""From joints to hand: an error of a joint by an angle shifts the hand by so much times the angle."""
MAX_TOUCH_MM = 3.0
"""Left over by touched points, root mean square; above, a point was another corner than the one named."""


class Placed(NamedTuple):
    """A pose and how well it is known."""

    X: Matrix
    """(4, 4)"""
    sd_mm: NDArray[np.float64]
    """(3,) standard deviation of the position along the axes of the outer frame."""
    sd_deg: NDArray[np.float64]
    """(3,) standard deviation of the rotation about the axes of the outer frame."""
    rms: float
    """What the fit left over, root mean square: pixels; of touched points millimetres."""
    views: int
    """Views, or touched points."""


def transform(rotation: NDArray[np.float64], position_m: NDArray[np.float64]) -> Matrix:
    """(4, 4) from a rotation, matrix (3, 3) or vector (3,) [rad], and a position (3,) [m]."""
    X = np.eye(4)
    X[:3, :3] = rotation if rotation.ndim == 2 else np.asarray(cv2.Rodrigues(rotation)[0], float)
    X[:3, 3] = position_m
    return X


def inverse(X: Matrix) -> Matrix:
    """Of a pose: X_b_a from X_a_b."""
    turned = X[:3, :3].T
    return transform(turned, -turned @ X[:3, 3])


def apart(X: Matrix, Y: Matrix) -> tuple[float, float]:
    """Distance [mm] and angle [deg] between two poses in one frame."""
    turn = cv2.Rodrigues(X[:3, :3].T @ Y[:3, :3])[0]
    return float(np.linalg.norm(X[:3, 3] - Y[:3, 3]) * 1000), float(np.rad2deg(np.linalg.norm(turn)))


def lying(x_m: float, y_m: float, turn_deg: float = 0.0, z_m: float = 0.0) -> Matrix:
    """X_base_board of a board that lies face up: its origin there, its rows along x when `turn_deg` is 0, turned
    about the vertical otherwise, counter-clockwise seen from above."""
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    face_up = np.diag([1.0, -1.0, -1.0])  # the board's z goes into the table
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    return transform(about_z @ face_up, np.array([x_m, y_m, z_m]))


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
    left_over = middle_touched + levers - touched_m
    rms_mm = float(np.sqrt((left_over**2).sum(1).mean()) * 1000)
    if rms_mm > MAX_TOUCH_MM:
        raise ImplausibleError(
            f"the touched corners do not fit the board: {rms_mm:.1f} mm are left over, allowed are {MAX_TOUCH_MM} mm; "
            "was each corner the one that was named, and is the arm calibrated?"
        )
    variance = (left_over**2).sum() / max(3 * len(corners_m) - 6, 1)
    inertia = (levers**2).sum() * np.eye(3) - levers.T @ levers
    turn = variance * np.linalg.inv(inertia)
    arm = np.asarray(_cross(X[:3, 3] - middle_touched))  # the origin is away from the middle of the points
    position = variance / len(corners_m) * np.eye(3) + arm @ turn @ arm.T
    return Placed(X, _sd(position) * 1000, np.rad2deg(_sd(turn)), rms_mm, len(corners_m))


def board_in_camera(view: View, intrinsics: Intrinsics, board: Board) -> Placed:
    """X_camera_board of one view."""
    return _camera_of(board.corners_m[view.ids], view.corners_px, intrinsics, 1, seen_from_camera=True)


def camera_in_base(
    views: Sequence[View], X_base_board: Sequence[Matrix], intrinsics: Intrinsics, board: Board
) -> Placed:
    """X_base_camera of a camera that stands, from views of a board at known places: one for each view.

    Several places far apart tell more than one; they are fitted together. Raises ImplausibleError where the corners
    do not fit.
    """
    points = [
        board.corners_m[view.ids] @ X[:3, :3].T + X[:3, 3]
        for view, X in zip(views, X_base_board, strict=True)
    ]
    corners = np.concatenate([view.corners_px for view in views])
    return _camera_of(np.concatenate(points), corners, intrinsics, len(views), seen_from_camera=False)


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
    left_over = np.asarray(projected, float).reshape(-1, 2) - corners_px
    rms_px = float(np.sqrt((left_over**2).sum(1).mean()))
    if rms_px > 3.0:
        raise ImplausibleError(
            f"corners are {rms_px:.1f} px off; is the board where it was said to be, and the right one?"
        )
    X_camera_points = transform(np.asarray(turn, float).ravel(), np.asarray(shift, float).ravel())
    X = X_camera_points if seen_from_camera else inverse(X_camera_points)

    def corners_after(step: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = _stepped(X, step)
        return _project(points_m, moved if seen_from_camera else inverse(moved), intrinsics).ravel()

    J = _numeric_jacobian(corners_after, 6)
    variance = (left_over**2).sum() / max(left_over.size - 6, 1)
    normal = np.linalg.inv(J.T @ J)
    of_lens = (
        normal @ J.T @ np.asarray(jacobian, float)[:, 6:14]
    )  # what an error of fx .. p2 does to the pose
    covariance = variance * normal + (of_lens * np.array(intrinsics.sd) ** 2) @ of_lens.T
    sd = _sd(covariance)
    return Placed(X, sd[3:] * 1000, np.rad2deg(sd[:3]), rms_px, count)


def camera_on_hand(
    views: Sequence[View], X_base_hand: Sequence[Matrix], intrinsics: Intrinsics, board: Board
) -> tuple[Placed, Placed]:
    """X_hand_camera and X_base_board, from views of a board that stays where it is, one for each pose of the hand.

    Starts from Park's and Martin's solution (`cv2.calibrateHandEye`) and then asks the least of the joints: that the
    hand was elsewhere than they said by as little as possible, turned and shifted (`LEVER_M` makes one of both). Making
    the corners fit in the pictures is worse by far, for it takes every error of a joint for one of the camera. The
    uncertainty counts every view as one piece of evidence, because the error of the joints moves all its corners at
    once (a sandwich with views as clusters, Liang and Zeger 1986).

    Raises:
        ImplausibleError: too few views, or a hand that hardly turned.
    """
    _check_hand(X_base_hand)
    seen = [board_in_camera(view, intrinsics, board).X for view in views]
    R, p = cv2.calibrateHandEye(
        [X[:3, :3] for X in X_base_hand],
        [X[:3, 3] for X in X_base_hand],
        [X[:3, :3] for X in seen],
        [X[:3, 3] for X in seen],
        method=cv2.CALIB_HAND_EYE_PARK,
    )
    start = transform(np.asarray(R, float), np.asarray(p, float).ravel())
    boards = [hand @ start @ camera for hand, camera in zip(X_base_hand, seen, strict=True)]
    board_start = _middle(boards)

    def left_over(step: NDArray[np.float64]) -> NDArray[np.float64]:
        X_camera_hand = inverse(_stepped(start, step[:6]))
        X_base_board = _stepped(board_start, step[6:])
        return np.concatenate(
            [
                _between(hand, X_base_board @ inverse(camera) @ X_camera_hand)
                for hand, camera in zip(X_base_hand, seen, strict=True)
            ]
        )

    fit = least_squares(left_over, np.zeros(12), x_scale=np.tile([0.01, 0.01, 0.01, 0.002, 0.002, 0.002], 2))
    ends = np.arange(6, 6 * len(views), 6)
    sd = _sd(_clustered(np.asarray(fit.jac), np.asarray(fit.fun), ends))
    camera, lies = _stepped(start, fit.x[:6]), _stepped(board_start, fit.x[6:])
    errors = [
        _project(board.corners_m[view.ids], inverse(hand @ camera) @ lies, intrinsics) - view.corners_px
        for view, hand in zip(views, X_base_hand, strict=True)
    ]
    rms_px = float(np.sqrt((np.concatenate(errors) ** 2).sum(1).mean()))
    return (
        Placed(camera, sd[3:6] * 1000, np.rad2deg(sd[:3]), rms_px, len(views)),
        Placed(lies, sd[9:] * 1000, np.rad2deg(sd[6:9]), rms_px, len(views)),
    )


def _between(X: Matrix, Y: Matrix) -> NDArray[np.float64]:
    """(6,) from one pose to another in one frame: the turn [rad], and the shift over `LEVER_M`."""
    turn = np.asarray(cv2.Rodrigues(Y[:3, :3] @ X[:3, :3].T)[0], float).ravel()
    return np.concatenate((turn, (Y[:3, 3] - X[:3, 3]) / LEVER_M))


def _check_hand(X_base_hand: Sequence[Matrix]) -> None:
    if len(X_base_hand) < MIN_HAND_VIEWS:
        raise ImplausibleError(
            f"{len(X_base_hand)} views of the board from the hand; at least {MIN_HAND_VIEWS} different poses are needed"
        )
    turns = [
        np.rad2deg(np.asarray(cv2.Rodrigues(X_base_hand[0][:3, :3].T @ X[:3, :3])[0], float).ravel())
        for X in X_base_hand
    ]
    spread = np.linalg.svd(np.array(turns) - np.mean(turns, axis=0), compute_uv=False) / np.sqrt(len(turns))
    if spread[1] < MIN_TURN_DEG / 4:  # standard deviation of turns that reach `MIN_TURN_DEG` to and fro
        raise ImplausibleError(
            f"the hand hardly turned about a second axis (by {2 * spread[1]:.1f} degrees); roll the wrist and bend it, "
            f"by {MIN_TURN_DEG:.0f} degrees and more, with the board in sight"
        )


def _stepped(X: Matrix, step: NDArray[np.float64]) -> Matrix:
    """A pose turned by `step[:3]` [rad] in place and shifted by `step[3:]` [m], about and along the outer axes."""
    turn = np.asarray(cv2.Rodrigues(np.ascontiguousarray(step[:3]))[0], float)
    return transform(turn @ X[:3, :3], X[:3, 3] + step[3:])


def _project(
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


def _clustered(
    J: NDArray[np.float64], left_over: NDArray[np.float64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Covariance of a least-squares fit whose left-overs hang together between `ends`."""
    bread = np.linalg.inv(J.T @ J)
    pulls = [part.T @ rest for part, rest in zip(np.split(J, ends), np.split(left_over, ends), strict=True)]
    count, parameters = len(pulls), J.shape[1]
    few = count / max(
        count - parameters / 2, 1
    )  # each view fixes up to six numbers: half of the rows of a pose
    return few * bread @ np.einsum("vi,vj->ij", pulls, pulls) @ bread


def _middle(poses: Sequence[Matrix]) -> Matrix:
    """Mean of poses that lie close together."""
    left, _, right = np.linalg.svd(np.mean([X[:3, :3] for X in poses], axis=0))
    return transform(left @ right, np.mean([X[:3, 3] for X in poses], axis=0))


def _sd(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(np.diag(covariance), 0))


def _cross(vector: NDArray[np.float64]) -> list[list[float]]:
    """(3, 3): the matrix that multiplies like the cross product."""
    x, y, z = vector.tolist()
    return [[0, -z, y], [z, 0, -x], [-y, x, 0]]
