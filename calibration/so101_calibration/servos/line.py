"""The servos' line for calibration: any id, any baud rate, one servo at a time; and all six at once to watch.

Built on `link` and `protocol` of `so101_robot.bus`, below its `SO101Bus`, which knows only ids 1 to 6 at one speed.
Every write is acknowledged and read back: what is not in the register afterwards was not written.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import ServoError
from so101_robot.bus import protocol, registers
from so101_robot.bus.link import BAUD, Link
from so101_robot.bus.port_lock import open_locked
from so101_robot.bus.protocol import Errors, Instruction, Status
from so101_robot.bus.registers import BY_NAME, Register
from so101_robot.bus.servo_requests import ServoRequests
from so101_robot.bus.setup import Registers
from so101_robot.clock import Clock, WallClock
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm
from so101_robot.mock.lockstep import LockstepClock, LockstepLink, LockstepSerial

TIMEOUT_S = 0.1
"""For one servo's answer [s]: an EEPROM write that erases a page is acknowledged tens of milliseconds later."""
PING_TIMEOUT_S = 0.02
TRIES = 3

BLOCKS = ((0, 40), (40, registers.SIZE - 40))
"""A servo's registers in two reads."""

TORQUE, LOCK, GOAL = BY_NAME["Torque_Enable"], BY_NAME["Lock"], BY_NAME["Goal_Position"]
POSITION, CURRENT = BY_NAME["Present_Position"], BY_NAME["Present_Current"]
WATCHED = slice(TORQUE.address, CURRENT.end)
"""What `sample` reads: torque, goal, and everything measured; 31 bytes a servo, 2.2 ms for six."""


class Sample(NamedTuple):
    """All six servos at one time, arrays (6,)."""

    time_s: float
    torque: NDArray[np.int64]
    """Torque_Enable: 0 is free."""
    present: NDArray[np.int64]
    """Present_Position [steps]."""
    load_percent: NDArray[np.float64]
    voltage_v: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    errors: NDArray[np.int64]
    current_ma: NDArray[np.float64]
    """Winding current; its sign is that of the load."""


class SerialHandle(Protocol):
    """What is needed of a serial port besides its link."""

    @property
    def baudrate(self) -> int: ...
    @baudrate.setter
    def baudrate(self, value: int, /) -> None: ...

    def close(self) -> None: ...


