"""What maps an SO-101's numbers to the world: servo homing and ranges, camera intrinsics and poses, drift.

Public names, light enough to import without LeRobot, OpenCV or MuJoCo:

- `JointCalibration`: one joint, with the fields of LeRobot's file; `Calibration` maps joint names to them.
- `read_calibration(path)`, `calibration_path(robot_id, folder)`: LeRobot's calibration files.
- `CalibrateError`: the root of everything that this package raises on purpose.

Everything else is reached through the command `so101-calibrate`, see docs/calibration.md and docs/guides/cameras.md.
"""

from so101_calibration.errors import CalibrateError
from so101_calibration.files import path_of as calibration_path
from so101_calibration.files import read as read_calibration
from so101_robot.bus.calibration import Calibration, JointCalibration

__all__ = ["CalibrateError", "Calibration", "JointCalibration", "calibration_path", "read_calibration"]
