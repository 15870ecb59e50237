"""Which servos are on the line, at any baud rate and with any id, and what it takes to make them 1 to 6 at 1 Mbaud.

Looking writes nothing. Two servos with one id answer at once, so their answers garble each other in about 4 of 10
reads: an id whose reads are garbled that often is reported as shared, because nothing can address one of the two.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import ServoError
from so101_calibration.servos.line import LOCK, TORQUE, Line
from so101_robot.bus import protocol, registers
from so101_robot.bus.link import BAUD
from so101_robot.bus.registers import BAUD_RATES, BY_NAME
from so101_robot.bus.setup import value_of
from so101_robot.joints import JOINTS, SERVO_IDS

READS = 16
"""Reads of an id to tell whether it is shared: two servos with one id pass as one with a chance of 0.6^16 = 0.0003."""
SHARED = 0.2
"""Share of garbled reads from which an id counts as shared; a good cable garbles none."""

TEMPORARY_ID = 100
"""First id that is used on the way when ids change places."""

ID, BAUD_RATE = BY_NAME["ID"], BY_NAME["Baud_Rate"]
ADDRESS, SIZE = BY_NAME["Present_Position"].address, 15


class FoundServo(NamedTuple):
    """A servo, or several that share an id."""

    baud: int
    servo_id: int
    shared: bool
    row: NDArray[np.uint8] | None
    """(87,) its registers, None if they cannot be read."""

    def describe(self) -> str:
        """For people: what it is and where."""
        if self.row is None:
            kind = "registers unreadable"
        else:
            firmware = f"{self.row[0]}.{self.row[1]}"
            model = value_of(self.row, "Model_Number")
            name = "STS3215" if model == registers.MODEL_NUMBER else f"model {model}"
            kind = f"{name}, firmware {firmware}, {value_of(self.row, 'Present_Voltage') / 10:.1f} V"
        shared = ", shared by two servos or more" if self.shared else ""
        joint = f" ({JOINTS[SERVO_IDS.index(self.servo_id)]})" if self.servo_id in SERVO_IDS else ""
        return f"id {self.servo_id}{joint} at {self.baud} baud: {kind}{shared}"


class Write(NamedTuple):
    """Give the servo `old_id` at `old_baud` another id and 1 Mbaud."""

    old_baud: int
    old_id: int
    new_id: int

    def describe(self) -> str:
        """For people: what will be written."""
        parts = [] if self.old_id == self.new_id else [f"ID {self.old_id} -> {self.new_id}"]
        if self.old_baud != BAUD:
            parts.append(f"Baud_Rate {self.old_baud} -> {BAUD}")
        return f"servo {self.old_id} at {self.old_baud} baud: {', '.join(parts)}"


def scan(line: Line, progress: Callable[[int], None] = lambda baud: None) -> list[FoundServo]:
    """Every servo that answers, fastest speed first. The line is left at 1 Mbaud."""
    try:
        return [found for baud in BAUD_RATES for found in _at(line, baud, progress)]
    finally:
        line.set_baud(BAUD)


def assign(found: Sequence[FoundServo]) -> dict[int, FoundServo]:
    """Which servo gets which id of 1 to 6, as far as that is certain without moving a joint.

    Servos that have a right id keep it. A single other one gets the single missing id, unless it has a temporary id:
    an interrupted exchange of ids leaves such an id, and then the ids of the others may be wrong too.
    """
    own: dict[int, FoundServo] = {}
    for servo in found:
        if servo.servo_id in SERVO_IDS and not servo.shared:
            own.setdefault(servo.servo_id, servo)
    left = [s for s in found if s not in own.values() and not s.shared]
    missing = [servo_id for servo_id in SERVO_IDS if servo_id not in own]
    if len(left) == len(missing) == 1 and left[0].servo_id < TEMPORARY_ID:
        own[missing[0]] = left[0]
    return own


def plan(wanted: dict[int, FoundServo], found: Sequence[FoundServo]) -> list[Write]:
    """The writes, in an order in which no two servos ever have one id; an exchange uses a free one on the way."""
    taken = {servo.servo_id for servo in found}
    free = (i for i in range(TEMPORARY_ID, protocol.MAX_ID) if i not in taken)
    todo = {
        s.servo_id: (s.baud, target) for target, s in wanted.items() if s.servo_id != target or s.baud != BAUD
    }
    writes: list[Write] = []
    while todo:
        ready = [old for old, (_, new) in todo.items() if old == new or new not in taken]
        if not ready:  # every servo waits for another one: move one to a free id
            old = next(iter(todo))
            baud, target = todo.pop(old)
            spare = next(free)
            writes.append(Write(baud, old, spare))
            taken = taken - {old} | {spare}
            todo[spare] = BAUD, target
            continue
        old = ready[0]
        baud, target = todo.pop(old)
        writes.append(Write(baud, old, target))
        taken = taken - {old} | {target}
    return writes


def carry_out(line: Line, write: Write) -> None:
    """Write one servo's id and baud rate to its EEPROM and look at it in its new place.

    Id first, then the speed, as LeRobot does; cut off in between, the next `scan` finds it. Raises ServoError.
    """
    line.set_baud(write.old_baud)
    try:
        line.write(write.old_id, TORQUE, 0)
        line.write(write.old_id, LOCK, 0)
        if write.new_id != write.old_id:
            line.write_word(write.old_id, ID, bytes([write.new_id]), new_id=write.new_id)
        # also if it has it already: what was written with Lock = 1 is lost at power-off
        line.send(write.new_id, BAUD_RATE, bytes([BAUD_RATES.index(BAUD)]))
        line.set_baud(BAUD)
        if line.read(write.new_id, BAUD_RATE) != BAUD_RATES.index(BAUD):
            raise ServoError(
                f"servo {write.new_id} did not take {BAUD} baud - switch the arm off and on, try again"
            )
        line.write(write.new_id, LOCK, 1)
    finally:
        line.set_baud(BAUD)


def _at(line: Line, baud: int, progress: Callable[[int], None]) -> list[FoundServo]:
    progress(baud)
    line.set_baud(baud)
    statuses, noise = line.ping(protocol.BROADCAST)
    ids = {status.servo_id for status in statuses}
    # noise: some servo answers garbled, so every id is asked
    candidates = range(protocol.MAX_ID + 1) if noise else sorted(ids | set(SERVO_IDS))
    ids |= {servo_id for servo_id in candidates if servo_id not in ids and _answers(line, servo_id)}
    return [found for servo_id in sorted(ids) if (found := _examine(line, baud, servo_id)) is not None]


def _answers(line: Line, servo_id: int) -> bool:
    statuses, noise = line.ping(servo_id)
    return bool(statuses or noise)


def _examine(line: Line, baud: int, servo_id: int) -> FoundServo | None:
    """Read it many times; None if nothing answers: the id came from two garbled replies."""
    garbled = clear = 0
    for _ in range(READS):
        statuses, noise = line.ask(servo_id, ADDRESS, SIZE)
        clear += len(statuses) == 1 and not noise
        garbled += bool(noise) or len(statuses) > 1
    if not clear and not garbled:
        return None
    shared = garbled / READS >= SHARED
    return FoundServo(baud, servo_id, shared, None if shared else line.read_all(servo_id))
