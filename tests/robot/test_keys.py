"""Keys of a terminal: arrows in both encodings, also when their bytes come apart."""

import os
import pty
import termios
import time

import pytest

from so101_robot.process.keys import Keys, names_in


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"n", ["n"]),
        (b"\x1b[C\x1b[D", ["right", "left"]),
        (b"\x1bOC", ["right"]),
        (b"\x1b", ["esc"]),
        (b"q \r\x7f", ["q", "space", "enter", "backspace"]),
        (b"\x1b[1;5Cr", ["r"]),
        (b"\x1b[3~y", ["y"]),
        ("é".encode(), []),
        (b"\x00\x01", []),
        (b"", []),
    ],
)
def test_bytes_are_keys(data: bytes, names: list[str]) -> None:
    assert names_in(data) == names


def test_keys_come_without_enter_and_without_echo_and_the_terminal_is_as_before_afterwards() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with Keys(slave) as keys:
        assert keys.available
        os.write(master, b"n\x1b")
        time.sleep(0.005)
        os.write(master, b"[C")
        found: list[str] = []
        deadline = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < deadline:
            found += keys.pressed()
            time.sleep(0.01)
        assert found[0] == "n"
        assert found[1] in ("right", "esc")  # a machine that stands still for 30 ms sees two keys
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_pipe_has_no_keys() -> None:
    read, write = os.pipe()
    with Keys(read) as keys:
        assert not keys.available
        os.write(write, b"n")
        assert keys.pressed() == []
    assert os.read(read, 1) == b"n"
    os.close(read)
    os.close(write)
