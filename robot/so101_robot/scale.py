"""Encoder steps to joint values and back: LeRobot's normalisation, for all six joints at once.

Degrees count from the middle of the calibrated range, the gripper in percent of it. The operations and their
order are those of `SerialMotorsBus._normalize` and `_unnormalize` (LeRobot 0.6.1), so results agree to the
last bit, and with them datasets and checkpoints. That includes two habits worth knowing: a turn counts 4095
steps, not 4096, and goals are truncated towards zero, so a joint value that came from steps may go back to
the step below.

Plain arithmetic, joint by joint: for six numbers numpy costs more than it saves, and this runs in every tick.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import CalibrationError, UnsafeActionError
from .joints import GRIPPER, JOINTS, STEPS_PER_TURN

if TYPE_CHECKING:
    from lerobot.motors import MotorCalibration

COUNTS = STEPS_PER_TURN - 1
"""LeRobot's counts in a turn."""

FARTHEST = 1e8
"""What a goal has to stay below to fit into 32 bits of steps [deg]; real limits are the guard's."""


class Scale:
    """The scale of one calibrated arm.

    Args:
        calibration: LeRobot's, joint by joint.

    Raises:
        CalibrationError: a joint is missing or its range is empty.
    """

    def __init__(self, calibration: "Mapping[str, MotorCalibration]") -> None:
        missing = [joint for joint in JOINTS if joint not in calibration]
        if missing:
            raise CalibrationError(
                f"the calibration lacks {', '.join(missing)}; it has {', '.join(calibration) or 'nothing'}"
            )
        rows = [calibration[joint] for joint in JOINTS]
        empty = [joint for joint, row in zip(JOINTS, rows, strict=True) if row.range_min >= row.range_max]
        if empty:
            raise CalibrationError(
                f"the calibrated range of {', '.join(empty)} is empty: range_min is not below range_max"
            )
        self.lower_steps = np.array([row.range_min for row in rows], np.int32)
        self.upper_steps = np.array([row.range_max for row in rows], np.int32)
        self._middles = tuple((row.range_min + row.range_max) / 2 for row in rows[:GRIPPER])
        gripper = rows[GRIPPER]
        self._closed, self._open = gripper.range_min, gripper.range_max
        self._inverted = bool(gripper.drive_mode)

    def to_joint(self, position_steps: ArrayLike) -> NDArray[np.float64]:
        """Joint values (6,) of encoder steps (6,): degrees, gripper percent (cut to 0..100)."""
        a, b, c, d, e, gripper = np.asarray(position_steps).tolist()
        am, bm, cm, dm, em = self._middles
        low, high = self._closed, self._open
        percent = (min(high, max(low, gripper)) - low) / (high - low) * 100
        return np.array(
            (
                (a - am) * 360 / COUNTS,
                (b - bm) * 360 / COUNTS,
                (c - cm) * 360 / COUNTS,
                (d - dm) * 360 / COUNTS,
                (e - em) * 360 / COUNTS,
                100 - percent if self._inverted else percent,
            )
        )

    def to_steps(self, joint: ArrayLike) -> NDArray[np.int32]:
        """Encoder steps (6,) of joint values (6,), truncated towards zero. Only the gripper is cut to its
        range.

        Raises:
            UnsafeActionError: a value is not a number, or no servo counts as far.
        """
        values = np.asarray(joint, np.float64).tolist()
        a, b, c, d, e, gripper = values
        am, bm, cm, dm, em = self._middles
        percent = min(100.0, max(0.0, 100 - gripper if self._inverted else gripper))
        if not math.isfinite(gripper):  # min and max would make a percentage of it
            raise UnsafeActionError(_out_of_reach(values))
        try:
            return np.array(
                (
                    int(a * COUNTS / 360 + am),
                    int(b * COUNTS / 360 + bm),
                    int(c * COUNTS / 360 + cm),
                    int(d * COUNTS / 360 + dm),
                    int(e * COUNTS / 360 + em),
                    int(percent / 100 * (self._open - self._closed) + self._closed),
                ),
                np.int32,
            )
        except (ValueError, OverflowError) as error:  # from int or int32: not a number, or too large for one
            raise UnsafeActionError(_out_of_reach(values)) from error


def _out_of_reach(values: list[float]) -> str:
    wrong = [f"{name} = {v}" for name, v in zip(JOINTS, values, strict=True) if not abs(v) < FARTHEST]
    return f"a joint cannot go to {', '.join(wrong)}"
