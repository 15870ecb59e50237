"""The two frames of every tick, as pure functions: the question that all servos answer, and the goals that
none answers.

A `Question` is a SYNC_READ with its bytes made beforehand; it knows what its answer looks like, frame by
frame, and nothing else counts as one. `goal_frame` is the SYNC_WRITE of six goals.

Written for the usual answer, six valid replies in order: one `struct` call and plain Python numbers, because
numpy's overhead per call is larger than six numbers are worth. Any other answer goes through the tolerant
parser of `protocol`.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import protocol, registers
from .errors import UnsafeActionError
from .joints import SERVO_IDS
from .protocol import Status
from .registers import BY_NAME, Register

N = len(SERVO_IDS)

POSITION = BY_NAME["Present_Position"]
GOAL = BY_NAME["Goal_Position"]

HEALTH_SIZE = BY_NAME["Present_Current"].end - POSITION.address
"""Position, velocity, load, voltage, temperature, pending, status, moving, goal and current: one block of 15
bytes."""

LARGEST_GOAL_STEPS = 32766
"""One more would be FF FF on the wire, which a servo takes for the header of the next frame."""

FIELDS = tuple(
    BY_NAME[name]
    for name in (
        "Present_Position",
        "Present_Velocity",
        "Present_Load",
        "Present_Voltage",
        "Present_Temperature",
        "Moving",
        "Present_Current",
    )
)
"""What is read out of an answer, in the order of addresses; the rest of the block is skipped."""


class Health(NamedTuple):
    """What servos say about themselves; each (6,) float64, NaN where a servo did not answer."""

    velocity_steps_s: NDArray[np.float64]
    load_percent: NDArray[np.float64]
    """Motor duty; positive drives towards smaller counts (the register's sign)."""
    voltage_v: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    current_ma: NDArray[np.float64]
    moving: NDArray[np.float64]
    """1 while the servo moves."""


_UNITS = np.array([[1.0], [0.1], [registers.VOLTAGE_UNIT_V], [1.0], [registers.CURRENT_UNIT_A * 1e3], [1.0]])
"""Of the fields of `Health`, in its order."""


class Answer(NamedTuple):
    """The numbers of one answer, servo by servo."""

    heads: tuple[bytes, ...]
    """Header, id and length of each reply."""
    errors: tuple[int, ...]
    position_steps: Sequence[int]
    rest: tuple[tuple[int, ...], ...]
    """The other `FIELDS`, as they are on the wire; empty in a short answer."""


class Question:
    """A SYNC_READ from Present_Position on, and what its answer looks like.

    Args:
        ids: the servos that are asked.
        size: how many bytes of each.
    """

    def __init__(self, ids: Sequence[int], size: int) -> None:
        self.ids = tuple(ids)
        self.size = size
        self.request = protocol.sync_read(POSITION.address, size, self.ids)
        self.frame_size = protocol.reply_size(size)
        self.reply_size = protocol.reply_size(size, len(self.ids))
        inside = [register for register in FIELDS if register.end <= POSITION.address + size]
        self._stride = 2 + len(inside)
        self._layout = struct.Struct("<" + _frame_layout(inside, size) * len(self.ids))
        self._heads = tuple(protocol.HEADER + bytes((servo_id, size + 2)) for servo_id in self.ids)
        starts = range(0, self.reply_size, self.frame_size)
        self._protected = [(start + 2, start + self.frame_size) for start in starts]

    def answer(self, data: bytes) -> Answer | None:
        """The numbers in `data` if it is one valid reply of each servo, in order, and nothing else; None
        otherwise."""
        if len(data) != self.reply_size:
            return None
        answer = self.decode(data)
        if answer.heads != self._heads:
            return None
        for start, end in self._protected:
            # the checksum is the complement of the sum of what it protects, so together they are FF
            if sum(data[start:end]) & 0xFF != 0xFF:
                return None
        return answer

    def decode(self, data: bytes) -> Answer:
        """The numbers in an answer, unchecked."""
        numbers, stride = self._layout.unpack(data), self._stride
        rest = tuple([numbers[field::stride] for field in range(3, stride)]) if stride > 3 else ()
        return Answer(numbers[0::stride], numbers[1::stride], signed(numbers[2::stride], POSITION), rest)

    def replies(self, data: bytes) -> dict[int, Status]:
        """Every valid reply in `data` that can belong to this question; of two with one id the first."""
        found: dict[int, Status] = {}
        for status in protocol.parse_statuses(data)[0]:
            if status.servo_id in self.ids and len(status.params) == self.size:
                found.setdefault(status.servo_id, status)
        return found


def questions(size: int) -> tuple[Question, ...]:
    """The same question in eight lengths, to be asked in turn while replies are owed.

    A reply that comes after its deadline may arrive behind the next request, where flushing cannot reach it.
    It has another length then, so it is seen for what it is. The wire keeps order: once a question was
    answered, no older reply can come.
    """
    return tuple(Question(SERVO_IDS, size + extra) for extra in range(8))


def health_of(answer: Answer, answered: NDArray[np.bool_]) -> Health:
    """Health in units, from a long answer. Numbers of servos that are not in `answered` (6,) are blank."""
    velocity, load, voltage, temperature, moving, current = answer.rest
    numbers = np.array(
        (
            signed(velocity, FIELDS[1]),
            signed(load, FIELDS[2]),
            voltage,
            temperature,
            signed(current, FIELDS[6]),
            moving,
        ),
        np.float64,
    )
    numbers *= _UNITS
    if not answered.all():
        numbers[:, ~answered] = np.nan
    return Health(*numbers)


def signed(words: Sequence[int], register: Register) -> Sequence[int]:
    """Sign and magnitude to numbers."""
    assert register.sign_bit is not None
    sign = 1 << register.sign_bit
    if max(words) < sign:  # the usual case
        return words
    return [-(word & sign - 1) if word & sign else word & sign - 1 for word in words]


def goal_frame(goal_steps: Sequence[int]) -> bytes:
    """The SYNC_WRITE of six goal positions. Raises UnsafeActionError for goals that cannot be sent."""
    if len(goal_steps) != N or max(goal_steps) > LARGEST_GOAL_STEPS or min(goal_steps) < -LARGEST_GOAL_STEPS:
        raise UnsafeActionError(
            f"cannot send goals {list(goal_steps)}; {N} steps within +-{LARGEST_GOAL_STEPS} are possible"
        )
    a, b, c, d, e, f = [steps if steps >= 0 else -steps | 0x8000 for steps in goal_steps]
    frame = bytearray(_GOALS.pack(_GOALS_HEAD, 1, a, 2, b, 3, c, 4, d, 5, e, 6, f, 0))
    frame[-1] = ~sum(frame[2:]) & 0xFF
    return bytes(frame)


_GOALS = struct.Struct("<7s" + "BH" * N + "B")
_GOALS_HEAD = protocol.sync_write(GOAL.address, dict.fromkeys(SERVO_IDS, bytes(GOAL.size)))[:7]


def _frame_layout(fields: Sequence[Register], size: int) -> str:
    """`struct` format of one reply: its head, the error byte, `fields`; the checksum is skipped."""
    layout, address = "4sB", POSITION.address
    for register in fields:
        layout += "x" * (register.address - address) + {1: "B", 2: "H"}[register.size]
        address = register.end
    return layout + "x" * (POSITION.address + size - address) + "x"
