"""A hand that a person steers, by keys, mouse or gamepad: they say how far each joint shall go, the hand goes there.

The hand holds every joint, so that nothing falls; it lets go of an arm that is under torque.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.servo.servo import Bridge

STEP_S = 0.12
"""How long the hand takes for what it is told at a time."""

BEGIN_S = 2.0
"""How long it takes to the pose in which it begins."""


class Steering(Protocol):
    """What a person steers with."""

    def __call__(self, now_s: float) -> NDArray[np.float64]:
        """(6,) how far each joint shall go on from where it is wanted, since this was asked last [rad]."""
        ...


class SteeredHand:
    """Moves the hand of a mock leader as a person steers.

    Args:
        hand: of the mock arm.
        bridge: (6,) of its motors, kept up to date by the servos.
        steering: what the person wants.
        start_rad: (6,) where the hand brings the arm first [rad].
    """

    def __init__(
        self, hand: Hand, bridge: NDArray[np.int8], steering: Steering, start_rad: Sequence[float]
    ) -> None:
        self._hand, self._bridge, self._steering = hand, bridge, steering
        self._start_rad = np.array(start_rad)
        self._target_rad: NDArray[np.float64] | None = None

    def watch(self, now_s: float) -> None:
        """Look at the arm and at the person; call it every few milliseconds of simulated time.

        Args:
            now_s: simulated time.
        """
        wanted_rad = self._steering(now_s)
        if not bool((self._bridge == Bridge.FREE).all()):
            if self._hand.active:
                self._hand.release()
            self._target_rad = None
            return
        if self._target_rad is None:
            self._target_rad = self._start_rad.copy()
            self._hand.move(dict(zip(JOINTS, self._target_rad.tolist(), strict=True)), BEGIN_S)
        moved = np.flatnonzero(wanted_rad).tolist()
        if moved:
            low, high = self._hand.range_rad.T
            self._target_rad = np.clip(self._target_rad + wanted_rad, low, high)
            self._hand.move({JOINTS[i]: float(self._target_rad[i]) for i in moved}, STEP_S)
