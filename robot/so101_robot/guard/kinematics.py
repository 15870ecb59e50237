"""Where the links of the arm are: forward kinematics of the SO-101, from joint values to poses in the base frame.

The base frame is that of the arm's published model: origin at the middle of the base on what it stands on, x
forward, y to the left, z up. Every joint turns its link about the link's own z axis:

    X_base_link = X_base_parent * X_parent_link(0) * rotation about z by the joint's angle

The numbers are those of the model that TheRobotStudio publishes for the SO-101 ("new calibration" zero, repository
SO-ARM100, Apache-2.0). The mock arm has them in a data file of its own, because driver and mock arm may not know
each other; a test holds the two equal, and this arithmetic against MuJoCo's.

`link_poses` is plain array code, compiled because the guard runs it many times in a tick: 65 us as numpy runs it,
1 us compiled.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from so101_robot.joints import FOLDED, GRIPPER, JOINTS

Floats = NDArray[np.float64]


class Link(NamedTuple):
    """A link and where it sits in its parent, the link before it, when its joint is at zero."""

    name: str
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]


LINKS = (
    Link("base", (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
    Link("shoulder", (0.0388353, 0.0, 0.0624), (0.0, 0.0, -1.0, 0.0)),
    Link("upper_arm", (-0.0303992, -0.0182778, -0.0542), (0.5, -0.5, -0.5, -0.5)),
    Link("lower_arm", (-0.11257, -0.028, 0.0), (0.707107, 0.0, 0.0, 0.707107)),
    Link("wrist", (-0.1349, 0.0052, 0.0), (0.707107, 0.0, 0.0, -0.707107)),
    Link("gripper", (0.0, -0.0611, 0.0181), (0.0172091, -0.0172091, 0.706897, 0.706897)),
    Link("moving_jaw", (0.0202, 0.0188, -0.0234), (0.707107, 0.707107, 0.0, 0.0)),
)
"""From the base outwards; link k + 1 is moved by joint k."""

LINK_NAMES = tuple(link.name for link in LINKS)

JAW_RAD = (-0.17453, 1.74533)
"""The gripper's angle closed and open: 0 and 100 percent."""


def rotation_of(quat_wxyz: ArrayLike) -> NDArray[np.float64]:
    """(3, 3) rotation matrix of a quaternion, which need not have length one."""
    w, x, y, z = np.asarray(quat_wxyz, np.float64) / np.linalg.norm(quat_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


P_PARENT_LINK: NDArray[np.float64] = np.array([link.position_m for link in LINKS])
R_PARENT_LINK: NDArray[np.float64] = np.array([rotation_of(link.quat_wxyz) for link in LINKS])

RAD_PER_UNIT: NDArray[np.float64] = np.full(len(JOINTS), math.radians(1.0))
"""(6,) Angle of a degree, and of a percent of the gripper."""
RAD_PER_UNIT[GRIPPER] = (JAW_RAD[1] - JAW_RAD[0]) / 100

ZERO_RAD: NDArray[np.float64] = np.zeros(len(JOINTS))
"""(6,) Angle at joint value 0."""
ZERO_RAD[GRIPPER] = JAW_RAD[0]


class Pose(NamedTuple):
    """Where the links are, in the order of `LINKS`."""

    position_m: NDArray[np.float64]
    """(7, 3) origins in the base frame."""
    rotation: NDArray[np.float64]
    """(7, 3, 3) R_base_link."""


def angles_of(joint: ArrayLike, zero_deg: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Angles (6,) [rad] of joint values (6,) in LeRobot units.

    `zero_deg` (6,) is where the joints' zeros stand on the model: the middle of a range that was recorded by hand
    is not always the middle of the joint.
    """
    return ZERO_RAD + np.asarray(joint, np.float64) * RAD_PER_UNIT + np.radians(zero_deg)


def forward(joint_rad: ArrayLike) -> Pose:
    """The pose of every link at joint angles (6,) [rad]."""
    pose = Pose(np.zeros((len(LINKS), 3)), np.zeros((len(LINKS), 3, 3)))
    angles = np.asarray(joint_rad, np.float64)
    link_poses(angles, P_PARENT_LINK, R_PARENT_LINK, pose.position_m, pose.rotation)
    return pose


def above_rest_m(joint: ArrayLike, also_rest: ArrayLike = FOLDED) -> float:
    """How far the highest part of the arm at `joint` (6,) is above where it would end if it were let go [m].

    That is taken to be its place in the folded pose, or in `also_rest` (6,), whichever is higher: a joint that lies
    on something falls no farther.
    """
    now, folded, other = (forward(angles_of(pose)).position_m[:, 2] for pose in (joint, FOLDED, also_rest))
    return float(np.max(now - np.maximum(folded, other)))


@njit(cache=True)
def link_poses(joint_rad: Floats, P_parent_link: Floats, R_parent_link: Floats, p: Floats, R: Floats) -> None:
    """`forward` into `p` (7, 3) and `R` (7, 3, 3); link 0 is the base and does not move."""
    p[0, :] = P_parent_link[0]
    R[0, :, :] = R_parent_link[0]
    for link in range(1, len(p)):
        cos, sin = math.cos(joint_rad[link - 1]), math.sin(joint_rad[link - 1])
        for i in range(3):
            p[link, i] = p[link - 1, i]
            x = y = z = 0.0
            for k in range(3):
                from_parent = R[link - 1, i, k]
                p[link, i] += from_parent * P_parent_link[link, k]
                x += from_parent * R_parent_link[link, k, 0]
                y += from_parent * R_parent_link[link, k, 1]
                z += from_parent * R_parent_link[link, k, 2]
            R[link, i, 0], R[link, i, 1], R[link, i, 2] = x * cos + y * sin, y * cos - x * sin, z
