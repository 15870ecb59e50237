"""Lockstep: the mock arm in memory, in step with a loop.

Simulated time moves when the loop waits and while bytes are on the wire, never by itself. Nothing sleeps
(unless a person wants to watch) and nothing depends on the wall clock, so a run repeats to the byte.
"""

import time

from so101_robot.bus.link import answer_start
from so101_robot.errors import PortError
from so101_robot.mock.arm import MockArm
from so101_robot.mock.wire.wire import Reply

HOST_TIMEOUT_US = 50_000
"""How long LeRobot waits for a status packet [us]: the 50 ms by which it patches feetech-servo-sdk's
timeout.
"""


class LockstepClock:
    """The mock arm's time as a `Clock`: waiting advances the physics.

    Args:
        arm: whose time it is.
        pace: simulated seconds per wall second at most; 1 is for people who watch, 0 runs as fast as
            the machine can. `None`
            takes the arm's `realtime_factor`.
    """

    LATE_S = 0.25
    """A loop that is later than this against the wall clock is not hurried: the pace starts again from
    there.
    """

    def __init__(self, arm: MockArm, pace: float | None = None) -> None:
        self._arm = arm
        self.pace = arm.config.realtime_factor if pace is None else pace
        self._wall_zero_s: float | None = None
        self._sim_zero_s = 0.0

    def now_s(self) -> float:
        return self._arm.now_us / 1e6

    def sleep_until(self, time_s: float) -> None:
        time_us = round(time_s * 1e6)
        self._arm.advance_to(
            time_us + (time_us / 1e6 < time_s)
        )  # never early, or a loop that checks would spin
        if self.pace > 0:
            self._wait_for_wall_clock()

    def _wait_for_wall_clock(self) -> None:
        now_s, wall_s = self.now_s(), time.perf_counter()
        if self._wall_zero_s is None:
            self._wall_zero_s, self._sim_zero_s = wall_s, now_s
        ahead_s = (now_s - self._sim_zero_s) / self.pace - (wall_s - self._wall_zero_s)
        if ahead_s > 0:
            time.sleep(ahead_s)
        elif ahead_s < -self.LATE_S:
            self._wall_zero_s, self._sim_zero_s = wall_s, now_s


class LockstepLink:
    """The bus in memory: the time that bytes spend on the wire is added to simulated time.

    A `so101_robot.bus.link.Link` that means the same by a deadline as `SerialLink`: what has not arrived
    `timeout_s` after the request was handed over is not in the answer, and is still on its way.
    """

    def __init__(self, arm: MockArm) -> None:
        self._arm = arm
        self._on_the_way: list[Reply] = []
        self._open = True

    def send(self, request: bytes) -> None:
        """Put a request on the wire; nothing is read.

        Raises:
            PortError: the link was closed, or the fault plan has unplugged the port.
        """
        arm = self._arm
        if not self._open or arm.unplugged:
            raise PortError(f"cannot write to the mock arm: {'its port is gone' if self._open else 'closed'}")
        arm.advance_to(arm.now_us + len(request) * arm.wire.byte_us)
        replies = arm.exchange(request)
        if replies:
            self._on_the_way = sorted(self._on_the_way + replies, key=lambda reply: reply.start_us)

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        """Discard stale input, send, and return what came until `reply_size` bytes or the deadline (may be
        short).

        Raises:
            PortError: as for `send`.
        """
        arm = self._arm
        deadline_us = arm.now_us + round(timeout_s * 1e6)
        if self._on_the_way:
            self._receive(arm.now_us)
        self.send(request)
        data = b""
        while self._on_the_way:
            arm.advance_to(min(self._complete_us(reply_size - len(data)), deadline_us))
            data += self._receive(arm.now_us)
            if len(data) >= reply_size:
                data = data[answer_start(request, data, reply_size) :]
                if len(data) >= reply_size:
                    return data
            if arm.now_us >= deadline_us:
                return data
        arm.advance_to(deadline_us)
        return data

    def close(self) -> None:
        self._open = False

    def _complete_us(self, missing: int) -> int:
        """When so many bytes may be there: the end of the first reply with which they are [us].

        One reply at a time where the next one begins before it has ended.
        """
        byte_us = self._arm.wire.byte_us
        end_us = 0
        for start_us, data in self._on_the_way:
            if end_us and (missing <= 0 or start_us < end_us):
                break
            end_us = start_us + len(data) * byte_us
            missing -= len(data)
        return end_us

    def _receive(self, now_us: int) -> bytes:
        """What has arrived by `now_us`; the rest stays on its way."""
        byte_us = self._arm.wire.byte_us
        arrived = bytearray()
        rest: list[Reply] = []
        for reply in self._on_the_way:
            start_us, data = reply
            if start_us + len(data) * byte_us <= now_us:
                arrived += data
                continue
            count = max(0, min((now_us - start_us) // byte_us, len(data)))
            arrived += data[:count]
            rest.append(Reply(start_us + count * byte_us, data[count:]) if count else reply)
        self._on_the_way = rest
        return bytes(arrived)


class LockstepSerial:
    """The mock arm as a pyserial object, for clients that bring their own packet code (feetech-servo-sdk,
    LeRobot's bus).

    `write` moves simulated time past the last byte of every reply, so what was answered can be read at
    once. Such clients measure their timeout on the wall clock while they read in a loop. Simulated time
    cannot follow that and stay repeatable, so the first empty read after a request counts as the whole
    wait: it adds `host_timeout_us`, later ones add nothing.
    """

    def __init__(
        self, arm: MockArm, baudrate: int = 1_000_000, host_timeout_us: int = HOST_TIMEOUT_US
    ) -> None:
        self._arm = arm
        self._received = bytearray()
        self._waited = True
        self._baudrate = baudrate
        self._host_timeout_us = host_timeout_us
        self.is_open = True
        self.timeout: float | None = 0
        self.port = self.name = "mock"
        arm.wire.set_host_baud(baudrate)

    @property
    def baudrate(self) -> int:
        return self._baudrate

    @baudrate.setter
    def baudrate(self, baudrate: int) -> None:
        self._baudrate = baudrate
        self._arm.wire.set_host_baud(baudrate)

    @property
    def in_waiting(self) -> int:
        return len(self._received)

    def write(self, data: bytes) -> int:
        """Send a request (any iterable of byte values, as the SDK has them); returns its length.

        Raises:
            PortError: the port was closed, or the fault plan has unplugged it.
        """
        arm = self._arm
        if not self.is_open or arm.unplugged:
            raise PortError(
                f"cannot write to the mock arm: {'the port is gone' if self.is_open else 'closed'}"
            )
        request = bytes(data)
        arm.advance_to(arm.now_us + len(request) * arm.wire.byte_us)
        for reply in sorted(arm.exchange(request), key=lambda reply: reply.start_us):
            arm.advance_to(reply.start_us + len(reply.data) * arm.wire.byte_us)
            self._received += reply.data
        self._waited = False
        return len(request)

    def read(self, size: int = 1) -> bytes:
        """At most `size` of the bytes that have arrived; never blocks."""
        if not self._received:
            if not self._waited:
                self._waited = True
                self._arm.advance_to(self._arm.now_us + self._host_timeout_us)
            return b""
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def flush(self) -> None:
        """Nothing to do: what was written has been sent."""

    def reset_input_buffer(self) -> None:
        self._received.clear()

    def reset_output_buffer(self) -> None:
        """Nothing to do: what was written has been sent."""

    def close(self) -> None:
        self.is_open = False
