"""The guard's limits as flags, and how they join with those of the rig's file.

A flag that was given beats the file, the file beats the defaults. Given means: it differs from the default.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import ConfigError
from so101_robot.guard.rig import Rig
from so101_robot.joints import GRIPPER, JOINTS

LARGEST = 1e6
"""Of any limit: what is more was not meant, and would overflow in the arithmetic."""


@dataclass(frozen=True)
class GuardLimits:
    """What the guard lets pass. A good ACT policy at 30 Hz meets none of these."""

    joint_speed_deg_s: float = 180.0
    """The fastest that a goal may move [deg/s].
    180 is 6 degrees a tick at 30 Hz. Demonstrated motion stays well below; the unloaded servo reaches about 270
    (46 rpm)."""

    gripper_speed_percent_s: float = 300.0
    """The same for the gripper [percent/s].
    300 is open to closed in a third of a second, which is as fast as the servo can (a range of about 110
    degrees)."""

    joint_acceleration_deg_s2: float = 5400.0
    """How fast a joint may speed up [deg/s^2]. 5400 is from rest to full speed within a tick of 30 Hz, so only a lower
    value matters at that rate. Demonstrated motion stays below 2800."""

    gripper_acceleration_percent_s2: float = 9000.0
    """The same for the gripper [percent/s^2]."""

    joint_step_deg: float = 12.0
    """The most that a goal may move in one tick [deg], however late the tick is: the speed limit over two ticks at
    30 Hz."""

    gripper_step_percent: float = 20.0
    """The same for the gripper [percent]."""

    margin_deg: float = 0.0
    """Distance to the ends of the calibrated range [deg]. 0, because arms rest and demonstrations start at the
    ends."""

    max_state_age_s: float = 0.1
    """The oldest joint positions that are acted on [s]. Three ticks at 30 Hz; a read that waits for a silent servo
    takes 0.02 s."""

    max_frame_age_s: float = 0.5
    """The oldest picture that is acted on [s]. LeRobot's limit. A camera at 30 Hz is 0.03 to 0.1 s old by the
    time it is seen."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (0 < value <= LARGEST or (value == 0 and item.name == "margin_deg")):
                raise ConfigError(
                    f"--robot.limits.{item.name}={value}: expected a number above 0, up to {LARGEST:g}"
                )


class Motion(NamedTuple):
    """How each joint may move; (6,) degrees and percent."""

    speed: NDArray[np.float64]
    """[1/s]"""
    acceleration: NDArray[np.float64]
    """[1/s^2]"""
    step: NDArray[np.float64]
    """Within a tick."""


class Ages(NamedTuple):
    """How old what is known may be [s]."""

    state_s: float
    frame_s: float


def motion_of(limits: GuardLimits, rig: Rig) -> Motion:
    """Speed, acceleration and step of each joint."""
    flags = {
        "speed": ("joint_speed_deg_s", "gripper_speed_percent_s"),
        "acceleration": ("joint_acceleration_deg_s2", "gripper_acceleration_percent_s2"),
        "step": ("joint_step_deg", "gripper_step_percent"),
    }
    rows = {
        what: [
            _chosen(limits, names[i == GRIPPER], getattr(rig.joints[joint], what))
            for i, joint in enumerate(JOINTS)
        ]
        for what, names in flags.items()
    }
    return Motion(**{what: np.array(row) for what, row in rows.items()})


def ages_of(limits: GuardLimits, rig: Rig) -> Ages:
    """The ages of state and frames."""
    return Ages(
        _chosen(limits, "max_state_age_s", rig.state_age_s),
        _chosen(limits, "max_frame_age_s", rig.frame_age_s),
    )


def _chosen(limits: GuardLimits, flag: str, in_file: float) -> float:
    given = getattr(limits, flag)
    return in_file if given == getattr(GuardLimits(), flag) else given
