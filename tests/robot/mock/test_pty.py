"""The arm on a pseudo-terminal: what a serial port's user sees. Time limits are wide, for slow machines."""

import contextlib
import errno
import os
import select
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
import zmq

from so101_robot.bus import protocol
from so101_robot.errors import CameraError, ConfigError
from so101_robot.joints import SERVO_IDS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.cameras.camera_process import CameraJob
from so101_robot.mock.cameras.publish import listen
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.mock.serve import command, server
from so101_robot.mock.serve.command import _engine_config  # pyright: ignore[reportPrivateUsage]
from so101_robot.mock.serve.server import MockServer, MockServerConfig
from so101_robot.mock.serve.terminal import PtyServer, _is_stale  # pyright: ignore[reportPrivateUsage]
from terminals import Terminal

PATIENCE_S = 5.0
READ_ALL = protocol.sync_read(56, 2, SERVO_IDS)
PING_1 = protocol.instruction(1, protocol.Instruction.PING)


@pytest.fixture
def running() -> Iterator[Terminal]:
    running = Terminal()
    yield running
    running.close()


def ask(host: serial.Serial, request: bytes, size: int) -> bytes:
    host.write(request)
    return host.read(size)


def open_host(path: str, baud: int = 1_000_000) -> serial.Serial:
    return serial.Serial(path, baud, timeout=PATIENCE_S)


def test_it_answers_as_a_serial_port_does(running: Terminal) -> None:
    with open_host(running.server.path) as host:
        host.write(READ_ALL)
        statuses, garbage = protocol.parse_statuses(host.read(48))
        assert [status.servo_id for status in statuses] == list(SERVO_IDS)
        assert garbage == 0
        assert host.in_waiting == 0


def test_every_byte_passes_unchanged_in_both_directions(running: Terminal) -> None:
    """A terminal that is not raw would swallow 03, translate 0D, echo, or wait for a line."""
    control = bytes(range(1, 33)) + b"\x7f\xfe"
    with open_host(running.server.path) as host:
        for value in control:
            host.write(protocol.write(1, 50, bytes((value, 255 - value))))
            assert host.read(6) == protocol.status(1, 0)
            host.write(protocol.read(1, 50, 2))
            assert host.read(8) == protocol.status(1, 0, bytes((value, 255 - value)))


def test_hosts_come_and_go(running: Terminal) -> None:
    for _ in range(3):
        with open_host(running.server.path) as host:
            host.write(PING_1)
            assert host.read(6) == protocol.status(1, 0)


def test_a_host_at_another_speed_is_not_heard_until_it_finds_the_right_one(running: Terminal) -> None:
    with open_host(running.server.path, baud=115_200) as host:
        host.timeout = 0.15
        host.write(PING_1)
        assert host.read(6) == b""
        host.baudrate = 1_000_000
        host.timeout = PATIENCE_S
        host.write(PING_1)
        assert host.read(6) == protocol.status(1, 0)


def test_a_servo_at_a_speed_without_a_constant_is_found_there(running: Terminal) -> None:
    running.do(lambda: running.arm.servos.set(0, "Baud_Rate", 5))  # 76 800 bit/s
    with open_host(running.server.path, baud=76_800) as host:
        host.write(PING_1)
        assert host.read(6) == protocol.status(1, 0)


