"""Joints as -100 to 100 of their range: LeRobot's own arithmetic is the other way to get there."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus.units import Scale
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.config import MockConfig

ENDS = [(700, 3400), (800, 3200), (900, 3100), (850, 3250), (0, 4095), (2000, 3500)]


def calibration(flipped: int | None) -> dict[str, MotorCalibration]:
    return {
        joint: MotorCalibration(i + 1, int(i == flipped), 0, *ends)
        for i, (joint, ends) in enumerate(zip(JOINTS, ENDS, strict=True))
    }


def lerobots(flipped: int | None) -> Any:
    modes = [MotorNormMode.RANGE_M100_100] * GRIPPER + [MotorNormMode.RANGE_0_100]
    motors = {joint: Motor(i + 1, "sts3215", modes[i]) for i, joint in enumerate(JOINTS)}
    return FeetechMotorsBus("nowhere", motors, calibration(flipped))


@given(st.lists(st.integers(0, 4095), min_size=6, max_size=6), st.sampled_from([None, 0, 4, 5]))
def test_what_a_policy_sees_is_what_lerobot_reads(steps: list[int], flipped: int | None):
    scale = Scale(calibration(flipped))
    expected = lerobots(flipped)._normalize(dict(enumerate(steps, start=1)))
    found = scale.to_range(scale.to_joint(steps))
    np.testing.assert_allclose(found, [expected[i + 1] for i in range(6)], atol=1e-9)


@given(st.lists(st.floats(-99, 99), min_size=6, max_size=6), st.sampled_from([None, 1, 4]))
def test_what_a_policy_asks_for_goes_where_lerobot_sends_it(values: list[float], flipped: int | None):
    values[GRIPPER] = abs(values[GRIPPER])
    scale = Scale(calibration(flipped))
    expected = lerobots(flipped)._unnormalize(dict(enumerate(values, start=1)))
    found = scale.to_steps(scale.from_range(values))
    assert np.abs(found - [expected[i + 1] for i in range(6)]).max() <= 1  # each truncates once


def test_what_is_out_of_range_stays_out_of_range():
    """The guard has to see it."""
    scale = Scale(calibration(None))
    assert scale.from_range([150.0, 0, 0, 0, 0, 0])[0] == pytest.approx(
        1.5 * scale.from_range([100.0] * 6)[0]
    )


def test_lerobots_side_of_the_arm_speaks_it_both_ways():
    mock = MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0)
    robot = SO101(SO101Config(port="mock", mock=mock, use_degrees=False))
    robot.connect()
    try:
        keys = [f"{joint}.pos" for joint in JOINTS]
        degrees = robot.read().position
        seen = np.array([robot.get_observation()[key] for key in keys])
        np.testing.assert_allclose(seen, robot.bus.scale.to_range(degrees), atol=0.2)
        assert np.abs(seen[:GRIPPER] - degrees[:GRIPPER]).max() > 1.0
        sent = robot.send_action(dict(zip(keys, seen.tolist(), strict=True)))
        np.testing.assert_allclose([sent[key] for key in keys], seen, atol=0.2)
        np.testing.assert_allclose(robot.read().position, degrees, atol=0.5)
    finally:
        robot.disconnect()
