"""Real time: the mock arm behind a pseudo-terminal, for any program.

A host opens the path as it would open `/dev/ttyACM0`. Physics follows the wall clock. On a machine that is
too slow the arm falls behind, drops the lost time and counts it, rather than chase it.
"""

import contextlib
import ctypes
import fcntl
import heapq
import os
import select
import struct
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from so101_robot.errors import ConfigError
from so101_robot.mock.arm import TICK_US, MockArm


class Transfer(NamedTuple):
    """One chunk of bytes as it passed the port: simulated time [us], who sent it, what it was."""

    time_us: int
    sender: Literal["host", "servo"]
    data: bytes


# Linux's termios2 has the speed as a number, also where there is no Bxxx constant (asm-generic/ioctls.h)
_TCGETS2 = 0x802C542A
_TERMIOS2_SIZE = 44
_PR_SET_TIMERSLACK = 29
_SPIN_S = 60e-6  # the last stretch before a reply is due is not slept: waking up takes about that long
_TRACE_LENGTH = 20_000


class PtyServer:
    """A `MockArm` in real time behind a pseudo-terminal.

    Call `serve` (or `step` from a loop of your own) in one thread; nothing here is thread-safe. The slave
    side stays open, so hosts may come and go; it is raw, as a serial port is.

    Args:
        arm: the arm; its time follows the wall clock from the first `step` on.
        link: a stable name for the terminal, made as a symbolic link.
        pace: hold every reply back until its last byte would have left the wire; off, replies leave at once.

    Raises:
        ConfigError: `link` exists already (unless it is what a killed mock arm has left) or cannot be made.
    """

    SLICE_TICKS = 4
    """Physics between two looks at the port, so that no request waits for longer than about a fifth of a
    millisecond.
    """
    DROP_US = 100_000
    """Further behind than this, the missing time is dropped."""
    LATE_US = 5_000
    """A reply that starts later than this after its request was delayed on purpose, and is, with or without
    pace.
    """
    IDLE_S = 0.002
    """Without traffic the physics moves in steps of this length."""
    STARVED_S = 0.025
    """The port is looked at every few milliseconds. After a longer pause than this the machine had no time for the
    arm; LeRobot waits for 50 ms for an answer."""

    def __init__(self, arm: MockArm, link: Path | None = None, pace: bool = True) -> None:
        self.arm = arm
        self.pace = pace
        self.link = link
        self.trace: deque[Transfer] = deque(maxlen=_TRACE_LENGTH)
        self.requests = 0
        self.starved = 0
        """How often the port was not looked at for longer than `STARVED_S`."""
        self.longest_pause_s = 0.0
        """The longest time for which it was not looked at."""
        self._looked_s: float | None = None
        self.dropped_us = 0
        self._zero_s: float | None = None
        self._due: list[tuple[int, int, bytes]] = []  # heap of (end of the last byte [us], order, data)
        self._order = 0
        self._master = self._slave = -1
        self._termios2 = bytearray(_TERMIOS2_SIZE)
        self._speed = b""
        self.path = ""
        if link is not None and _is_stale(link):
            link.unlink()  # of a mock arm that was killed: its terminal has gone
        if link is not None and os.path.lexists(link):
            raise ConfigError(f"--port_link {link}: exists already; choose another name or remove it")
        self._open()

    @property
    def behind_s(self) -> float:
        """Wall time that the arm did not live through because the machine was too slow [s]."""
        return self.dropped_us * 1e-6

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def serve(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop()` is true; it is asked at least every few milliseconds."""
        while not stop():
            self.step()

    def step(self, extra_fds: tuple[int, ...] = ()) -> list[int]:
        """Catch up with the wall clock, then wait (2 ms at most) for a request, a reply that is due, or
        other input.

        Returns:
            Those of `extra_fds` that became readable.
        """
        now_us = self._catch_up()
        if self._due:
            self._write_due(now_us)
        ready = self._wait(self._timeout_s(), extra_fds)
        self._note_pause()
        if self._master in ready:
            ready.remove(self._master)
            self._receive()
        return ready

    def _note_pause(self) -> None:
        """Whether the machine let this process run since the port was looked at last."""
        now_s = time.perf_counter()
        if self._looked_s is not None:
            pause_s = now_s - self._looked_s
            self.longest_pause_s = max(self.longest_pause_s, pause_s)
            self.starved += pause_s > self.STARVED_S
        self._looked_s = now_s

    def starved_in_words(self) -> str:
        """What a person should know of a machine that was too busy; empty: it was not."""
        if not self.starved:
            return ""
        return (
            f"starved {self.starved} times, for up to {1e3 * self.longest_pause_s:.0f} ms: the machine had no time for "
            "the mock arm"
        )

    def unplug(self) -> None:
        """Pull the cable: hosts that have the port open see it disappear (EIO), later ones find nothing."""
        self._due.clear()
        for fd in (self._master, self._slave):
            if fd >= 0:
                os.close(fd)
        self._master = self._slave = -1
        if self.link is not None:
            with contextlib.suppress(OSError):  # whoever took its place may have removed the folder, too
                if os.readlink(self.link) == self.path:
                    self.link.unlink()

    def replug(self) -> None:
        """Put the cable back. As with a real adapter the path may be another one; only a link keeps its
        name.
        """
        if not self.plugged:
            self._open()

    def close(self) -> None:
        self.unplug()

    def __enter__(self) -> "PtyServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        with contextlib.suppress(
            OSError
        ):  # says that the terminal is served; a host's own locks are others (flock)
            fcntl.lockf(self._slave, fcntl.LOCK_EX | fcntl.LOCK_NB)
        settings = termios.tcgetattr(self._slave)
        if sys.platform == "linux":
            settings[4] = settings[5] = termios.B1000000  # for hosts that never set a speed
        termios.tcsetattr(self._slave, termios.TCSANOW, settings)
        os.set_blocking(self._master, False)
        self._speed = b""
        self.path = os.ttyname(self._slave)
        if self.link is None:
            return
        try:
            self.link.symlink_to(self.path)
        except OSError as error:
            self.unplug()
            raise ConfigError(f"--port_link {self.link}: {error.strerror}") from error

    def _now_us(self) -> int:
        """Where simulated time should be by the wall clock."""
        wall_s = time.perf_counter()
        if self._zero_s is None:
            self._zero_s = wall_s - self.arm.now_us * 1e-6
            _wake_precisely()
        return int((wall_s - self._zero_s) * 1e6) - self.dropped_us

    def _catch_up(self) -> int:
        """Move physics towards the wall clock by one slice at most; returns where the wall clock is [us]."""
        now_us = self._now_us()
        late_us = now_us - self.arm.now_us
        if late_us > self.DROP_US:
            lost_us = late_us - self.DROP_US // 2
            self.dropped_us += lost_us
            now_us -= lost_us
        self.arm.advance_to(min(now_us, self.arm.now_us + self.SLICE_TICKS * TICK_US))
        return now_us

    def _timeout_s(self) -> float:
        now_us = self._now_us()
        if now_us - self.arm.now_us > TICK_US:
            return 0.0
        if not self._due:
            return self.IDLE_S
        return min(max((self._due[0][0] - now_us) * 1e-6 - _SPIN_S, 0.0), self.IDLE_S)

    def _wait(self, timeout_s: float, extra_fds: tuple[int, ...]) -> list[int]:
        watched = [self._master, *extra_fds] if self.plugged else [*extra_fds]
        if not watched:
            time.sleep(timeout_s)
            return []
        return select.select(watched, (), (), timeout_s)[0]

    def _receive(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        arm = self.arm
        if self._host_speed_changed():
            arm.wire.set_host_baud(self._host_baud())
        arrived_us = max(arm.now_us, self._now_us())
        if self.pace:
            arrived_us += len(data) * arm.wire.byte_us
            arm.advance_to(min(arrived_us, arm.now_us + self.SLICE_TICKS * TICK_US))
        replies = arm.exchange(data, arrived_us)
        now = b""
        for reply in replies:
            if self.pace or reply.start_us - arrived_us > self.LATE_US:
                self._order += 1
                end_us = reply.start_us + len(reply.data) * arm.wire.byte_us
                heapq.heappush(self._due, (end_us, self._order, reply.data))
            else:
                now += reply.data
        if now:
            self._write(now)
        self.requests += 1
        self.trace.append(Transfer(arrived_us, "host", data))
        if now:
            self.trace.append(Transfer(arrived_us, "servo", now))

    def _write_due(self, now_us: int) -> None:
        spin_until_us = now_us + int(_SPIN_S * 1e6)
        while self._due and self._due[0][0] <= spin_until_us:
            end_us, _, data = heapq.heappop(self._due)
            while self._now_us() < end_us:
                pass
            self.trace.append(Transfer(end_us, "servo", data))
            self._write(data)

    def _write(self, data: bytes) -> None:
        """What the terminal's buffer (about 8 kB) cannot take is lost, as on a port that nobody reads."""
        if self.plugged:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)

    def _host_speed_changed(self) -> bool:
        """Whether the host has set another speed since; on macOS a pseudo-terminal does not tell its speed, and every
        host is taken to have that of the arm."""
        if sys.platform != "linux":
            return False
        fcntl.ioctl(self._master, _TCGETS2, self._termios2)
        speed = bytes(self._termios2[36:44])
        if speed == self._speed:
            return False
        self._speed = speed
        return True

    def _host_baud(self) -> int:
        return struct.unpack("=II", self._speed)[1]


def _wake_precisely() -> None:
    """Ask the kernel to end this thread's short sleeps on time (Linux may delay them by 50 us otherwise)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)


def _is_stale(link: Path) -> bool:
    """Whether it is a link to a terminal that there is no more, or whose number another terminal has got since."""
    if not link.is_symlink() or not os.readlink(link).startswith("/dev/pts/"):
        return False
    try:
        newer = link.stat().st_ctime_ns > link.lstat().st_ctime_ns
    except FileNotFoundError:
        return True
    return newer and not _is_served(link)  # `chmod` makes it newer, too


def _is_served(terminal: Path) -> bool:
    """Whether another process holds the lock that a mock arm has on its terminal."""
    try:
        fd = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # another user's
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)  # and with it the lock, if it was to be had
    return False
