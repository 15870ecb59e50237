"""What differs between Linux, macOS and Windows, of what this package asks the machine for."""

import os
import sys

import psutil


def cores() -> int:
    """How many cores this process may use; where the system does not say (macOS), how many there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_bytes() -> int:
    """Memory that programs can have without anything being swapped out."""
    return int(psutil.virtual_memory().available)


def make_room(fd: int, size: int) -> None:
    """Give a file its whole size, so that a full disk is told now and not in the middle.

    macOS and Windows only set the length: there a full disk is told later.

    Raises:
        OSError: the disk has no room.
    """
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def to_disk(fd: int) -> None:
    """A file's content through to the disk, for a power cut that comes next."""
    if sys.platform == "linux":
        os.fdatasync(fd)
    else:
        os.fsync(fd)
