"""What differs on macOS, as far as it can be tried elsewhere: names that are not there, and what is asked instead."""

import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from so101_policy import machine
from so101_robot.bus import link, port_lock
from so101_robot.watchdog import runner

LINUX_ONLY: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (os, ("pidfd_open", "sched_getaffinity", "posix_fallocate", "fdatasync")),
    (select, ("epoll",)),
    (signal, ("pidfd_send_signal",)),
)
"""What macOS does not have of what Linux has."""


@pytest.fixture
def darwin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.platform` is that of macOS, and Linux's own functions are gone."""
    monkeypatch.setattr(sys, "platform", "darwin")
    for module, names in LINUX_ONLY:
        for name in names:
            monkeypatch.delattr(module, name, raising=False)


class Queue:
    """A kqueue that tells of the end of one process, by way of a pipe."""

    made: list["Queue"]

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.ours, self.theirs = os.pipe()
        Queue.made.append(self)

    def control(self, events: list[tuple[object, ...]], most: int) -> list[object]:
        (event,) = events
        if event[0] == 0:
            raise ProcessLookupError
        self.asked.append(event)
        assert most == 0
        return []

    def fileno(self) -> int:
        return self.ours


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """macOS's queues of events (kqueue(2))."""
    Queue.made = []
    monkeypatch.setattr(select, "kqueue", Queue, raising=False)
    monkeypatch.setattr(select, "kevent", lambda *event: event, raising=False)
    for name, value in (("KQ_FILTER_PROC", -5), ("KQ_EV_ADD", 1), ("KQ_NOTE_EXIT", 1 << 31)):
        monkeypatch.setattr(select, name, value, raising=False)
    return Queue.made


@pytest.mark.usefixtures("darwin")
def test_the_watchdog_waits_for_the_end_of_the_runner_by_a_queue_and_kills_none_that_is_dead(
    queues: list[Queue], monkeypatch: pytest.MonkeyPatch
):
    watched = runner.Runner(4711)
    [queue] = queues
    assert queue.asked == [(4711, -5, 1, 1 << 31)]
    killed: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        os.write(queue.theirs, b"x")  # the queue is told

    monkeypatch.setattr(os, "kill", kill)
    assert not select.select([watched.fd], (), (), 0)[0]
    assert watched.kill(within_s=1.0)
    assert watched.kill(within_s=1.0), "it stays dead"
    assert killed == [(4711, signal.SIGKILL)], "its number may be another's now"
    with pytest.raises(ProcessLookupError):
        runner.Runner(0)
    for each in queues:
        os.close(each.ours)
        os.close(each.theirs)


@pytest.mark.usefixtures("darwin")
def test_cores_memory_and_files_without_what_linux_has(tmp_path: Path):
    assert machine.cores() == os.cpu_count()
    assert machine.free_memory_bytes() > 1e6
    with (tmp_path / "file").open("wb") as file:
        machine.make_room(file.fileno(), 1234)
        machine.to_disk(file.fileno())
    assert (tmp_path / "file").stat().st_size == 1234


@pytest.mark.usefixtures("darwin")
def test_a_port_is_waited_for_without_poll(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(select, "poll")
    ours, theirs = os.pipe()
    ready = link.waiting_for(ours, "r")
    assert not ready(0.0)
    os.write(theirs, b"x")
    assert ready(0.0)
    assert link.waiting_for(theirs, "w")(0.0)
    os.close(ours)
    os.close(theirs)


@pytest.mark.usefixtures("darwin")
def test_tty_and_cu_are_one_port_with_one_lock():
    cu, tty, other = (
        port_lock.lock_path(f"/dev/{name}") for name in ("cu.usbmodem1", "tty.usbmodem1", "cu.usbmodem2")
    )
    assert cu == tty != other


def test_the_constants_of_macos():
    """Made when a module is imported, so in a process whose platform is macOS from the start of ours."""
    code = (
        "import ctypes, importlib, os, select, serial, sys, numpy, mujoco\n"
        "sys.platform = 'darwin'\n"
        "from so101_robot.bus import link, port_lock\n"
        "from so101_robot.mock.cameras import backend\n"
        "print(link.PORT_PATTERNS[0], link._is_adapter('/dev/cu.usbmodem1'), link._is_adapter('/dev/ttys003'),\n"
        "      port_lock.FLOCK, backend.choose_backend('auto'), sorted(backend.LIBRARIES))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.strip() == "/dev/cu.usbmodem* True False qqihh ray ['cgl']", done.stderr
    assert struct.calcsize("qqihh") == 24, "as sizeof(struct flock) there"
