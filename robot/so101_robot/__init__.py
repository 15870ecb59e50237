"""The arm and the loop that drives it. Names are imported when they are used: LeRobot and MuJoCo take
seconds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so101_robot.errors import (
    BusError,
    BusTimeoutError,
    CalibrationError,
    CameraError,
    ConfigError,
    PortError,
    RobotError,
    UnsafeActionError,
)
from so101_robot.joints import JOINTS

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.arm.config_arm import SO101Config
    from so101_robot.chunks.scheduler import make_scheduler
    from so101_robot.chunks.workers import InlineWorker, ThreadWorker
    from so101_robot.clock import Clock, WallClock
    from so101_robot.guard.guard import Guard, GuardLimits, Verdict
    from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
    from so101_robot.loop.tick import Observer, Tick
    from so101_robot.runs.log import RunLog, read_ticks
    from so101_robot.runs.summary import summarise
    from so101_robot.state import ArmState, Frame

_HOMES = {
    "SO101": "arm.arm",
    "ArmState": "state",
    "Frame": "state",
    "make_scheduler": "chunks.scheduler",
    "Clock": "clock",
    "WallClock": "clock",
    "SO101Config": "arm.config_arm",
    "Guard": "guard.guard",
    "GuardLimits": "guard.guard",
    "Verdict": "guard.guard",
    "ControlLoop": "loop.loop",
    "LoopConfig": "loop.loop",
    "Outcome": "loop.loop",
    "Observer": "loop.tick",
    "Tick": "loop.tick",
    "RunLog": "runs.log",
    "read_ticks": "runs.log",
    "summarise": "runs.summary",
    "InlineWorker": "chunks.workers",
    "ThreadWorker": "chunks.workers",
}

__all__ = [
    "JOINTS",
    "SO101",
    "ArmState",
    "BusError",
    "BusTimeoutError",
    "CalibrationError",
    "CameraError",
    "Clock",
    "ConfigError",
    "ControlLoop",
    "Frame",
    "Guard",
    "GuardLimits",
    "InlineWorker",
    "LoopConfig",
    "Observer",
    "Outcome",
    "PortError",
    "RobotError",
    "RunLog",
    "SO101Config",
    "ThreadWorker",
    "Tick",
    "UnsafeActionError",
    "Verdict",
    "WallClock",
    "make_scheduler",
    "read_ticks",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
