"""LeRobot's SO101Follower, unmodified, on the pseudo-terminal: it cannot tell this arm from a real one."""

import builtins
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.cameras.zmq import ZMQCameraConfig
from lerobot.motors import motors_bus
from lerobot.motors.feetech import feetech
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from so101_robot.joints import JOINTS
from so101_robot.mock.serve.mock_process import MockProcess

SIZE = 64


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """LeRobot waits 50 ms for a reply. A test machine that does five other things may need longer; nothing
    else changes.
    """
    original = feetech.patch_setPacketTimeout

    def wait_longer(port_handler: Any, packet_length: int) -> None:
        original(port_handler, packet_length)
        port_handler.packet_timeout += 3000.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feetech, "patch_setPacketTimeout", wait_longer)
        yield


@pytest.fixture(scope="module")
def mock() -> Iterator[MockProcess]:
    """An arm as it leaves the workshop: servos bolted on at any angle, factory EEPROM."""
    with MockProcess(uncalibrated=True, seed=4, width=SIZE, height=SIZE) as mock:
        yield mock


def follower(mock: MockProcess, folder: Path, cameras: bool = False) -> SO101Follower:
    config = SO101FollowerConfig(port=mock.port, id="arm", calibration_dir=folder)
    if cameras:
        config.cameras = {
            name: ZMQCameraConfig(
                "127.0.0.1", mock.zmq_port, name, width=SIZE, height=SIZE, fps=30, timeout_ms=20_000
            )
            for name in ("front", "wrist")
        }
    return SO101Follower(config)


@pytest.fixture(scope="module")
def calibrated(mock: MockProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The calibration folder after LeRobot has calibrated the arm, with the simulated hand for the person's
    part.
    """
    folder = tmp_path_factory.mktemp("calibration")
    robot = follower(mock, folder)
    said: list[str] = []

    def person_presses_enter(prompt: str = "") -> str:
        said.append(prompt)
        assert "middle of its range" in prompt
        mock.call("hand_middle", duration_s=0.8)
        mock.wait_until_hand_rests()
        return ""

    def person_sweeps_then_presses_enter() -> bool:
        if "swept" not in said:
            said.append("swept")
            mock.call("hand_sweep", duration_s=0.4)
        return not mock.call("hand_busy")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "input", person_presses_enter)
        patch.setattr(motors_bus, "enter_pressed", person_sweeps_then_presses_enter)
        robot.connect(calibrate=True)
    mock.call("hand_release")
    robot.disconnect()
    assert len(said) == 2
    return folder


def test_calibrating_with_a_hand_finds_the_ranges_of_the_arm(calibrated: Path, mock: MockProcess) -> None:
    found = json.loads((calibrated / "arm.json").read_text())
    truth = mock.call("calibration")
    for name in JOINTS:
        assert found[name]["homing_offset"] == pytest.approx(truth[name]["homing_offset"], abs=40), name
        assert found[name]["range_min"] == pytest.approx(truth[name]["range_min"], abs=60), name
        assert found[name]["range_max"] == pytest.approx(truth[name]["range_max"], abs=60), name
        assert mock.call("register", joint=name, name="Homing_Offset") == found[name]["homing_offset"]


def test_a_calibrated_arm_connects_observes_acts_and_lets_go(calibrated: Path, mock: MockProcess) -> None:
    robot = follower(mock, calibrated, cameras=True)
    robot.connect(calibrate=False)
    try:
        assert robot.is_connected
        assert robot.is_calibrated
        assert mock.call("register", joint="elbow_flex", name="P_Coefficient") == 16
        observation = robot.get_observation()
        for camera in ("front", "wrist"):
            assert observation[camera].shape == (SIZE, SIZE, 3)
            assert observation[camera].std() > 5
        assert not np.array_equal(observation["front"], observation["wrist"])
        goal = {f"{name}.pos": observation[f"{name}.pos"] for name in JOINTS}
        goal["shoulder_pan.pos"] += 20.0
        goal["gripper.pos"] = 60.0
        assert robot.send_action(goal) == goal
        arrived = wait_for(
            lambda: (
                abs(robot.get_observation()["shoulder_pan.pos"] - goal["shoulder_pan.pos"]) < 3.0
                and abs(robot.get_observation()["gripper.pos"] - 60.0) < 5.0
            )
        )
        assert arrived
        assert not np.array_equal(robot.get_observation()["wrist"], observation["wrist"])
    finally:
        robot.disconnect()
    assert [mock.call("register", joint=name, name="Torque_Enable") for name in JOINTS] == [0] * 6


def test_positions_in_degrees_are_the_true_joint_angles(calibrated: Path, mock: MockProcess) -> None:
    robot = follower(mock, calibrated)
    robot.connect(calibrate=False)
    try:
        observation, truth = robot.get_observation(), mock.call("joints")
    finally:
        robot.disconnect()
    calibration = json.loads((calibrated / "arm.json").read_text())
    for name in ("shoulder_pan", "elbow_flex", "wrist_roll"):
        ends = calibration[name]
        middle_deg = ((ends["range_min"] + ends["range_max"]) / 2 - 2047) * 360 / 4096
        assert observation[f"{name}.pos"] + middle_deg == pytest.approx(np.degrees(truth[name]), abs=4.0)


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_lerobots_own_leader_reads_the_leader_and_its_scripted_hand(tmp_path: Path) -> None:
    """`lerobot-teleoperate` and `lerobot-record` read a leader by this class."""
    script = tmp_path / "hand.yaml"
    script.write_text("{repeat: false, poses: [{at_s: 0.5, shoulder_pan: 20, gripper: 60, elbow_flex: 80}]}")
    link = tmp_path / "leader"
    with MockProcess(leader=True, hand=script, port_link=link) as arm:
        assert arm.zmq_port == 0, "a leader has no cameras"
        config = SO101LeaderConfig(port=str(link), id=arm.robot_id, calibration_dir=arm.calibration_dir)
        leader = SO101Leader(config)
        leader.connect(calibrate=False)  # or it would ask a person
        assert leader.is_calibrated
        arm.wait_until_hand_rests()
        where = leader.get_action()
        leader.disconnect()
        assert [arm.call("register", joint=joint, name="Torque_Enable") for joint in JOINTS] == [0] * 6
    assert where["shoulder_pan.pos"] == pytest.approx(20.0, abs=1.5)
    assert where["elbow_flex.pos"] == pytest.approx(80.0, abs=1.5)
    assert where["gripper.pos"] == pytest.approx(60.0, abs=2.5)