class Line:
    """An open line.

    Args:
        handle: the serial port, for its speed.
        link: the way to send and receive on it.
        name: what the user calls it.
        clock: its time.
    """

    def __init__(self, handle: SerialHandle, link: Link, name: str, clock: Clock) -> None:
        self._handle, self._link, self.name, self.clock = handle, link, name, clock
        self._requests = ServoRequests()
        self.baud = BAUD

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back, torque as it is. May be called twice."""
        self._link.close()
        self._handle.close()

    def set_baud(self, baud: int) -> None:
        """Change our speed, not the servos'."""
        self._handle.baudrate = self.baud = baud

    # one servo

    def ping(self, servo_id: int) -> tuple[list[Status], int]:
        """Who answers to `servo_id` (or BROADCAST), and how many bytes were noise."""
        servos = 1 if servo_id != protocol.BROADCAST else protocol.MAX_ID + 1
        slots_s = servos * 90 / self.baud  # a PING to all is answered in slots of nine bytes, by id
        request = protocol.instruction(servo_id, Instruction.PING)
        size = protocol.reply_size(0, servos)
        return protocol.parse_statuses(self._link.transact(request, size, PING_TIMEOUT_S + slots_s))

    def ask(self, servo_id: int, address: int, size: int) -> tuple[list[Status], int]:
        """One READ: every valid reply, and how many bytes were noise. Asked once."""
        request = protocol.read(servo_id, address, size)
        return protocol.parse_statuses(self._link.transact(request, protocol.reply_size(size), TIMEOUT_S))

    def read_all(self, servo_id: int) -> NDArray[np.uint8] | None:
        """All 87 registers, None if it does not answer three times."""
        blocks = [self._read(servo_id, address, size) for address, size in BLOCKS]
        return None if None in blocks else np.frombuffer(b"".join(b for b in blocks if b), np.uint8)

    def read(self, servo_id: int, register: Register) -> int:
        """A register's value. Raises ServoError."""
        data = self._read(servo_id, register.address, register.size)
        if data is None:
            raise ServoError(self._silent(servo_id, f"was asked for {register.name}"))
        return registers.decode(register, data)

    def read_word(self, servo_id: int, register: Register) -> bytes:
        """A register's bytes as they are. Raises ServoError."""
        data = self._read(servo_id, register.address, register.size)
        if data is None:
            raise ServoError(self._silent(servo_id, f"was asked for {register.name}"))
        return data

    def write(self, servo_id: int, register: Register, value: int) -> None:
        """Write a register, look whether it has the value, else try again. Raises ServoError."""
        self.write_word(servo_id, register, registers.encode(register, value))

    def write_word(self, servo_id: int, register: Register, data: bytes, new_id: int | None = None) -> None:
        """`write` with the bytes as they are. `new_id`: who the servo is afterwards."""
        request = protocol.write(servo_id, register.address, data)
        for _ in range(TRIES):
            self._link.transact(request, protocol.reply_size(0), TIMEOUT_S)
            if self._read(servo_id if new_id is None else new_id, register.address, register.size) == data:
                return
        value = registers.decode(register, data)
        raise ServoError(self._silent(servo_id, f"was to take {register.name} = {value}"))

    def send(self, servo_id: int, register: Register, data: bytes) -> None:
        """Write without looking: for a change after which the servo is elsewhere."""
        self._link.transact(
            protocol.write(servo_id, register.address, data), protocol.reply_size(0), TIMEOUT_S
        )

    # all six

    def rows(self) -> Registers:
        """All registers of servos 1 to 6, uint8 (6, 87). Raises ServoError that names the silent ones."""
        rows = [self.read_all(servo_id) for servo_id in SERVO_IDS]
        silent = [i for i, row in enumerate(rows) if row is None]
        if silent:
            raise ServoError(self._silence(silent))
        return np.array(rows)

    def sample(self) -> Sample:
        """Torque, position and health of all servos, asked again for a lost reply. Raises ServoError."""
        size = WATCHED.stop - WATCHED.start
        request = protocol.sync_read(WATCHED.start, size, SERVO_IDS)
        found: dict[int, Status] = {}
        for _ in range(TRIES):
            data = self._link.transact(request, protocol.reply_size(size, len(SERVO_IDS)), TIMEOUT_S)
            found |= {s.servo_id: s for s in protocol.parse_statuses(data)[0] if len(s.params) == size}
            if all(servo_id in found for servo_id in SERVO_IDS):
                return _sample(self.clock.now_s(), [found[servo_id] for servo_id in SERVO_IDS])
        raise ServoError(self._silence([i for i, servo_id in enumerate(SERVO_IDS) if servo_id not in found]))

    def command(self, goals: Sequence[int]) -> None:
        """Goals [steps] for all six at once; their torque goes on."""
        pairs = zip(SERVO_IDS, goals, strict=True)
        blocks = {servo_id: registers.encode(GOAL, goal) for servo_id, goal in pairs}
        self._link.send(protocol.sync_write(GOAL.address, blocks))

    def release(self) -> None:
        """Torque off at all six, and look. Raises ServoError that names every servo where that is not certain."""
        self._link.send(protocol.sync_write(TORQUE.address, dict.fromkeys(SERVO_IDS, b"\x00")))
        troubles: list[str] = []
        for servo_id in SERVO_IDS:
            try:
                self.write(servo_id, TORQUE, 0)
            except ServoError as error:
                troubles.append(str(error))
        if troubles:
            raise ServoError("; ".join(troubles))

    # parts

    def _read(self, servo_id: int, address: int, size: int) -> bytes | None:
        request = protocol.read(servo_id, address, size)
        reply = self._requests.reply(self._link, request, servo_id, size, TIMEOUT_S, TRIES)
        return None if reply is None else reply.params

    def _silent(self, servo_id: int, asked: str) -> str:
        name = f" ({JOINTS[SERVO_IDS.index(servo_id)]})" if servo_id in SERVO_IDS else ""
        return f"servo {servo_id}{name} {asked} and did not, {TRIES} tries - check its cable and the power supply"

    def _silence(self, silent: list[int]) -> str:
        who = ", ".join(f"{SERVO_IDS[i]} ({JOINTS[i]})" for i in silent)
        others = ", ".join(str(s) for i, s in enumerate(SERVO_IDS) if i not in silent) or "none"
        return (
            f"servo {who} did not answer on {self.name} at {self.baud} baud; answering ids: {others} - check power "
            "and cables, and look for servos with other ids or speeds with `so101-calibrate ids`"
        )


def open_line(port: str, mock: MockArm | None = None, pace: float | None = None) -> Line:
    """The line at a serial port, or to a mock arm in memory (port `mock`, which has to be given then).

    Raises PortError of `so101_robot`: the port does not exist, is in use (says by whom), or may not be opened.
    """
    if mock is None:
        return Line(*open_locked(port), port, WallClock())
    return Line(LockstepSerial(mock), LockstepLink(mock), "the mock arm", LockstepClock(mock, pace))


def _sample(time_s: float, replies: list[Status]) -> Sample:
    column = _columns(replies)
    return Sample(
        time_s,
        column("Torque_Enable"),
        column("Present_Position"),
        np.asarray(column("Present_Load") * 0.1, dtype=np.float64),
        np.asarray(column("Present_Voltage") * registers.VOLTAGE_UNIT_V, dtype=np.float64),
        column("Present_Temperature").astype(np.float64),
        np.array([int(reply.error) for reply in replies]),
        np.asarray(column("Present_Current") * registers.CURRENT_UNIT_A * 1e3, dtype=np.float64),
    )


def _columns(replies: list[Status]) -> Callable[[str], NDArray[np.int64]]:
    def column(name: str) -> NDArray[np.int64]:
        register = BY_NAME[name]
        place = slice(register.address - WATCHED.start, register.end - WATCHED.start)
        return np.array([registers.decode(register, reply.params[place]) for reply in replies])

    return column


def describe_errors(byte: int) -> str:
    """A servo's error bits in words."""
    return Errors(byte).describe()
