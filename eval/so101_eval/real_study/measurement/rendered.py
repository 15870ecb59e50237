"""The simulated front camera as a calibrated one: pictures of 640x480, its lens, its pose, the mat in the scene."""

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix, transform
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.physics.world import World

SIZE_PX = (640, 480)
FRONT = "front"


def lens_of(model: mujoco.MjModel, size_px: tuple[int, int] = SIZE_PX, camera: str = FRONT) -> Intrinsics:
    """Of MuJoCo's camera, which has no distortion."""
    width, height = size_px
    focal = height / 2 / math.tan(math.radians(float(model.cam_fovy[model.camera(camera).id])) / 2)
    return Intrinsics(size_px, focal, focal, (width - 1) / 2, (height - 1) / 2)


def pose_of(data: mujoco.MjData, camera: str = FRONT) -> Matrix:
    """X_base_camera; MuJoCo's cameras look along -z with y up."""
    R = data.camera(camera).xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    return transform(R, np.asarray(data.camera(camera).xpos))


class Eyes:
    """Renders what the front camera sees now. Use it in one thread; close it."""

    def __init__(self, world: World, size_px: tuple[int, int] = SIZE_PX) -> None:
        self._world = world
        self._renderer: Renderer = open_renderer(world.model, *size_px)

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """(h, w, 3) RGB of the front camera."""
        return {FRONT: self._renderer.render(self._world.snapshot(), FRONT)}

    def close(self) -> None:
        self._renderer.close()
