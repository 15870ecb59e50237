"""The two frames of every tick, as pure functions: the question that all servos answer, and the goals that
none does.

A `Question` is a SYNC_READ with its bytes made beforehand; it knows what its answer looks like, frame by
frame, and nothing else counts as one. `goal_frame` is the SYNC_WRITE of six goals.

The usual answer, six valid replies in order, is recognised in about two microseconds and read as one numpy
record array; any other goes through the tolerant parser of `protocol`.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

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
"""Position, velocity, load, voltage, temperature, pending, status, moving, goal and current in one block of
15 bytes."""

LARGEST_GOAL_STEPS = 32766
"""One more would be FF FF on the wire, which a servo takes for the header of the next frame."""


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
        self.layout = layout_of(size)
        heads = [protocol.HEADER + bytes((servo_id, size + 2)) for servo_id in self.ids]
        self._frames = [
            (i * self.frame_size, (i + 1) * self.frame_size, head) for i, head in enumerate(heads)
        ]

    def is_answered_by(self, data: bytes) -> bool:
        """Whether `data` is one valid reply of each servo, in order, and nothing else."""
        if len(data) != self.reply_size:
            return False
        for start, end, head in self._frames:
            # the checksum is the complement of the sum of what it protects, so together they are FF
            if data[start : start + 4] != head or sum(data[start + 2 : end]) & 0xFF != 0xFF:
                return False
        return True

    def replies(self, data: bytes) -> dict[int, Status]:
        """Every valid reply in `data` that can belong to this question; of two with one id the first."""
        statuses = [
            s
            for s in protocol.parse_statuses(data)[0]
            if s.servo_id in self.ids and len(s.params) == self.size
        ]
        return {status.servo_id: status for status in reversed(statuses)}


def questions(size: int) -> tuple[Question, ...]:
    """The same question in eight lengths, to be asked in turn while replies are owed.

    A reply that comes after its deadline may arrive behind the next request, where flushing cannot reach it.
    It has another length then, so it is seen for what it is. The wire keeps order: once a question was
    answered, no older reply can come.
    """
    return tuple(Question(SERVO_IDS, size + extra) for extra in range(8))


def goal_frame(goal_steps: Sequence[int]) -> bytes:
    """The SYNC_WRITE of six goal positions. Raises UnsafeActionError for one that cannot be sent."""
    words = [steps if steps >= 0 else -steps | 0x8000 for steps in goal_steps]
    if len(words) != N or max(goal_steps) > LARGEST_GOAL_STEPS or min(goal_steps) < -LARGEST_GOAL_STEPS:
        raise UnsafeActionError(
            f"cannot send goals {list(goal_steps)}; {N} steps within +-{LARGEST_GOAL_STEPS} are possible"
        )
    a, b, c, d, e, f = words
    frame = bytearray(_GOALS.pack(_GOALS_HEAD, 1, a, 2, b, 3, c, 4, d, 5, e, 6, f, 0))
    frame[-1] = ~sum(frame[2:]) & 0xFF
    return bytes(frame)


_GOALS = struct.Struct("<7s" + "BH" * N + "B")
_GOALS_HEAD = protocol.sync_write(GOAL.address, dict.fromkeys(SERVO_IDS, bytes(GOAL.size)))[:7]

_FIELDS = {
    "position": POSITION,
    "velocity": BY_NAME["Present_Velocity"],
    "load": BY_NAME["Present_Load"],
    "voltage": BY_NAME["Present_Voltage"],
    "temperature": BY_NAME["Present_Temperature"],
    "moving": BY_NAME["Moving"],
    "current": BY_NAME["Present_Current"],
}


def layout_of(size: int) -> np.dtype[Any]:
    """A reply frame with `size` bytes from Present_Position on, as a numpy record."""
    inside = {name: r for name, r in _FIELDS.items() if r.end <= POSITION.address + size}
    return np.dtype(
        {
            "names": ["error", *inside],
            "formats": ["u1", *(f"<u{r.size}" for r in inside.values())],
            "offsets": [4, *(5 + r.address - POSITION.address for r in inside.values())],
            "itemsize": protocol.reply_size(size),
        }
    )


def signed(words: NDArray[np.uint16], register: Register) -> NDArray[np.int32]:
    """Sign and magnitude to numbers."""
    assert register.sign_bit is not None
    sign = 1 << register.sign_bit
    value = words.astype(np.int32)
    if value.max() < sign:  # the usual case, and three times faster
        return value
    return np.where(value & sign, -(value & sign - 1), value & sign - 1)


def health_of(frames: Any, answered: NDArray[np.bool_]) -> Health:
    unknown = np.where(answered, 0.0, np.nan)

    def scaled(name: str, unit: float) -> NDArray[np.float64]:
        register = _FIELDS[name]
        raw: NDArray[Any] = frames[name] if register.sign_bit is None else signed(frames[name], register)
        return np.asarray(raw * unit + unknown, np.float64)

    return Health(
        velocity_steps_s=scaled("velocity", 1.0),
        load_percent=scaled("load", 0.1),
        voltage_v=scaled("voltage", registers.VOLTAGE_UNIT_V),
        temperature_c=scaled("temperature", 1.0),
        current_ma=scaled("current", registers.CURRENT_UNIT_A * 1e3),
        moving=scaled("moving", 1.0),
    )
