"""Poses of cameras and boards, and how well they are known.

Frames are written by monogram: `X_base_camera` is the pose of the camera in the base frame, a (4, 4) matrix that
takes points in the camera's frame to the base frame. A camera looks along its z axis, x to the right, y down, as in
OpenCV; the board's frame is that of `boards`, the base frame and the hand (the link `gripper`) those of
`so101_robot.guard.kinematics`.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

type Matrix = NDArray[np.float64]
"""(4, 4)"""


class Placed(NamedTuple):
    """A pose and how well it is known."""

    X: Matrix
    """(4, 4)"""
    sd_mm: NDArray[np.float64]
    """(3,) standard deviation of the position along the axes of the outer frame."""
    sd_deg: NDArray[np.float64]
    """(3,) standard deviation of the rotation about the axes of the outer frame."""
    rms: float
    """Residual of the fit, root mean square: in pixels; of touched points in millimetres."""
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


def pose_difference(X: Matrix, Y: Matrix) -> tuple[float, float]:
    """Distance [mm] and angle [deg] between two poses in one frame."""
    turn = cv2.Rodrigues(X[:3, :3].T @ Y[:3, :3])[0]
    return float(np.linalg.norm(X[:3, 3] - Y[:3, 3]) * 1000), float(np.rad2deg(np.linalg.norm(turn)))


def board_on_table(x_m: float, y_m: float, turn_deg: float = 0.0, z_m: float = 0.0) -> Matrix:
    """X_base_board of a board that lies face up: its origin there, its rows along x when `turn_deg` is 0, turned
    about the vertical otherwise, counter-clockwise seen from above."""
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    face_up = np.diag([1.0, -1.0, -1.0])  # the board's z goes into the table
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    return transform(about_z @ face_up, np.array([x_m, y_m, z_m]))


def perturbed(X: Matrix, step: NDArray[np.float64]) -> Matrix:
    """A pose turned by `step[:3]` [rad] in place and shifted by `step[3:]` [m], about and along the outer axes."""
    turn = np.asarray(cv2.Rodrigues(np.ascontiguousarray(step[:3]))[0], float)
    return transform(turn @ X[:3, :3], X[:3, 3] + step[3:])


def standard_deviations(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) of a covariance (n, n)."""
    return np.sqrt(np.maximum(np.diag(covariance), 0))
