"""One program at a time on a servo bus, and the second is told who has it.

A `PortLock` is a file beside no device: `/run/lock/so101-dev-ttyACM0.lock`, named after the device that a path
leads to, so that by-id links and the device itself are one port. It is locked by the kernel (a POSIX record
lock), which takes the lock away when the process ends, however it ends, and which forked children do not
inherit: a lock cannot go stale. What stands in the file is only for the message.

LeRobot's own programs do not look at it. Against those `link.open_serial` looks through /proc for processes that
have the device open, and sets TIOCEXCL on real adapters, so that the kernel refuses whoever comes later (not on
pseudo-terminals, where the flag would outlive the program). `open_locked` does both.
"""

import contextlib
import errno
import fcntl
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

import serial

from so101_robot.bus.link import BAUD, SerialLink, open_serial
from so101_robot.errors import PortError

LOCK_FOLDER = Path("/run/lock")
"""Where every user may write, and which is empty after a start of the machine (Filesystem Hierarchy Standard
3.0); the folder for temporary files where there is none."""

_held: dict[Path, int] = {}
"""Locks of this process, and its id: the kernel refuses no second lock to one process, and a forked child has
none."""


class PortInUseError(PortError):
    """Another program has locked the port."""


class Holder(NamedTuple):
    """Who has a port, as far as the lock file tells."""

    pid: int
    program: str
    since_unix_s: float

    def describe(self) -> str:
        """`so101-run (process 4711, since 14:03:12)`."""
        return (
            f"{self.program} (process {self.pid}, since {datetime.fromtimestamp(self.since_unix_s):%H:%M:%S})"
        )


class PortLock:
    """The right to use a serial port, taken by `acquire` or on entering a `with`.

    Args:
        port: path of the port, or a link to it.
        program: what a second program reads; by default the name that this one was started by.
    """

    def __init__(self, port: str, program: str | None = None) -> None:
        self.port = port
        self.path = lock_path(port)
        self._program = program or Path(sys.argv[0]).name or "python"
        self._fd = -1

    def acquire(self) -> Self:
        """Take the lock. Raises PortInUseError that says who has it, PortError if there can be no lock."""
        if self._fd >= 0:
            return self
        if _held.get(self.path) == os.getpid():
            raise PortInUseError(_in_use(self.port, "this program already"))
        fd = self._lock()
        while not _is_file_of(fd, self.path):  # its last holder removed it meanwhile
            os.close(fd)
            fd = self._lock()
        _held[self.path] = os.getpid()
        self._fd = fd
        _write(fd, Holder(os.getpid(), self._program, time.time()))
        return self

    def release(self) -> None:
        """Give the port to others. May be called twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):  # another user's file stays, empty
            os.ftruncate(fd, 0)
            self.path.unlink()
        os.close(fd)
        _held.pop(self.path, None)

    def _lock(self) -> int:
        fd = _open(self.path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(fd)
            os.close(fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise PortError(f"{self.path} cannot be locked ({error.strerror})") from error
            who = holder.describe() if holder else "another program"
            raise PortInUseError(_in_use(self.port, who)) from error
        return fd

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


class LockedLink(SerialLink):
    """A `SerialLink` that keeps the port's lock until it is closed."""

    def __init__(self, fd: int, name: str, lock: PortLock) -> None:
        super().__init__(fd, name)
        self._lock = lock

    def close(self) -> None:
        """Give up the lock; the descriptor belongs to who opened it."""
        self._lock.release()


def open_locked(port: str, baud: int = BAUD, program: str | None = None) -> tuple[serial.Serial, LockedLink]:
    """Open `port` for this program alone, locked until the link is closed.

    Raises:
        PortInUseError: another program has locked it; the message says which.
        PortError: it cannot be opened, or a program that takes no lock has it.
    """
    lock = PortLock(port, program)
    with contextlib.ExitStack() as undo:
        if os.path.exists(port):  # else `open_serial` lists the ports that do exist
            lock.acquire()
        undo.callback(lock.release)
        handle = open_serial(port, baud)
        undo.pop_all()
    return handle, LockedLink(handle.fileno(), port, lock)


def lock_path(port: str) -> Path:
    """The lock file of a port, whatever link leads to it."""
    folder = LOCK_FOLDER if os.access(LOCK_FOLDER, os.W_OK) else Path(tempfile.gettempdir())
    device = os.path.realpath(port).strip("/").replace("/", "-")
    return folder / f"so101-{device}.lock"


def _open(path: Path) -> int:
    """The lock file, which another user may have made: that one is opened without O_CREAT, which Linux refuses
    for other users' files in shared folders (fs.protected_regular)."""
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            return _checked(path, os.O_RDWR)
        with contextlib.suppress(FileExistsError):
            fd = _checked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.fchmod(fd, 0o666)  # whatever the umask: the next program may be another user's
            return fd
    return _checked(path, os.O_RDWR)


def _checked(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise PortError(f"the lock file {path} cannot be opened ({error.strerror})") from error


def _is_file_of(fd: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.lstat())
    return False


def _read(fd: int) -> Holder | None:
    """Who wrote the file; None if that process is gone or has not written yet."""
    try:
        pid, program, since = os.pread(fd, 4096, 0).decode(errors="replace").split("\n")[:3]
        holder = Holder(int(pid), program, float(since))
    except ValueError:
        return None
    return holder if Path("/proc", pid).exists() else None


def _write(fd: int, holder: Holder) -> None:
    with contextlib.suppress(OSError):  # a full disk costs the message its name, not the lock
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{holder.pid}\n{holder.program}\n{holder.since_unix_s}\n".encode(), 0)


def _in_use(port: str, who: str) -> str:
    return f"port {port} is in use by {who}; a bus has room for one program - stop it or choose another port"
