"""Names of LeRobot that are not in the same place in all of its versions; the one module that imports them.

`tests/policy/test_lerobot_compat.py` has the list, and sees to it that no other module imports one of them.
"""

from lerobot.lerobot_types import RobotAction, RobotObservation  # 0.6.0 had them in `lerobot.types`

__all__ = ["RobotAction", "RobotObservation"]
