"""A leader's hand that is steered by the mouse, as a terminal reports it.

    drag with the left button      to the side: shoulder_pan, up and down: shoulder_lift
    drag with the right button     to the side: wrist_roll,   up and down: elbow_flex
    wheel                          gripper; with Ctrl: wrist_flex

Terminals count in characters, so a motion comes in steps. A report is `<buttons;column;row` and `M`, or `m` where a
button is let go (xterm's SGR mode, which nearly all terminals have).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS

PAN, LIFT, ELBOW, FLEX, ROLL, GRIP = range(len(JOINTS))

COLUMN_RAD, ROW_RAD = np.radians(1.0), np.radians(2.0)
"""A joint by one character of a drag; a row is twice as high as a column is wide [rad]."""

WHEEL_RAD = np.radians(3.0)
"""A joint by one notch of the wheel [rad]."""

LEFT, RIGHT = 0, 2
CTRL, MOTION, WHEEL = 16, 32, 64
"""Of a report's first number: which button, and what else is pressed."""

ACROSS, DOWN = {LEFT: PAN, RIGHT: ROLL}, {LEFT: LIFT, RIGHT: ELBOW}
"""Button -> the joint that a drag moves."""

MOUSE_IN_WORDS = (
    "the mouse moves the leader in this terminal: drag with the left button for shoulder_pan and shoulder_lift, with "
    "the right one for wrist_roll and elbow_flex, the wheel is the gripper, with Ctrl wrist_flex"
)


class MouseSteering:
    """A `hand_steered.Steering` by the mouse.

    Args:
        reported: the terminal's reports since it was asked last, among its keys.
    """

    def __init__(self, reported: Callable[[], Sequence[str]]) -> None:
        self._reported = reported
        self._at: tuple[int, int] | None = None

    def __call__(self, now_s: float) -> NDArray[np.float64]:
        """As `Steering`; a motion is a step, whenever it is reported."""
        wanted_rad = np.zeros(len(JOINTS))
        for report in self._reported():
            self._follow(report, wanted_rad)
        return wanted_rad

    def _follow(self, report: str, wanted_rad: NDArray[np.float64]) -> None:
        fields = report[1:-1].split(";")
        if not report.startswith("<") or len(fields) != 3 or not all(map(str.isdecimal, fields)):
            return  # a key
        kind, column, row = map(int, fields)
        if kind & WHEEL:
            joint = FLEX if kind & CTRL else GRIP
            wanted_rad[joint] += WHEEL_RAD * (1 if not kind & 1 else -1)
            return
        button, dragged = kind & 3, kind & MOTION and self._at is not None
        if dragged and button in ACROSS and self._at is not None:
            wanted_rad[ACROSS[button]] += COLUMN_RAD * (column - self._at[0])
            wanted_rad[DOWN[button]] += ROW_RAD * (row - self._at[1])
        self._at = (column, row) if report.endswith("M") else None
