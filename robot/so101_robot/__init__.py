"""The arm, and the loop that drives it safely. What is exported here is the public interface of the package.

    arm     SO101, SO101Config          the arm as a LeRobot `Robot`; `port="mock"` is the simulated one
            ArmState, Frame             one reading of the joints, one picture
            JOINTS                      the six joints, in the order of every array (6,)
    guard   Guard, GuardLimits          the last word on every action
            Verdict, Intervention, GuardRule    what it says, and why
    loop    ControlLoop, LoopConfig, Outcome    drives an arm from start to safe ending
            make_scheduler              synchronous, asynchronous or ensembled chunks
            InlineWorker, ThreadWorker  where a policy computes
            Observer, Tick              who looks on, and what they see
            Clock, WallClock            time: real, or the simulation's
    runs    RunLog, read_ticks, summarise       the run folder, written and read
    errors  RobotError and its subclasses       everything that is raised on purpose

Joint values are LeRobot's: degrees from the middle of the calibrated range, the gripper in percent (0 closed, 100
open). Times end in `_s` and are seconds of the arm's clock.

Names are imported when they are first used: LeRobot and MuJoCo take seconds.
"""

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
    from so101_robot.guard.guard import Guard, GuardLimits, GuardRule, Intervention, Verdict
    from so101_robot.loop.loop import ControlLoop, LoopConfig, Outcome
    from so101_robot.loop.tick import Observer, Tick
    from so101_robot.message import Message, Severity
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
    "GuardLimits": "guard.limits",
    "GuardRule": "guard.rules",
    "Intervention": "guard.guard",
    "Verdict": "guard.guard",
    "ControlLoop": "loop.loop",
    "LoopConfig": "loop.loop",
    "Outcome": "loop.loop",
    "Observer": "loop.tick",
    "Tick": "loop.tick",
    "Message": "message",
    "Severity": "message",
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
    "GuardRule",
    "InlineWorker",
    "Intervention",
    "LoopConfig",
    "Message",
    "Observer",
    "Outcome",
    "PortError",
    "RobotError",
    "RunLog",
    "SO101Config",
    "Severity",
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
    """The public names, imported on first use. Raises AttributeError for any other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
