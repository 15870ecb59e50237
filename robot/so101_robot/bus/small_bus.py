"""Requests to single servos without numpy, LeRobot or anything else that takes long to load or much memory.

The control loop's bus is `so101_bus.SO101Bus`. This is for programs that must be small (the watchdog's process) and for
looks at a port that may have another arm on it, or none (`reconnect`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from so101_robot.bus import protocol
from so101_robot.bus.identity import Identity
from so101_robot.bus.link import Link
from so101_robot.bus.protocol import Errors, Instruction, Status
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.servo_requests import TRIES, ServoRequests
from so101_robot.joints import SERVO_IDS


class Block(NamedTuple):
    """Registers that are read or written together."""

    address: int
    size: int
    """[bytes]"""


def _block(first: str, last: str = "") -> Block:
    """From one register to another, both included."""
    address = BY_NAME[first].address
    return Block(address, BY_NAME[last or first].end - address)


LIMITS = _block("Min_Position_Limit", "Max_Position_Limit")
PHASE = _block("Phase")
HOMING_OFFSET = _block("Homing_Offset")
TORQUE_ENABLE = _block("Torque_Enable")
GOAL_POSITION = _block("Goal_Position")
GOAL_VELOCITY = _block("Goal_Velocity")
PRESENT_POSITION = _block("Present_Position")
PRESENT_TEMPERATURE = _block("Present_Temperature")
STATE = _block("Torque_Enable", "Status")
"""All that matters about a moving servo in one answer."""

SPEED_IN_STEPS = 0x04
"""Bit of Phase: Goal_Velocity counts steps/s, else 50 steps/s."""

TIMEOUT_S = 0.05
"""For one answer; flash writes and USB adapters take up to about 20 ms."""


class Servo(NamedTuple):
    """What a servo says about itself."""

    torque: bool
    goal_steps: int
    speed_limit: int
    """The value of Goal_Velocity; 0: the fastest."""
    present_steps: int
    temperature_c: int
    errors: Errors


class SmallBus:
    """Servos behind a `Link`. All methods raise PortError when the port is gone, and nothing else."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._requests = ServoRequests()

    def ping(self, servo_id: int, timeout_s: float = TIMEOUT_S, tries: int = 2) -> bool:
        """Whether a servo answers to this id."""
        request = protocol.instruction(servo_id, Instruction.PING)
        return self._reply(request, servo_id, 0, timeout_s, tries) is not None

    def read(self, servo_id: int, block: Block) -> bytes | None:
        """The bytes of a block, or None after three tries."""
        address, size = block
        reply = self._reply(protocol.read(servo_id, address, size), servo_id, size)
        return None if reply is None else reply.params

    def write(self, servo_id: int, block: Block, value: int) -> bool:
        """Write an unsigned value; true if the servo acknowledged it."""
        address, size = block
        data = value.to_bytes(size, "little")
        return self._reply(protocol.write(servo_id, address, data), servo_id, 0) is not None

    def write_all(self, block: Block, values: Mapping[int, int]) -> None:
        """Write unsigned values, by id, to several servos at once. Nobody answers."""
        address, size = block
        data = {servo_id: value.to_bytes(size, "little") for servo_id, value in values.items()}
        self._link.send(protocol.sync_write(address, data))

    def read_state(self, ids: Iterable[int] = SERVO_IDS) -> dict[int, Servo]:
        """The state of every servo that answers, asked together and then, if need be, one by one."""
        wanted = tuple(ids)
        address, size = STATE
        request = protocol.sync_read(address, size, wanted)
        data = self._link.transact(request, protocol.reply_size(size, len(wanted)), TIMEOUT_S)
        replies = {reply.servo_id: reply for reply in protocol.parse_statuses(data)[0]}
        found: dict[int, Servo] = {}
        for servo_id in wanted:
            reply = replies.get(servo_id)
            if reply is None or len(reply.params) != size:
                reply = self._reply(protocol.read(servo_id, address, size), servo_id, size, tries=1)
            if reply is not None:
                found[servo_id] = _servo(reply)
        return found

    def identity(self, servo_id: int) -> Identity | None:
        """The servo's calibration, or None if it does not answer."""
        limits, homing = self.read(servo_id, LIMITS), self.read(servo_id, HOMING_OFFSET)
        if limits is None or homing is None:
            return None
        return Identity(_word(homing, 0), _word(limits, 0), _word(limits, 2))

    def release(self) -> list[int]:
        """Torque off at every servo, one that is silent keeping no other from it; the ids of those that do not
        say afterwards that they are free."""
        self.write_all(TORQUE_ENABLE, dict.fromkeys(SERVO_IDS, 0))
        for servo_id in SERVO_IDS:
            self.write(servo_id, TORQUE_ENABLE, 0)
        servos = self.read_state()
        return [servo_id for servo_id in SERVO_IDS if servo_id not in servos or servos[servo_id].torque]

    def _reply(
        self, request: bytes, servo_id: int, size: int, timeout_s: float = TIMEOUT_S, tries: int = TRIES
    ) -> Status | None:
        return self._requests.reply(self._link, request, servo_id, size, timeout_s, tries)


def _servo(reply: Status) -> Servo:
    data, start = reply.params, STATE.address
    return Servo(
        torque=data[0] == 1,
        goal_steps=_signed(data, GOAL_POSITION.address - start),
        speed_limit=_word(data, GOAL_VELOCITY.address - start),
        present_steps=_signed(data, PRESENT_POSITION.address - start),
        temperature_c=data[PRESENT_TEMPERATURE.address - start],
        errors=reply.error,
    )


def _word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 2], "little")


def _signed(data: bytes, offset: int) -> int:
    word = _word(data, offset)
    return -(word & 0x7FFF) if word & 0x8000 else word
