"""One program at a time on a port: who is second is told who is first, and nothing that died stands in the way."""

import os
import signal
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from so101_robot.bus import port_lock
from so101_robot.bus.port_lock import PortLock, open_locked
from so101_robot.errors import PortError

ROBOT = Path(port_lock.__file__).parents[2]

HOLD = """
import sys
from pathlib import Path
from so101_robot.bus import port_lock
port_lock.LOCK_FOLDER = Path(sys.argv[2])
lock = port_lock.PortLock(sys.argv[1], "so101-run").acquire()
{more}
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(port_lock, "LOCK_FOLDER", tmp_path)
    return tmp_path


@contextmanager
def another_program(port: str, folder: Path, more: str = "") -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(more=more), port, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROBOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def terminal() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_a_second_program_is_refused_and_told_who_has_the_port(terminal: str, folder: Path):
    with another_program(terminal, folder) as first:
        with pytest.raises(
            PortError, match=rf"{terminal} is in use by so101-run \(process {first.pid}, since"
        ):
            PortLock(terminal).acquire()
        with pytest.raises(PortError, match=f"process {first.pid}"):
            open_locked(terminal)


def test_a_killed_program_holds_nothing(terminal: str, folder: Path):
    with another_program(terminal, folder) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        PortLock(terminal).acquire().release()


def test_a_forked_child_that_outlives_the_program_holds_nothing(terminal: str, folder: Path):
    fork = "import os, time\nif os.fork() == 0:\n    os.close(1); time.sleep(20); os._exit(0)"
    with another_program(terminal, folder, fork) as first:
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        first.send_signal(signal.SIGKILL)
        first.wait()
        try:
            PortLock(terminal).acquire().release()
        finally:
            os.kill(int(children[0]), signal.SIGKILL)


def test_a_link_to_the_device_is_the_same_port(terminal: str, folder: Path):
    link = folder / "by-id"
    link.symlink_to(terminal)
    with another_program(terminal, folder), pytest.raises(PortError, match=f"{link} is in use by so101-run"):
        PortLock(str(link)).acquire()


def test_two_ports_do_not_get_into_each_others_way(folder: Path):
    with PortLock("/dev/ttyACM0"), PortLock("/dev/ttyACM1"):
        assert len(list(folder.iterdir())) == 2


def test_a_program_that_opens_its_port_twice_is_told_so(terminal: str):
    with PortLock(terminal), pytest.raises(PortError, match="in use by this program already"):
        PortLock(terminal).acquire()
    with PortLock(terminal):
        pass
    assert not port_lock.lock_path(terminal).exists()


def test_a_lock_that_was_removed_while_somebody_waited_for_it_is_taken_anew(
    terminal: str, monkeypatch: pytest.MonkeyPatch
):
    """Else two programs would hold locks on two files of one name."""
    first = PortLock(terminal).acquire()
    first.release()
    old = os.open(lock_file := port_lock.lock_path(terminal), os.O_RDWR | os.O_CREAT)
    lock_file.unlink()
    opened = [os.dup(old)]
    ordinary = port_lock._open
    monkeypatch.setattr(port_lock, "_open", lambda path: opened.pop() if opened else ordinary(path))
    with PortLock(terminal):
        assert lock_file.exists()
    assert not opened
    os.close(old)


def test_the_lock_lives_as_long_as_the_link(terminal: str):
    handle, link = open_locked(terminal)
    with pytest.raises(PortError, match="in use"):
        open_locked(terminal)
    link.close()
    link.close()
    handle.close()
    handle, link = open_locked(terminal)
    link.close()
    handle.close()


def test_a_port_that_cannot_be_opened_is_not_locked(folder: Path):
    for _ in range(2):
        with pytest.raises(PortError, match="is not a serial port"):
            open_locked("/dev/null")
    with pytest.raises(PortError, match="does not exist"):
        open_locked("/dev/ttyACM99")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{os.getpid()}\nsomebody else\n0\n",  # a process that lives, and does not have the lock
        "4194305\nsomebody\n0\n",  # above the largest process id
        "1\nsomebody\n1e308\n",
        "1\nsomebody\nnan\n",
        "9" * 5000 + "\nsomebody\n0\n",
        "\x00\xff" * 5000,
    ],
)
def test_who_has_a_port_is_known_to_the_kernel_whatever_the_file_says(terminal: str, folder: Path, text: str):
    with another_program(terminal, folder) as first:
        port_lock.lock_path(terminal).write_text(text)
        with pytest.raises(PortError, match=rf"in use by another program \(process {first.pid}\)"):
            PortLock(terminal).acquire()


def test_a_name_in_the_file_of_another_user_cannot_steer_a_terminal(terminal: str, folder: Path):
    evil = "so101-run\x1b]52;c;aGk=\x07\x1b[2J\r\u202e" + "x" * 3000
    with another_program(terminal, folder) as first:
        port_lock.lock_path(terminal).write_text(f"{first.pid}\n{evil}\n0\n")
        with pytest.raises(PortError) as caught:
            PortLock(terminal).acquire()
    message = str(caught.value)
    assert r"so101-run\x1b]52;c;aGk=\x07\x1b[2J\r\u202exxx" in message
    assert message.isprintable()
    assert len(message) < 300


def test_a_file_of_anything_that_nobody_has_locked_is_taken_over(terminal: str):
    for text in ("", f"{os.getpid()}\nso101-run\n0\n", "some text\n", "\x00" * 9000):
        port_lock.lock_path(terminal).write_text(text)
        with PortLock(terminal):
            assert port_lock.lock_path(terminal).read_text().startswith(f"{os.getpid()}\n")


@pytest.mark.parametrize("kind", ["link", "loose link", "circle", "folder", "pipe", "hard link", "socket"])
@pytest.mark.timeout(20)
def test_what_stands_in_a_locks_place_is_removed_and_not_followed(terminal: str, folder: Path, kind: str):
    victim = folder / "victim"
    victim.write_text("mine")
    place = port_lock.lock_path(terminal)
    match kind:
        case "link":
            place.symlink_to(victim)
        case "loose link":
            place.symlink_to(folder / "nothing")
        case "circle":
            place.symlink_to(place)
        case "folder":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "hard link":
            os.link(victim, place)
        case _:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(place))
    with PortLock(terminal):
        assert place.is_file()
        assert not place.is_symlink()
    assert victim.read_text() == "mine"
    assert not (folder / "nothing").exists()


def test_what_cannot_be_removed_from_a_locks_place_is_named_with_how_to(terminal: str):
    place = port_lock.lock_path(terminal)
    place.mkdir()
    (place / "something").touch()
    with pytest.raises(PortError, match=f"`sudo rm -r {place}` removes it"):
        PortLock(terminal).acquire()


def test_without_a_folder_for_locks_temporary_files_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(port_lock, "LOCK_FOLDER", tmp_path / "missing")
    monkeypatch.setattr(port_lock.tempfile, "tempdir", str(tmp_path))
    assert port_lock.lock_path("/dev/ttyACM0") == tmp_path / "so101-dev-ttyACM0.lock"
