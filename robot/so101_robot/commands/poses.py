"""Home and start pose of a run, asked about before the arm moves: are they poses of this arm, and is home one to let go
in?
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from so101_robot.arm.config_arm import HOME
from so101_robot.errors import ConfigError
from so101_robot.faults.symptoms import far_out_symptoms
from so101_robot.guard.kinematics import above_rest_m
from so101_robot.joints import JOINTS
from so101_robot.loop.ending import FALL_M
from so101_robot.motion.tolerances import AT_HOME

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.commands.run_config import RunConfig
    from so101_robot.guard.guard import Guard


def require_poses(config: "RunConfig", robot: "SO101") -> None:
    """Nothing is said against where the run begins and ends.

    Args:
        config: of the run, with the start pose that it will have.
        robot: connected.

    Raises:
        ConfigError: what is wrong, by the flag.
    """
    guard = robot.guard
    assert guard is not None  # since connect
    if config.start_pose is not None:
        _require_start(config.start_pose, guard)
    watchdog = config.watchdog
    if config.ending.home or watchdog.on_death == "park":
        _require_home(robot, guard)
        released = config.ending.home and config.robot.disable_torque_on_disconnect
        released |= watchdog.on_death == "park" and watchdog.release_when_parked
        if released and config.ending.if_stuck != "release":
            _require_rest(robot)


def _require_start(pose: Sequence[float], guard: "Guard") -> None:
    start = np.asarray(pose, np.float64)
    if start.shape != (len(JOINTS),) or not np.isfinite(start).all():
        raise ConfigError(
            f"--start_pose={list(pose)} (or the checkpoint's start_pose): expected a number for each of "
            f"{', '.join(JOINTS)}"
        )
    if found := far_out_symptoms(start, guard):
        raise ConfigError(
            f"--start_pose (or the checkpoint's start_pose): {found[0].words} - "
            "was the policy trained on an arm with this calibration? another --start_pose takes its place"
        )


def _require_home(robot: "SO101", guard: "Guard") -> None:
    wanted = np.array(robot.config.home)
    home = np.clip(wanted, guard.lower, guard.upper)
    near = tuple(robot.config.home) == HOME or float(np.abs(home - wanted).max()) <= AT_HOME
    if found := guard.objections(home if near else wanted):
        raise ConfigError(
            f"--robot.home: the arm could not park there: {'; '.join(found)} - choose a pose within the limits "
            "(docs/reference/limits.md)"
        )


def _require_rest(robot: "SO101") -> None:
    falls_m = above_rest_m(robot.home)
    if falls_m > FALL_M:
        raise ConfigError(
            f"--robot.home: let go there, a part of the arm would fall by {100 * falls_m:.0f} cm - choose a folded "
            f"pose (the default is {list(HOME)}), or keep its torque on with --robot.disable_torque_on_disconnect=false"
        )
