"""What stands between the robot and who drives it: noise, delays, blur, a black camera, late actions.

`Disturbances` wraps one attempt at the border of the robot: measured joints and pictures pass through
`sense`, actions through `act`, once per control tick each. It never touches the physics, the guard or the
wire. All randomness comes from the reset's own seed, tick by tick, so that an attempt can be run again.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.reset_data import SensorDisturbance
from so101_robot.joints import JOINTS

BLACK_SPELL_S = 1.0
"""How long a camera that is black at times stays so, and the grid on which spells lie."""

type Images = dict[str, NDArray[np.uint8]]


class Sensed(NamedTuple):
    """What who drives the robot gets to know."""

    position: NDArray[np.float64]
    """(6,) LeRobot units: degrees, percent for the gripper."""
    images: Images


class Disturbances:
    """One attempt's worth. Nominal settings let everything through as it is (the same arrays)."""

    def __init__(self, settings: SensorDisturbance) -> None:
        self.settings = settings
        self._joints_rng, self._drop_rng, self._black_rng = (
            np.random.default_rng((settings.seed, i)) for i in range(3)
        )
        self._positions: deque[NDArray[np.float64]] = deque(maxlen=settings.joint_delay_ticks + 1)
        self._pictures: deque[Images] = deque(maxlen=settings.image_delay_ticks + 1)
        self._stuck_at: float | None = None
        self._seen: Images = {}
        self._black_order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._late: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._in_force: NDArray[np.float64] | None = None

    def sense(
        self, time_s: float, position: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]
    ) -> Sensed:
        """What is measured `time_s` after the start of the attempt, as it arrives."""
        return Sensed(self.joints(time_s, position), self.pictures(time_s, images))

    def act(self, time_s: float, action: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The action (6,) that reaches the robot now: the newest asked for a latency ago. None: none yet."""
        latency_s = self.settings.action_latency_s
        if latency_s == 0:
            return action
        self._late.append((time_s + latency_s, action.copy()))
        while self._late and self._late[0][0] <= time_s + 1e-6:
            self._in_force = self._late.popleft()[1]
        return self._in_force

    # joints

    def joints(self, time_s: float, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of `sense` for joints (6,)."""
        settings = self.settings
        measured = self._unstick(time_s, position)
        if any(settings.joint_bias_deg):
            measured = measured + np.array(settings.joint_bias_deg)
        if settings.joint_noise_deg:
            measured = measured + self._joints_rng.normal(0.0, settings.joint_noise_deg, len(JOINTS))
        self._positions.append(measured)
        return self._positions[0]

    def _unstick(self, time_s: float, position: NDArray[np.float64]) -> NDArray[np.float64]:
        settings = self.settings
        if not settings.stuck_from_s <= time_s < settings.stuck_from_s + settings.stuck_s:
            self._stuck_at = None
            return position
        joint = JOINTS.index(settings.stuck_joint)
        if self._stuck_at is None:
            self._stuck_at = float(position[joint])
        stuck = position.copy()
        stuck[joint] = self._stuck_at
        return stuck

    # pictures

    def pictures(self, time_s: float, images: Mapping[str, NDArray[np.uint8]]) -> Images:
        """The part of `sense` for pictures."""
        settings, images = self.settings, dict(images)
        if settings.frame_drop:
            dropped = self._drop_rng.random(len(images)) < settings.frame_drop
            for (name, image), lost in zip(images.items(), dropped.tolist(), strict=True):
                if not lost or name not in self._seen:
                    self._seen[name] = image
            images = dict(self._seen)
        self._pictures.append(images)
        images = self._pictures[0]
        if settings.blur or settings.exposure_stops:
            images = {name: self._blurred(self._exposed(image)) for name, image in images.items()}
        if settings.black_camera in images and self._is_black(time_s):
            images = {**images, settings.black_camera: np.zeros_like(images[settings.black_camera])}
        return images

    def _exposed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As a sensor does it: light times a power of two, clipped at full well."""
        if not self.settings.exposure_stops:
            return image
        light = (np.arange(256) / 255.0) ** _GAMMA * 2.0**self.settings.exposure_stops
        curve = np.minimum(light, 1.0) ** (1 / _GAMMA) * 255 + 0.5
        return curve.astype(np.uint8)[image]

    def _blurred(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sigma_px = self.settings.blur * image.shape[1]
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8) if sigma_px else image

    def _is_black(self, time_s: float) -> bool:
        """Spells on a grid of a second; of each twenty in a row the share that was asked for is black."""
        share, spell = self.settings.black_share, int(time_s / BLACK_SPELL_S)
        while spell >= len(self._black_order):
            self._black_order = np.append(self._black_order, self._black_rng.permutation(_BLOCK))
        return bool(self._black_order[spell] < share * _BLOCK)


_GAMMA = 2.2  # of the pictures' encoding, nearly sRGB
_BLOCK = 20
