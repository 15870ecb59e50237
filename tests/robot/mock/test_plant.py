"""Motors, gears, supply and heat against the figures of a data sheet and against hand calculation."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_robot.errors import ConfigError
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.physics.motor import BRAKE, DRIVE, FREE, Drivetrain, MotorParameters, SupplyParameters
from so101_robot.mock.physics.plant import (
    HOME_RAD,
    STEPS_PER_RAD,
    IdealPlant,
    MujocoPlant,
    Plant,
    angles_of,
    calibration,
    steps_of,
)
from so101_robot.mock.physics.world import HOME_POSE_RAD, World, table_scene

PAN, LIFT, ELBOW, ROLL = 0, 1, 2, 4
STIFF_SUPPLY = SupplyParameters(source_ohm=0.0, segment_ohm=0.0)
NOMINAL = MotorParameters()


def make_plant(
    motor: MotorParameters = NOMINAL, supply: SupplyParameters = STIFF_SUPPLY, seed: int = 0
) -> MujocoPlant:
    return MujocoPlant(World(table_scene(), seed), motors=[motor] * 6, supply=supply)


def run(plant: Plant, ticks: int, duty: NDArray[np.float64] | None = None, bridge: int = FREE) -> None:
    duty = np.zeros(6) if duty is None else duty
    bridges = np.full(6, bridge, np.int8)
    for _ in range(ticks):
        plant.tick(duty, bridges)


def hold(
    plant: MujocoPlant,
    goal_steps: NDArray[np.int32],
    ticks: int,
    p_coefficient: int = 16,
    free: int | None = None,
) -> None:
    """The servo's proportional law on all joints but `free`: duty of P / 4 per mille a step."""
    bridges = np.full(6, DRIVE, np.int8)
    if free is not None:
        bridges[free] = FREE
    for _ in range(ticks):
        duty = np.clip((goal_steps - plant.raw_steps) * p_coefficient / 4000, -1, 1)
        plant.tick(duty, bridges)


@pytest.mark.parametrize("make", [IdealPlant, make_plant])
def test_every_plant_turns_to_larger_counts_under_positive_duty_and_keeps_its_arrays(
    make: Callable[[], Plant],
) -> None:
    plant = make()
    arrays = (plant.raw_steps, plant.current_a, plant.supply_v, plant.temperature_c)
    assert [array.dtype for array in arrays] == [np.int32, np.float64, np.float64, np.float64]
    assert all(array.shape == (6,) for array in arrays)
    before = plant.raw_steps.copy()
    run(plant, 100, duty=np.eye(6)[PAN] * 0.5, bridge=DRIVE)
    assert 50 < plant.raw_steps[PAN] - before[PAN] < 300
    run(plant, 1000, duty=np.eye(6)[PAN], bridge=FREE)
    still = plant.raw_steps.copy()
    run(plant, 100, duty=np.eye(6)[PAN], bridge=FREE)
    assert abs(int(plant.raw_steps[PAN]) - int(still[PAN])) <= 1
    assert plant.current_a[PAN] == 0.0
    after = (plant.raw_steps, plant.current_a, plant.supply_v, plant.temperature_c)
    assert all(new is old for new, old in zip(after, arrays, strict=True))


def test_an_unloaded_motor_reaches_46_rpm() -> None:
    plant = make_plant()
    plant.reset([0, -0.2, 0.2, 0, -2.6, 0])  # roll has 5.5 rad of way and almost no load
    run(plant, 400, duty=np.eye(6)[ROLL], bridge=DRIVE)
    start = plant.joint_rad[ROLL]
    run(plant, 300, duty=np.eye(6)[ROLL], bridge=DRIVE)
    rpm = (plant.joint_rad[ROLL] - start) / 0.3 * 60 / (2 * math.pi)
    assert rpm == pytest.approx(46, rel=0.02)


