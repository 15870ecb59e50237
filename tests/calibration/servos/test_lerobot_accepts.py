"""The whole command in its own process, on a pseudo-terminal arm, driven by a script; then LeRobot's own follower."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from lerobot.motors.feetech import feetech
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

import so101_calibration
import so101_robot
from so101_calibration import files
from so101_calibration.servos.steps import CLOSE, MIDDLE, SWEEPS
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.physics.hand import CLEARANCE_RAD
from so101_robot.mock.physics.model import load_kinematics
from so101_robot.mock.serve.mock_process import MockProcess

MOVE_S = 1.0
REST_S = 0.6


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    with MockProcess(uncalibrated=True, seed=5, cameras=False) as mock:
        yield mock


def sweep(mock: MockProcess, joint: str) -> None:
    """A person's part: both stops, a rest at each, back to the middle."""
    index = JOINTS.index(joint)
    aside = CLEARANCE_RAD.get(joint, ({}, {}))
    middle = dict.fromkeys((joint, *aside[0], *aside[1]), 0.0)
    if joint == "gripper":
        middle[joint] = float(load_kinematics().range_rad[index].mean())
    low, high = load_kinematics().range_rad[index].tolist()
    for end, pose in zip((low - 0.03, high + 0.03), aside, strict=True):
        mock.call("hand_move", targets_rad={joint: end, **pose}, duration_s=MOVE_S)
        mock.call("hand_move", targets_rad={joint: end}, duration_s=REST_S)
        mock.call("hand_move", targets_rad=middle, duration_s=MOVE_S)
    mock.wait_until_hand_rests()


def wait_for(output: IO[str], words: str, said: list[str]) -> None:
    for text in output:
        said.append(text)
        if words in text:
            return
    pytest.fail(f"the command ended before {words!r}:\n{''.join(said)}")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_lerobots_follower_reports_calibrated_after_the_guided_flow(
    mock: MockProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [str(Path(module.__file__ or "").parent.parent) for module in (so101_robot, so101_calibration)]
    arguments = [f"--robot.port={mock.port}", "--robot.id=arm", f"--robot.calibration_dir={tmp_path}"]
    command = subprocess.Popen(
        [sys.executable, "-m", "so101_calibration", "servos", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(rooms), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert command.stdin is not None
    assert command.stdout is not None
    said: list[str] = []
    try:
        wait_for(command.stdout, MIDDLE.text, said)
        mock.call("hand_middle", duration_s=MOVE_S)
        mock.wait_until_hand_rests()
        command.stdin.write("\n")
        for joint in JOINTS:
            wait_for(command.stdout, SWEEPS[joint].text, said)
            sweep(mock, joint)
            command.stdin.write("\n")
        wait_for(command.stdout, CLOSE.text, said)
        closed = float(load_kinematics().range_rad[GRIPPER][0]) - 0.03
        mock.call("hand_move", targets_rad={"gripper": closed}, duration_s=MOVE_S)
        mock.wait_until_hand_rests()
        command.stdin.write("\n")
        wait_for(command.stdout, "Write it into the servos", said)
        command.stdin.write("y\n")
        assert command.wait(60) == 0, "".join(said) + command.stdout.read()
    finally:
        command.kill()
        command.stdin.close()
        command.stdout.close()
        command.wait()
    assert sorted(files.read(tmp_path / "arm.json")) == sorted(JOINTS)
    _patience(monkeypatch)
    follower = SO101Follower(SO101FollowerConfig(port=mock.port, id="arm", calibration_dir=tmp_path))
    follower.bus.connect()
    try:
        assert follower.is_calibrated
    finally:
        follower.bus.disconnect()


def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """LeRobot waits 50 ms for a reply; a test machine that does five other things may need longer."""
    original = feetech.patch_setPacketTimeout

    def wait_longer(port_handler: Any, packet_length: int) -> None:
        original(port_handler, packet_length)
        port_handler.packet_timeout += 3000.0

    monkeypatch.setattr(feetech, "patch_setPacketTimeout", wait_longer)
