"""The SO-101 as a MuJoCo model, written from its published kinematics (`so101.json`)."""

from so101_robot.mock.physics.model.arm import GEAR_PREFIX, add_arm
from so101_robot.mock.physics.model.kinematics import Kinematics, Shape, load_kinematics

__all__ = ["GEAR_PREFIX", "Kinematics", "Shape", "add_arm", "load_kinematics"]