@pytest.mark.parametrize(("load_nm", "way"), [(2.85, 1), (2.99, 0), (3.15, -1)])
def test_the_stall_torque_is_2_94_nm_give_or_take_friction(load_nm: float, way: int) -> None:
    plant = make_plant(replace(NOMINAL, heat_j_k=1e9))  # a motor that warms loses torque
    plant.reset([0, -0.2, 0.2, 0, 0, 0])
    plant.hand_torque_nm[PAN] = -load_nm
    run(plant, 300, duty=np.eye(6)[PAN], bridge=DRIVE)
    start = plant.joint_rad[PAN]
    run(plant, 300, duty=np.eye(6)[PAN], bridge=DRIVE)
    moved_deg = math.degrees(plant.joint_rad[PAN] - start)
    assert moved_deg == pytest.approx(0, abs=0.05) if way == 0 else moved_deg * way > 0.5


def test_a_stalled_motor_draws_2_7_amperes() -> None:
    plant = make_plant()
    plant.reset([1.919, -0.2, 0.2, 0, 0, 0])
    run(plant, 300, duty=np.eye(6)[PAN], bridge=DRIVE)
    assert plant.current_a[PAN] == pytest.approx(2.7, rel=0.02)


def test_without_torque_the_raised_arm_falls_to_the_table() -> None:
    plant = make_plant()
    plant.reset([0, 0.3, 0.0, 0, 0, 0])
    run(plant, 1000)
    assert plant.world.data.body("gripper").xpos[2] < 0.12


def test_a_shorted_bridge_lets_the_arm_sink_several_times_slower() -> None:
    speed: dict[int, float] = {}
    for bridge in (FREE, BRAKE):
        plant = make_plant()
        plant.reset([0, 0.0, 0.0, 0, 0, 0])
        run(plant, 200, bridge=bridge)
        speed[bridge] = plant.world.data.qvel[plant.world.joint_dof[LIFT]]
    assert speed[FREE] > 2.5 * speed[BRAKE] > 0


def test_gravity_makes_a_held_arm_droop_by_torque_over_stiffness() -> None:
    plant = make_plant()
    plant.reset([0, -0.2, 0.1, 0.6, 0, 0])  # reaches out over the table
    goal = plant.raw_steps.copy()
    hold(plant, goal, 1500)
    gravity_nm = plant.world.data.qfrc_bias[plant.world.joint_dof]
    stiffness_nm = (NOMINAL.stall_torque_nm + NOMINAL.friction_nm) * 16 / 4000  # a step
    droop = goal - plant.raw_steps
    for joint in (LIFT, ELBOW):
        assert abs(gravity_nm[joint]) > 0.2
        slack_steps = NOMINAL.friction_nm / stiffness_nm + 1
        assert droop[joint] == pytest.approx(gravity_nm[joint] / stiffness_nm, abs=slack_steps)
    assert 1.0 < abs(droop[LIFT]) * 360 / 4096 < 5.0


def test_a_step_of_half_a_radian_arrives_in_a_sixth_of_a_second() -> None:
    plant = make_plant()
    plant.reset(HOME_POSE_RAD)
    goal = plant.raw_steps.copy()
    hold(plant, goal, 200)
    goal[PAN] += 326
    start, track = int(plant.raw_steps[PAN]), []
    for _ in range(600):
        hold(plant, goal, 1)
        track.append(int(plant.raw_steps[PAN]) - start)
    arrival_ms = int(np.argmax(np.array(track) > 0.9 * 326))
    assert 120 < arrival_ms < 220
    assert max(track) < 1.2 * 326
    assert track[-1] == pytest.approx(326, abs=12)


@pytest.mark.parametrize("backlash_deg", [0.87, 2.0])
def test_the_play_of_the_gears_is_a_dead_band_of_its_size(backlash_deg: float) -> None:
    plant = make_plant(replace(NOMINAL, backlash_rad=math.radians(backlash_deg)))
    plant.reset(HOME_POSE_RAD)
    ends_deg: list[float] = []
    goal = plant.raw_steps.copy()
    for push_nm in (0.01, -0.01):  # less than the friction that holds the rotor
        plant.hand_torque_nm[PAN] = push_nm
        hold(plant, goal, 1000, free=PAN)
        ends_deg.append(math.degrees(plant.joint_rad[PAN]))
    assert ends_deg[0] - ends_deg[1] == pytest.approx(backlash_deg, abs=0.08)  # arrival nudges the rotor


