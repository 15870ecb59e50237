"""From reference angles to goals for real servos, and the time law of a movement.

An STS3215 pushes in proportion to how far it is from its goal and has no integral part (LeRobot's gains: P 16,
I 0): an arm that is sent to where it should be hangs 2 to 3 degrees below and lags behind when it moves. So a
goal leads the reference by the error that makes the duty which the joint needs (`ServoLaw`), and at a
standstill what is left of the error is integrated here, from the measured angles (`Tracker`). The encoder sits
on the output shaft, behind the play of the gears, so measured angles are those of the links.

Angles are those of the kinematics [rad]; `JointUnits` has the robot border's degrees and percent.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_eval.expert.ik import ArmModel
from so101_robot.bus.units import COUNTS, Scale
from so101_robot.joints import GRIPPER, STEPS_PER_TURN
from so101_robot.mock.physics.motor import FRICTION_NM, INERTIA_KGM2, NO_LOAD_RAD_S, STALL_TORQUE_NM
from so101_robot.mock.physics.plant import HOME_RAD, HOME_STEPS

Vector = NDArray[np.float64]

TICK_S = 1 / 30
"""A controller's tick."""
RAD_PER_STEP = math.tau / STEPS_PER_TURN

STARTUP_DUTY = 0.016
"""The servo adds this to any duty that is not 0. Source: register Minimum_Startup_Force, factory value."""
DEAD_STEPS = 1
"""Errors up to here count as none. Source: registers CW_Dead_Zone and CCW_Dead_Zone, factory value."""
DUTY_PER_STEP_AND_P = 0.001 / 4
"""Source: the position loop of the servo's firmware, duty = error P / 4 in 0.1 %."""

SLOW_RAD_S = 0.05
"""Friction acts with its full size against motion that is faster than this, in this description."""

TRIM_GAIN = 0.2
"""Share of the error at standstill that is corrected per tick. The joint's answer takes some five ticks."""
TRIM_DEAD_RAD = np.array([5.0, 1.5, 1.5, 1.5, 5.0]) * RAD_PER_STEP
"""Errors that are let be. Pan and roll carry no load, so that the play of their gears (10 steps) is free:
correcting errors of its size only swings them from one end of it to the other."""
MAX_TRIM_RAD = math.radians(2.5)


class JointUnits:
    """From the angles of the kinematics to LeRobot's joint values (degrees, gripper percent), both (6,)."""

    def __init__(self, scale: Scale) -> None:
        lower, upper = scale.lower_steps.astype(float), scale.upper_steps.astype(float)
        self._steps_per_unit = np.full(len(lower), COUNTS / 360)
        self._steps_per_unit[GRIPPER] = (upper[GRIPPER] - lower[GRIPPER]) / 100
        self._zero_steps = (lower + upper) / 2
        self._zero_steps[GRIPPER] = lower[GRIPPER]

    def to_joint(self, joint_rad: ArrayLike) -> Vector:
        steps = (np.asarray(joint_rad, float) - HOME_RAD) / RAD_PER_STEP + HOME_STEPS
        return (steps - self._zero_steps) / self._steps_per_unit


@dataclass(frozen=True)
class ServoLaw:
    """How far ahead of a joint its goal has to be, for a servo with nominal motor and supply."""

    p_coefficient: int = 16

    def lead_rad(self, torque_nm: Vector, speed_rad_s: Vector) -> Vector:
        """Angle (n,) by which goals lead joints that push with `torque_nm` (n,) at `speed_rad_s` (n,).

        duty = (torque + friction) / stall torque + speed / no-load speed, and the error that the firmware
        turns into this duty, dead zone and startup force taken off. At standstill friction helps either way
        and is left out, which aims at the middle of the band in which the joint sticks.
        """
        friction_nm = FRICTION_NM * np.tanh(speed_rad_s / SLOW_RAD_S)
        duty = (torque_nm + friction_nm) / (STALL_TORQUE_NM + FRICTION_NM) + speed_rad_s / NO_LOAD_RAD_S
        beyond = np.sign(duty) * np.maximum(np.abs(duty) - STARTUP_DUTY, 0.0)
        dead_steps = DEAD_STEPS * np.clip(duty / STARTUP_DUTY, -1.0, 1.0)
        return (beyond / (DUTY_PER_STEP_AND_P * self.p_coefficient) + dead_steps) * RAD_PER_STEP

    def squeeze_rad(self, duty: float) -> float:
        """How far beyond a blocked joint its goal has to be for `duty` (0..1)."""
        return (
            (duty - STARTUP_DUTY) / (DUTY_PER_STEP_AND_P * self.p_coefficient) + DEAD_STEPS
        ) * RAD_PER_STEP


class Tracker:
    """Follows reference angles with five joints, one tick behind; the gripper's reference is its goal.

    One call a tick. A goal stands for a whole tick, so it is computed for the middle of it, from the
    reference before, now and next.
    """

    def __init__(self, arm: ArmModel, law: ServoLaw) -> None:
        self._arm, self._law = arm, law
        self._trim_rad: Vector = np.zeros(GRIPPER)
        self._window: tuple[Vector, ...] = ()
        self.load_kg = 0.0
        """What hangs at the pads."""
        self.trims = False
        """Whether to correct what is left of the error: at a standstill."""

    def goal(self, next_rad: Vector, measured_rad: Vector) -> Vector:
        """Goal angles (6,) for this tick.

        Args:
            next_rad: (6,) where the joints should be at the next tick.
            measured_rad: (6,) where they were just now.
        """
        window = (*self._window, next_rad) if self._window else (next_rad,) * 3
        self._window = window[-2:]
        before, now, after = (reference[:GRIPPER] for reference in window)
        speed_rad_s = (after - now) / TICK_S
        acceleration_rad_s2 = (after - 2 * now + before) / TICK_S**2
        if self.trims:
            self._trim(now - measured_rad[:GRIPPER])
        middle_rad = (now + after) / 2
        torque_nm = self._arm.torque_nm(
            np.append(middle_rad, next_rad[GRIPPER]),
            np.append(speed_rad_s, 0.0),
            np.append(acceleration_rad_s2, 0.0),
            self.load_kg,
        )[:GRIPPER]
        torque_nm = torque_nm + INERTIA_KGM2 * acceleration_rad_s2
        goal_rad = next_rad.copy()
        goal_rad[:GRIPPER] = middle_rad + self._law.lead_rad(torque_nm, speed_rad_s) + self._trim_rad
        return np.clip(goal_rad, self._arm.lower_rad, self._arm.upper_rad)

    def _trim(self, error_rad: Vector) -> None:
        beyond_rad = np.where(np.abs(error_rad) > TRIM_DEAD_RAD, error_rad, 0.0)
        self._trim_rad = np.clip(self._trim_rad + TRIM_GAIN * beyond_rad, -MAX_TRIM_RAD, MAX_TRIM_RAD)


def min_jerk(share: float) -> float:
    """Progress 0..1 at a share 0..1 of the time: the movement with the least jerk between two rests.

    Source: Flash and Hogan, The coordination of arm movements, 1985.
    """
    s = min(max(share, 0.0), 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


MIN_JERK_PEAK = 1.875
"""Highest speed of a `min_jerk` movement over its mean speed."""


def ticks_for(distance: float, peak_speed: float, least_s: float = 0.0) -> int:
    """Ticks of a `min_jerk` movement whose speed stays at or below `peak_speed`; at least 1."""
    return max(1, math.ceil(max(MIN_JERK_PEAK * distance / peak_speed, least_s) / TICK_S))
