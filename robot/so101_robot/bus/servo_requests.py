"""Requests to single servos: the reply that belongs to a request, or none.

A reply may come after its deadline, when another request is already on its way. Replies to reads of different sizes
are told apart by their length, but a bare acknowledgement looks like any other: that of an older write would vouch for
the next one. So a servo that owes a reply is first asked for a number of bytes that no other request asks for. The wire
keeps order: behind the reply to that, no older one can come (`_fence`).

Used by the bus of the control loop, by the watchdog's small bus and by calibration, so it loads nothing large.
"""

from so101_robot.bus import protocol
from so101_robot.bus.link import Link
from so101_robot.bus.protocol import Status

TRIES = 3
"""A request is repeated if its reply is lost or garbled."""

FENCE_SIZES = range(5, 13)
"""Sizes [bytes] that no other request to a single servo has, used in turn."""

SEVERAL = b""
"""Owed are replies to more than one request."""


class ServoRequests:
    """Requests to the servos of one bus, one at a time. Remembers which servos owe a reply."""

    def __init__(self) -> None:
        self._owed: dict[int, bytes] = {}
        """Servo id -> the request that it has not answered."""
        self._fences = 0

    def reply(
        self, link: Link, request: bytes, servo_id: int, size: int, timeout_s: float, tries: int = TRIES
    ) -> Status | None:
        """Send a request to one servo, again if need be.

        Args:
            link: the way to the servos.
            request: the frame.
            servo_id: who has to answer.
            size: bytes that a reply carries; 0 for an acknowledgement.
            timeout_s: for each try [s].
            tries: how often the request is sent at most.

        Returns:
            The servo's reply, None if no try brought one. The request goes out in any case, also where no reply
            could be trusted.

        Raises:
            PortError: the port is gone.
        """
        certain = self._owed.get(servo_id, request) == request
        for _ in range(tries):
            certain = certain or self._fence(link, servo_id, timeout_s)
            data = link.transact(request, protocol.reply_size(size), timeout_s)
            found = _reply_in(data, servo_id, size)
            if certain and found is not None:
                return found
            self._owed[servo_id] = request if certain else SEVERAL
        return None

    def _fence(self, link: Link, servo_id: int, timeout_s: float) -> bool:
        """Whether it is certain from now on that no reply to an older request can still come."""
        size = FENCE_SIZES[self._fences % len(FENCE_SIZES)]
        self._fences += 1
        data = link.transact(protocol.read(servo_id, 0, size), protocol.reply_size(size), timeout_s)
        if _reply_in(data, servo_id, size) is None:
            return False
        self._owed.pop(servo_id, None)
        return True


def _reply_in(data: bytes, servo_id: int, size: int) -> Status | None:
    """The first valid reply of one servo with `size` bytes."""
    for status in protocol.parse_statuses(data)[0]:
        if status.servo_id == servo_id and len(status.params) == size:
            return status
    return None