def test_a_hand_moves_a_free_joint_and_meets_the_motor_of_a_held_one() -> None:
    moved: dict[int, float] = {}
    for bridge in (FREE, DRIVE):
        plant = make_plant()
        plant.reset(HOME_POSE_RAD)
        plant.hand_torque_nm[PAN] = 0.2
        goal = plant.raw_steps.copy()
        hold(plant, goal, 500, free=PAN if bridge == FREE else None)
        moved[bridge] = plant.joint_rad[PAN]
    assert moved[FREE] > 0.3
    assert 0 < moved[DRIVE] < 0.05


def test_the_stiffest_loop_does_not_shake_the_lightest_link() -> None:
    plant = make_plant()
    plant.reset(HOME_POSE_RAD)
    goal = plant.raw_steps.copy()
    goal[GRIPPER] += 100
    hold(plant, goal, 1500, p_coefficient=32)
    speeds: list[float] = []
    for _ in range(200):
        hold(plant, goal, 2, p_coefficient=32)
        speeds.append(float(np.abs(plant.world.data.qvel[plant.world.joint_dof]).max()))
    assert max(speeds) < 0.05


def test_supply_voltage_sags_along_the_chain_by_ohms_law() -> None:
    supply = SupplyParameters(source_ohm=0.1, segment_ohm=0.05)
    motors = Drivetrain([replace(NOMINAL, heat_j_k=1e9)] * 6, supply)
    duty, bridge, still = np.array([1.0, 0, 0, 0.5, 0, 0]), np.full(6, DRIVE, np.int8), np.zeros(6)
    for _ in range(20):  # current and voltage settle on each other
        motors.tick(duty, bridge, still)
    drawn_a = motors.current_a * duty
    expected, volts = [], 12 - 0.1 * drawn_a.sum()
    for i in range(6):
        volts -= 0.05 * drawn_a[i:].sum() if i else 0.0
        expected.append(volts)
    np.testing.assert_allclose(motors.supply_v, expected, atol=1e-6)
    assert motors.current_a[0] == pytest.approx(motors.supply_v[0] / 12 * 2.7, abs=1e-6)
    assert motors.supply_v[5] < motors.supply_v[0] < 12


def test_a_returning_current_does_not_lift_the_supply() -> None:
    motors = Drivetrain([NOMINAL] * 6, SupplyParameters())
    for _ in range(5):
        motors.tick(np.full(6, 0.1), np.full(6, DRIVE, np.int8), np.full(6, 4.0))
    assert np.all(motors.current_a < 0)
    np.testing.assert_array_equal(motors.supply_v, 12.0)


def test_a_stalled_motor_warms_by_about_one_degree_a_second() -> None:
    motors = Drivetrain([NOMINAL] * 6, STIFF_SUPPLY)
    for _ in range(10_000):
        motors.tick(np.eye(6)[0], np.full(6, DRIVE, np.int8), np.zeros(6))
    assert motors.temperature_c[0] - 25 == pytest.approx(10 * 12 * 2.7 / 33, rel=0.05)
    assert motors.temperature_c[1] == 25.0
    assert motors.current_a[0] < 2.7  # warm copper resists more


def test_temperature_ends_where_losses_equal_cooling() -> None:
    quick = replace(NOMINAL, heat_j_k=0.05)
    motors = Drivetrain([quick] * 6, STIFF_SUPPLY)
    for _ in range(5_000):
        motors.tick(np.full(6, 0.3), np.full(6, DRIVE, np.int8), np.zeros(6))
    loss_w = motors.current_a**2 * quick.resistance_ohm * (1 + 0.00393 * (motors.temperature_c - 25))
    np.testing.assert_allclose(motors.temperature_c, 25 + loss_w * quick.housing_k_w, rtol=1e-3)
    for _ in range(5_000):
        motors.tick(np.zeros(6), np.zeros(6, np.int8), np.zeros(6))
    np.testing.assert_allclose(motors.temperature_c, 25.0, atol=0.01)


