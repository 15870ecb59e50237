"""Which arm is at which port: a swap is told before anything is under torque, and so is what is missing."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from so101_robot.errors import BusError, CalibrationError, ConfigError, PortError, RobotError
from so101_robot.joints import GRIPPER
from so101_robot.leader.config_leader import LeaderConfig
from so101_robot.leader.leader import Leader
from so101_robot.leader.ports import like_a_follower, require_leader, require_two_ports
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.plant import IdealPlant
from terminals import Terminal
from two_arms import TwoArms

FOLLOWERS_GRIPPER = {"Max_Torque_Limit": 500, "Protection_Current": 250, "Overload_Torque": 25}


@pytest.fixture
def arms(tmp_path: Path) -> Iterator[TwoArms]:
    two = TwoArms(tmp_path)
    yield two
    two.follower.close()
    two.leader.close()


def test_two_arms_at_their_ports_are_connected_and_what_is_wrong_is_one_message_without_torque(
    arms: TwoArms,
) -> None:
    follower, leader = arms.follower.server.path, arms.leader.server.path
    arms.connect(follower, leader)

    def refused(kind: type[RobotError], **asked: str) -> str:
        with pytest.raises(kind) as problem:
            arms.connect(**({"follower": follower, "leader": leader} | asked))
        assert arms.torque == [0] * 12
        return str(problem.value)

    said = refused(CalibrationError, follower=leader, leader=follower)
    assert f"--teleop.port={follower} is the follower" in said
    assert "exchange --robot.port and --teleop.port" in said
    said = refused(CalibrationError, name="other")
    assert "the leader is not calibrated" in said
    assert "has follower, leader (choose one with --teleop.id)" in said
    command = shlex.split(said.partition("`")[2].partition("`")[0])
    assert command[:3] == ["so101-calibrate", "servos", "--leader"]
    assert f"--robot.port={leader}" in command
    assert refused(PortError, leader="/dev/so101-no-such-leader")
    # the follower's file is lost: what is at its port is known all the same
    (arms.folder / "follower.json").unlink()
    said = refused(CalibrationError, follower=leader, leader=follower)
    assert "looks like a follower" in said, "connecting gave its gripper the limits of one"


def test_a_leader_at_the_followers_port_is_known_by_its_calibration(arms: TwoArms) -> None:
    third = Terminal(MockArm(MockConfig(seed=7), plant=IdealPlant(), leader=True))
    try:
        for index, offset in enumerate(third.arm.mount_offset_steps):
            third.arm.plant._steps[index] = 2047 + offset  # type: ignore[attr-defined]
        (arms.folder / "third.json").write_text(json.dumps(third.arm.calibration_fields))
        # a copy of the leader's memory at the follower's port
        source, target = third.arm.servos, arms.follower.arm.servos
        for index in range(6):
            for name in ("Homing_Offset", "Min_Position_Limit", "Max_Position_Limit"):
                target.set(index, name, source.get(index, name))
        with pytest.raises(CalibrationError, match=r"--robot.port=\S+ is the leader"):
            arms.connect(arms.follower.server.path, third.server.path, "third")
    finally:
        third.close()


def test_a_gripper_with_a_followers_limits_is_a_follower_unless_somebody_says_otherwise() -> None:
    arm = MockArm(MockConfig(), plant=IdealPlant(), leader=True)
    assert not like_a_follower(arm.servos.registers)
    for name, value in FOLLOWERS_GRIPPER.items():
        arm.servos.set(GRIPPER, name, value)
    assert like_a_follower(arm.servos.registers)
    with pytest.raises(CalibrationError, match=r"--teleop.was_follower=true"):
        require_leader(arm.servos.registers, "/dev/a", {}, {}, was_follower=False)
    require_leader(arm.servos.registers, "/dev/a", {}, {}, was_follower=True)


def test_one_port_is_not_two_and_simulated_arms_come_in_pairs(tmp_path: Path) -> None:
    port, link = tmp_path / "port", tmp_path / "link"
    port.touch()
    link.symlink_to(port)
    with pytest.raises(ConfigError, match="are one port"):
        require_two_ports(str(port), str(link))
    with pytest.raises(ConfigError, match="both are mock or none is"):
        require_two_ports("mock", str(port))
    require_two_ports("mock", "mock")


def test_a_leader_without_port_or_id_is_asked_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--teleop.port is missing"):
        Leader(LeaderConfig())
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"--teleop.id is missing.*has mine"):
        Leader(LeaderConfig(port="/dev/a", calibration_dir=tmp_path))


def test_a_leader_whose_cable_was_out_is_read_again_unless_another_arm_came_back(tmp_path: Path) -> None:
    arm = MockArm(MockConfig(), plant=IdealPlant(), leader=True)
    (tmp_path / "leader.json").write_text(json.dumps(arm.calibration_fields))
    terminal = Terminal(arm, link=tmp_path / "port")
    leader = Leader(LeaderConfig(port=str(tmp_path / "port"), id="leader", calibration_dir=tmp_path))
    try:
        leader.open()
        before = leader.read(0.0).position
        terminal.do(terminal.server.unplug)
        for now_s in (0.1, 0.2):
            with pytest.raises(PortError):
                leader.read(now_s)
        terminal.do(terminal.server.replug)
        assert leader.read(0.3).position.tolist() == before.tolist()
        terminal.do(terminal.server.unplug)
        with pytest.raises(PortError):
            leader.read(0.4)
        arm.servos.set(2, "Homing_Offset", 77)
        terminal.do(terminal.server.replug)
        for now_s in (0.5, 0.6):
            with pytest.raises(BusError, match="another arm"):
                leader.read(now_s)
    finally:
        leader.close()
        terminal.close()
