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

from so101_robot.bus import registers
from so101_robot.bus.registers import BY_NAME, Area, Register
from so101_robot.errors import BusError, CalibrationError
from so101_robot.joints import GRIPPER, JOINTS, SERVO_IDS

Registers = NDArray[np.uint8]
"""All registers of all servos, (6, 87)."""

MULTI_TURN = 0x10
"""Bit of Phase that lets positions leave 0..4095."""


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


def check_identity(rows: Registers) -> None:
    """Six STS3215 with one firmware. Raises BusError that says which differ."""
    models = [value_of(row, "Model_Number") for row in rows]
    wrong = [i for i, model in enumerate(models) if model != registers.MODEL_NUMBER]
    if wrong:
        found = ", ".join(f"servo {SERVO_IDS[i]} ({JOINTS[i]}) is model {models[i]}" for i in wrong)
        raise BusError(f"{found}; an SO-101 has six STS3215, model {registers.MODEL_NUMBER}")
    versions = [
        f"{value_of(r, 'Firmware_Major_Version')}.{value_of(r, 'Firmware_Minor_Version')}" for r in rows
    ]
    if len(set(versions)) > 1:
        found = ", ".join(
            f"{servo_id}: {version}" for servo_id, version in zip(SERVO_IDS, versions, strict=True)
        )
        raise BusError(
            f"the servos have different firmware ({found}); bring all to one version with Feetech's software"
        )


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
        CalibrationError: no calibration, not one of an SO-101, or a table of the joints that differ.
    """
    if not expected:
        raise CalibrationError(f"there is no calibration at {source}{_neighbours(source)} - {remedy}")
    if sorted(expected) != sorted(JOINTS):
        raise CalibrationError(
            f"{source} is not a calibration of an SO-101: it has {', '.join(expected)}; "
            f"needed are {', '.join(JOINTS)}"
        )
    ids = {joint: expected[joint].id for joint in JOINTS}
    if tuple(ids.values()) != SERVO_IDS:
        raise CalibrationError(
            f"{source} has servo ids {ids}; an SO-101 has {', '.join(map(str, SERVO_IDS))} in this order"
        )
    stored = stored_calibration(rows)
    lines = [line for joint in JOINTS for line in _differences(joint, expected[joint], stored[joint])]
    if lines:
        head = f"  {'joint':<14}{'':<16}{'file':>7}{'arm':>7}"
        raise CalibrationError(
            "\n".join(
                [
                    f"the calibration {source} is not the one in the arm:",
                    head,
                    *lines,
                    f"nothing was changed - {remedy}",
                ]
            )
        )


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


def _differences(joint: str, file: MotorCalibration, arm: MotorCalibration) -> list[str]:
    pairs = [
        (key, getattr(file, key), getattr(arm, key)) for key in ("homing_offset", "range_min", "range_max")
    ]
    return [f"  {joint:<14}{key:<16}{a:>7}{b:>7}" for key, a, b in pairs if a != b]


def _neighbours(source: Path | str) -> str:
    """The other calibrations in that folder: most often the id was forgotten or misspelt."""
    if not isinstance(source, Path):
        return ""
    names = sorted(path.stem for path in source.parent.glob("*.json"))
    return f"; that folder has {', '.join(names)} (choose one with --robot.id)" if names else ""
