"""Inverse kinematics and statics of the arm, each checked by another way to the same number."""

import math

import mujoco
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from so101_eval.expert.ik import (
    LIMIT_MARGIN_RAD,
    PAN_AXIS_M,
    SEED_POSE_RAD,
    ArmModel,
    Grasp,
    Vector,
    gap_m,
    gripper_rad,
)
from so101_robot.mock.physics.world import World, table_scene

ARM = ArmModel()
GRAVITY_M_S2 = 9.81


@pytest.fixture(scope="module")
def world() -> World:
    return World(table_scene())


def some_poses(count: int) -> Vector:
    rng = np.random.default_rng(7)
    return rng.uniform(ARM.lower_rad, ARM.upper_rad, (count, 6))


def at(radius_m: float, azimuth_rad: float, height_m: float, yaw_rad: float = 0.0) -> Grasp:
    x_m, y_m = radius_m * math.cos(azimuth_rad), radius_m * math.sin(azimuth_rad)
    return Grasp(np.array([PAN_AXIS_M[0] + x_m, PAN_AXIS_M[1] + y_m, height_m]), yaw_rad)


def test_the_grasp_frame_is_on_the_face_of_the_fixed_pad(world: World):
    pad = world.model.geom("fj_pad")
    for joint_rad in some_poses(10):
        world.place_arm(joint_rad)
        mujoco.mj_forward(world.model, world.data)
        R_world_pad = world.data.geom("fj_pad").xmat.reshape(3, 3)
        face_m = world.data.geom("fj_pad").xpos + R_world_pad @ np.array([pad.size[0], 0, 0])
        position_m, R_world_grasp = ARM.place(joint_rad)
        np.testing.assert_allclose(position_m, face_m, atol=1e-9)
        np.testing.assert_allclose(R_world_grasp, R_world_pad, atol=1e-9)


def test_the_jacobian_is_the_derivative_of_the_position():
    step_rad = 1e-6
    for joint_rad in some_poses(5):
        jacobian = ARM.jacobian(joint_rad)
        for joint in range(6):
            moved_rad = joint_rad + step_rad * np.eye(6)[joint]
            difference = (ARM.place(moved_rad)[0] - ARM.place(joint_rad)[0]) / step_rad
            np.testing.assert_allclose(jacobian[:3, joint], difference, atol=1e-5)


@given(
    radius_m=st.floats(0.12, 0.22),
    azimuth_rad=st.floats(-1.4, 1.4),
    height_m=st.floats(0.01, 0.06),
    yaw_rad=st.floats(-math.pi, math.pi),
)
@settings(max_examples=60, deadline=None)
def test_a_solution_stands_where_it_was_asked_with_the_fingers_straight_down(
    radius_m: float, azimuth_rad: float, height_m: float, yaw_rad: float
):
    target = at(radius_m, azimuth_rad, height_m, yaw_rad)
    solution = ARM.solve(target)
    assume(solution.reached)  # the roll has a dead zone; how large it is, the next test says
    position_m, R_world_grasp = ARM.place(solution.joint_rad)
    np.testing.assert_allclose(position_m, target.position_m, atol=1e-3)
    np.testing.assert_allclose(R_world_grasp[2], [0, 0, 1], atol=0.04)
    assert abs(math.remainder(ARM.grasp(solution.joint_rad).yaw_rad - yaw_rad, math.tau)) < 0.04
    assert (solution.joint_rad[:5] >= ARM.lower_rad[:5] + LIMIT_MARGIN_RAD - 1e-9).all()
    assert (solution.joint_rad[:5] <= ARM.upper_rad[:5] - LIMIT_MARGIN_RAD + 1e-9).all()


def test_of_all_yaws_only_the_dead_zone_of_the_wrist_cannot_be_reached():
    yaws_rad = np.linspace(-math.pi, math.pi, 180, endpoint=False)
    reached = [ARM.solve(at(0.18, 0.5, 0.02, yaw_rad)).reached for yaw_rad in yaws_rad.tolist()]
    assert 0.86 < np.mean(reached) < 0.92  # 326 of 360 degrees less the margins


