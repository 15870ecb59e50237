"""What tells one arm from another: the calibration in the memory of its servos.

Loads nothing large: the watchdog process compares arms too.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

from so101_robot.bus.registers import homing_steps, homing_word
from so101_robot.joints import JOINTS


class Calibrated(Protocol):
    """The calibration of one joint, in steps; LeRobot's `MotorCalibration` is one."""

    @property
    def homing_offset(self) -> int: ...
    @property
    def range_min(self) -> int: ...
    @property
    def range_max(self) -> int: ...


class Identity(NamedTuple):
    """A servo's calibration as it is in its EEPROM."""

    homing_word: int
    """The 16 bits of Homing_Offset."""
    range_min: int
    range_max: int

    @classmethod
    def of(cls, calibration: Calibrated) -> Self:
        """The identity of a servo that has this calibration. Raises ConfigError for an impossible homing offset."""
        return cls(homing_word(calibration.homing_offset), calibration.range_min, calibration.range_max)

    def differences(self, expected: Self) -> list[str]:
        """What is not as expected, one phrase each; empty where it is the same servo."""
        pairs = (
            ("homing offset", homing_steps(self.homing_word), homing_steps(expected.homing_word)),
            ("smallest position", self.range_min, expected.range_min),
            ("largest position", self.range_max, expected.range_max),
        )
        return [f"{what} is {found}, expected {wanted}" for what, found, wanted in pairs if found != wanted]


def identities_of(calibration: Mapping[str, Calibrated]) -> tuple[Identity, ...]:
    """The identities of all six servos, in the order of `JOINTS`. Raises KeyError for a joint without calibration."""
    return tuple(Identity.of(calibration[joint]) for joint in JOINTS)
