"""The two frames of every tick, as pure functions: the question that all servos answer, and the goals that
none answers.

A `Question` is a SYNC_READ with its bytes made beforehand; it knows what its answer looks like, frame by
frame, and nothing else counts as one. `goal_frame` is the SYNC_WRITE of six goals.

Both run in every tick, so they are compiled (numba, cached on disk): in plain Python they cost several times
the system calls around them. An answer that is not six valid replies in order goes through the tolerant
parser of `protocol`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from so101_robot.bus import protocol, registers
from so101_robot.bus.protocol import Status
from so101_robot.bus.registers import BY_NAME
from so101_robot.errors import UnsafeActionError
from so101_robot.joints import SERVO_IDS
from so101_robot.state import Health

N = len(SERVO_IDS)

POSITION = BY_NAME["Present_Position"]
GOAL = BY_NAME["Goal_Position"]

HEALTH_SIZE = BY_NAME["Present_Current"].end - POSITION.address
"""Position, velocity, load, voltage, temperature, pending, status, moving, goal and current: one block of 15
bytes."""

LARGEST_GOAL_STEPS = 32766
"""One more would be FF FF on the wire, which a servo takes for the header of the next frame."""

FIELDS = (
    ("Present_Velocity", 1.0),
    ("Present_Load", 0.1),
    ("Present_Voltage", registers.VOLTAGE_UNIT_V),
    ("Present_Temperature", 1.0),
    ("Present_Current", registers.CURRENT_UNIT_A * 1e3),
    ("Moving", 1.0),
)
"""What is read out of a long answer, with its unit, in the order of `Health`."""

_PARAMS = 5
"""Where the params of a reply begin: behind FF FF, id, length and error byte."""


class Answer(NamedTuple):
    """One answer, servo by servo."""

    position_steps: NDArray[np.int32]
    errors: NDArray[np.uint8]
    data: NDArray[np.uint8]
    """The bytes of all replies."""


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
        self._ids = np.array(self.ids, np.uint8)

    def answer(self, data: bytes) -> Answer | None:
        """The numbers in `data` if it is one valid reply of each servo, in order, and nothing else; None
        otherwise."""
        if len(data) != self.reply_size:
            return None
        answer = decode(data, len(self.ids))
        return answer if _is_clean(answer.data, self._ids) else None

    def replies(self, data: bytes) -> dict[int, Status]:
        """Every valid reply in `data` that can belong to this question; of two with one id the first."""
        found: dict[int, Status] = {}
        for status in protocol.parse_statuses(data)[0]:
            if status.servo_id in self.ids and len(status.params) == self.size:
                found.setdefault(status.servo_id, status)
        return found


def decode(data: bytes, servos: int) -> Answer:
    """The numbers in the replies of `servos` servos, all of one length and back to back, unchecked."""
    raw = np.frombuffer(data, np.uint8)
    answer = Answer(np.empty(servos, np.int32), np.empty(servos, np.uint8), raw)
    _decode(raw, answer.position_steps, answer.errors)
    return answer


def questions(size: int, ids: Sequence[int] = SERVO_IDS) -> tuple[Question, ...]:
    """The same question in eight lengths, to be asked in turn while replies are owed.

    A reply that comes after its deadline may arrive behind the next request, where flushing cannot reach it.
    It has another length then, so it is seen for what it is. The wire keeps order: once a question was
    answered, no older reply can come.
    """
    return tuple(Question(ids, size + extra) for extra in range(8))


def health_of(answer: Answer, answered: NDArray[np.bool_]) -> Health:
    """Health in units, from a long answer. Numbers of servos that are not in `answered` (6,) are blank."""
    numbers = np.empty((len(FIELDS), len(answered)))
    _read_fields(answer.data, answered, _OFFSETS, _SIZES, _SIGNS, _UNITS, numbers)
    return Health(*numbers)


def goal_frame(goal_steps: ArrayLike, ids: Sequence[int] = SERVO_IDS) -> bytes:
    """The SYNC_WRITE of six goal positions, of which those of `ids` are in it.

    Raises UnsafeActionError for goals that cannot be sent.
    """
    goals = np.asarray(goal_steps, np.int64)
    frame = np.empty(len(_GOALS_BLANK), np.uint8)
    if goals.shape != (N,) or not _put_goals(goals, _GOALS_BLANK, frame):
        raise UnsafeActionError(
            f"cannot send goals {goals.tolist()}; {N} steps within +-{LARGEST_GOAL_STEPS} are possible"
        )
    if len(ids) == N:
        return frame.tobytes()
    blocks = {
        servo_id: frame[8 + 3 * i : 10 + 3 * i].tobytes()
        for i, servo_id in enumerate(SERVO_IDS)
        if servo_id in ids
    }
    return protocol.sync_write(GOAL.address, blocks)


@njit(cache=True)
def _is_clean(data: Any, ids: Any) -> bool:
    """Every reply has its header, its servo's id, its length and the right checksum."""
    size = len(data) // len(ids)
    for i in range(len(ids)):
        start = i * size
        if data[start] != 0xFF or data[start + 1] != 0xFF:
            return False
        if data[start + 2] != ids[i] or data[start + 3] != size - 4:
            return False
        total = 0
        for k in range(start + 2, start + size):
            total += data[k]
        # the checksum is the complement of the sum of what it protects, so together they are FF
        if total & 0xFF != 0xFF:
            return False
    return True


