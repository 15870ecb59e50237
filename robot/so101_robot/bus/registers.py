"""The register table of the STS3215: one source for the driver, the mock servo and `docs/reference/registers.md`.

87 bytes, addresses 0 to 86, tiled by `REGISTERS` without gap or overlap. Names are LeRobot's wherever LeRobot
has one; bytes that LeRobot does not name have a name here too, so that nothing has to be addressed by number.
16-bit values are little-endian. Signed values are sign and magnitude: one bit is the sign, the bits below it
the magnitude (`sign_bit`). This module loads nothing large: the watchdog process uses it too.

Sources: Feetech memory table SMS/STS (doc.feetech.cn), factory dump of a 12 V servo with firmware 3.10, and
LeRobot's control table, with which `tests/robot/bus/test_registers.py` compares this one and lists the
differences and their reasons.
"""

from dataclasses import dataclass
from enum import Enum

from so101_robot.bus.protocol import MAX_ID
from so101_robot.errors import ConfigError

SIZE = 87
"""Bytes in a servo's register file."""

MODEL_NUMBER = 777
"""What register 3 of an STS3215 says."""

CURRENT_UNIT_A = 0.0065
VOLTAGE_UNIT_V = 0.1
SPEED_UNIT_STEPS_S = 50
"""The servo measures speed as counts in 20 ms, so its speeds are multiples of this. [steps/s]"""
ACCELERATION_UNIT_STEPS_S2 = 100

BAUD_RATES = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400)
"""Bits per second by the code in register 6 (Feetech memory table; LeRobot's table differs for codes 5 to 7).
"""


class Area(Enum):
    """Where a register lives: `EEPROM` survives power-off when it was written with Lock = 0."""

    EEPROM = "EEPROM"
    RAM = "RAM"


