"""A scripted motion over the `table` scene: an endless loop that swings over the red block and back above it.

The arm rises from where it stands and then runs round a closed curve: low across the block from one side to the
other, high above it back to where it was. Pan and height are the two sides of one circle, so the curve passes no pose
twice in different directions: what comes next follows from where the arm is and where the block is. That is what a
policy without memory needs to be able to learn it.

All poses are joint targets in LeRobot's units (degrees, gripper percent).
"""

import math
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.plant import HOME_RAD
from so101_robot.mock.world import World

BLOCK = "block/red"
TIP_M = (0.0, 0.0, -0.098)
"""The point between the jaws' pads, in the frame of the body `gripper`."""

RISE_S = 2.5
LOOP_S = 5.0
SWING_DEG = 28.0
"""To either side of the block: 56 degrees of pan in all."""
LOW_M = 0.055
"""Height of the tip over the table when the gripper points down at the block; a block is 0.025 high."""
HIGH = (0.0, -58.0, 30.0, 52.0, 0.0, 20.0)
"""Pose at the top of the loop (pan is the block's)."""
LOW_GRIPPER = 45.0
VARIATION = np.array([0.0, 1.5, 1.5, 1.5, 4.0, 4.0])
"""How much the top of the loop differs from seed to seed, half width per joint."""


class Sweep(NamedTuple):
    """The motion for one scene; `at` says where the arm is asked to be when."""

    start: NDArray[np.float64]
    """(6,) where the arm stands at time 0."""
    high: NDArray[np.float64]
    """(6,) top of the loop, over the block."""
    low: NDArray[np.float64]
    """(6,) bottom of the loop, over the block."""
    swing_deg: float
    loop_s: float

    def at(self, time_s: ArrayLike) -> NDArray[np.float64]:
        """Joint targets (..., 6) at times (...) [s] since the start; the loop goes on for ever."""
        time_s = np.asarray(time_s, dtype=np.float64)
        phase = (time_s - RISE_S) * (math.tau / self.loop_s)
        depth = ((1 - np.cos(phase)) / 2)[..., None]
        loop = self.high + depth * (self.low - self.high)
        # The second term slows the crossing of the block by half, and hurries the way back.
        loop[..., 0] += self.swing_deg * (np.sin(phase) + 0.25 * np.sin(2 * phase))
        risen = min_jerk(time_s / RISE_S)[..., None]
        return self.start + risen * (loop - self.start)


def min_jerk(s: ArrayLike) -> NDArray[np.float64]:
    """Smooth step from 0 at s = 0 to 1 at s = 1. Source: Flash and Hogan 1985, minimum-jerk trajectory."""
    s = np.clip(s, 0.0, 1.0)
    return s**3 * (10 - 15 * s + 6 * s**2)


def plan_sweep(world: World, start: ArrayLike, seed: int) -> Sweep:
    """The motion over the red block of a `table` scene, varied a little by `seed`."""
    rng = np.random.default_rng((seed, 2))
    low = reach(world, block_position(world), LOW_M)
    high = np.array(HIGH) + rng.uniform(-1, 1, len(JOINTS)) * VARIATION
    high[0] += low[0]
    low[-1] = LOW_GRIPPER
    return Sweep(np.array(start, dtype=np.float64), high, low, SWING_DEG * rng.uniform(0.9, 1.05), LOOP_S)


def block_position(world: World) -> NDArray[np.float64]:
    """Centre (3,) of the red block [m], world frame."""
    return world.data.body(BLOCK).xpos.copy()


def tip_position(world: World) -> NDArray[np.float64]:
    """The point (3,) between the jaws [m], world frame."""
    gripper = world.data.body("gripper")
    return gripper.xpos + gripper.xmat.reshape(3, 3) @ TIP_M


def reach(world: World, target_m: ArrayLike, height_m: float) -> NDArray[np.float64]:
    """Joint targets (6,) that hold the tip `height_m` over `target_m`, gripper pointing down.

    Newton's method on distance, height and pitch with three joints, pan being known; derivatives by differences.
    """
    model, data = world.model, mujoco.MjData(world.model)
    x_axis_m = world.data.body("shoulder").xpos
    away_m = np.asarray(target_m)[:2] - x_axis_m[:2]
    distance_m, azimuth_rad = float(np.hypot(*away_m)), math.atan2(away_m[1], away_m[0])
    radial = np.array([math.cos(azimuth_rad), math.sin(azimuth_rad), 0.0])

    def miss(bend_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        data.qpos[world.joint_qpos] = [-azimuth_rad, *bend_rad, 0.0, 0.0]
        mujoco.mj_kinematics(model, data)
        gripper = data.body("gripper")
        turn = gripper.xmat.reshape(3, 3)
        tip_m = gripper.xpos + turn @ TIP_M
        pitch_rad = math.atan2(-turn[:, 2] @ radial, turn[2, 2])
        return np.array([(tip_m - x_axis_m) @ radial - distance_m, tip_m[2] - height_m, pitch_rad])

    bend_rad: NDArray[np.float64] = np.deg2rad([-20.0, 40.0, 70.0])
    for _ in range(20):
        error = miss(bend_rad)
        slope = np.stack([(miss(bend_rad + step) - error) / 1e-5 for step in 1e-5 * np.eye(3)], axis=1)
        step_rad = np.linalg.lstsq(slope, -error, rcond=1e-6)[0].astype(np.float64)
        bend_rad = bend_rad + np.clip(step_rad, -0.2, 0.2)
    joint_rad = np.array([-azimuth_rad, *bend_rad, 0.0, 0.0])
    return np.rad2deg(joint_rad - np.append(HOME_RAD[:5], 0.0))
