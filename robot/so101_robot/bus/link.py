"""Bytes to the servos and back: one request, one answer, one deadline.

`SerialLink` is the fast path over an open serial port: stale input is thrown away before every request, the
answer is waited for in `poll`, never in a busy loop, and what came until the deadline is returned, complete
or not. It knows frames only as far as it must: the echo of its own request and noise in front of the first
header do not count as an answer.

`open_serial` opens a port for this process alone and says clearly why it cannot. The mock arm's twin of
`SerialLink` is `so101_robot.mock.lockstep.LockstepLink`.
"""

import contextlib
import errno
import fcntl
import os
import select
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import serial

from so101_robot.bus.protocol import BROADCAST, HEADER
from so101_robot.errors import PortError

BAUD = 1_000_000
"""Speed of an SO-101's bus as `lerobot-setup-motors` sets it [bit/s]."""

WRITE_TIMEOUT_S = 0.1
"""A request is 40 bytes at most; an output queue that has no room for it after this long belongs to a dead
port."""

PORT_PATTERNS = (
    ("/dev/cu.usbmodem*", "/dev/cu.usbserial*", "/dev/cu.wchusbserial*")
    if sys.platform == "darwin"
    else ("/dev/serial/by-id/*", "/dev/ttyACM*", "/dev/ttyUSB*")
)
"""Where the system shows USB serial adapters; Linux's by-id names, and macOS's, stay the same after replugging."""
ADAPTERS = ("/dev/cu.", "/dev/tty.") if sys.platform == "darwin" else ("/dev/tty",)
"""What a serial adapter's device begins with, and a pseudo-terminal's does not (/dev/pts/3; on macOS /dev/ttys003)."""


class Link(Protocol):
    """A way to the servos that takes and gives bytes."""

    def send(self, request: bytes) -> None:
        """Send a request that nobody answers. Raises PortError when the port is gone."""
        ...

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        """Discard stale input, send `request`, return what came until `reply_size` bytes or the deadline (may
        be short).

        Raises PortError when the port is gone.
        """
        ...

    def close(self) -> None:
        """Give the port back. May be called twice."""
        ...


class SerialLink:
    """A `Link` over an open, non-blocking serial file descriptor, which stays the caller's to close.

    Args:
        fd: what `serial.Serial.fileno()` returns.
        name: the port as the user knows it, for messages.
    """

    def __init__(self, fd: int, name: str = "the serial port") -> None:
        self._fd = fd
        self._name = name
        self._answers = waiting_for(fd, "r")

    def send(self, request: bytes) -> None:
        try:
            self._write(request)
        except OSError as error:
            raise self._gone(error) from error

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        try:
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._write(request)
            data = b""
            while self._answers(max(deadline_s - time.monotonic(), 0.0)):
                data += self._read()
                if len(data) >= reply_size:
                    data = data[answer_start(request, data, reply_size) :]
                    if len(data) >= reply_size:
                        break
            return data
        except (OSError, termios.error) as error:  # termios.error is not an OSError
            raise self._gone(error) from error

    def close(self) -> None:
        """Nothing: the descriptor belongs to who opened it."""

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return b""
        if not data:  # readable, yet nothing to read: the device is gone
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data

    def _write(self, request: bytes) -> None:
        try:
            sent = os.write(self._fd, request)
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            self._write_rest(request[sent:])

    def _write_rest(self, rest: bytes) -> None:
        """What the output queue had no room for."""
        deadline_s = time.monotonic() + WRITE_TIMEOUT_S
        room = waiting_for(self._fd, "w")
        while rest:
            if not room(max(deadline_s - time.monotonic(), 0.0)):
                raise OSError(errno.ETIMEDOUT, f"it took no bytes for {WRITE_TIMEOUT_S * 1e3:.0f} ms")
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._fd, rest) :]

    def _gone(self, error: OSError | termios.error) -> PortError:
        return PortError(f"{self._name} is gone ({error.args[-1]}) - is the USB cable plugged in?")


