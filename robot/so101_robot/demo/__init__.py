"""Something to see on a fresh machine: a scripted motion on the mock arm, recordings, a small ACT that follows it.

Importing this package is cheap; torch and LeRobot are loaded by what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from so101_robot.demo.checkpoint import demo_checkpoint
    from so101_robot.demo.following import Followed, follow
    from so101_robot.demo.motion import Sweep, plan_sweep
    from so101_robot.demo.recording import record_demonstrations

__all__ = ["Followed", "Sweep", "demo_checkpoint", "follow", "plan_sweep", "record_demonstrations"]

_HOMES = {
    "demo_checkpoint": "checkpoint",
    "Followed": "following",
    "follow": "following",
    "Sweep": "motion",
    "plan_sweep": "motion",
    "record_demonstrations": "recording",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
