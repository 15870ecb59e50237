"""Where the wrist camera is on the hand, from views of a board that stays: hand-eye calibration.

The stated uncertainties are standard deviations from the residuals of the fit; the noise of the joints is larger than
that of the corners.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from so101_calibration.cameras.board_views import View
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.placing import board_in_camera, project
from so101_calibration.cameras.poses import Matrix, Placed, inverse, perturbed, standard_deviations, transform
from so101_calibration.errors import ImplausibleError

MIN_HAND_VIEWS = 8
"""Of the board from different poses of the hand; the mathematics needs at least three."""
MIN_TURN_DEG = 20.0
"""By which the hand must have turned about two different axes: otherwise hand-eye has no solution."""
LEVER_M = 0.25
"""From joints to hand: an error of a joint by an angle shifts the hand by the angle times this length."""


def camera_on_hand(
    views: Sequence[View], X_base_hand: Sequence[Matrix], intrinsics: Intrinsics, board: Board
) -> tuple[Placed, Placed]:
    """X_hand_camera and X_base_board, from views of a board that stays where it is, one for each pose of the hand.

    Starts from Park's and Martin's solution (`cv2.calibrateHandEye`) and then makes the hand's poses differ as little
    as possible from those by the joints, in turn and shift (`LEVER_M` weighs one against the other). Fitting the
    corners in the pictures instead is much worse, because it takes every error of a joint for one of the camera. The
    uncertainty counts every view as one piece of evidence, because an error of the joints moves all its corners at
    once (sandwich estimator with views as clusters, Liang and Zeger 1986).

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

    def residuals(step: NDArray[np.float64]) -> NDArray[np.float64]:
        X_camera_hand = inverse(perturbed(start, step[:6]))
        X_base_board = perturbed(board_start, step[6:])
        return np.concatenate(
            [
                _between(hand, X_base_board @ inverse(camera) @ X_camera_hand)
                for hand, camera in zip(X_base_hand, seen, strict=True)
            ]
        )

    fit = least_squares(residuals, np.zeros(12), x_scale=np.tile([0.01, 0.01, 0.01, 0.002, 0.002, 0.002], 2))
    ends = np.arange(6, 6 * len(views), 6)
    sd = standard_deviations(_clustered(np.asarray(fit.jac), np.asarray(fit.fun), ends))
    camera, board_pose = perturbed(start, fit.x[:6]), perturbed(board_start, fit.x[6:])
    errors = [
        project(board.corners_m[view.ids], inverse(hand @ camera) @ board_pose, intrinsics) - view.corners_px
        for view, hand in zip(views, X_base_hand, strict=True)
    ]
    rms_px = float(np.sqrt((np.concatenate(errors) ** 2).sum(1).mean()))
    return (
        Placed(camera, sd[3:6] * 1000, np.rad2deg(sd[:3]), rms_px, len(views)),
        Placed(board_pose, sd[9:] * 1000, np.rad2deg(sd[6:9]), rms_px, len(views)),
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


def _clustered(
    J: NDArray[np.float64], residuals: NDArray[np.float64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Covariance of a least-squares fit whose residuals depend on each other within the groups that end at `ends`."""
    bread = np.linalg.inv(J.T @ J)
    pulls = [part.T @ rest for part, rest in zip(np.split(J, ends), np.split(residuals, ends), strict=True)]
    count, parameters = len(pulls), J.shape[1]
    few = count / max(
        count - parameters / 2, 1
    )  # each view fixes up to six numbers: half of the rows of a pose
    return few * bread @ np.einsum("vi,vj->ij", pulls, pulls) @ bread


def _middle(poses: Sequence[Matrix]) -> Matrix:
    """Mean of poses that are close together."""
    left, _, right = np.linalg.svd(np.mean([X[:3, :3] for X in poses], axis=0))
    return transform(left @ right, np.mean([X[:3, 3] for X in poses], axis=0))