@pytest.mark.parametrize(("radius_m", "height_m"), [(0.18, 0.13), (0.30, 0.02), (0.22, 0.085)])
def test_what_is_out_of_reach_is_said_to_be(radius_m: float, height_m: float):
    assert not ARM.solve(at(radius_m, 0.3, height_m)).reached


def test_a_solution_on_a_path_continues_the_one_before():
    before = ARM.solve(at(0.18, 0.4, 0.03, 0.5)).joint_rad
    after = ARM.solve(at(0.18, 0.4, 0.031, 0.5), before).joint_rad
    assert 0 < np.abs(after - before).max() < 0.05


def test_standing_torque_is_what_the_simulated_arm_needs_to_float(world: World):
    for joint_rad in some_poses(5):
        world.place_arm(joint_rad)
        mujoco.mj_forward(world.model, world.data)
        np.testing.assert_allclose(ARM.torque_nm(joint_rad), world.data.qfrc_bias[world.joint_dof], atol=1e-6)


def test_a_load_needs_its_weight_times_how_much_each_joint_lifts_it():
    joint_rad, step_rad, load_kg = np.array(SEED_POSE_RAD), 1e-6, 0.04
    extra_nm = ARM.torque_nm(joint_rad, load_kg=load_kg) - ARM.torque_nm(joint_rad)
    for joint in range(6):
        risen_m = ARM.place(joint_rad + step_rad * np.eye(6)[joint])[0][2] - ARM.place(joint_rad)[0][2]
        assert extra_nm[joint] == pytest.approx(load_kg * GRAVITY_M_S2 * risen_m / step_rad, abs=1e-6)


def test_moving_torque_makes_the_power_that_the_energy_takes():
    """Energy balance: torque times speed is the rate of kinetic and potential energy, by finite differences."""
    start_rad, speed_rad_s, turn_rad_s2 = np.array(SEED_POSE_RAD), np.full(6, 0.8), np.full(6, 2.0)
    model = ARM._model  # pyright: ignore[reportPrivateUsage]
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    data = mujoco.MjData(model)

    def energy_j(time_s: float) -> float:
        joints = ARM._qpos, ARM._dof  # pyright: ignore[reportPrivateUsage]
        data.qpos[joints[0]] = start_rad + speed_rad_s * time_s + turn_rad_s2 * time_s**2 / 2
        data.qvel[joints[1]] = speed_rad_s + turn_rad_s2 * time_s
        mujoco.mj_forward(model, data)
        rotors_j = 0.5 * model.dof_armature[joints[1]] @ data.qvel[joints[1]] ** 2
        return float(data.energy.sum() - rotors_j)

    power_w = (energy_j(1e-4) - energy_j(-1e-4)) / 2e-4
    torque_nm = ARM.torque_nm(start_rad, speed_rad_s, turn_rad_s2)
    assert torque_nm @ speed_rad_s == pytest.approx(power_w, rel=1e-4)


@pytest.mark.parametrize("width_m", [0.020, 0.025, 0.030, 0.035])
def test_the_jaws_are_as_far_apart_as_they_say(world: World, width_m: float):
    joint_rad = np.array(SEED_POSE_RAD)
    joint_rad[5] = gripper_rad(width_m)
    assert gap_m(gripper_rad(width_m)) == pytest.approx(width_m)
    world.place_arm(joint_rad)
    mujoco.mj_forward(world.model, world.data)
    R_world_moving = world.data.geom("mj_pad").xmat.reshape(3, 3)
    inner_m = world.data.geom("mj_pad").xpos - R_world_moving[:, 0] * world.model.geom("mj_pad").size[0]
    position_m, R_world_grasp = ARM.place(joint_rad)
    assert float((inner_m - position_m) @ R_world_grasp[:, 0]) == pytest.approx(width_m, abs=0.0005)
