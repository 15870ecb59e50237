"""Which arm is at which port: leader and follower told apart before anything is under torque.

At the wire both are six STS3215 with ids 1 to 6; no register has a gear's ratio. Three things tell them apart:

- the **calibration** in the servos (homing offset and ends of twelve bits for each joint) is that of the leader's file
  or of the follower's,
- a follower's **gripper** has the torque limits that LeRobot and so101-run write into it, which nothing writes into a
  leader,
- **one port** cannot be both.
"""

import os

from so101_robot.bus import calibration as calibrations
from so101_robot.bus.calibration import Calibration
from so101_robot.bus.setup import Gains, Registers, settings, stored_calibration, value_of
from so101_robot.errors import CalibrationError, ConfigError
from so101_robot.joints import GRIPPER, JOINTS

EXCHANGE = "exchange --robot.port and --teleop.port"

GRIPPER_LIMITS = ("Max_Torque_Limit", "Protection_Current", "Overload_Torque")
"""Registers of the EEPROM that make a follower's gripper weaker than a servo comes, so that its motor does not burn
out."""


def require_two_ports(follower: str, leader: str) -> None:
    """Raises ConfigError where both are one device, or one of them is simulated and the other is not."""
    if (follower == "mock") != (leader == "mock"):
        raise ConfigError(
            f"--robot.port={follower} and --teleop.port={leader}: a leader and a follower in memory share a time of "
            "their own, so both are mock or none is (so101-mock gives a simulated arm a port)"
        )
    if follower != "mock" and os.path.realpath(follower) == os.path.realpath(leader):
        raise ConfigError(
            f"--robot.port={follower} and --teleop.port={leader} are one port; expected the follower's and the leader's"
        )


def belongs_to(rows: Registers, file: Calibration) -> bool:
    """Whether this calibration is the one in the servos, whose registers are (6, 87)."""
    if sorted(file) != sorted(JOINTS):
        return False
    return not calibrations.differences(file, calibrations.of(stored_calibration(rows)))


def like_a_follower(rows: Registers) -> bool:
    """Whether the gripper has the limits of a follower in its EEPROM: whoever wrote them meant to drive it."""
    row = rows[GRIPPER]
    followers = {setting.register.name: setting.value for setting in settings(GRIPPER, row, Gains(0, 0, 0))}
    return all(value_of(row, name) == followers[name] for name in GRIPPER_LIMITS)


def require_leader(
    rows: Registers, port: str, leader: Calibration, follower: Calibration, was_follower: bool
) -> None:
    """The arm at the leader's port is not the follower.

    Args:
        rows: (6, 87) its registers.
        port: where it is.
        leader, follower: what their files say; empty where there is no file.
        was_follower: the gripper's limits say nothing.

    Raises:
        CalibrationError: it is the follower, or cannot be told from it.
    """
    if belongs_to(rows, follower):
        if belongs_to(rows, leader):
            raise CalibrationError(
                f"the arm at --teleop.port={port} has the follower's calibration, and the leader's file is the same: "
                "one of them was copied. Calibrate the leader with `so101-calibrate servos --leader`"
            )
        raise CalibrationError(
            f"the arm at --teleop.port={port} is the follower: its servos have the follower's calibration. Nothing was "
            f"moved - {EXCHANGE}"
        )
    if like_a_follower(rows) and not was_follower:
        raise CalibrationError(
            f"the arm at --teleop.port={port} looks like a follower: its gripper has the torque limits that LeRobot "
            f"gives to followers. Nothing was moved - {EXCHANGE}; if it is your leader, and was a follower before: "
            "--teleop.was_follower=true"
        )


def swapped(rows: Registers | None, port: str, leader: Calibration) -> str:
    """What is wrong where the arm at the follower's port is the leader; empty where it is not, or was not read."""
    if rows is None or not belongs_to(rows, leader):
        return ""
    return (
        f"the arm at --robot.port={port} is the leader: its servos have the leader's calibration. Nothing was moved - "
        f"{EXCHANGE}"
    )