def test_other_motors_can_be_bolted_on_between_episodes() -> None:
    plant = make_plant()
    weak = replace(NOMINAL, stall_torque_nm=1.0, friction_nm=0.2, backlash_rad=0.03, inertia_kgm2=0.01)
    plant.fit_motors([weak] * 6)
    plant.world.reset(0)
    plant.reset([1.919, -0.2, 0.2, 0, 0, 0])
    model, gear = plant.world.model, plant.world.gear_dof
    assert np.all(model.dof_frictionloss[gear] == 0.2)
    run(plant, 100, duty=np.eye(6)[PAN], bridge=DRIVE)
    assert plant.drivetrain.drive_nm[PAN] == pytest.approx(1.2, rel=0.01)


def episode(plant: MujocoPlant) -> str:
    rng = np.random.default_rng(7)
    for _ in range(40):
        run(plant, 11, duty=rng.uniform(-0.3, 0.3, 6), bridge=int(rng.integers(0, 3)))
    return plant.world.digest() + plant.state().hex()


def test_the_same_seed_and_duty_repeat_bit_for_bit_in_a_fresh_plant_and_after_a_reset() -> None:
    plant = make_plant(seed=9, supply=SupplyParameters())
    first = episode(plant)
    plant.world.reset(9)
    plant.reset()
    assert episode(plant) == first
    assert episode(make_plant(seed=9, supply=SupplyParameters())) == first


def test_the_tick_between_two_steps_reads_an_extrapolated_angle() -> None:
    plant = make_plant()
    plant.reset(HOME_POSE_RAD)
    run(plant, 100, duty=np.eye(6)[PAN], bridge=DRIVE)
    angles = [plant.joint_rad[PAN]]
    for _ in range(2):
        run(plant, 1, duty=np.eye(6)[PAN], bridge=DRIVE)
        angles.append(plant.joint_rad[PAN])
    first, second = np.diff(angles)
    assert first == pytest.approx(second, rel=0.2)
    assert first > 0


def test_counts_and_angles_are_inverse_to_each_other() -> None:
    offsets = (100, -700, 2000, -2000, 5, 1234)
    raw = np.array([0, 4095, 2047, 1, 3000, 1000], np.int32)
    np.testing.assert_array_equal(steps_of(angles_of(raw, offsets), offsets), raw)
    np.testing.assert_array_equal(steps_of(HOME_RAD), 2047)
    quarter = steps_of(HOME_RAD + math.pi / 2)
    np.testing.assert_array_equal(quarter, 2047 + 1024)


def test_the_encoder_reads_what_the_map_says() -> None:
    offsets = (100, -700, 1500, -1500, 5, 1234)
    plant = MujocoPlant(World(table_scene()), mount_offset_steps=offsets)
    plant.reset(HOME_POSE_RAD)
    np.testing.assert_array_equal(plant.raw_steps, steps_of(np.array(HOME_POSE_RAD), offsets))
    assert pytest.approx(651.8986, abs=1e-4) == STEPS_PER_RAD


def test_calibration_reads_2047_in_the_middle_and_spans_the_joint_limits() -> None:
    offsets = (100, -700, 2047, -2047, 4096 + 5, -4000)
    found = calibration(offsets)
    assert [found[joint].id for joint in JOINTS] == [1, 2, 3, 4, 5, 6]
    raw = steps_of(HOME_RAD, offsets)
    for i, joint in enumerate(JOINTS):
        assert (raw[i] - found[joint].homing_offset) % 4096 == 2047
    assert (found["shoulder_pan"].range_min, found["shoulder_pan"].range_max) == (795, 3299)
    assert (found["wrist_roll"].range_min, found["wrist_roll"].range_max) == (0, 4095)
    assert (found["gripper"].range_min, found["gripper"].range_max) == (1421, 2673)


def test_a_horn_mounted_half_a_turn_off_cannot_be_calibrated() -> None:
    with pytest.raises(ConfigError, match="elbow_flex: a mount offset of 2048 steps"):
        calibration((0, 0, 2048, 0, 0, 0))
