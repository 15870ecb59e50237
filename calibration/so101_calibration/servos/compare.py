"""File, servos and arm: where calibrations differ, and what that means in degrees. Pure functions.

A difference of the offset alone means little, because ranges may differ the other way: what counts is by how much the
zero of a joint and the ends of its range moved. A policy or a dataset from one calibration is off by that much under
the other.
"""

from typing import NamedTuple

from rich.table import Table

from so101_robot.bus import calibration
from so101_robot.bus.calibration import Calibration, JointCalibration, end_shifts_deg, zero_shift_deg
from so101_robot.bus.setup import Registers, stored_calibration
from so101_robot.joints import JOINTS


class Difference(NamedTuple):
    """One joint in a file and in the servos."""

    joint: str
    file: JointCalibration
    servo: JointCalibration
    zero_deg: float
    """By how much the joint reads more with the servo's calibration than with the file's."""
    lower_deg: float
    upper_deg: float
    """How far the ends of the servo's range lie above the file's."""

    @property
    def same(self) -> bool:
        """What LeRobot calls calibrated: offset and range are equal."""
        return self.file[2:] == self.servo[2:]


def stored(rows: Registers) -> dict[str, JointCalibration]:
    """The calibration in the servos, of their registers (6, 87). They have no drive_mode: it is 0 here."""
    return calibration.of(stored_calibration(rows))


def differences(file: Calibration, servos: Calibration) -> list[Difference]:
    """Joint by joint, equal ones too. Both have all six."""
    return [
        Difference(
            name,
            file[name],
            servos[name],
            zero_shift_deg(file[name], servos[name]),
            *end_shifts_deg(file[name], servos[name]),
        )
        for name in JOINTS
    ]


def table(found: list[Difference], positions: dict[str, float]) -> Table:
    """For people: both calibrations as `offset from..to`, what the difference is, where the joints are [deg]."""
    result = Table(box=None, pad_edge=False)
    columns = ("joint", "file", "servos", "zero", "ends \\[deg]", "position")
    for column in columns:
        result.add_column(column, justify="left" if column == "joint" else "right", no_wrap=True)
    for d in found:
        shifts = ("same", "") if d.same else (f"{d.zero_deg:+.1f}", f"{d.lower_deg:+.1f} {d.upper_deg:+.1f}")
        result.add_row(
            d.joint,
            _numbers(d.file),
            _numbers(d.servo),
            *shifts,
            f"{positions[d.joint]:.1f}",
            style=None if d.same else "bold",
        )
    return result


def _numbers(joint: JointCalibration) -> str:
    mirrored = f" drive_mode {joint.drive_mode}" if joint.drive_mode else ""
    return f"{joint.homing_offset} {joint.range_min}..{joint.range_max}{mirrored}"
