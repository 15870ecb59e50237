"""Any pose in which an arm may stand above the table: where `start-anywhere` starts."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from so101_robot.guard.collision import Geometry
from so101_robot.guard.height import clear_way
from so101_robot.guard.kinematics import RAD_PER_UNIT, ZERO_RAD
from so101_robot.joints import GRIPPER
from so101_robot.mock.physics.model import load_kinematics
from so101_robot.mock.physics.world import HOME_POSE_RAD

ABOVE_TABLE_M = 0.060
"""Lowest part of hand and forearm: clear of boxes and pallet, with 35 mm to spare."""
INSIDE_ENDS_RAD = np.radians(10.0)
"""Distance from the joints' ends."""
MOST_PAN_RAD = np.radians(70.0)
"""To either side: what the front camera sees of the table."""


def safe_pose_rad(rng: np.random.Generator, share: float) -> tuple[float, ...]:
    """Joint angles (6,) [rad] `share` of the way from home to a random pose; the whole straight way in joint space is
    clear of the table and of the arm itself. The same generator gives the same direction for every share."""
    home_rad = np.array(HOME_POSE_RAD)
    range_rad = load_kinematics().range_rad
    low_rad, high_rad = range_rad[:, 0] + INSIDE_ENDS_RAD, range_rad[:, 1] - INSIDE_ENDS_RAD
    low_rad[0], high_rad[0] = -MOST_PAN_RAD, MOST_PAN_RAD

    def draw(rng: np.random.Generator) -> NDArray[np.float64]:
        there_rad = rng.uniform(low_rad, high_rad)
        there_rad[GRIPPER] = home_rad[GRIPPER]
        return there_rad

    way_rad = clear_way(rng, home_rad, draw, _clear)
    assert way_rad is not None  # it goes on until there is one
    return tuple((home_rad + share * way_rad).tolist())


def _clear(joint_rad: NDArray[np.float64]) -> bool:
    return not _geometry().violations((joint_rad - ZERO_RAD) / RAD_PER_UNIT)


@cache
def _geometry() -> Geometry:
    return Geometry(ABOVE_TABLE_M, None, 0.0)
