"""The virtual SO-101: a mock at the wire, backed by physics.

It is asked for by name (`port=mock`); nothing falls back to it. Names are imported when they are used: MuJoCo and
numba take seconds, and LeRobot imports this package's configuration with every command.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so101_robot.mock.cameras.backend import let_mujoco_import

if TYPE_CHECKING:
    from so101_robot.mock.arm import MockArm
    from so101_robot.mock.config import CAMERAS, MockConfig
    from so101_robot.mock.lockstep import LockstepClock, LockstepLink, LockstepSerial
    from so101_robot.mock.serve.mock_process import MockProcess
    from so101_robot.mock.serve.terminal import PtyServer

let_mujoco_import()

_HOMES = {
    "CAMERAS": "config",
    "LockstepClock": "lockstep",
    "LockstepLink": "lockstep",
    "LockstepSerial": "lockstep",
    "MockArm": "arm",
    "MockConfig": "config",
    "MockProcess": "serve.mock_process",
    "PtyServer": "serve.terminal",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
