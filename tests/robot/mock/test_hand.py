"""The simulated hand, and the helper that does a person's part of `lerobot-calibrate`."""

import pytest

from so101_robot.errors import ConfigError
from so101_robot.joints import FULL_TURN_JOINT, JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.hand import CalibrationHelper, Hand

STEPS_OF_A_DEGREE = 4096 / 360


def new_arm(**changes: object) -> tuple[MockArm, Hand]:
    arm = MockArm(MockConfig(realtime_factor=0, **changes))  # type: ignore[arg-type]
    assert arm.hand is not None
    return arm, arm.hand


def live(arm: MockArm, seconds: float, helper: CalibrationHelper | None = None) -> None:
    end_us = arm.now_us + round(seconds * 1e6)
    while arm.now_us < end_us:
        arm.advance_to(arm.now_us + 10_000)
        if helper is not None:
            helper.watch(arm.now_us * 1e-6)


def test_the_hand_brings_joints_where_it_was_told_and_holds_them() -> None:
    arm, hand = new_arm()
    hand.move({"shoulder_lift": -0.5, "gripper": 1.0}, duration_s=0.5)
    assert hand.busy
    live(arm, 1.0)
    assert not hand.busy
    assert arm.joint_rad[1] == pytest.approx(-0.5, abs=0.03)
    assert arm.joint_rad[5] == pytest.approx(1.0, abs=0.03)
    live(arm, 2.0)
    assert arm.joint_rad[1] == pytest.approx(-0.5, abs=0.03)


def test_an_arm_that_is_let_go_falls() -> None:
    arm, hand = new_arm()
    hand.move({"shoulder_lift": 0.0, "elbow_flex": 0.0}, duration_s=0.5)
    live(arm, 1.0)
    held = arm.joint_rad[1]
    hand.release()
    assert not hand.busy
    live(arm, 1.0)
    assert abs(arm.joint_rad[1] - held) > 0.2


def test_a_servo_that_holds_can_be_felt() -> None:
    """With torque on, the hand (4 N m at most) does not get where it wants to."""
    arm, hand = new_arm()
    arm.servos.set(0, "Torque_Enable", 1)
    hand.move({"shoulder_pan": 0.3}, duration_s=0.5)
    live(arm, 1.0)
    assert arm.joint_rad[0] < 0.28
    arm.servos.set(0, "Torque_Enable", 0)
    live(arm, 1.0)
    assert arm.joint_rad[0] == pytest.approx(0.3, abs=0.02)


def test_an_unknown_joint_is_an_error_that_names_the_joints() -> None:
    _, hand = new_arm()
    with pytest.raises(ConfigError, match=r"'knee'.*shoulder_pan"):
        hand.move({"knee": 0.0})


def test_the_helper_does_what_lerobot_calibrate_asks_and_lets_go_when_torque_comes_on() -> None:
    arm, hand = new_arm(calibrated=False, random_mount=True, seed=2)
    servos, truth = arm.servos, arm.calibration_fields
    helper = CalibrationHelper(hand, servos, arm.bridge)
    live(arm, 2.5, helper)  # "Move the arm to the middle of its range of motion and press ENTER"
    homing = [servos.get(index, "Present_Position") - 2047 for index in range(6)]
    for index, name in enumerate(JOINTS):
        assert homing[index] == pytest.approx(truth[name]["homing_offset"], abs=2 * STEPS_OF_A_DEGREE)
        servos.set(index, "Homing_Offset", homing[index])
    seen: list[list[int]] = [[] for _ in JOINTS]
    for _ in range(2200):  # "Move all joints sequentially through their entire ranges of motion"
        live(arm, 0.01, helper)
        for index in range(6):
            seen[index].append(servos.get(index, "Present_Position"))
    assert not hand.busy
    for index, name in enumerate(JOINTS):
        if name != FULL_TURN_JOINT:
            assert min(seen[index]) == pytest.approx(truth[name]["range_min"], abs=3 * STEPS_OF_A_DEGREE), (
                name
            )
            assert max(seen[index]) == pytest.approx(truth[name]["range_max"], abs=3 * STEPS_OF_A_DEGREE), (
                name
            )
    servos.set(0, "Torque_Enable", 1)
    live(arm, 0.05, helper)
    assert not hand.active
