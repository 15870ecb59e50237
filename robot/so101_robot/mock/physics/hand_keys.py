"""A leader's hand that is steered by keys: a row of keys opens every joint, the row below closes it.

    q w e r t y    more
    a s d f g h    less      of shoulder_pan .. gripper, in this order

Each key is a step, a key that is held down is a slow motion (a terminal repeats it some 30 times a second).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS

MORE, LESS = "qwerty", "asdfgh"

STEP_RAD = np.radians((2.0, 2.0, 2.0, 2.0, 3.0, 3.0))
"""Of each joint by one key [rad]."""

KEYS_IN_WORDS = (
    f"keys move the leader: {' '.join(MORE)} one way, {' '.join(LESS)} the other, for {', '.join(JOINTS)}"
)


class KeySteering:
    """A `hand_steered.Steering` by keys.

    Args:
        pressed: the keys since it was asked last, by name.
    """

    def __init__(self, pressed: Callable[[], Sequence[str]]) -> None:
        self._pressed = pressed

    def __call__(self, now_s: float) -> NDArray[np.float64]:
        """As `Steering`; a key is a step, whenever it is pressed."""
        wanted_rad = np.zeros(len(JOINTS))
        for key in self._pressed():
            for row, sign in ((MORE, 1.0), (LESS, -1.0)):
                if len(key) == 1 and (index := row.find(key.lower())) >= 0:
                    wanted_rad[index] += sign * STEP_RAD[index]
        return wanted_rad
