"""Requests to single servos, as those who make them see it: a late reply vouches for nothing.

The servos here are a script. `Late` is silent for a while; after that every request is answered by the reply to an
older one and is itself lost.
"""

from collections.abc import Callable

import pytest

from so101_calibration.errors import ServoError
from so101_calibration.servos.line import Line
from so101_robot.bus import protocol, small_bus
from so101_robot.bus.protocol import Instruction, status
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.servo_requests import FENCE_SIZES, ServoRequests
from so101_robot.bus.small_bus import SmallBus
from so101_robot.bus.so101_bus import SO101Bus
from so101_robot.clock import WallClock
from so101_robot.errors import BusTimeoutError

SERVO = 3
GOAL, LOCK, PRESENT = BY_NAME["Goal_Position"], BY_NAME["Lock"], BY_NAME["Present_Position"]


class Handle:
    """What a serial port's speed is set on."""

    baudrate = 0

    def close(self) -> None: ...


class Late:
    """A wire on which nothing is answered, and from `old` on only by that older reply."""

    def __init__(self) -> None:
        self.old = b""
        self.requests: list[bytes] = []

    def send(self, request: bytes) -> None:
        self.requests.append(request)

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        self.requests.append(request)
        return self.old

    def close(self) -> None: ...


class Answering(Late):
    """A wire on which the servo answers again: an older reply first, then the one that was asked for."""

    answers = False

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        super().transact(request, reply_size, timeout_s)
        if not self.answers:
            return b""
        old, self.old = self.old, b""
        return old + status(SERVO, 0, bytes(reply_size - protocol.reply_size(0)))


def bus_on(link: Late) -> SO101Bus:
    bus = SO101Bus("/dev/arm", None, lambda: (Handle(), link))
    bus.connect(handshake=False)
    return bus


def line_on(link: Late) -> Line:
    return Line(Handle(), link, "/dev/arm", WallClock())


def write_by_bus(link: Late) -> Callable[[int], bool]:
    bus = bus_on(link)

    def write(number: int) -> bool:
        try:
            bus.write_register(SERVO, (LOCK, GOAL)[number], number)
        except BusTimeoutError:
            return False
        return True

    return write


def write_by_small_bus(link: Late) -> Callable[[int], bool]:
    bus = SmallBus(link)
    return lambda number: bus.write(SERVO, (small_bus.TORQUE_ENABLE, small_bus.GOAL_POSITION)[number], number)


def read_by_small_bus(link: Late) -> Callable[[int], bool]:
    bus = SmallBus(link)
    blocks = (small_bus.HOMING_OFFSET, small_bus.PRESENT_POSITION)
    return lambda number: bus.read(SERVO, blocks[number]) is not None


def read_by_calibration(link: Late) -> Callable[[int], bool]:
    line = line_on(link)

    def read(number: int) -> bool:
        try:
            line.read(SERVO, (GOAL, PRESENT)[number])
        except ServoError:
            return False
        return True

    return read


CALLERS = {
    "the loop's bus, a write": (write_by_bus, status(SERVO, 0)),
    "the watchdog's bus, a write": (write_by_small_bus, status(SERVO, 0)),
    "the watchdog's bus, a read": (read_by_small_bus, status(SERVO, 0, b"\x10\x01")),
    "calibration, a read": (read_by_calibration, status(SERVO, 0, b"\x10\x01")),
}


@pytest.mark.parametrize(("caller", "late"), CALLERS.values(), ids=CALLERS)
def test_a_late_reply_to_an_older_request_vouches_for_nothing(
    caller: Callable[[Late], Callable[[int], bool]], late: bytes
):
    link = Late()
    request = caller(link)
    assert not request(0)
    link.old = late
    assert not request(1)


@pytest.mark.parametrize(("caller", "late"), CALLERS.values(), ids=CALLERS)
def test_a_servo_that_answers_again_is_believed(caller: Callable[[Late], Callable[[int], bool]], late: bytes):
    link = Answering()
    request = caller(link)
    assert not request(0)
    link.old, link.answers = late, True
    assert request(1)


@pytest.mark.parametrize(("caller", "late"), CALLERS.values(), ids=CALLERS)
def test_a_request_goes_out_also_where_its_reply_could_not_be_trusted(
    caller: Callable[[Late], Callable[[int], bool]], late: bytes
):
    link = Late()
    request = caller(link)
    assert not request(0)
    before = len(link.requests)
    assert not request(1)
    sent = [frame for frame in link.requests[before:] if not is_fence(frame)]
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_the_same_request_again_needs_no_fence():
    link = Answering()
    requests, frame = ServoRequests(), protocol.write(SERVO, GOAL.address, b"\x01\x00")
    assert requests.reply(link, frame, SERVO, 0, 0.0) is None
    link.answers = True
    assert requests.reply(link, frame, SERVO, 0, 0.0) is not None
    assert not any(is_fence(request) for request in link.requests)


def test_after_two_unanswered_requests_not_even_a_repetition_is_taken_at_its_word():
    link = Late()
    requests = ServoRequests()
    first, second = (protocol.write(SERVO, GOAL.address, bytes((value, 0))) for value in (1, 2))
    assert requests.reply(link, first, SERVO, 0, 0.0) is None
    assert requests.reply(link, second, SERVO, 0, 0.0) is None
    link.old = status(SERVO, 0)
    assert requests.reply(link, second, SERVO, 0, 0.0) is None


def test_what_one_servo_owes_is_no_reason_to_doubt_another():
    link = Late()
    requests = ServoRequests()
    assert requests.reply(link, protocol.write(2, GOAL.address, b"\x01\x00"), 2, 0, 0.0) is None
    link.old = status(SERVO, 0)
    assert requests.reply(link, protocol.write(SERVO, GOAL.address, b"\x01\x00"), SERVO, 0, 0.0) is not None


def is_fence(frame: bytes) -> bool:
    return frame[4] == Instruction.READ and frame[6] in FENCE_SIZES
