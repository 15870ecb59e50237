"""The serial link against the far end of a pseudo-terminal: deadlines, stale input, echoes, lost ports."""

import os
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from so101_robot.bus import link
from so101_robot.bus.link import SerialLink, answer_start, open_serial
from so101_robot.bus.protocol import status, sync_read
from so101_robot.errors import PortError

REQUEST = sync_read(56, 2, (1, 2, 3, 4, 5, 6))
ANSWER = b"".join(status(servo_id, 0, b"\x00\x08") for servo_id in (1, 2, 3, 4, 5, 6))


class FarEnd:
    """The servos' side of a pseudo-terminal: answers every request with what `replies` yields, and pauses."""

    def __init__(self, replies: Callable[[bytes], Iterator[bytes | float]]) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(slave, False)
        self.slave = slave
        self.path = os.ttyname(slave)
        self._replies = replies
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self.master, 4096)
            except OSError:
                return
            for piece in self._replies(request):
                if isinstance(piece, float):
                    time.sleep(piece)
                else:
                    os.write(self.master, piece)

    def close(self) -> None:
        os.close(self.slave)
        self._thread.join(2.0)
        os.close(self.master)


@contextmanager
def far_end(*pieces: bytes | float) -> Iterator[FarEnd]:
    end = FarEnd(lambda _: iter(pieces))
    try:
        yield end
    finally:
        end.close()


def test_a_complete_answer_is_returned_long_before_the_deadline():
    with far_end(ANSWER) as end:
        start_s = time.monotonic()
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 2.0) == ANSWER
        assert time.monotonic() - start_s < 1.0


def test_an_answer_in_pieces_is_put_together():
    with far_end(ANSWER[:5], 0.005, ANSWER[5:30], 0.005, ANSWER[30:]) as end:
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 2.0) == ANSWER


def test_what_came_until_the_deadline_is_returned_even_if_it_is_short():
    with far_end(ANSWER[:13]) as end:
        start_s = time.monotonic()
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 0.05) == ANSWER[:13]
        assert 0.045 < time.monotonic() - start_s < 0.5


def test_silence_is_an_empty_answer():
    with far_end() as end:
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 0.01) == b""


def test_waiting_for_an_answer_takes_no_processor_time():
    with far_end() as end:
        start_s = time.thread_time()
        SerialLink(end.slave).transact(REQUEST, len(ANSWER), 0.3)
        assert time.thread_time() - start_s < 0.03


def test_a_reply_that_came_after_its_deadline_is_discarded_before_the_next_request():
    late = status(1, 0, b"\x11\x11")
    with far_end(0.05, late) as end:
        serial_link = SerialLink(end.slave)
        assert serial_link.transact(REQUEST, len(ANSWER), 0.01) == b""
        time.sleep(0.1)
        assert serial_link.transact(REQUEST, len(ANSWER), 0.01) == b""


def test_the_echo_of_the_request_does_not_count_as_answer():
    with far_end(REQUEST + ANSWER[:20], 0.02, ANSWER[20:]) as end:
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 1.0) == ANSWER


@pytest.mark.parametrize("noise", [b"\x00", b"\xff", b"\xff\x00\xff", b"\x00\x31\xff"])
def test_noise_in_front_of_the_answer_does_not_count_as_answer(noise: bytes):
    with far_end(noise + ANSWER[:-1], 0.02, ANSWER[-1:]) as end:
        assert SerialLink(end.slave).transact(REQUEST, len(ANSWER), 1.0) == ANSWER


@given(st.binary(max_size=60), st.sampled_from([REQUEST, bytes.fromhex("ff ff 01 02 01 fb")]))
def test_the_start_of_the_answer_is_found_in_any_bytes_without_losing_a_header(data: bytes, request: bytes):
    start = answer_start(request, data)
    assert 0 <= start <= len(data)
    assert b"\xff\xff" not in data[:start].replace(request, b"").rstrip(b"\xff")


def test_a_port_that_goes_away_is_a_port_error():
    end = FarEnd(lambda _: iter(()))
    serial_link = SerialLink(end.slave, "/dev/ttyACM7")
    os.close(end.master)
    try:
        with pytest.raises(PortError, match="/dev/ttyACM7 is gone"):
            serial_link.transact(REQUEST, len(ANSWER), 0.5)
        with pytest.raises(PortError, match="/dev/ttyACM7 is gone"):
            serial_link.send(REQUEST)
    finally:
        os.close(end.slave)


def test_a_port_that_takes_no_more_bytes_is_a_port_error():
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        os.set_blocking(slave, False)
        with pytest.raises(PortError, match="took no bytes"):
            SerialLink(slave).send(REQUEST * 10_000)
    finally:
        os.close(slave)
        os.close(master)


def test_a_port_that_does_not_exist_is_reported_with_those_that_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link, "list_ports", lambda: ["/dev/serial/by-id/usb-arm", "/dev/ttyACM0"])
    with pytest.raises(
        PortError, match=r"ttyACM99 does not exist; ports found: /dev/serial/by-id/usb-arm, /dev/"
    ):
        open_serial("/dev/ttyACM99")


def test_without_any_port_the_message_asks_for_the_cable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link, "list_ports", list)
    with pytest.raises(PortError, match="no serial port was found"):
        open_serial("/dev/ttyACM99")


def test_a_port_in_use_is_refused_to_the_second_and_free_again_after_closing():
    with far_end() as end:
        with open_serial(end.path), pytest.raises(PortError, match=f"{end.path} is in use"):
            open_serial(end.path)
        open_serial(end.path).close()


def is_open(path: str, pid: int) -> bool:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            if os.readlink(fd) == path:
                return True
    return False


def test_a_port_that_another_process_uses_without_asking_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(link, "_is_adapter", lambda port: True)
    with far_end() as end, subprocess.Popen(["tail", "-f", end.path]) as reader:
        try:
            while not is_open(end.path, reader.pid):
                time.sleep(0.01)
            with pytest.raises(PortError, match=rf"in use by process {reader.pid} \(tail\)"):
                open_serial(end.path)
        finally:
            reader.kill()


def test_a_port_without_permission_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "Permission denied")

    monkeypatch.setattr(serial, "Serial", denied)
    with pytest.raises(PortError, match="usermod -aG dialout"):
        open_serial("/dev/ttyACM0")


def test_a_file_is_not_a_serial_port():
    with pytest.raises(PortError, match="/dev/null is not a serial port"):
        open_serial("/dev/null")
