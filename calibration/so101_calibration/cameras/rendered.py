"""Pictures of a board as a camera with known lens and pose would take them: to try everything without a camera.

Each pixel is the mean of a few rays. A ray goes backwards through the lens (the distortion is undone to 1e-10), meets
the plane of the board and takes the grey there, so the picture shares nothing with the detection or the calibration
but the lens model.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix

RAYS = 3  # per pixel and direction
TEXELS_PER_MM = 6.0
MARGIN_MM = 10.0  # white paper round the squares
INK, PAPER, BENCH = 30.0, 225.0, 120.0
"""Grey levels."""


def draw(
    board: Board,
    intrinsics: Intrinsics,
    X_camera_board: Matrix,
    rng: np.random.Generator | None = None,
    noise: float = 1.0,
    blur_px: float = 0.0,
) -> NDArray[np.uint8]:
    """A grey picture (height, width) of the board.

    `noise` is the standard deviation of a pixel [grey levels], drawn from `rng`; without `rng` there is none.
    `blur_px` is the standard deviation of a lens out of focus.
    """
    width, height = intrinsics.size_px
    ray_x, ray_y = _rays(intrinsics)
    # a ray (x, y, 1) meets the board at (a, b) where it is parallel to a R_x + b R_y + p
    to_board = np.linalg.inv(np.column_stack((X_camera_board[:3, :2], X_camera_board[:3, 3])))
    a, b, scale = (row[0] * ray_x + row[1] * ray_y + row[2] for row in to_board.astype(np.float32))
    texel = np.float32(1000 * TEXELS_PER_MM) / scale
    x, y = (side * texel + np.float32(MARGIN_MM * TEXELS_PER_MM - 0.5) for side in (a, b))
    texture = _texture(board)
    border = cv2.BORDER_CONSTANT
    fine = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=border, borderValue=[BENCH])
    picture = np.asarray(fine, float).reshape(height, RAYS, width, RAYS).mean((1, 3))
    if blur_px > 0:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur_px), float)
    if rng is not None:
        picture = picture + rng.normal(0, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _rays(intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x and y, (height * RAYS, width * RAYS), of directions in the camera's frame with z = 1."""
    width, height = intrinsics.size_px
    x = (np.arange(width * RAYS) + 0.5) / RAYS - 0.5
    y = (np.arange(height * RAYS) + 0.5) / RAYS - 0.5
    pixels = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-10)
    matrix, distortion = intrinsics.matrix, intrinsics.distortion
    straight = cv2.undistortPointsIter(pixels, matrix, distortion, np.eye(3), np.eye(3), criteria)
    across, down = np.asarray(straight, np.float32).reshape(height * RAYS, width * RAYS, 2).transpose(2, 0, 1)
    return np.ascontiguousarray(across), np.ascontiguousarray(down)


@lru_cache(maxsize=4)
def _texture(board: Board) -> NDArray[np.float32]:
    """The board with its white margin, as grey levels."""
    squares = board.picture(TEXELS_PER_MM).astype(np.float32) / 255
    margin = round(MARGIN_MM * TEXELS_PER_MM)
    return (INK + (PAPER - INK) * np.pad(squares, margin, constant_values=1)).astype(np.float32)
