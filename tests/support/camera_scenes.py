"""For tests and benchmarks: a lens with its truth, views of a board, and a palletizing scene whose camera moves."""

from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.board_views import View, detect
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import transform
from so101_calibration.cameras.rendered import draw
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_policy.registration.homography import mapped
from so101_robot.mock.cameras.render import Renderer
from so101_robot.mock.physics.world import HOME_POSE_RAD, World

LENS = Intrinsics((640, 480), 612.0, 609.0, 325.4, 236.2, 0.09, -0.21, 0.0011, -0.0008)
"""A webcam: 55 degrees across, 3 px of barrel and pincushion, a sensor that sits a little aside."""
BOARD = Board()
PLACES = [
    (120, 95),
    (320, 85),
    (520, 95),
    (110, 240),
    (320, 240),
    (530, 240),
    (120, 385),
    (320, 395),
    (520, 385),
]


def tilted(
    x_px: float, y_px: float, distance_m: float, about: float, tilt_deg: float, roll_deg: float
) -> NDArray[Any]:
    """X_camera_board: the board's middle at a pixel, tilted about the direction `about` [rad]."""
    tilt = np.deg2rad(tilt_deg) * np.array([np.cos(about), np.sin(about), 0])
    R = cv2.Rodrigues(tilt)[0] @ cv2.Rodrigues(np.array([0, 0, np.deg2rad(roll_deg)]))[0]
    middle = np.array([(x_px - LENS.cx) / LENS.fx, (y_px - LENS.cy) / LENS.fy, 1]) * distance_m
    return transform(R, middle - R @ (np.array([*BOARD.size_mm, 0]) / 2000))


def hand_held(count: int, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Poses of a board as a person shows it: all over the picture, tilted to all sides."""
    return [
        tilted(
            *PLACES[k % 9],
            rng.uniform(0.28, 0.45),
            rng.uniform(0, 2 * np.pi),
            rng.uniform(12, 40),
            rng.normal(0, 12),
        )
        for k in range(count)
    ]


def seen(poses: list[NDArray[Any]], rng: np.random.Generator, noise: float = 1.0) -> list[View]:
    """Rendered and detected."""
    views = [
        detect(draw(BOARD, LENS, X, rng, noise, blur_px=0.5), BOARD, f"view {k}") for k, X in enumerate(poses)
    ]
    return [view for view in views if view is not None]


class Bench:
    """A palletizing scene; arm and boxes stand elsewhere in every picture."""

    LIGHT = 0.5
    """Of the lamps while the dataset is recorded: OpenGL clips light above nominal, which a camera does not."""

    def __init__(self, width: int = 320, height: int = 240) -> None:
        from so101_robot.mock.cameras.render import open_renderer

        self.world = World(PalletizingScene("palletize-2"), seed=1)
        self.renderer: Renderer = open_renderer(self.world.model, width, height)
        self.size = (width, height)
        self.focal_px = height / 2 / np.tan(np.deg2rad(self.world.model.camera("front").fovy[0]) / 2)

    def picture(
        self,
        rng: np.random.Generator,
        turn: tuple[float, float, float] = (0, 0, 0),
        carried: tuple[float, float, float] = (0, 0, 0),
        light: float = 1.0,
    ) -> NDArray[np.uint8]:
        """What the front camera sees with noise of one grey level.

        `turn` [deg] about and `carried` [m] along the camera's axes: right, up, back.
        """
        world, model = self.world, self.world.model
        world.reset(int(rng.integers(0, 100_000)))
        low, high = world.joint_range_rad.T
        spread = np.array([0.5, 0.35, 0.35, 0.4, 0.8, 0.3])
        world.place_arm(np.clip(np.array(HOME_POSE_RAD) + rng.normal(0, spread), low, high))
        camera = model.camera("front").id
        R = np.empty(9)
        mujoco.mju_quat2Mat(R, model.cam_quat[camera])
        model.cam_pos[camera] += R.reshape(3, 3) @ np.array(carried)
        turned = np.empty(4)
        mujoco.mju_mulQuat(turned, model.cam_quat[camera].copy(), _quat(np.deg2rad(turn)))
        model.cam_quat[camera] = turned
        model.light_diffuse[:] *= self.LIGHT * light
        model.vis.headlight.ambient[:] *= self.LIGHT * light
        mujoco.mj_forward(model, world.data)
        clean = self.renderer.render(world.snapshot(), "front")
        return np.clip(np.rint(clean + rng.normal(0, 1.0, clean.shape)), 0, 255).astype(np.uint8)

    def truth(
        self, static: NDArray[np.bool_], turn: tuple[float, float, float], carried: tuple[float, float, float]
    ) -> float:
        """Mean shift [px] of the table over the static part of the picture: an exact homography of its plane."""
        model = self.world.model
        self.world.reset(1)
        camera = model.camera("front").id
        R = np.empty(9)
        mujoco.mju_quat2Mat(R, model.cam_quat[camera])
        gl = np.diag([1.0, -1.0, -1.0])
        R_world_camera, p = R.reshape(3, 3) @ gl, model.cam_pos[camera].copy()
        turn_camera = gl @ np.asarray(cv2.Rodrigues(np.deg2rad(np.array(turn, float)))[0]) @ gl
        R_now, p_now = R_world_camera @ turn_camera, p + R.reshape(3, 3) @ np.array(carried)
        width, height = self.size
        K = np.array([[self.focal_px, 0, (width - 1) / 2], [0, self.focal_px, (height - 1) / 2], [0, 0, 1]])

        def from_table(R_wc: NDArray[Any], p_wc: NDArray[Any]) -> NDArray[Any]:
            return K @ R_wc.T @ np.column_stack((np.eye(3)[:, :2], -p_wc))

        H = from_table(R_now, p_now) @ np.linalg.inv(from_table(R_world_camera, p))
        rows, columns = np.nonzero(static[::5, ::5])
        points = np.column_stack((columns, rows)).astype(np.float64) * 5
        return float(np.linalg.norm(mapped(H, points) - points, axis=1).mean())

    def moving(
        self, static: NDArray[np.bool_], kind: str, px: float, direction_rad: float
    ) -> dict[str, tuple[float, float, float]]:
        """The `turn` or `carried` (the other is none) in a direction that moves the picture by `px`."""
        x, y = np.cos(direction_rad), np.sin(direction_rad)
        size, still = px * (0.1 if kind == "turn" else 0.001), {"turn": (0.0,) * 3, "carried": (0.0,) * 3}
        change: Any = still
        for _ in range(5):
            change = still | {kind: (size * x, size * y, 0.0)}
            size *= px / self.truth(static, **change)
        return change


def _quat(turn_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    quat, angle = np.array([1.0, 0, 0, 0]), float(np.linalg.norm(turn_rad))
    if angle > 0:
        mujoco.mju_axisAngle2Quat(quat, turn_rad / angle, angle)
    return quat
