"""From references to goals: units against the bus, the servo's law against its firmware, the time law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from so101_eval.expert.ik import ArmModel, Grasp
from so101_eval.expert.motion import (
    MIN_JERK_PEAK,
    RAD_PER_STEP,
    TICK_S,
    JointUnits,
    ServoLaw,
    Tracker,
    min_jerk,
    ticks_for,
)
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus.units import Scale
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.motor import FRICTION_NM, STALL_TORQUE_NM
from so101_robot.mock.physics.plant import angles_of, calibration
from so101_robot.mock.servo.servo import Servos

SCALE = Scale(calibration())
UNITS = JointUnits(SCALE)


def test_units_are_those_of_the_bus():
    steps = np.array([1000, 2047, 3000, 1500, 100, 2500], np.int32)
    joint = SCALE.to_joint(steps)
    np.testing.assert_allclose(UNITS.to_joint(angles_of(steps)), joint, atol=1e-6)


@pytest.mark.parametrize("torque_nm", [-0.9, -0.3, 0.1, 0.5, 1.2])
def test_the_lead_makes_the_firmware_push_with_the_torque_that_was_asked_for(torque_nm: float):
    lead_rad = float(ServoLaw(p_coefficient=16).lead_rad(np.array([torque_nm]), np.zeros(1))[0])
    duty = firmware_duty(round(lead_rad / RAD_PER_STEP))
    one_step = 16 / 4 * 0.001  # of duty: goals are whole steps
    assert duty * (STALL_TORQUE_NM + FRICTION_NM) == pytest.approx(torque_nm, abs=3 * one_step)


def test_squeezing_jaws_push_with_the_duty_that_was_asked_for():
    beyond_rad = ServoLaw(p_coefficient=16).squeeze_rad(0.22)
    assert firmware_duty(round(beyond_rad / RAD_PER_STEP)) == pytest.approx(0.22, abs=0.004)


def firmware_duty(error_steps: int) -> float:
    """Duty of a servo at P 16 that is held so far from its goal."""
    servos = Servos()
    raw = np.full(6, 2000, np.int32)
    volts, celsius, amps, duty = (np.full(6, value) for value in (12.0, 25.0, 0.0, 0.0))
    bridge = np.zeros(6, np.int8)
    servos.tick(raw, volts, celsius, amps, duty, bridge)  # the first sample: where it stands
    for index in range(6):
        servos.set(index, "P_Coefficient", 16)
        servos.write(index, 41, bytes([254]))  # Acceleration, as LeRobot sets it
        servos.write(index, 42, (2000 + error_steps).to_bytes(2, "little"))
    for _ in range(300):
        servos.tick(raw, volts, celsius, amps, duty, bridge)
    return float(duty[0])


@pytest.mark.parametrize("leads", [True, False])
def test_an_arm_whose_goals_lead_stands_where_it_should_and_one_without_hangs_low(leads: bool):
    arm = MockArm(MockConfig(realtime_factor=0))
    robot = SO101(SO101Config(), mock=arm)
    robot.connect()
    model = ArmModel()
    target = Grasp(np.array([0.22, 0.0, 0.05]), 0.3)
    wanted_rad = model.solve(target).joint_rad
    start_rad = angles_of(SCALE.to_steps(robot.read().position))
    tracker = Tracker(model, ServoLaw())
    for tick in range(90):
        reference_rad = start_rad + min_jerk(tick / 60) * (wanted_rad - start_rad)
        measured_rad = angles_of(SCALE.to_steps(robot.read().position))
        goal_rad = tracker.goal(reference_rad, measured_rad) if leads else reference_rad
        robot.command(UNITS.to_joint(goal_rad))
        robot.clock.sleep_until((tick + 1) * TICK_S)
    off_mm = 1000 * (model.place(arm.joint_rad)[0] - target.position_m)
    robot.disconnect(release=False)
    assert abs(off_mm[2]) < 2.5 if leads else off_mm[2] < -6.0


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_movement_never_goes_back(one: float, other: float):
    assert min_jerk(min(one, other)) <= min_jerk(max(one, other))
    assert 0.0 <= min_jerk(one) <= 1.0


def test_a_movement_starts_and_ends_at_rest_and_peaks_in_the_middle():
    times = np.linspace(0, 1, 2001)
    speed = np.gradient([min_jerk(t) for t in times.tolist()], times)
    assert (min_jerk(-1.0), min_jerk(0.0), min_jerk(1.0), min_jerk(2.0)) == (0.0, 0.0, 1.0, 1.0)
    assert speed[0] == pytest.approx(0.0, abs=1e-3)
    assert speed[-1] == pytest.approx(0.0, abs=1e-3)
    assert speed.max() == pytest.approx(MIN_JERK_PEAK, rel=1e-3)


@given(st.floats(0.001, 3.0), st.floats(0.1, 3.0))
def test_a_movement_stays_below_its_speed(distance: float, peak_speed: float):
    ticks = ticks_for(distance, peak_speed)
    steps = [distance * (min_jerk((k + 1) / ticks) - min_jerk(k / ticks)) for k in range(ticks)]
    assert ticks == 1 or max(steps) / TICK_S <= peak_speed * (1 + 1e-9)
    assert ticks_for(distance, peak_speed, least_s=1.0) >= math.floor(1.0 / TICK_S)