def waiting_for(fd: int, what: Literal["r", "w"]) -> Callable[[float], Any]:
    """A function that waits for a descriptor until so many seconds have passed; true where it is ready.

    Args:
        fd: of a serial port.
        what: ready to be read (r) or written (w).
    """
    if sys.platform == "darwin":  # whose poll knows no devices (poll(2), BUGS)
        reads, writes = ([fd], []) if what == "r" else ([], [fd])
        return lambda timeout_s: any(select.select(reads, writes, [], timeout_s))
    poll = select.poll()
    poll.register(fd, select.POLLIN if what == "r" else select.POLLOUT)
    return lambda timeout_s: poll.poll(timeout_s * 1e3)


def answer_start(request: bytes, data: bytes, reply_size: int | None = None) -> int:
    """Where the answer starts in what came back: behind an echo of the request and behind noise before the
    first header.

    Half-duplex adapters may echo. Bytes are only taken for an echo where no answer can look like one: of a request
    to everybody, for no servo has that id, or of one that is not as long as its answer. The echo of a PING is
    the same bytes as an answer with an error bit.
    """
    start = 0
    unlike = request[2] == BROADCAST or reply_size not in (None, len(request))
    if unlike and (echo := data.find(request)) >= 0:
        start = echo + len(request)
    header = data.find(HEADER, start)
    if header < 0:
        return len(data) - 1 if data.endswith(b"\xff") else len(data)
    while header + 2 < len(data) and data[header + 2] == 0xFF:  # FF FF FF id: the first FF was noise
        header += 1
    return header


def open_serial(port: str, baud: int = BAUD) -> serial.Serial:
    """Open `port` for this process alone: 8N1, non-blocking.

    Args:
        port: path of the serial device, or of a pseudo-terminal.
        baud: its speed [bit/s].

    Raises:
        PortError: it does not exist (the message lists those that do), is in use, may not be opened, or is no serial
            port.
    """
    adapter = _is_adapter(port)
    if adapter and (holders := _holders(port)):
        raise PortError(in_use(port, ", ".join(holders)))
    try:
        handle = serial.Serial(port, baud, timeout=0, exclusive=True)
    except (OSError, ValueError) as error:
        raise PortError(_cannot_open(port, error)) from error
    if not adapter:
        return handle
    with contextlib.suppress(OSError):  # LeRobot opens without asking for the lock: let the kernel refuse it
        fcntl.ioctl(handle.fileno(), termios.TIOCEXCL)
    with contextlib.suppress(
        OSError, ValueError, NotImplementedError
    ):  # only FTDI adapters have such a timer
        handle.set_low_latency_mode(True)
    return handle


def list_ports() -> list[str]:
    """Serial ports of this machine, stable names first."""
    root = Path("/")
    return [str(path) for pattern in PORT_PATTERNS for path in sorted(root.glob(pattern[1:]))]


def _cannot_open(port: str, error: Exception) -> str:
    code: Any = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        found = list_ports()
        possible = (
            "ports found: " + ", ".join(found)
            if found
            else "no serial port was found - is the arm's USB cable in?"
        )
        return f"port {port} does not exist; {possible}"
    if code in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to open {port}; members of its group may (usually dialout): run "
            f"`sudo usermod -aG dialout $USER` and log in again, or for now `sudo chmod 666 {port}`"
        )
    if code in (errno.EAGAIN, errno.EBUSY):
        return in_use(port, ", ".join(_holders(port)) or "another process")
    return f"{port} is not a serial port that can be used ({error})"


def in_use(port: str, who: str) -> str:
    """The message for a port that another program has."""
    return f"port {port} is in use by {who}; a bus has room for one program - stop it or choose another port"


def _is_adapter(port: str) -> bool:
    """A serial adapter, and not a pseudo-terminal, which the program behind it may keep open all the time."""
    return os.path.realpath(port).startswith(ADAPTERS)


def _holders(port: str) -> list[str]:
    """Other processes that have `port` open, as far as this user may see: `process 4711 (lerobot-record)`."""
    target = os.path.realpath(port)
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) == target for fd in (process / "fd").iterdir()):
                found.append(f"process {process.name} ({_program(process)})")
    return found


def _program(process: Path) -> str:
    """What runs there: the script's name rather than `python`."""
    words = [
        os.path.basename(word)
        for word in (process / "cmdline").read_text(errors="replace").split("\0")
        if word
    ]
    named = [word for word in words[:2] if not word.startswith(("python", "-"))]
    return (named or words or ["?"])[0]
