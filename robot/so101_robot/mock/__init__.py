"""The virtual SO-101: a mock at the wire, backed by physics.

It is asked for by name (`port=mock`); nothing falls back to it.
"""

from so101_robot.mock.backend import let_mujoco_import

let_mujoco_import()

from so101_robot.mock.arm import CAMERAS, MockArm, MockConfig  # noqa: E402 (MuJoCo is imported from here on)
from so101_robot.mock.port import LockstepClock, LockstepLink, LockstepSerial, PtyServer  # noqa: E402
from so101_robot.mock.process import MockProcess  # noqa: E402

__all__ = [
    "CAMERAS",
    "LockstepClock",
    "LockstepLink",
    "LockstepSerial",
    "MockArm",
    "MockConfig",
    "MockProcess",
    "PtyServer",
]
