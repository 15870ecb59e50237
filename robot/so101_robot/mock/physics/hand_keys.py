"""A hand that leads by keys: a row of keys opens every joint, the row below closes it.

    q w e r t y    more
    a s d f g h    less      of shoulder_pan .. gripper, in this order

Each key is a step, a key that is held down is a slow motion (a terminal repeats it some 30 times a second). The hand
holds every joint, so that nothing falls; it lets go of an arm that is under torque.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.hand import Hand
from so101_robot.mock.servo.servo import Bridge

MORE, LESS = "qwerty", "asdfgh"

STEP_RAD = np.radians((2.0, 2.0, 2.0, 2.0, 3.0, 3.0))
"""Of each joint by one key [rad]."""

STEP_S = 0.12
"""How long a step takes."""

KEYS_IN_WORDS = (
    f"keys move the leader: {' '.join(MORE)} one way, {' '.join(LESS)} the other, for {', '.join(JOINTS)}"
)


class KeyHand:
    """Moves the hand of a mock leader by keys.

    Args:
        hand: of the mock arm.
        bridge: (6,) of its motors, kept up to date by the servos.
        pressed: the keys since it was asked last, by name.
        start_rad: (6,) where the hand brings the arm first [rad].
    """

    def __init__(
        self,
        hand: Hand,
        bridge: NDArray[np.int8],
        pressed: Callable[[], Sequence[str]],
        start_rad: Sequence[float],
    ) -> None:
        self._hand, self._bridge, self._pressed = hand, bridge, pressed
        self._start_rad = np.array(start_rad)
        self._target_rad: NDArray[np.float64] | None = None

    def watch(self, now_s: float) -> None:
        """Look at the arm and at the keys; call it every few milliseconds of simulated time.

        Args:
            now_s: not needed: a key moves the hand when it is pressed. Every hand is watched alike.
        """
        keys = self._pressed()
        if not bool((self._bridge == Bridge.FREE).all()):
            if self._hand.active:
                self._hand.release()
            self._target_rad = None
            return
        if self._target_rad is None:
            self._target_rad = self._start_rad.copy()
            self._hand.move(dict(zip(JOINTS, self._target_rad.tolist(), strict=True)), 2.0)
        moved: set[int] = set()
        for key in keys:
            for row, sign in ((MORE, 1.0), (LESS, -1.0)):
                if len(key) == 1 and (index := row.find(key.lower())) >= 0:
                    moved.add(index)
                    self._target_rad[index] += sign * STEP_RAD[index]
        if moved:
            low, high = self._hand.range_rad.T
            self._target_rad = np.clip(self._target_rad, low, high)
            self._hand.move({JOINTS[i]: float(self._target_rad[i]) for i in sorted(moved)}, STEP_S)
