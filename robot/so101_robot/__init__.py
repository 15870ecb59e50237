"""The arm and the loop that drives it. Names are imported when they are used: LeRobot and MuJoCo take
seconds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BusError,
    BusTimeoutError,
    CalibrationError,
    CameraError,
    ConfigError,
    PortError,
    RobotError,
    UnsafeActionError,
)
from .joints import JOINTS

if TYPE_CHECKING:
    from .arm import SO101, ArmState
    from .cameras import Frame
    from .chunks import make_scheduler
    from .clock import Clock, WallClock
    from .config_arm import SO101Config
    from .guard import Guard, GuardLimits, Verdict
    from .loop import ControlLoop, LoopConfig, Outcome
    from .observers import Observer, Tick
    from .runlog import RunLog, read_ticks
    from .summary import summarise
    from .workers import InlineWorker, ThreadWorker

_HOMES = {
    "SO101": "arm",
    "ArmState": "arm",
    "Frame": "cameras",
    "make_scheduler": "chunks",
    "Clock": "clock",
    "WallClock": "clock",
    "SO101Config": "config_arm",
    "Guard": "guard",
    "GuardLimits": "guard",
    "Verdict": "guard",
    "ControlLoop": "loop",
    "LoopConfig": "loop",
    "Outcome": "loop",
    "Observer": "observers",
    "Tick": "observers",
    "RunLog": "runlog",
    "read_ticks": "runlog",
    "summarise": "summary",
    "InlineWorker": "workers",
    "ThreadWorker": "workers",
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
