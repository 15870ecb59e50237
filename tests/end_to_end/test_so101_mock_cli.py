"""`so101-mock` as a person uses it: what it prints, what it refuses, what it leaves behind (nothing)."""

import base64
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pexpect
import psutil
import pytest
import serial
import zmq

from so101_robot.bus import protocol
from so101_robot.cli import MOCK
from so101_robot.errors import RobotError
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.serve.command import EXAMPLE_PLAN
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.mock.serve.server import MockServer, MockServerConfig
from so101_robot.mock.wire.fault_kinds import KINDS

START_S = 90
COMMAND = [sys.executable, "-m", "so101_robot.mock"]


def test_help_explains_itself_with_examples() -> None:
    said = MOCK.help_text()
    assert "so101-mock --port_link=/tmp/so101" in said
    assert "--faults=plan.yaml" in said
    assert "control_fd" not in said


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command in this process (a process of its own would cost seconds) and returns its message."""
    monkeypatch.setattr(signal, "signal", lambda *handler: None)

    def run(*arguments: str) -> str:
        assert MOCK.main(arguments) == 2
        return capsys.readouterr().err

    return run


def test_what_cannot_be_is_one_readable_line_and_exit_code_2(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: [{fault: earthquake}]")
    (folder := tmp_path / "folder").mkdir()
    (folder / "dir.json").mkdir()
    (folder / "link.json").symlink_to(tmp_path / "outside")
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    os.mkfifo(folder / "pipe.json")
    cases = {
        ("--scene", "moon"): "table",
        ("--width", "0"): "at least 1 pixel",
        ("--fps", "-3"): "above 0",
        ("--faults", str(tmp_path / "absent.yaml")): "absent.yaml",
        ("--faults", str(plan)): "silent_servo",
        ("--hand", str(plan)): "are for --leader",
        ("--leader", "--hand", str(plan)): "expected a list `poses`",
        ("--port_link", str(taken)): "exists already",
        ("--port_link", str(tmp_path / "no" / "folder")): "No such file",
        ("--calibration_dir", str(taken)): "File exists",
        ("--id", "../arm"): "--id '../arm': expected the name",
        ("--id", ""): "expected the name",
        **{
            ("--calibration_dir", str(folder), "--id", kind): f"{kind}.json is no calibration file"
            for kind in ("dir", "link", "bytes", "pipe")
        },
    }
    for arguments, answer in cases.items():
        message = refused(*arguments, "--no_cameras")
        assert answer in message
        assert message.startswith("so101-mock: ")
        assert message.count("\n") == 1, "one line"
    assert taken.read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "plan.yaml", "taken"]


def test_a_camera_port_that_is_taken_is_refused(refused: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        assert "in use" in refused("--camera_port", str(busy.getsockname()[1]))


def test_an_unknown_flag_is_refused(refused: Callable[..., str]) -> None:
    assert "--sceen" in refused("--sceen", "table")


def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def gone(process: psutil.Process) -> bool:
    """Ended, whether or not anybody has asked how."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def camera_port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_person_sees_where_everything_is_and_ctrl_c_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    link = tmp_path / "so101"
    environment = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "100"}
    arm = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "--port_link", str(link), "--camera_port", "0", "--width", "48", "--height", "32"],
        env=environment,
        encoding="utf-8",
        timeout=START_S,
        dimensions=(40, 100),
    )
    arm.expect("Ctrl-C switches the arm off")
    said = re.sub(r"\x1b\[[0-9;]*m", "", arm.before)
    camera_port = int(re.search(r"tcp://127\.0\.0\.1:(\d+)", said)[1])  # type: ignore[index]
    folder = Path(re.search(r"--robot\.calibration_dir=(\S+)", said)[1])  # type: ignore[index]
    for command in (
        "so101-run",
        "so101-calibrate check",
        "so101-teleop",
        "lerobot-rollout",
        "lerobot-teleoperate",
        "lerobot-calibrate",
    ):
        assert re.search(rf"^{command} .*--robot\.port={link}", said.replace("\r", ""), re.MULTILINE), command
    policy = Path(re.search(r"^so101-run --policy\.path=(\S+)", said, re.MULTILINE)[1])  # type: ignore[index]
    assert (policy / "config.json").exists()
    assert (folder / "mock.json").exists()
    assert folder.parent == tmp_path
    with serial.Serial(str(link), 1_000_000, timeout=5) as host:
        host.write(protocol.instruction(2, protocol.Instruction.PING))
        assert host.read(6) == protocol.status(2, 0)
    arm.expect("requests/s")
    children = psutil.Process(arm.pid).children(recursive=True)
    assert len(children) == 1, "the camera process"
    if number == signal.SIGINT:
        arm.sendintr()  # to the whole process group, as a terminal does
    else:
        arm.kill(number)
    arm.expect(pexpect.EOF)
    arm.close()
    assert arm.exitstatus == 0
    assert not os.path.lexists(link)
    assert list(tmp_path.iterdir()) == []
    assert eventually(lambda: all(gone(child) for child in children))
    assert eventually(lambda: camera_port_is_free(camera_port))