@njit(cache=True)
def _decode(data: Any, position_steps: Any, errors: Any) -> None:
    size = len(data) // len(position_steps)
    for i in range(len(position_steps)):
        start = i * size
        errors[i] = data[start + 4]
        word = int(data[start + 5]) | int(data[start + 6]) << 8
        position_steps[i] = -(word & 0x7FFF) if word & 0x8000 else word


@njit(cache=True)
def _read_fields(
    data: Any, answered: Any, offsets: Any, sizes: Any, signs: Any, units: Any, numbers: Any
) -> None:
    size = len(data) // len(answered)
    for i in range(len(answered)):
        for field in range(len(offsets)):
            if not answered[i]:
                numbers[field, i] = np.nan
                continue
            at = i * size + offsets[field]
            word = int(data[at])
            if sizes[field] == 2:
                word |= int(data[at + 1]) << 8
            if signs[field] and word & signs[field]:
                word = -(word & (signs[field] - 1))
            numbers[field, i] = word * units[field]


@njit(cache=True)
def _put_goals(goals: Any, blank: Any, frame: Any) -> bool:
    """Fill a SYNC_WRITE; False if a goal does not fit."""
    frame[:] = blank
    for i in range(len(goals)):
        steps = goals[i]
        if abs(steps) > LARGEST_GOAL_STEPS:
            return False
        word = steps if steps >= 0 else -steps | 0x8000
        frame[8 + 3 * i] = word & 0xFF
        frame[9 + 3 * i] = word >> 8
    total = 0
    for k in range(2, len(frame) - 1):
        total += frame[k]
    frame[-1] = ~total & 0xFF
    return True


_GOALS_BLANK = np.frombuffer(
    protocol.sync_write(GOAL.address, dict.fromkeys(SERVO_IDS, bytes(GOAL.size))), np.uint8
)
"""Six goals of 0, to be filled in: the low byte of joint i is at 8 + 3 i."""

_ROWS = [BY_NAME[name] for name, _ in FIELDS]
_OFFSETS = np.array([row.address - POSITION.address + _PARAMS for row in _ROWS])
_SIZES = np.array([row.size for row in _ROWS])
_SIGNS = np.array([0 if row.sign_bit is None else 1 << row.sign_bit for row in _ROWS])
_UNITS = np.array([unit for _, unit in FIELDS])
