"""The mock leader: its gears, its mounting, and the hand that plays a script."""

from pathlib import Path

import numpy as np
import pytest

from so101_robot.cli import MOCK
from so101_robot.errors import ConfigError
from so101_robot.joints import GRIPPER
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.gears import FOLLOWER_GEAR, LEADER_GEARS, geared, leader_motors
from so101_robot.mock.physics.hand_keys import KeyHand
from so101_robot.mock.physics.hand_script import PLAY, Pose, Script, ScriptedHand, joint_rad, read_script
from so101_robot.mock.physics.motor import MotorParameters
from so101_robot.mock.physics.plant import MujocoPlant
from so101_robot.mock.servo.servo import Bridge


def leading(script: Script) -> tuple[MockArm, ScriptedHand]:
    arm = MockArm(MockConfig(realtime_factor=0, camera_fps=1), leader=True)
    assert arm.hand is not None
    return arm, ScriptedHand(arm.hand, arm.bridge, script)


def live(arm: MockArm, hand: ScriptedHand, seconds: float) -> None:
    end_us = arm.now_us + round(seconds * 1e6)
    while arm.now_us < end_us:
        hand.watch(arm.now_us * 1e-6)
        arm.advance_to(arm.now_us + 20_000)


def test_a_leaders_gears_are_weaker_faster_and_lighter_and_one_is_the_followers() -> None:
    same, light = geared(FOLLOWER_GEAR), geared(147.0)
    assert same == MotorParameters()
    assert light.stall_torque_nm / same.stall_torque_nm == pytest.approx(147 / 345)
    assert light.no_load_rad_s / same.no_load_rad_s == pytest.approx(345 / 147)
    assert light.inertia_kgm2 / same.inertia_kgm2 == pytest.approx((147 / 345) ** 2)
    # the same motor: what it does electrically does not depend on the gear
    assert light.torque_constant_nm_a * 345 / 147 == pytest.approx(same.torque_constant_nm_a)
    assert light.back_emf_vs_rad * 345 / 147 == pytest.approx(same.back_emf_vs_rad)
    assert [round(ratio) for ratio in LEADER_GEARS.values()] == [191, 345, 191, 147, 147, 147]


def test_the_hand_plays_its_poses_on_a_free_arm_that_is_another_arm_than_the_follower() -> None:
    arm, hand = leading(
        Script((Pose(0.6, {"shoulder_pan": 30.0, "wrist_roll": -20.0, "gripper": 70.0}),), repeat=False)
    )
    assert isinstance(arm.plant, MujocoPlant)
    assert arm.plant.drivetrain.motors == leader_motors()
    assert arm.mount_offset_steps != MockArm(MockConfig(random_mount=True)).mount_offset_steps
    live(arm, hand, 1.0)
    wanted = [joint_rad("shoulder_pan", 30.0), joint_rad("wrist_roll", -20.0), joint_rad("gripper", 70.0)]
    np.testing.assert_allclose(arm.joint_rad[[0, 4, GRIPPER]], wanted, atol=0.03)
    assert (arm.bridge == Bridge.FREE).all()
    arm.servos.set(0, "Torque_Enable", 1)
    live(arm, hand, 0.1)
    assert arm.hand is not None
    assert not arm.hand.active, "it lets go of what a motor moves"


def test_the_script_without_a_file_goes_round_and_round() -> None:
    arm, hand = leading(Script(tuple(Pose(pose.at_s / 10, pose.joints) for pose in PLAY.poses)))
    live(arm, hand, PLAY.poses[-1].at_s / 10 + 0.1)
    assert arm.hand is not None
    assert arm.hand.busy, "the first pose again"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "expected a list `poses`"),
        ("poses: []", "expected a list `poses`"),
        ("{poses: [{at_s: 1}], loop: true}", "no field 'loop'"),
        ("{poses: [{at_s: 1}], repeat: 3}", "true or false"),
        ("poses: [{shoulder_pan: 3}]", "pose 1: at_s = nan"),
        ("poses: [{at_s: 2}, {at_s: 1}]", "pose 2: at_s = 1; expected 2.1 or more"),
        ("poses: [{at_s: 2, shoulder: 1}]", "no joint 'shoulder'"),
        ("poses: [{at_s: 2, elbow_flex: 170}]", "elbow_flex = 170; it can be at -97 to 97"),
        ("poses: [{at_s: 2, elbow_flex: much}]", "expected numbers"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_by_its_pose(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "hand.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="--hand=") as refused:
        read_script(file)
    assert words in str(refused.value)


def test_keys_move_the_leader_joint_by_joint_within_its_range_and_it_is_let_go_under_torque() -> None:
    arm = MockArm(MockConfig(realtime_factor=0, camera_fps=1), leader=True)
    assert arm.hand is not None
    start = [joint_rad(joint, value) for joint, value in PLAY.poses[0].joints.items()]
    keys: list[str] = []

    def pressed() -> list[str]:
        found = keys.copy()
        keys.clear()
        return found

    hand = KeyHand(arm.hand, arm.bridge, pressed, start)

    def press(*names: str, seconds: float = 0.5) -> None:
        keys.extend(names)
        end_us = arm.now_us + round(seconds * 1e6)
        while arm.now_us < end_us:
            hand.watch(arm.now_us * 1e-6)
            arm.advance_to(arm.now_us + 20_000)

    press(seconds=2.5)
    np.testing.assert_allclose(arm.joint_rad, start, atol=0.03)
    press("q", "Q", "s", "right", "esc", "x")
    moved = np.degrees(arm.joint_rad - start)
    np.testing.assert_allclose(moved, (4.0, -2.0, 0, 0, 0, 0), atol=1.5)
    press(*["h"] * 60, seconds=1.0)
    assert arm.joint_rad[GRIPPER] == pytest.approx(arm.hand.range_rad[GRIPPER][0], abs=0.03), (
        "not beyond its end"
    )
    arm.servos.set(0, "Torque_Enable", 1)
    press("q", seconds=0.1)
    assert not arm.hand.active


def test_keys_need_a_terminal_and_a_leader(capsys: pytest.CaptureFixture[str]) -> None:
    assert MOCK.main(["--leader", "--hand=keyboard", "--no_cameras"]) == 2
    assert "needs a terminal" in capsys.readouterr().err
    assert MOCK.main(["--hand=keyboard", "--no_cameras"]) == 2
    assert "for --leader" in capsys.readouterr().err
