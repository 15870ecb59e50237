"""Encoder steps to joint values and back: LeRobot's normalisation, for all six joints at once.

Degrees count from the middle of the calibrated range, the gripper in percent of it. The operations and their
order are those of `SerialMotorsBus._normalize` and `_unnormalize` (LeRobot 0.6.1), so results agree to the
last bit, and with them datasets and checkpoints. That includes two habits worth knowing: a turn counts 4095
steps, not 4096, and goals are truncated towards zero, so a joint value that came from steps may go back to
the step below.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import CalibrationError, UnsafeActionError
from .joints import GRIPPER, JOINTS, STEPS_PER_TURN

if TYPE_CHECKING:
    from lerobot.motors import MotorCalibration

LARGEST_DEG = 1e4
"""Values beyond this are cut to it before they become steps, because no servo counts that far."""


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
        lower = np.array([row.range_min for row in rows], np.float64)
        upper = np.array([row.range_max for row in rows], np.float64)
        empty = [joint for joint, low, high in zip(JOINTS, lower, upper, strict=True) if low >= high]
        if empty:
            raise CalibrationError(
                f"the calibrated range of {', '.join(empty)} is empty: range_min is not below range_max"
            )
        span = upper - lower
        percent = np.arange(len(JOINTS)) == GRIPPER
        self.lower_steps = lower.astype(np.int32)
        self.upper_steps = upper.astype(np.int32)
        self._inverted = bool(rows[GRIPPER].drive_mode)
        self._zero = np.where(percent, lower, (lower + upper) / 2)
        self._lowest_steps = np.where(percent, lower, -np.inf)
        self._highest_steps = np.where(percent, upper, np.inf)
        self._lowest = np.where(percent, 0.0, -LARGEST_DEG)
        self._highest = np.where(percent, 100.0, LARGEST_DEG)
        # joint = (steps - zero) * turn / counts * whole; the two ones keep the other unit's numbers as they
        # are
        self._turn, self._whole = np.where(percent, 1.0, 360.0), np.where(percent, 100.0, 1.0)
        self._counts = np.where(percent, span, STEPS_PER_TURN - 1.0)
        # steps = joint * counts / turn * span + zero
        self._joint_counts = np.where(percent, 1.0, STEPS_PER_TURN - 1.0)
        self._joint_turn, self._span = np.where(percent, 100.0, 360.0), np.where(percent, span, 1.0)

    def to_joint(self, position_steps: ArrayLike) -> NDArray[np.float64]:
        """Joint values (6,) of encoder steps (6,): degrees, gripper percent (cut to 0..100)."""
        joint = np.minimum(np.maximum(position_steps, self._lowest_steps), self._highest_steps)
        joint -= self._zero
        joint *= self._turn
        joint /= self._counts
        joint *= self._whole
        if self._inverted:
            joint[GRIPPER] = 100 - joint[GRIPPER]
        return joint

    def to_steps(self, joint: ArrayLike) -> NDArray[np.int32]:
        """Encoder steps (6,) of joint values (6,), truncated towards zero. Only the gripper is cut to its
        range.

        Raises:
            UnsafeActionError: a value is not a number or infinite.
        """
        value = np.asarray(joint, np.float64)
        if not np.isfinite(value).all():
            bad = ", ".join(
                f"{name} = {v}" for name, v in zip(JOINTS, value.tolist(), strict=True) if not np.isfinite(v)
            )
            raise UnsafeActionError(f"a joint cannot go to {bad}")
        if self._inverted:
            value = value.copy()
            value[GRIPPER] = 100 - value[GRIPPER]
        value = np.minimum(np.maximum(value, self._lowest), self._highest)
        value *= self._joint_counts
        value /= self._joint_turn
        value *= self._span
        value += self._zero
        return value.astype(np.int32)
