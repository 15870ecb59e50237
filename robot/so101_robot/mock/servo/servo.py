"""The servos of an arm as an object: register files with permissions and side effects, and `tick`.

`Servos` holds n STS3215 as arrays, so that one call advances all of them. It knows nothing of the bus
(`wire`) or of what the servos are bolted to (`plant`). What the processor computes is in `firmware`.

    servos = Servos()
    servos.write(0, 42, (2048).to_bytes(2, "little"))  # Goal_Position of the first servo: its torque goes on
    servos.tick(raw_steps, supply_v, temperature_c, current_a, duty, bridge)
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from so101_robot.bus.registers import BY_NAME, REGISTERS, SIZE, Area, Register, decode, encode, homing_word
from so101_robot.errors import ConfigError
from so101_robot.joints import SERVO_IDS
from so101_robot.mock.servo import firmware
from so101_robot.mock.servo import memory as servo_memory
from so101_robot.mock.servo.memory import EEPROM

MIDDLE_STEPS = 2048
"""What Torque_Enable = 128 makes of the present position."""

HALF_WORD_US = 50
"""[?] Programming 16 bits of flash."""

PAGE_ERASE_US = 20_000
PAGE_RECORDS = 128
"""[?] EEPROM is emulated in pages of 512 B; a full page is copied to a fresh one, which takes an erase."""

_RESEED = ("Homing_Offset", "Operating_Mode", "Phase")


class Bridge(IntEnum):
    """What the H-bridge does with the motor."""

    FREE = firmware.FREE
    DRIVE = firmware.DRIVE
    BRAKE = firmware.BRAKE


def factory_image() -> NDArray[np.uint8]:
    """The register file of a servo as it leaves the factory, uint8 (87,)."""
    image = np.zeros(SIZE, np.uint8)
    for register in REGISTERS:
        image[register.address : register.end] = np.frombuffer(encode(register, register.default), np.uint8)
    return image


def _register(name: str) -> Register:
    try:
        return BY_NAME[name]
    except KeyError:
        raise ConfigError(f"there is no register {name!r}; registers: {', '.join(BY_NAME)}") from None


class Servos:
    """The firmware of n servos, addressed by index. Their ids are in register 5; two may share one."""

    registers: NDArray[np.uint8]
    """(n, 87) live register files."""
    saved: NDArray[np.uint8]
    """(n, 87) what flash holds of the EEPROM area."""
    backup: NDArray[np.uint8]
    """(n, 87) what RESET restores."""
    flash_us: NDArray[np.int64]
    """(n,) how long the last operation kept the servo busy with its flash."""

    def __init__(self, ids: Sequence[int] = SERVO_IDS) -> None:
        count = len(ids)
        self.saved = np.tile(factory_image(), (count, 1))
        self.saved[:, servo_memory.ID] = ids
        self.backup = self.saved.copy()
        self.registers = self.saved.copy()
        self.flash_us = np.zeros(count, np.int64)
        self._working = np.zeros(count, servo_memory.SERVO)
        self._pending: list[tuple[int, bytes] | None] = [None] * count
        self._page_records = [0] * count
        for index in range(count):
            self.boot(index)

    def __len__(self) -> int:
        return len(self.registers)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids, servo by servo."""
        return tuple(self.registers[:, servo_memory.ID].tolist())

    def tick(
        self,
        raw_steps: NDArray[np.int32],
        supply_v: NDArray[np.float64],
        temperature_c: NDArray[np.float64],
        current_a: NDArray[np.float64],
        duty: NDArray[np.float64],
        bridge: NDArray[np.int8],
    ) -> None:
        """One millisecond. All arrays are (n,).

        Inputs: encoder counts 0..4095, volts at the servo, degrees Celsius, amps (positive: torque towards
        larger counts). Outputs, in place: duty -1..1, positive drives towards larger counts; the state of the
        bridge (`Bridge`).
        """
        firmware.tick(
            self.registers,
            self.saved,
            self._working,
            raw_steps,
            supply_v,
            temperature_c,
            current_a,
            duty,
            bridge,
        )

    @property
    def memories(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.void]]:
        """Registers, saved and working variables, as `firmware.tick` takes them."""
        return self.registers, self.saved, self._working

    # --- what the bus asks for

    def read(self, index: int, address: int, size: int) -> bytes:
        """`size` bytes from `address`, fewer where the register file ends."""
        return self.registers[index, address : address + size].tobytes()

    def write(self, index: int, address: int, data: bytes) -> None:
        """Write as the bus does: permissions, side effects, flash; `flash_us` tells how long that took."""
        block = np.frombuffer(data, np.uint8)
        half_words = firmware.write(self.registers, self.saved, self._working, index, address, block)
        self._flash(index, half_words)
        if self.registers[index, servo_memory.TORQUE] == 128:
            self.calibrate(index)

    def write_later(self, index: int, address: int, data: bytes) -> None:
        """REG_WRITE: keep the write for `action`. There is one slot."""
        self.flash_us[index] = 0
        self._pending[index] = address, data
        self.set(index, "Async_Write_Pending", 1)

    def action(self, index: int) -> None:
        """ACTION: do what `write_later` kept, if anything."""
        self.flash_us[index] = 0
        pending, self._pending[index] = self._pending[index], None
        self.set(index, "Async_Write_Pending", 0)
        if pending is not None:
            self.write(index, *pending)

    def calibrate(self, index: int, target_steps: int = MIDDLE_STEPS) -> None:
        """Choose and save the Homing_Offset with which the present position reads `target_steps`; torque off.

        This is Torque_Enable = 128, and instruction 0x0B; both save whatever Lock says.
        """
        raw = int(self._working[index].raw)
        offset = (raw - target_steps + 2048) % 4096 - 2048
        place = slice(servo_memory.HOMING, servo_memory.HOMING + 2)
        self.registers[index, place] = np.frombuffer(homing_word(offset).to_bytes(2, "little"), np.uint8)
        self.registers[index, servo_memory.TORQUE] = 0
        changed = bool(np.any(self.saved[index, place] != self.registers[index, place]))
        self.saved[index, place] = self.registers[index, place]
        self._flash(index, int(changed))
        firmware.seed(self.registers, self._working, index, 0)

    def back_up(self, index: int) -> None:
        """Instruction 0x09: keep the saved image for RESET."""
        self.backup[index] = self.saved[index]
        self.flash_us[index] = PAGE_ERASE_US

    def reset(self, index: int) -> None:
        """RESET: the EEPROM area becomes the backup, except that the id stays and the homing offset is 0;
        then boot.
        """
        servo_id = self.registers[index, servo_memory.ID]
        self.saved[index] = np.where(EEPROM, self.backup[index], self.saved[index])
        self.saved[index, servo_memory.ID] = servo_id
        self.saved[index, servo_memory.HOMING : servo_memory.HOMING + 2] = 0
        self.boot(index)
        self.flash_us[index] = PAGE_ERASE_US

    # --- power

    def boot(self, index: int) -> None:
        """Power up at once: the saved EEPROM area, torque off, locked; what was not saved is lost."""
        self._pending[index] = None
        self.flash_us[index] = 0
        firmware.boot(self.registers, self.saved, self._working, index)

    def reboot(self, index: int, silent_ms: int = firmware.BOOT_TICKS) -> None:
        """Go silent and limp for `silent_ms` ticks, then boot."""
        self._pending[index] = None
        self._working[index].down_ticks = max(silent_ms, 1)

    def is_down(self, index: int) -> bool:
        """True while a servo has no supply or boots: it hears and says nothing."""
        return bool(self._working[index].down_ticks)

    def down(self) -> NDArray[np.int64]:
        """(n,) `is_down` of all servos: not 0 while down."""
        return self._working["down_ticks"]

    # --- faults from outside

    def encoder_fault(self, index: int, failing: bool) -> None:
        """The magnetic encoder stops (or resumes) answering its processor."""
        self._working[index].encoder_fault = failing

    def force_overload(self, index: int, forced: bool) -> None:
        """Hold the overload protection tripped, as a jammed joint would."""
        self._working[index].overload_forced = forced

    def disturb(self, index: int, volts: float = 0.0, celsius: float = 0.0, amps: float = 0.0) -> None:
        """Add to what the servo measures from now on; the protections then act by themselves."""
        working = self._working[index]
        working.extra_volts, working.extra_celsius, working.extra_amps = volts, celsius, amps

    def add_turns(self, index: int, turns: int) -> None:
        """Let the turn counter be off, as after a hand-move across 0/4095: the next goal unwinds."""
        firmware.seed(self.registers, self._working, index, int(self._working[index].turns) + turns)

    # --- for tests and for setting up a mock arm

    def get(self, index: int, name: str) -> int:
        """The decoded value of a register, by LeRobot's name."""
        register = _register(name)
        return decode(register, self.read(index, register.address, register.size))

    def set(self, index: int, name: str, value: int) -> None:
        """Put a value into a register, permissions and side effects aside; EEPROM values are saved too.

        A changed offset, mode or phase makes the servo count anew from its last sample.
        """
        register = _register(name)
        block = np.frombuffer(encode(register, value), np.uint8)
        self.registers[index, register.address : register.end] = block
        if register.area is Area.EEPROM:
            self.saved[index, register.address : register.end] = block
        if name in _RESEED:
            firmware.seed(self.registers, self._working, index, 0)

    def state(self) -> bytes:
        """Everything the servos remember, as bytes: equal states are equal bytes."""
        arrays = self.registers, self.saved, self.backup, self._working, self.flash_us
        return (
            b"".join(array.tobytes() for array in arrays) + repr((self._pending, self._page_records)).encode()
        )

    def digest(self) -> str:
        """A hash of `state`."""
        return hashlib.blake2b(self.state(), digest_size=16).hexdigest()

    def _flash(self, index: int, half_words: int) -> None:
        self.flash_us[index] = half_words * HALF_WORD_US
        self._page_records[index] += half_words
        if self._page_records[index] > PAGE_RECORDS:
            self.flash_us[index] += PAGE_ERASE_US
            self._page_records[index] = int(EEPROM.sum()) // 2  # the live values, copied
