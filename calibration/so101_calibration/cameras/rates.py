"""Frames per second and jitter of cameras, for the self-test: from the time stamps of new pictures alone."""

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from so101_calibration.errors import UsageError
from so101_robot.clock import Clock, WallClock
from so101_robot.errors import RobotError

if TYPE_CHECKING:
    from so101_calibration.report import Item
    from so101_robot.arm.cameras import FrameSource
    from so101_robot.mock.arm import MockArm

WATCH_S = 3.0
LOOK_S = 0.002
"""Between two looks [s]: what a camera without time stamps is uncertain by."""
SLOW, TOO_SLOW = 0.95, 0.8
"""Share of the asked rate below which is a warning, a failure."""
JITTER_WARN, JITTER_FAIL = 0.15, 0.5
"""Standard deviation of the time between two pictures, as a share of that time."""


def configs(cameras: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """LeRobot's camera configurations. Raises UsageError that names the camera."""
    return {name: _config(name, fields) for name, fields in cameras.items()}


def examine(cameras: dict[str, Any], mock: "MockArm | None") -> "list[Item]":
    """Watch each camera for three seconds. Those of a mock arm are watched if none are given."""
    from so101_robot.mock.frames import MockFrames

    if mock is not None and not cameras:
        from so101_robot.mock.config import CAMERAS
        from so101_robot.mock.lockstep import LockstepClock

        clock = LockstepClock(mock, pace=0)
        return [watch(MockFrames(name, mock), clock, mock.config.camera_fps) for name in CAMERAS]
    return [_real(name, config) for name, config in cameras.items()]


def watch(source: "FrameSource", clock: Clock, asked_fps: float | None, watch_s: float = WATCH_S) -> "Item":
    """One camera that is connected."""
    from so101_calibration.report import FAIL, PASS, WARN, Item

    stamps: list[float] = []
    last = None
    end_s = clock.now_s() + watch_s
    while (now_s := clock.now_s()) < end_s:
        frame = source.latest(now_s)
        if frame.sequence != last:
            last = frame.sequence
            stamps.append(frame.captured_s)
        clock.sleep_until(now_s + LOOK_S)
    name = f"camera {source.name}"
    if len(stamps) < 3:
        return Item(
            name, FAIL, f"{len(stamps)} new pictures in {watch_s:g} s", float(len(stamps)) / watch_s, "1/s"
        )
    gaps_s = np.diff(stamps)
    fps, jitter = 1 / float(gaps_s.mean()), float(gaps_s.std() / gaps_s.mean())
    share = 1.0 if not asked_fps else fps / asked_fps
    bad = share < TOO_SLOW or jitter > JITTER_FAIL
    poor = share < SLOW or jitter > JITTER_WARN
    text = f"{fps:.1f} frames/s, jitter {jitter * float(gaps_s.mean()) * 1e3:.1f} ms, longest gap {gaps_s.max():.3f} s"
    return Item(name, FAIL if bad else WARN if poor else PASS, text, round(fps, 3), "1/s")


def _real(name: str, config: Any) -> "Item":
    """A LeRobot camera: opened, watched, closed."""
    from lerobot.cameras import make_cameras_from_configs

    from so101_calibration.report import FAIL, Item
    from so101_robot.arm.cameras import LeRobotFrames

    try:
        source = LeRobotFrames(name, make_cameras_from_configs({name: config})[name], config)
        source.connect()
    except (RobotError, ValueError, ImportError) as error:
        return Item(f"camera {name}", FAIL, str(error))
    try:
        return watch(source, WallClock(), config.fps)
    except RobotError as error:
        return Item(f"camera {name}", FAIL, str(error))
    finally:
        source.disconnect()


def _config(name: str, fields: dict[str, Any]) -> Any:
    import draccus
    from lerobot.cameras import CameraConfig

    importlib.import_module("so101_robot.arm.config_arm")  # makes LeRobot's camera types known
    try:
        return draccus.decode(CameraConfig, fields)
    except (draccus.ParsingError, ValueError, TypeError) as error:
        raise UsageError(f"--cameras: {name}: {error}") from error
