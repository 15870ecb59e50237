"""Forward kinematics, held against MuJoCo and against the mock arm's own numbers."""

import mujoco
import numpy as np
import pytest

from so101_robot.bus.units import Scale
from so101_robot.guard.kinematics import JAW_RAD, LINK_NAMES, LINKS, Pose, angles_of, forward
from so101_robot.joints import JOINTS
from so101_robot.mock.physics.model import add_arm, load_kinematics
from so101_robot.mock.physics.plant import HOME_RAD, calibration, steps_of


def by_mujoco(joint_rad: np.ndarray, cached: list[mujoco.MjModel] = []) -> Pose:  # noqa: B006
    if not cached:
        spec = mujoco.MjSpec()
        add_arm(spec)
        cached.append(spec.compile())
    model = cached[0]
    data = mujoco.MjData(model)
    for joint, angle in zip(JOINTS, joint_rad, strict=True):
        data.qpos[model.joint(joint).qposadr[0]] = angle
    mujoco.mj_kinematics(model, data)
    ids = [model.body(name).id for name in LINK_NAMES]
    return Pose(data.xpos[ids], data.xmat[ids].reshape(-1, 3, 3))


def test_links_stand_where_mujoco_puts_them():
    rng = np.random.default_rng(1)
    for _ in range(200):
        joint_rad = rng.uniform(-3, 3, 6)
        ours, theirs = forward(joint_rad), by_mujoco(joint_rad)
        np.testing.assert_allclose(ours.position_m, theirs.position_m, rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours.rotation, theirs.rotation, rtol=0, atol=1e-6)


def test_the_numbers_are_those_of_the_mock_arm():
    bodies = load_kinematics().bodies
    assert [link.name for link in LINKS] == [body.name for body in bodies]
    assert [body.joint for body in bodies[1:]] == list(JOINTS)
    assert [body.parent for body in bodies[1:]] == list(LINK_NAMES[:-1])
    for link, body in zip(LINKS, bodies, strict=True):
        assert link.position_m == body.position_m
        assert link.quat_wxyz == body.quat_wxyz
    assert tuple(load_kinematics().range_rad[5]) == JAW_RAD


def test_joint_values_are_angles_of_the_mock_arm_as_it_is_calibrated():
    rng = np.random.default_rng(2)
    scale = Scale(calibration())
    low, high = load_kinematics().range_rad.T
    for _ in range(50):
        joint_rad = rng.uniform(low, high)
        seen = scale.to_joint(steps_of(joint_rad))
        # a turn has 4095 steps for LeRobot: 0.04 deg at half a turn; and a step is 0.09 deg
        assert angles_of(seen) == pytest.approx(joint_rad, abs=np.radians(0.14))
    assert angles_of([0, 0, 0, 0, 0, 50]) == pytest.approx(HOME_RAD, abs=1e-5)


def test_a_zero_that_stands_elsewhere_turns_the_joint():
    zero_deg = [0, 10.0, 0, 0, 0, 0]
    np.testing.assert_allclose(
        angles_of([5.0, 20, 0, 0, 0, 0], zero_deg), angles_of([5.0, 30, 0, 0, 0, 0]), atol=1e-12
    )
