"""Frames per second and jitter of cameras, for the self-test: from the time stamps of new pictures alone."""

from collections.abc import Mapping
from typing import Any

import draccus
from lerobot.cameras import CameraConfig, make_cameras_from_configs

from so101_calibration.errors import UsageError
from so101_robot.arm.cameras import FrameSource, LeRobotFrames
from so101_robot.arm.config_arm import SO101Config
from so101_robot.clock import Clock, WallClock
from so101_robot.errors import RobotError
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import CAMERAS
from so101_robot.mock.frames import MockFrames
from so101_robot.mock.lockstep import LockstepClock
from so101_robot.preflight.camera_rate import judge_rate
from so101_robot.preflight.findings import Finding, Level

WATCH_S = 3.0
POLL_S = 0.002
"""Between two reads [s]: the uncertainty of the times of a camera without time stamps."""


def configs(cameras: Mapping[str, dict[str, Any]]) -> dict[str, CameraConfig]:
    """LeRobot's camera configurations. Raises UsageError that names the camera."""
    return {name: _config(name, fields) for name, fields in cameras.items()}


def examine(cameras: Mapping[str, CameraConfig], mock: MockArm | None) -> list[Finding]:
    """Watch each camera for three seconds. Those of a mock arm are watched if none are given."""
    if mock is not None and not cameras:
        clock = LockstepClock(mock, pace=0)
        return [watch(MockFrames(name, mock), clock, mock.config.camera_fps) for name in CAMERAS]
    return [_real(name, config) for name, config in cameras.items()]


def watch(source: FrameSource, clock: Clock, expected_fps: float | None, watch_s: float = WATCH_S) -> Finding:
    """One camera that is connected. The value is its rate [1/s]."""
    stamps: list[float] = []
    last = None
    end_s = clock.now_s() + watch_s
    while (now_s := clock.now_s()) < end_s:
        frame = source.latest(now_s)
        if frame.sequence != last:
            last = frame.sequence
            stamps.append(frame.captured_s)
        clock.sleep_until(now_s + POLL_S)
    return judge_rate(f"camera {source.name}", "", stamps, watch_s, expected_fps)


def _real(name: str, config: CameraConfig) -> Finding:
    """A LeRobot camera: opened, watched, closed."""
    try:
        source = LeRobotFrames(name, make_cameras_from_configs({name: config})[name], config)
        source.connect()
    except (RobotError, ValueError, ImportError) as error:
        return Finding(Level.STOP, f"camera {name}", "", str(error))
    try:
        return watch(source, WallClock(), config.fps)
    except RobotError as error:
        return Finding(Level.STOP, f"camera {name}", "", str(error))
    finally:
        source.disconnect()


def _config(name: str, fields: dict[str, Any]) -> CameraConfig:
    try:
        return draccus.decode(SO101Config, {"cameras": {name: fields}}).cameras[name]
    except (draccus.ParsingError, ValueError, TypeError) as error:
        raise UsageError(f"--robot.cameras: {name}: {error}") from error
