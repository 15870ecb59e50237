"""One program at a time on a servo bus, and the second is told who has it.

A `PortLock` is a file beside no device: `/run/lock/so101-dev-ttyACM0.lock`, named after the device that a path
leads to, so that by-id links and the device itself are one port. It is locked by the kernel (a POSIX record
lock), which takes the lock away when the process ends, however it ends, and which forked children do not
inherit: a lock cannot go stale. Who holds it is known to the kernel; the text in the file only adds a name, and may be
anybody's. What is no file of ours at a lock's place (a link, a folder, a pipe) is removed, or named with how to remove
it.

LeRobot's own programs do not look at it. Against those `link.open_serial` looks through /proc for processes that
have the device open, and sets TIOCEXCL on real adapters, so that the kernel refuses whoever comes later (not on
pseudo-terminals, where the flag would outlive the program). `open_locked` does both.
"""

import contextlib
import errno
import fcntl
import os
import shlex
import stat
import struct
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import serial

from so101_policy.errors import one_line
from so101_robot.bus.link import BAUD, SerialLink, in_use, open_serial
from so101_robot.errors import PortError

LOCK_FOLDER = Path("/run/lock")
"""Where every user may write, and which is empty after a start of the machine (Filesystem Hierarchy Standard
3.0); the folder for temporary files where there is none."""

MACOS = sys.platform == "darwin"
FLOCK = "qqihh" if MACOS else "hhqqi"
"""`struct flock` on machines of 64 bits: type, whence, start, length, process; on macOS (sys/fcntl.h) start, length,
process, type, whence."""
TRIES = 4
MOST_NAME = 60
"""Characters of a program's name in a message."""

_held: dict[Path, int] = {}
"""Locks of this process, and its id: the kernel refuses no second lock to one process, and a forked child has
none."""


class PortInUseError(PortError):
    """Another program has locked the port."""


class Holder(NamedTuple):
    """Who has a port, as the lock file tells."""

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
            raise PortInUseError(in_use(self.port, "this program already"))
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
            who = _holder(fd)
            os.close(fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise PortError(f"{self.path} cannot be locked ({error.strerror})") from error
            raise PortInUseError(in_use(self.port, who)) from error
        return fd

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
    device = os.path.realpath(port)
    if sys.platform == "darwin":  # /dev/tty.X and /dev/cu.X are one adapter
        device = device.replace("/dev/tty.", "/dev/cu.")
    device = device.strip("/").replace("/", "-")
    return folder / f"so101-{device}.lock"


def _open(path: Path) -> int:
    """The lock file, which another user may have made: that one is opened without O_CREAT, which Linux refuses
    for other users' files in shared folders (fs.protected_regular)."""
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            return _checked(path, os.O_RDWR)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            fd = _checked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.fchmod(fd, 0o666)  # whatever the umask: the next program may be another user's
            return fd
    raise PortError(f"somebody makes and removes the lock file {path} all the time")


def _checked(path: Path, flags: int) -> int:
    """A file of its own, not one that is reached by a link. Raises PortError."""
    try:
        # a pipe would be waited for
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):
            _make_way(path)
            raise FileNotFoundError(path) from error
        raise PortError(
            f"the lock file {path} cannot be opened ({error.strerror}); `sudo rm {shlex.quote(str(path))}` removes it"
        ) from error
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return fd
    os.close(fd)
    _make_way(path)
    raise FileNotFoundError(path)


def _make_way(path: Path) -> None:
    """Remove what is no lock of ours: no program makes a link, a pipe or a folder there. Raises PortError."""
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise PortError(
            f"{path} stands where the lock of a port belongs, and cannot be removed ({error.strerror}); "
            f"`sudo rm -r {shlex.quote(str(path))}` removes it"
        ) from error


def _is_file_of(fd: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.lstat())
    return False


def _holder(fd: int) -> str:
    """Who has the lock on a file, in words: its process by the kernel, and its name if that process wrote the file."""
    kind = (fcntl.F_WRLCK, os.SEEK_SET)
    asked = struct.pack(FLOCK, *((0, 0, 0, *kind) if MACOS else (*kind, 0, 0, 0)))
    pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))[2 if MACOS else 4]
    if pid <= 0:  # it has just let go, or is on another machine or in another container
        return "another program"
    written = _read(fd)
    return written.describe() if written and written.pid == pid else f"another program (process {pid})"


def _read(fd: int) -> Holder | None:
    """What is written in the file; None for anything that a program of ours does not write."""
    try:
        pid, program, since = os.pread(fd, 4096, 0).decode(errors="replace").split("\n")[:3]
        holder = Holder(int(pid), one_line(program, MOST_NAME), float(since))
        _ = holder.describe()
    except (ValueError, OverflowError, OSError):
        return None
    return holder


def _write(fd: int, holder: Holder) -> None:
    with contextlib.suppress(OSError):  # a full disk costs the message its name, not the lock
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{holder.pid}\n{holder.program}\n{holder.since_unix_s}\n".encode(), 0)
