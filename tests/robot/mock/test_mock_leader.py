"""The mock leader: its gears, its mounting, and the hand that plays a script."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from so101_robot.cli import MOCK
from so101_robot.errors import ConfigError
from so101_robot.joints import GRIPPER
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.gears import FOLLOWER_GEAR, LEADER_GEARS, geared, leader_motors
from so101_robot.mock.physics.hand_gamepad import PadSteering
from so101_robot.mock.physics.hand_keys import KeySteering
from so101_robot.mock.physics.hand_mouse import MouseSteering
from so101_robot.mock.physics.hand_script import PLAY, Pose, Script, ScriptedHand, joint_rad, read_script
from so101_robot.mock.physics.hand_steered import SteeredHand
from so101_robot.mock.physics.motor import MotorParameters
from so101_robot.mock.physics.plant import MujocoPlant
from so101_robot.mock.servo.servo import Bridge
from so101_robot.process import gamepad
from so101_robot.process.gamepad import BUTTON, EVENT, INITIAL, Gamepad
from so101_robot.process.keys import Keys


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

    hand = SteeredHand(arm.hand, arm.bridge, KeySteering(pressed), start)

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


def moved_deg(steering: MouseSteering | PadSteering, now_s: float = 0.0) -> list[float]:
    return np.degrees(steering(now_s)).round(1).tolist()


def test_the_mouse_moves_a_joint_each_way_by_each_button_and_a_report_may_come_in_parts() -> None:
    terminal, ours = os.openpty()
    with Keys(ours) as keys:
        steering = MouseSteering(keys.pressed)

        def after(reports: bytes) -> list[float]:
            os.write(terminal, reports)
            time.sleep(0.1)
            return moved_deg(steering)

        assert after(b"\x1b[<0;10;5M\x1b[<32;13;5M\x1b[<32;13;4M\x1b[<0;13;4m") == [3, -2, 0, 0, 0, 0]
        assert after(b"\x1b[<35;40;9Mq\x1b[A") == [0] * 6, "no button; and keys"
        assert after(b"\x1b[<2;10;5M" + b"\x1b[<34;11;6M" * 9) == [0, 0, 2, 0, 1, 0]
        assert after(b"\x1b[<64;1;1M" * 4 + b"\x1b[<65;1;1M\x1b[<80;1;1M") == [0, 0, 0, 3, 0, 9]
        os.write(terminal, b"\x1b[<64;1")
        time.sleep(0.01)
        assert after(b"1;1M") == [0, 0, 0, 0, 0, 3]
    os.close(terminal)
    os.close(ours)


def test_a_gamepads_sticks_say_how_fast_and_one_that_is_unplugged_moves_nothing(tmp_path: Path) -> None:
    device = tmp_path / "js0"
    os.mkfifo(device)
    with Gamepad(device) as pad:
        kernel = os.open(device, os.O_WRONLY)
        steering = PadSteering(pad)

        def event(kind: int, number: int, value: int) -> None:
            os.write(kernel, EVENT.pack(0, value, kind, number))

        assert moved_deg(steering, 0.0) == [0] * 6
        event(2 | INITIAL, 0, 3000)  # let go, not quite in its middle
        event(2, 4, -32767)
        event(BUTTON, 5, 1)
        assert moved_deg(steering, 0.05) == [0, 0, -3, 0, 0, 3]
        assert moved_deg(steering, 60.0) == [0, 0, -6, 0, 0, 6], "what was while nobody looked does not count"
        event(BUTTON, 5, 0)
        event(BUTTON, 4, 1)
        event(2, 0, 32767)
        event(2, 7, -32767)
        assert moved_deg(steering, 60.05) == [3, 0, -3, -3, 0, -3]
        os.close(kernel)
        assert moved_deg(steering, 60.1) == [0] * 6
        assert pad.gone
    pad.close()


def test_a_gamepad_that_is_not_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gamepad, "PLACE", tmp_path)
    assert MOCK.main(["--leader", "--hand=gamepad", "--no_cameras"]) == 2
    assert "no gamepad is plugged in" in capsys.readouterr().err
    (tmp_path / "js0").mkdir()
    (tmp_path / "js0").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        Gamepad(tmp_path / "js0" / "not")


def test_keys_and_mouse_need_a_terminal_and_a_leader(capsys: pytest.CaptureFixture[str]) -> None:
    for hand in ("keyboard", "mouse"):
        assert MOCK.main(["--leader", f"--hand={hand}", "--no_cameras"]) == 2
        assert "needs a terminal" in capsys.readouterr().err
    for hand in ("keyboard", "mouse", "gamepad"):
        assert MOCK.main([f"--hand={hand}", "--no_cameras"]) == 2
        assert "for --leader" in capsys.readouterr().err