def test_a_host_that_sets_nothing_finds_a_raw_line_at_a_million(running: Terminal) -> None:
    fd = os.open(running.server.path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(fd, PING_1)
        heard = b""
        while len(heard) < 6 and select.select([fd], [], [], PATIENCE_S)[0]:
            heard += os.read(fd, 6)
        assert heard == protocol.status(1, 0)
    finally:
        os.close(fd)


def test_replies_are_held_back_until_they_have_left_the_wire() -> None:
    running = Terminal(pace=True)
    try:
        with open_host(running.server.path) as host:
            start_s = time.perf_counter()
            host.write(READ_ALL)
            assert len(host.read(48)) == 48
            assert time.perf_counter() - start_s >= (len(READ_ALL) + 48) * 10e-6
    finally:
        running.close()


def test_without_pace_replies_leave_at_once_but_a_late_reply_stays_late() -> None:
    running = Terminal(pace=False)
    try:
        with open_host(running.server.path) as host:
            fastest_s = 1.0
            for _ in range(200):
                start_s = time.perf_counter()
                host.write(READ_ALL)
                host.read(48)
                fastest_s = min(fastest_s, time.perf_counter() - start_s)
            assert fastest_s < (len(READ_ALL) + 48) * 10e-6 + 2e-3
            running.do(lambda: running.arm.add_fault({"fault": "late_reply", "delay_ms": 80}))
            start_s = time.perf_counter()
            host.write(PING_1)
            assert host.read(6) == protocol.status(1, 0)
            assert time.perf_counter() - start_s >= 0.08
    finally:
        running.close()


def test_time_goes_on_without_traffic(running: Terminal) -> None:
    before_us = running.arm.now_us
    time.sleep(0.3)
    lived_s = (running.arm.now_us - before_us) * 1e-6 + running.server.behind_s
    assert lived_s >= 0.2


def test_a_machine_that_stood_still_loses_the_time_and_says_so(running: Terminal) -> None:
    before_us = running.arm.now_us
    running.do(lambda: time.sleep(0.6))
    end_s = time.monotonic() + PATIENCE_S
    while running.server.behind_s < 0.4 and time.monotonic() < end_s:
        time.sleep(0.01)
    assert running.server.behind_s >= 0.4
    assert running.arm.now_us - before_us < 1_000_000 * PATIENCE_S
    assert running.server.starved >= 1
    assert running.server.longest_pause_s >= 0.6
    assert running.server.starved_in_words().startswith(f"starved {running.server.starved} times, for up to ")


def test_only_an_arm_that_leads_its_session_asks_for_the_priority_of_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the groups that Linux makes of sessions the priority of a process says nothing about other sessions."""
    asked: list[tuple[str, object]] = []
    monkeypatch.setattr(server.os, "nice", lambda by: asked.append(("nice", by)))
    monkeypatch.setattr(server.Path, "write_text", lambda path, text: asked.append((str(path), text)))
    monkeypatch.setattr(server.os, "getpid", lambda: 4711)
    for leader, groups in ((4711, [("/proc/self/autogroup", "-10")]), (1, [])):
        asked.clear()
        monkeypatch.setattr(server.os, "getsid", lambda pid, leader=leader: leader)
        server._go_first()
        assert asked == [("nice", -10), *groups]


def test_the_link_of_a_killed_mock_arm_is_taken_over_and_any_other_is_not(tmp_path: Path) -> None:
    link, other = tmp_path / "arm", tmp_path / "other"
    link.symlink_to("/dev/pts/99999")  # as kill -9 leaves it
    running = Terminal(link=link)
    try:
        assert os.readlink(link) == running.server.path
        with pytest.raises(ConfigError, match="exists already"):
            Terminal(link=link)
        assert os.readlink(link) == running.server.path
    finally:
        running.close()
    other.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        Terminal(link=other)
    assert other.is_symlink()


def test_the_link_of_a_killed_mock_arm_is_stale_although_its_terminal_was_given_to_somebody_else(
    tmp_path: Path,
) -> None:
    link = tmp_path / "arm"
    ends = os.openpty()
    link.symlink_to(name := os.ttyname(ends[1]))
    assert not _is_stale(link)
    for end in ends:
        os.close(end)
    time.sleep(0.05)  # the clock of file times is coarse
    opened = [os.openpty()]
    while os.ttyname(opened[-1][1]) != name and len(opened) < 20:
        opened.append(os.openpty())
    assert link.exists()
    assert _is_stale(link)
    for end in (end for ends in opened for end in ends):
        os.close(end)


def test_the_link_of_an_arm_that_runs_is_not_stale_because_its_terminal_was_given_to_others(
    tmp_path: Path,
) -> None:
    """`chmod` and `chown` make a terminal newer than the link to it. Locks are seen by other processes only."""
    running = Terminal(link=(link := tmp_path / "arm"))
    try:
        time.sleep(0.05)  # the clock of file times is coarse
        Path(running.server.path).chmod(0o666)
        assert link.stat().st_ctime_ns > link.lstat().st_ctime_ns
        if (child := os.fork()) == 0:
            os._exit(_is_stale(link))
        assert os.waitpid(child, 0)[1] == 0
    finally:
        running.close()


@pytest.mark.parametrize("kind", ["file", "link", "folder", "nothing"])
def test_what_has_taken_the_place_of_a_link_is_left_where_it_is(tmp_path: Path, kind: str) -> None:
    """Somebody has removed the link while the arm ran, and made something of his own there."""
    (link := tmp_path / "folder" / "arm").parent.mkdir()
    running = Terminal(link=link)
    link.unlink()
    if kind == "file":
        link.write_text("mine")
    elif kind == "link":
        link.symlink_to("/dev/pts/99999")
    elif kind == "folder":
        link.mkdir()
    else:
        link.parent.rmdir()
    running.close()
    assert os.path.lexists(link) == (kind != "nothing")


def test_a_second_mock_arm_takes_the_next_camera_port_and_one_that_was_asked_for_is_refused() -> None:
    """Whoever binds first has it: two that are started at once find the same port free."""
    with zmq.Context() as context, context.socket(zmq.PUB) as first, context.socket(zmq.PUB) as second:
        port = listen(first, 0)
        assert listen(second, port, ports=50) > port
        with (
            context.socket(zmq.PUB) as third,
            pytest.raises(CameraError, match=f"--camera_port {port}: .*in use"),
        ):
            listen(third, port)


def test_where_all_camera_ports_are_taken_the_system_chooses_one() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as first, context.socket(zmq.PUB) as second:
        port = listen(first, 0)
        with context.socket(zmq.PUB) as third, contextlib.suppress(CameraError):
            listen(third, port + 1)
            assert listen(second, port, ports=2) not in (port, port + 1)


@pytest.mark.parametrize(
    ("flags", "tried"),
    [([], (5555, 50)), (["--camera_port=5601"], (5601, 1)), (["--no_cameras"], (None, 50))],
)
def test_only_a_camera_port_that_nobody_asked_for_may_be_another_one(
    flags: list[str], tried: tuple[int | None, int]
) -> None:
    config = _engine_config(command.parser().parse_args(flags))
    assert (config.camera_port, config.camera_ports) == tried


def test_the_camera_process_is_told_how_many_ports_it_may_try(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[CameraJob] = []

    def start(job: CameraJob) -> None:
        jobs.append(job)
        raise CameraError("that is enough")

    monkeypatch.setattr(server, "CameraProcess", start)
    with (
        pytest.raises(CameraError, match="enough"),
        MockServer(MockServerConfig(camera_port=5600, camera_ports=7)),
    ):
        pass
    assert [(job.port, job.ports) for job in jobs] == [(5600, 7)]


def test_unplugging_looks_like_a_yanked_cable_and_replugging_like_a_new_one(tmp_path: Path) -> None:
    link = tmp_path / "arm"
    running = Terminal(link=link)
    try:
        host = open_host(str(link))
        running.do(running.server.unplug)
        assert not os.path.lexists(link)
        with pytest.raises((serial.SerialException, termios.error)):
            ask(host, PING_1, 6)
        host.close()
        with pytest.raises(serial.SerialException) as refused:
            open_host(str(link))
        assert refused.value.errno == errno.ENOENT
        running.do(running.server.replug)
        with open_host(str(link)) as host:
            host.write(PING_1)
            assert host.read(6) == protocol.status(1, 0)
    finally:
        running.close()
    assert not os.path.lexists(link)


def test_a_stalled_adapter_delivers_nothing_and_then_everything(running: Terminal) -> None:
    with open_host(running.server.path) as host:
        running.do(lambda: running.arm.add_fault({"fault": "stall", "for_s": 0.4}))
        start_s = time.perf_counter()
        host.write(PING_1)
        assert host.read(6) == protocol.status(1, 0)
        assert time.perf_counter() - start_s >= 0.2


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder missing"])
def test_a_link_that_cannot_be_made_is_refused_and_nothing_is_touched(tmp_path: Path, kind: str) -> None:
    link = tmp_path / "arm" if kind != "folder missing" else tmp_path / "missing" / "arm"
    if kind == "file":
        link.write_text("mine")
    elif kind == "dangling link":
        link.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="--port_link"):
        PtyServer(MockArm(MockConfig(), plant=IdealPlant()), link)
    if kind == "file":
        assert link.read_text() == "mine"


def test_closing_twice_is_fine() -> None:
    server = PtyServer(MockArm(MockConfig(), plant=IdealPlant()))
    server.close()
    server.close()
    assert not server.plugged


def test_a_host_that_never_reads_does_not_stop_the_arm(running: Terminal) -> None:
    with open_host(running.server.path) as host:
        for _ in range(400):
            host.write(READ_ALL)  # 19 kB of replies: more than a terminal holds
        before_us = running.arm.now_us
        time.sleep(0.3)
        assert running.arm.now_us > before_us
