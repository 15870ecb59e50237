"""What is checked and set before an SO-101 may move: pure functions on the servos' registers.

`SO101.connect` reads all registers once, uint8 (6, 87), and asks here: are these the six servos, does the
calibration file belong to them, which registers have to change? Nothing is written before all answers are in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lerobot.motors import MotorCalibration
from numpy.typing import NDArray

from so101_robot.bus import calibration, registers
from so101_robot.bus.registers import BY_NAME, Area, Register
from so101_robot.errors import BusError, CalibrationError
from so101_robot.joints import GRIPPER, JOINTS, SERVO_IDS, named_servo

Registers = NDArray[np.uint8]
"""All registers of all servos, (6, 87)."""

MULTI_TURN = 0x10
"""Bit of Phase that lets positions leave 0..4095."""


ONE_FIRMWARE = "bring all to one with Feetech's software"


class Gains(NamedTuple):
    """The position loop of a servo, in the units of its registers."""

    p: int
    i: int
    d: int


class Setting(NamedTuple):
    """A register and the value that it should have."""

    register: Register
    value: int


def value_of(row: Registers, name: str) -> int:
    """A register of one servo, (87,)."""
    register = BY_NAME[name]
    return registers.decode(register, row[register.address : register.end].tobytes())


def wrong_models(rows: Registers) -> dict[int, str]:
    """What is wrong with servos of another model, by index."""
    models = [value_of(row, "Model_Number") for row in rows]
    return {
        index: f"model {model}, not an STS3215 ({registers.MODEL_NUMBER})"
        for index, model in enumerate(models)
        if model != registers.MODEL_NUMBER
    }


def mixed_firmware(rows: Registers) -> str | None:
    """What is wrong with servos that have more than one version of the firmware."""
    versions = [firmware_of(row) for row in rows]
    if len(set(versions)) == 1:
        return None
    listed = ", ".join(
        f"{servo_id}: {version}" for servo_id, version in zip(SERVO_IDS, versions, strict=True)
    )
    return f"different firmware ({listed})"


def firmware_of(row: Registers) -> str:
    """The version of one servo's firmware."""
    return f"{value_of(row, 'Firmware_Major_Version')}.{value_of(row, 'Firmware_Minor_Version')}"


def check_identity(rows: Registers) -> None:
    """Six STS3215 with one firmware. Raises BusError that says which differ."""
    if wrong := wrong_models(rows):
        found = ", ".join(f"{named_servo(SERVO_IDS[index])}: {what}" for index, what in wrong.items())
        raise BusError(f"{found} - an SO-101 has six STS3215")
    if mixed := mixed_firmware(rows):
        raise BusError(f"{mixed} - {ONE_FIRMWARE}")


def stored_calibration(rows: Registers) -> dict[str, MotorCalibration]:
    """The calibration in the servos' EEPROM."""
    return {
        joint: MotorCalibration(
            id=SERVO_IDS[i],
            drive_mode=0,
            homing_offset=_homing_offset(rows[i]),
            range_min=value_of(rows[i], "Min_Position_Limit"),
            range_max=value_of(rows[i], "Max_Position_Limit"),
        )
        for i, joint in enumerate(JOINTS)
    }


NO_ID = "None"
"""LeRobot's file name for a robot without an id."""


def check_calibration(
    expected: Mapping[str, MotorCalibration], rows: Registers, source: Path | str, remedy: str
) -> None:
    """The calibration is complete and is the one in the servos.

    Args:
        expected: what the file (or the mock arm) says.
        rows: what the servos say.
        source: the file, for the message.
        remedy: what to do about it, for the message.

    Raises:
        CalibrationError: no calibration, not one of an SO-101, or the joints that differ, one a line.
    """
    if not expected and isinstance(source, Path) and source.stem == NO_ID:
        raise CalibrationError(
            f"--robot.id is missing: it names the calibration file, as in lerobot-calibrate{_neighbours(source)}"
        )
    if not expected:
        raise CalibrationError(f"there is no calibration at {source}{_neighbours(source)} - {remedy}")
    if sorted(expected) != sorted(JOINTS):
        raise CalibrationError(
            f"{source} is not a calibration of an SO-101: {calibration.not_these_joints(expected)}"
        )
    rows_of_file = calibration.of(expected)
    wrong = [text for joint, row in rows_of_file.items() if (text := calibration.not_in_order(joint, row))]
    wrong += calibration.wrong_ids(rows_of_file)
    if wrong:
        raise CalibrationError(
            "\n  ".join([f"{source} cannot be the calibration of an SO-101:", *wrong]) + f"\n{remedy}"
        )
    lines = calibration.differences(rows_of_file, calibration.of(stored_calibration(rows)))
    if lines:
        head = f"the calibration {source} is not the one in the arm:"
        raise CalibrationError("\n  ".join([head, *lines]) + f"\nnothing was changed - {remedy}")


def settings(index: int, row: Registers, gains: Gains) -> list[Setting]:
    """What LeRobot's `SO101Follower.configure` sets (0.6.1), in an order that the firmware likes.

    One thing more: the gripper's Torque_Limit, which follows Max_Torque_Limit only at power-up.
    """
    wanted = [
        ("Operating_Mode", 0),
        ("Return_Delay_Time", 0),
        ("Maximum_Acceleration", 254),  # first, because it bounds the next one
        ("Acceleration", 254),
        ("Phase", value_of(row, "Phase") & ~MULTI_TURN),
        ("P_Coefficient", gains.p),
        ("I_Coefficient", gains.i),
        ("D_Coefficient", gains.d),
    ]
    if index == GRIPPER:
        wanted += [
            ("Max_Torque_Limit", 500),  # 50 %: its motor burns out against a hard object otherwise
            ("Torque_Limit", 500),
            ("Protection_Current", 250),  # 1.6 A
            ("Overload_Torque", 25),  # %
        ]
    return [Setting(BY_NAME[name], value) for name, value in wanted]


def changes(index: int, row: Registers, gains: Gains) -> list[Setting]:
    """The settings that one servo does not have yet. A change of mode clears Acceleration, so that comes with
    it."""
    differing = [s for s in settings(index, row, gains) if value_of(row, s.register.name) != s.value]
    if any(s.register.name == "Operating_Mode" for s in differing):
        differing = [s for s in differing if s.register.name != "Acceleration"]
        differing.append(Setting(BY_NAME["Acceleration"], 254))
    return differing


def lost_calibration(index: int, row: Registers, expected: Mapping[str, MotorCalibration]) -> list[Setting]:
    """What one servo has forgotten of the calibration that it had at the start."""
    mine = expected[JOINTS[index]]
    lost: list[Setting] = []
    if _homing_offset(row) != mine.homing_offset:
        lost.append(Setting(BY_NAME["Homing_Offset"], mine.homing_offset))
    for name, value in (("Min_Position_Limit", mine.range_min), ("Max_Position_Limit", mine.range_max)):
        if value_of(row, name) != value:
            lost.append(Setting(BY_NAME[name], value))
    return lost


def needs_unlock(wanted: list[Setting]) -> bool:
    """Whether any of them would be lost at power-off with Lock = 1."""
    return any(setting.register.area is Area.EEPROM for setting in wanted)


def _homing_offset(row: Registers) -> int:
    address = BY_NAME["Homing_Offset"].address
    return registers.homing_steps(int(row[address]) | int(row[address + 1]) << 8)


def _neighbours(source: Path | str) -> str:
    found = calibration.neighbours(source) if isinstance(source, Path) else ""
    return f"; {found}" if found else ""
