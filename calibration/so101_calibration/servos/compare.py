"""File, servos and arm: where calibrations differ, and what that means in degrees. Pure functions.

A difference of the offset alone says little, because ranges may differ the other way: what counts is by how much the
zero of a joint and the ends of its range moved. A policy or a dataset from the one calibration is off by that much
under the other.
"""

from typing import NamedTuple

from rich.table import Table

from so101_calibration.homing import (
    DEG_PER_STEP,
    Calibration,
    JointCalibration,
    end_shifts_deg,
    wrapped,
    zero_shift_deg,
)
from so101_robot.bus.setup import Registers, stored_calibration, value_of
from so101_robot.joints import JOINTS, SERVO_IDS

BESIDE_DEG = 5.0
"""A joint this far outside its calibrated range has not been pushed there: it is not calibrated for this arm."""


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
    """The calibration in the servos, of their registers (6, 87)."""
    return {
        name: JointCalibration(row.id, row.drive_mode, row.homing_offset, row.range_min, row.range_max)
        for name, row in stored_calibration(rows).items()
    }


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


def positions_deg(calibration: Calibration, rows: Registers) -> dict[str, float]:
    """Where each joint stands by `calibration` [deg from the middle], whatever offset the servos have."""
    offsets = {name: row.homing_offset for name, row in stored(rows).items()}
    found: dict[str, float] = {}
    for name, row in zip(JOINTS, rows, strict=True):
        joint = calibration[name]
        raw = value_of(row, "Present_Position") + offsets[name]
        found[name] = wrapped(raw - joint.homing_offset - joint.middle) * DEG_PER_STEP
    return found


def outside(calibration: Calibration, rows: Registers) -> list[str]:
    """A sentence for every joint that stands where, by `calibration`, it cannot be."""
    lines: list[str] = []
    for name, position_deg in positions_deg(calibration, rows).items():
        beyond_deg = abs(position_deg) - calibration[name].span_deg / 2
        if beyond_deg > BESIDE_DEG:
            lines.append(
                f"{name} (servo {SERVO_IDS[JOINTS.index(name)]}) stands {beyond_deg:.0f} deg outside its range: its "
                "horn was moved, or this is another arm's calibration"
            )
    return lines


def table(found: list[Difference], positions: dict[str, float]) -> Table:
    """For people: both calibrations as `offset from..to`, what the difference is, where the arm stands [deg]."""
    result = Table(box=None, pad_edge=False)
    columns = ("joint", "file", "servos", "zero", "ends [deg]", "stands at")
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
    return f"{joint.homing_offset} {joint.range_min}..{joint.range_max}"
