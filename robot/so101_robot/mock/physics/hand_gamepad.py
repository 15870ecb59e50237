"""A leader's hand that is steered by a gamepad.

    left stick     shoulder_pan, shoulder_lift        cross up and down    wrist_flex
    right stick    wrist_roll, elbow_flex             L1, R1               gripper closes, opens

A stick says how fast. Axes and buttons are numbered as the kernel numbers those of the usual pads (Xbox, PlayStation).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.hand_mouse import ELBOW, FLEX, GRIP, LIFT, PAN, ROLL

AXES = {0: PAN, 1: LIFT, 3: ROLL, 4: ELBOW, 7: FLEX}
"""The pad's axis -> joint."""

CLOSES, OPENS = 4, 5
"""Buttons of the gripper."""

DEAD = 0.15
"""A stick that is let go is not quite in its middle."""

FASTEST_RAD_S = np.radians(60.0)
"""With a stick at its end [rad/s]."""

LONGEST_S = 0.1
"""After a pause the hand does not catch up."""

PAD_IN_WORDS = (
    "the gamepad moves the leader: left stick shoulder_pan and shoulder_lift, right stick wrist_roll and elbow_flex, "
    "cross wrist_flex, L1 and R1 the gripper"
)


class Pad(Protocol):
    """`process.gamepad.Gamepad`."""

    def axis(self, number: int) -> float:
        """-1 to 1."""
        ...

    def pressed(self, number: int) -> bool:
        """Whether a button is held down."""
        ...


class PadSteering:
    """A `hand_steered.Steering` by a gamepad."""

    def __init__(self, pad: Pad) -> None:
        self._pad = pad
        self._before_s: float | None = None

    def __call__(self, now_s: float) -> NDArray[np.float64]:
        """As `Steering`; what a stick says, times the time since the last call."""
        elapsed_s = 0.0 if self._before_s is None else min(now_s - self._before_s, LONGEST_S)
        self._before_s = now_s
        speed = np.zeros(len(JOINTS))
        for axis, joint in AXES.items():
            value = self._pad.axis(axis)
            speed[joint] = np.sign(value) * max(abs(value) - DEAD, 0.0) / (1 - DEAD)
        speed[GRIP] = float(self._pad.pressed(OPENS)) - float(self._pad.pressed(CLOSES))
        return speed * FASTEST_RAD_S * elapsed_s
