"""Encoder steps to joint values and back: LeRobot's normalisation, for all six joints at once.

Degrees count from the middle of the calibrated range, the gripper in percent of it. LeRobot can also count each
joint's range as -100 to 100: `Scale.to_range` and `from_range` are for policies that were recorded so.

The operations and their order are those of `SerialMotorsBus._normalize` and `_unnormalize` (LeRobot 0.6.1), so results
in degrees agree to the last bit, and with them datasets and checkpoints. That includes two habits worth knowing: a turn
counts 4095 steps, not 4096, and goals are truncated towards zero, so a joint value that came from steps may go back to
the step below.

It runs in every tick, and for six numbers numpy costs more than it saves: so it is compiled (numba, cached on
disk), without any licence to reorder the arithmetic.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from so101_robot.errors import CalibrationError, UnsafeActionError
from so101_robot.joints import GRIPPER, JOINTS, STEPS_PER_TURN

if TYPE_CHECKING:
    from lerobot.motors import MotorCalibration

Floats = NDArray[np.float64]

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
        self._middles = np.array([(row.range_min + row.range_max) / 2 for row in rows[:GRIPPER]])
        gripper = rows[GRIPPER]
        self._gripper = (gripper.range_min, gripper.range_max, bool(gripper.drive_mode))
        degrees = np.array([(row.range_max - row.range_min) * 360 / COUNTS / 200 for row in rows])
        self.range_unit = np.where([row.drive_mode for row in rows], -degrees, degrees)
        """(6,) degrees in one unit of a joint's range as -100 to 100, LeRobot's `use_degrees=false`; the gripper's
        percent are the same in both."""
        self.range_unit[GRIPPER] = 1.0

    def to_joint(self, position_steps: ArrayLike) -> NDArray[np.float64]:
        """Joint values (6,) of encoder steps (6,): degrees, gripper percent (cut to 0..100)."""
        joint = np.empty(len(JOINTS))
        _to_joint(np.asarray(position_steps, np.int64), self._middles, *self._gripper, joint)
        return joint

    def to_range(self, joint: ArrayLike) -> NDArray[np.float64]:
        """Joint values (6,) with each joint's calibrated range as -100 to 100, cut to it, as LeRobot does."""
        values = np.asarray(joint, np.float64) / self.range_unit
        values[:GRIPPER] = np.clip(values[:GRIPPER], -100.0, 100.0)
        return values

    def from_range(self, values: ArrayLike) -> NDArray[np.float64]:
        """Joint values (..., 6) of what `to_range` gives. Nothing is cut: what is out of range is the guard's
        business."""
        return np.asarray(values, np.float64) * self.range_unit

    def to_steps(self, joint: ArrayLike) -> NDArray[np.int32]:
        """Encoder steps (6,) of joint values (6,), truncated towards zero. Only the gripper is cut to its
        range.

        Raises:
            UnsafeActionError: a value is NaN, or farther than a servo can count.
        """
        values = np.asarray(joint, np.float64)
        steps = np.empty(len(JOINTS), np.int32)
        if values.shape != steps.shape or not _to_steps(values, self._middles, *self._gripper, steps):
            raise UnsafeActionError(_out_of_reach(values.tolist()))
        return steps


@njit(cache=True)
def _to_joint(
    steps: NDArray[np.int64], middles: Floats, closed: int, opened: int, inverted: bool, joint: Floats
) -> None:
    for i in range(GRIPPER):
        joint[i] = (steps[i] - middles[i]) * 360 / COUNTS
    percent = (min(opened, max(closed, steps[GRIPPER])) - closed) / (opened - closed) * 100
    joint[GRIPPER] = 100 - percent if inverted else percent


@njit(cache=True)
def _to_steps(
    joint: Floats, middles: Floats, closed: int, opened: int, inverted: bool, steps: NDArray[np.int32]
) -> bool:
    """False if a value is not finite or cannot be counted."""
    for i in range(len(joint)):
        if not abs(joint[i]) < FARTHEST:  # written so that NaN is too far
            return False
    for i in range(GRIPPER):
        steps[i] = int(joint[i] * COUNTS / 360 + middles[i])
    percent = min(100.0, max(0.0, 100 - joint[GRIPPER] if inverted else joint[GRIPPER]))
    steps[GRIPPER] = int(percent / 100 * (opened - closed) + closed)
    return True


def _out_of_reach(values: list[float]) -> str:
    wrong = [f"{name} = {v}" for name, v in zip(JOINTS, values, strict=True) if not abs(v) < FARTHEST]
    return f"no joint can go to {', '.join(wrong)}"