@dataclass(frozen=True)
class Register:
    """One row of the table. `default` is the decoded value, of the factory (12 V, 3.10) or of power-up."""

    address: int
    size: int
    name: str
    area: Area
    writable: bool
    default: int
    unit: str
    sign_bit: int | None
    note: str
    most: int | None = None
    """The largest value that a servo keeps, where that is less than fits in."""

    @property
    def end(self) -> int:
        """First address behind the register."""
        return self.address + self.size

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value that the register can hold."""
        if self.sign_bit is None:
            return 0, 256**self.size - 1 if self.most is None else self.most
        magnitude = (1 << self.sign_bit) - 1
        return -magnitude, magnitude


def _eeprom(
    address: int,
    size: int,
    name: str,
    default: int,
    unit: str,
    note: str,
    sign_bit: int | None = None,
    most: int | None = None,
) -> Register:
    return Register(address, size, name, Area.EEPROM, True, default, unit, sign_bit, note, most)


def _ram(
    address: int, size: int, name: str, default: int, unit: str, note: str, sign_bit: int | None = None
) -> Register:
    return Register(address, size, name, Area.RAM, True, default, unit, sign_bit, note)


def _fixed(address: int, size: int, name: str, default: int, note: str) -> Register:
    return Register(address, size, name, Area.EEPROM, False, default, "", None, note)


def _reading(
    address: int, size: int, name: str, unit: str, note: str, sign_bit: int | None = None
) -> Register:
    return Register(address, size, name, Area.RAM, False, 0, unit, sign_bit, note)


# fmt: off
REGISTERS: tuple[Register, ...] = (
    _fixed(0, 1, "Firmware_Major_Version", 3, "LeRobot wants all servos equal"),
    _fixed(1, 1, "Firmware_Minor_Version", 10, "LeRobot wants all servos equal"),
    _fixed(2, 1, "Endianness", 0, "0 = little-endian"),
    _fixed(3, 2, "Model_Number", MODEL_NUMBER, "777 is an STS3215"),
    _eeprom(5, 1, "ID", 1, "", "0 to 253; the write is acknowledged with the old id", most=MAX_ID),
    _eeprom(6, 1, "Baud_Rate", 0, "code", "0 to 7: " + ", ".join(f"{rate:,}" for rate in BAUD_RATES)),
    _eeprom(7, 1, "Return_Delay_Time", 0, "2 us", "stored; no effect on STS"),
    _eeprom(8, 1, "Response_Status_Level", 1, "", "0: only PING, READ and SYNC_READ are answered"),
    _eeprom(9, 2, "Min_Position_Limit", 0, "steps", "clamps the goal, not the reading; not if equal"),
    _eeprom(11, 2, "Max_Position_Limit", 4095, "steps", "clamps the goal, not the reading; not if equal"),
    _eeprom(13, 1, "Max_Temperature_Limit", 70, "deg C", "above it for 50 ms: overheat"),
    _eeprom(14, 1, "Max_Voltage_Limit", 140, "0.1 V", "above it for 51 ms: voltage error (7.4 V servos: 80)"),
    _eeprom(15, 1, "Min_Voltage_Limit", 40, "0.1 V", "below it: voltage error at once"),
    _eeprom(16, 2, "Max_Torque_Limit", 1000, "0.1 %", "copied to Torque_Limit at power-up only"),
    _eeprom(18, 1, "Phase", 12, "bits", "0 motor, 2 speed in steps/s, 3 speed 0: fastest, 4 turns, 7 sense"),
    _eeprom(19, 1, "Unloading_Condition", 44, "bits", "errors that cut or limit torque, bits as in Status"),
    _eeprom(20, 1, "LED_Alarm_Condition", 47, "bits", "errors that blink the LED, bits as in Status"),
    _eeprom(21, 1, "P_Coefficient", 32, "", "duty in 0.1 % = error in steps * P / 4; LeRobot writes 16"),
    _eeprom(22, 1, "D_Coefficient", 32, "", "duty in 0.1 % = change of the error in 20 ms * D / 8"),
    _eeprom(23, 1, "I_Coefficient", 0, "", "duty in 0.1 % = sum of the error * I / 500"),
    _eeprom(24, 1, "Minimum_Startup_Force", 16, "0.1 %", "added to any duty that is not 0"),
    _eeprom(25, 1, "Integral_Limit", 0, "0.4 %", "bound of the integral term; 0: none"),
    _eeprom(26, 1, "CW_Dead_Zone", 1, "steps", "errors up to this are ignored (present above goal)"),
    _eeprom(27, 1, "CCW_Dead_Zone", 1, "steps", "errors up to this are ignored (present below goal)"),
    _eeprom(28, 2, "Protection_Current", 310, "6.5 mA", "0: no over-current protection"),
    _eeprom(30, 1, "Angular_Resolution", 1, "", "the goal is multiplied by it; 0 counts as 1"),
    _eeprom(31, 2, "Homing_Offset", 0, "steps", "present = encoder - offset mod 4096; bit 12 adds 2048", 11),
    _eeprom(33, 1, "Operating_Mode", 0, "", "0 position, 1 velocity, 2 PWM, 3 step"),
    _eeprom(34, 1, "Protective_Torque", 20, "%", "duty that is left while overloaded"),
    _eeprom(35, 1, "Protection_Time", 200, "10 ms", "how long above Overload_Torque until overload"),
    _eeprom(36, 1, "Overload_Torque", 80, "%", "duty above which the overload time runs"),
    _eeprom(37, 1, "Velocity_closed_loop_P_proportional_coefficient", 10, "0.1", "velocity mode"),
    _eeprom(38, 1, "Over_Current_Protection_Time", 200, "10 ms", "0: no over-current protection"),
    _eeprom(39, 1, "Velocity_closed_loop_I_integral_coefficient", 200, "0.001", "velocity mode"),
    _ram(40, 1, "Torque_Enable", 0, "", "0 free, 1 on (holds where it is), 2 brake, 128: here is 2048"),
    _ram(41, 1, "Acceleration", 0, "100 steps/s^2", "0: Maximum_Acceleration * Acceleration_Multiplier"),
    _ram(42, 2, "Goal_Position", 0, "steps", "writing it turns the torque on", 15),
    _ram(44, 2, "Goal_Time", 0, "0.1 %", "PWM mode: duty, positive to smaller counts; else no effect", 10),
    _ram(46, 2, "Goal_Velocity", 0, "steps/s", "50 steps/s if bit 2 of Phase is 0; 0: fastest", 15),
    _ram(48, 2, "Torque_Limit", 1000, "0.1 %", "bound of the duty; Max_Torque_Limit at power-up"),
    _ram(50, 5, "Reserved_50", 0, "", "plain memory"),
    _ram(55, 1, "Lock", 1, "", "0: EEPROM writes are also saved; 1: they last until power-off"),
    _reading(56, 2, "Present_Position", "steps", "0 to 4095 unless bit 4 of Phase is set", 15),
    _reading(58, 2, "Present_Velocity", "steps/s", "multiples of 50 over 20 ms; 0 below the threshold", 15),
    _reading(60, 2, "Present_Load", "0.1 %", "duty, not torque; positive drives to smaller counts", 10),
    _reading(62, 1, "Present_Voltage", "0.1 V", ""),
    _reading(63, 1, "Present_Temperature", "deg C", ""),
    _reading(64, 1, "Async_Write_Pending", "", "1 between REG_WRITE and ACTION"),
    _reading(65, 1, "Status", "bits", "1 voltage, 2 encoder, 4 heat, 8 current, 32 overload; in every reply"),
    _reading(66, 1, "Moving", "", "1 while the profile runs or the joint moves"),
    _reading(67, 2, "Present_Goal", "steps", "set-point of the profile, on its way to Goal_Position", 15),
    _reading(69, 2, "Present_Current", "6.5 mA", "LeRobot ignores the sign: it reads -1 as 32769", 15),
    _reading(71, 2, "Goal_Position_2", "steps/s", "speed of the profile, in spite of its name", 15),
    _reading(73, 7, "Reserved_73", "", ""),
    _eeprom(80, 1, "Moving_Velocity_Threshold", 2, "50 steps/s", "slower counts as still"),
    _eeprom(81, 1, "DTs", 20, "ms", "window of the speed measurement"),
    _eeprom(82, 1, "Velocity_Unit_factor", 50, "steps/s", "unit of speeds"),
    _eeprom(83, 1, "Hts", 1, "", "minimum speed"),
    _eeprom(84, 1, "Maximum_Velocity_Limit", 150, "50 steps/s", "fastest profile: 7500 steps/s"),
    _eeprom(85, 1, "Maximum_Acceleration", 100, "100 steps/s^2", "bounds Acceleration; 0: no bound"),
    _eeprom(86, 1, "Acceleration_Multiplier", 1, "", "see Acceleration"),
)
# fmt: on

BY_NAME: dict[str, Register] = {register.name: register for register in REGISTERS}


def encode(register: Register, value: int) -> bytes:
    """The bytes on the wire for `value`, little-endian.

    Raises ConfigError if the register cannot hold the value.
    """
    lowest, highest = register.limits
    if not lowest <= value <= highest:
        raise ConfigError(f"{register.name} cannot hold {value}; it holds {lowest} to {highest}")
    if value < 0:
        assert register.sign_bit is not None  # `limits` said so
        value = -value | 1 << register.sign_bit
    return value.to_bytes(register.size, "little")


def decode(register: Register, data: bytes) -> int:
    """The value of `register.size` bytes; ConfigError if there are more or fewer.

    Bits above the sign bit are ignored.
    """
    if len(data) != register.size:
        raise ConfigError(f"{register.name} has {register.size} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    if register.sign_bit is None:
        return word
    magnitude = word & (1 << register.sign_bit) - 1
    return -magnitude if word >> register.sign_bit & 1 else magnitude


def homing_steps(word: int) -> int:
    """The offset in steps that the firmware makes of the 16 bits of Homing_Offset.

    Bit 11 is the sign, bit 12 adds 2048 to the 11-bit magnitude, and anything above 8191 counts as no offset
    (behaviour of firmware 3.10). Values that fit into `encode` agree with `decode`.
    """
    if word > 8191:
        return 0
    magnitude = (word & 2047) + (word >> 12 & 1) * 2048
    return -magnitude if word >> 11 & 1 else magnitude


def homing_word(offset_steps: int) -> int:
    """The 16 bits of Homing_Offset for an offset of -4095 to 4095 steps: inverse of `homing_steps`."""
    magnitude = abs(offset_steps)
    if magnitude > 4095:
        raise ConfigError(f"Homing_Offset cannot hold {offset_steps}; it holds -4095 to 4095")
    word = magnitude & 2047 | (magnitude >> 11) << 12
    return word | 1 << 11 if offset_steps < 0 else word


def as_markdown() -> str:
    """The table as `docs/reference/registers.md` shows it."""
    head = [
        "# Registers of the STS3215",
        "",
        "Made by `python -m so101_robot.bus.registers > docs/reference/registers.md`.",
        "",
        "Defaults are those of a 12 V servo with firmware 3.10. `E` survives power-off if written with",
        "Lock = 0, `R` is memory. A signed value has its sign in the bit named, the magnitude below.",
        "",
        "| address | size | name | area | access | default | unit | sign bit | note |",
        "|---:|---:|---|---|---|---:|---|---:|---|",
    ]
    rows = [
        f"| {r.address} | {r.size} | {r.name} | {r.area.name[0]} | {'rw' if r.writable else 'r'} "
        f"| {r.default} | {r.unit} | {'' if r.sign_bit is None else r.sign_bit} | {r.note} |"
        for r in REGISTERS
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
