"""Frames of the Feetech bus ("protocol 0") as pure functions on bytes: what the driver sends and what the
servos answer.

    instruction   FF FF id LEN instruction params.. checksum
    status        FF FF id LEN errors      params.. checksum      LEN = number of params + 2

The checksum is the complement of the sum from id to the last param. Instruction and status frames look alike:
only the direction tells them apart, so an adapter that echoes is not something a parser can see through.

Source: Feetech communication protocol manual; behaviour of feetech-servo-sdk 1.0.0 where the manual is
silent.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple

from so101_robot.errors import ConfigError

HEADER = b"\xff\xff"
BROADCAST = 0xFE
MAX_ID = 0xFD
MAX_PARAMS = 253
"""LEN is one byte and counts two more than the params."""


class Instruction(IntEnum):
    """What a frame to a servo asks for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    RESET = 0x06
    REBOOT = 0x08
    BACKUP = 0x09
    RESET_TURNS = 0x0A
    CALIBRATE = 0x0B
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class Errors(IntFlag):
    """The error byte of every reply: register 65 as it is."""

    VOLTAGE = 0x01
    ENCODER = 0x02
    OVERHEAT = 0x04
    OVERCURRENT = 0x08
    OVERLOAD = 0x20

    def describe(self) -> str:
        """The errors in words, `no error` if there is none."""
        words = [word for bit, word in _ERROR_WORDS.items() if self & bit]
        rest = int(self) & ~sum(_ERROR_WORDS)
        if rest:
            words.append(f"unknown 0x{rest:02x}")
        return ", ".join(words) or "no error"


_ERROR_WORDS = {
    Errors.VOLTAGE: "supply voltage out of range",
    Errors.ENCODER: "encoder fault",
    Errors.OVERHEAT: "too hot",
    Errors.OVERCURRENT: "over-current",
    Errors.OVERLOAD: "overload",
}


_ERRORS = tuple(Errors(byte) for byte in range(0x80))
"""Making a flag takes longer than the rest of a frame's parsing."""


class Status(NamedTuple):
    """One reply."""

    servo_id: int
    error: Errors
    params: bytes


def checksum(body: bytes) -> int:
    """Checksum of `body`, the bytes from id to the last param."""
    return ~sum(body) & 0xFF


def _frame(servo_id: int, code: int, params: bytes) -> bytes:
    if not 0 <= servo_id <= BROADCAST:
        raise ConfigError(f"there is no servo id {servo_id}; ids are 0 to {MAX_ID}, {BROADCAST} means all")
    if len(params) > MAX_PARAMS:
        raise ConfigError(
            f"a frame carries at most {MAX_PARAMS} bytes after the instruction, not {len(params)}"
        )
    body = bytes((servo_id, len(params) + 2, code)) + params
    return HEADER + body + bytes((checksum(body),))


def instruction(servo_id: int, inst: int, params: bytes = b"") -> bytes:
    """The frame that asks servo `servo_id` (or BROADCAST) for `inst`."""
    return _frame(servo_id, inst, params)


def status(servo_id: int, error: int, params: bytes = b"") -> bytes:
    """The frame with which a servo answers."""
    return _frame(servo_id, error, params)


def read(servo_id: int, address: int, size: int) -> bytes:
    """The frame that reads `size` bytes from `address`."""
    return _frame(servo_id, Instruction.READ, bytes((address, size)))


def write(servo_id: int, address: int, data: bytes) -> bytes:
    """The frame that writes `data` to `address`."""
    return _frame(servo_id, Instruction.WRITE, bytes((address,)) + data)


def sync_read(address: int, size: int, ids: Sequence[int]) -> bytes:
    """The frame that lets each of `ids` answer in turn with `size` bytes from `address`."""
    return _frame(BROADCAST, Instruction.SYNC_READ, bytes((address, size, *ids)))


def sync_write(address: int, data: Mapping[int, bytes]) -> bytes:
    """The frame that writes to several servos at once. Nobody answers.

    `data` maps id to bytes, all of one length.
    """
    sizes = {len(block) for block in data.values()}
    if len(sizes) != 1:
        raise ConfigError(
            f"SYNC_WRITE needs blocks of one length for one servo or more, not lengths {sorted(sizes)}"
        )
    blocks = b"".join(bytes((servo_id,)) + block for servo_id, block in data.items())
    return _frame(BROADCAST, Instruction.SYNC_WRITE, bytes((address, sizes.pop())) + blocks)


def reply_size(size: int, servos: int = 1) -> int:
    """Bytes that `servos` replies with `size` params take."""
    return (size + 6) * servos


def parse_statuses(data: bytes) -> tuple[list[Status], int]:
    """Every valid status frame in `data` in order, and how many bytes belong to none. Never raises.

    A frame is valid if its id is a servo's, bit 7 of its error byte is clear (it always is on STS) and its
    checksum agrees. Behind anything else the search goes on one byte later, so garbage costs no frame that
    follows it.
    """
    found: list[Status] = []
    start, used, size = 0, 0, len(data)
    while (start := data.find(HEADER, start)) >= 0 and start + 6 <= size:
        end = start + data[start + 3] + 4
        framed = data[start + 2] <= MAX_ID and data[start + 4] <= 0x7F and start + 6 <= end <= size
        if not framed or sum(data[start + 2 : end]) & 0xFF != 0xFF:
            start += 1
        else:
            found.append(Status(data[start + 2], _ERRORS[data[start + 4]], bytes(data[start + 5 : end - 1])))
            used += end - start
            start = end
    return found, size - used