def test_a_kept_calibration_is_not_overwritten_by_another_arms(tmp_path: Path) -> None:
    def keep(random_mount: bool) -> None:
        mock = MockConfig(random_mount=random_mount)
        with MockServer(MockServerConfig(mock, camera_port=None, calibration_dir=tmp_path, robot_id="left")):
            pass

    keep(random_mount=False)
    text = (tmp_path / "left.json").read_text()
    assert json.loads(text)["gripper"]["id"] == 6
    with pytest.raises(RobotError, match="another arm's calibration"):
        keep(random_mount=True)
    keep(random_mount=False)
    assert (tmp_path / "left.json").read_text() == text


def receive(port: int, count: int) -> list[dict[str, Any]]:
    context = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt_string(zmq.SUBSCRIBE, "")
    subscriber.setsockopt(zmq.RCVTIMEO, 20_000)
    subscriber.connect(f"tcp://127.0.0.1:{port}")
    try:
        return [json.loads(subscriber.recv_string()) for _ in range(count)]
    finally:
        subscriber.close(linger=0)
        context.term()


def picture(message: dict[str, Any], name: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(message["images"][name]), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def with_cameras() -> Iterator[MockProcess]:
    with MockProcess(width=64, height=48) as mock:
        assert os.getsid(mock.pid) == mock.pid, "or its priority says nothing to other sessions"
        yield mock


def test_the_colours_arrive_as_lerobot_expects_them(with_cameras: MockProcess) -> None:
    """LeRobot decodes without swapping channels, so what it decodes must be RGB."""
    (message,) = receive(with_cameras.zmq_port, 1)
    arm = MockArm(MockConfig(width=64, height=48, renderer=with_cameras.renderer))
    expected = arm.frame("front").image.astype(float)
    arm.close()
    got = picture(message, "front").astype(float)
    assert np.abs(got - expected).mean() < 6.0
    assert np.abs(got - expected).mean() < np.abs(got[..., ::-1] - expected).mean()


def test_both_cameras_come_in_one_message_with_times_and_numbers(with_cameras: MockProcess) -> None:
    first, *_, last = receive(with_cameras.zmq_port, 6)
    for name in ("front", "wrist"):
        assert picture(first, name).shape == (48, 64, 3)
        assert picture(first, name).std() > 5
        assert last["sequence"][name] > first["sequence"][name]
        elapsed_s = last["timestamps"][name] - first["timestamps"][name]
        assert elapsed_s == pytest.approx((last["sequence"][name] - first["sequence"][name]) / 30, abs=1e-4)
    assert first["renderer"] == with_cameras.renderer


def test_a_stalled_camera_stops_the_messages(with_cameras: MockProcess) -> None:
    """A message without it would make LeRobot's reader take the other camera's picture for it."""
    begin_s = with_cameras.call("now") + 0.5
    with_cameras.call("fault", fault="camera_stall", camera="wrist", at_s=begin_s, for_s=0.5)
    messages = receive(with_cameras.zmq_port, 24)
    times = [message["timestamps"]["front"] for message in messages]
    assert max(np.diff(times)) > 0.4
    assert all(set(message["images"]) == {"front", "wrist"} for message in messages)


def test_cameras_obey_the_fault_plan(with_cameras: MockProcess) -> None:
    with_cameras.call("fault", fault="camera_dark", camera="wrist")
    with_cameras.call("fault", fault="camera_freeze", camera="front")
    *_, early, late = receive(with_cameras.zmq_port, 12)
    assert picture(late, "wrist").max() < 10
    assert early["images"]["front"] == late["images"]["front"]
    assert late["sequence"]["front"] > early["sequence"]["front"]
    assert picture(late, "front").std() > 5


def test_a_cable_that_falls_out_comes_back(with_cameras: MockProcess) -> None:
    host = serial.Serial(with_cameras.port, 1_000_000, timeout=5)
    with_cameras.call("fault", fault="unplug", for_s=0.5)

    def is_gone() -> bool:
        try:
            return not host.in_waiting and not os.path.exists(with_cameras.port)
        except OSError:
            return True

    assert eventually(is_gone)
    host.close()

    def is_back() -> bool:
        try:
            with serial.Serial(with_cameras.call("port"), 1_000_000, timeout=5) as again:
                again.write(protocol.instruction(2, protocol.Instruction.PING))
                return again.read(6) == protocol.status(2, 0)
        except serial.SerialException:
            return False

    assert eventually(is_back)


def test_even_a_killed_arm_takes_its_camera_process_with_it(with_cameras: MockProcess) -> None:
    """The last test that uses this arm."""
    process = psutil.Process(with_cameras.pid)
    children = process.children(recursive=True)
    assert children
    process.kill()
    assert eventually(lambda: all(gone(child) for child in children))


def test_the_faults_can_be_listed_and_the_plan_beside_them_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert MOCK.main(["--faults=list"]) == 0
    said = capsys.readouterr().out
    for kind in KINDS:
        assert kind in said
    assert EXAMPLE_PLAN.read_text(encoding="utf-8").strip() in said


@pytest.mark.slow
def test_a_page_shows_joints_and_cameras_while_the_arm_is_served(tmp_path: Path) -> None:
    link = tmp_path / "port"
    small = ["--width=32", "--height=24", "--renderer=ray", "--camera_port=0", f"--port_link={link}"]
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "--display=web", *small], timeout=START_S, encoding="utf-8"
    )
    try:
        child.expect(r"watch it at (http://127\.0\.0\.1:\d+/)")
        assert child.match is not None
        address = child.match[1]
        with urllib.request.urlopen(f"{address}views", timeout=START_S) as views:
            view = next(
                shown for line in views if (shown := json.loads(line.removeprefix(b"data: ") or b"0"))
            )
        assert view["bare"]
        assert view["title"]["arm"] == f"{link}, scene table"
        assert view["guard"] == ["no errors", "good"]
        assert view["headline"] == ["servos are free", "quiet"]
        lift = next(joint for joint in view["joints"] if joint["name"] == "shoulder_lift")
        assert lift["position"] == pytest.approx(lift["range"][0], abs=2.0)  # folded, at its stop
        assert lift["goal"] is None
        with urllib.request.urlopen(f"{address}live/front", timeout=START_S) as live:
            picture = live.read(3000).split(b"\r\n\r\n")[1]
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert pixels.shape == (24, 32, 3)
        child.sendintr()
        child.expect("switched off")
    finally:
        child.close(force=True)
