"""The servos of a leader: the follower's motor behind other gears, so that a hand can move them.

A gear of ratio n multiplies the motor's torque and its friction by n, divides its speed by n, and makes its inertia n^2
times as large at the output. So everything follows from the numbers of the follower's servo (1:345) and the two ratios.
No register tells the ratio: all of them answer as STS3215.

Not modelled: a leader's kit of 7.4 V servos. Its motors have no torque while a person leads, so the voltage decides
nothing.
"""

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.motor import (
    FRICTION_NM,
    INERTIA_KGM2,
    NO_LOAD_RAD_S,
    STALL_TORQUE_NM,
    MotorParameters,
)

FOLLOWER_GEAR = 345.0
"""1:345 at all six joints. Source: LeRobot's documentation of the SO-101."""

LEADER_GEARS: dict[str, float] = {
    "shoulder_pan": 191.0,
    "shoulder_lift": 345.0,
    "elbow_flex": 191.0,
    "wrist_flex": 147.0,
    "wrist_roll": 147.0,
    "gripper": 147.0,
}
"""Strong enough to carry the arm, light enough for a hand. Source: as above."""


def geared(ratio: float) -> MotorParameters:
    """The follower's motor behind a gear of 1:`ratio`."""
    share = ratio / FOLLOWER_GEAR
    return MotorParameters(
        stall_torque_nm=STALL_TORQUE_NM * share,
        no_load_rad_s=NO_LOAD_RAD_S / share,
        friction_nm=FRICTION_NM * share,
        inertia_kgm2=INERTIA_KGM2 * share**2,
    )


def leader_motors() -> tuple[MotorParameters, ...]:
    """(6,) in the order of `JOINTS`."""
    return tuple(geared(LEADER_GEARS[joint]) for joint in JOINTS)
