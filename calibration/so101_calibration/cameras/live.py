"""Cameras of a robot without its arm: opened, looked at, closed. No servo is touched.

The options are those of `so101-run`, so a line that works there works here.
"""

import argparse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import UsageError
from so101_robot.arm.cameras import FrameSource, LeRobotFrames, connect_all
from so101_robot.clock import Clock, WallClock
from so101_robot.errors import CameraError
from so101_robot.mock.frames import MockFrames
from so101_robot.state import Frame

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.arm.config_arm import SO101Config

MOCK_PORT = "mock"
OPTIONS = (
    ("--robot.port", "`mock` for the mock arm's cameras; the serial port is not opened"),
    ("--robot.id", "names the files beside the servos' calibration"),
    ("--robot.calibration_dir", "where they lie, by default LeRobot's place"),
    ("--robot.cameras", 'LeRobot\'s cameras by name: "{front: {type: opencv, index_or_path: 0, ...}}"'),
    ("--robot.mock.scene", "of the mock arm"),
    ("--robot.mock.seed", "of the mock arm"),
    ("--robot.mock.width", "of the mock arm's pictures"),
    ("--robot.mock.height", "of the mock arm's pictures"),
    ("--robot.mock.renderer", "of the mock arm: auto, egl, osmesa or ray"),
)
NEXT_FRAME_S = 2.0
"""How long a camera may take for its next picture."""
POLL_S = 0.005


class Looks(Protocol):
    """What is used of a camera that is open."""

    @property
    def name(self) -> str: ...
    def latest(self, now_s: float) -> Frame: ...


class Cameras(NamedTuple):
    """Open cameras by name, and the clock of their times."""

    sources: dict[str, FrameSource]
    clock: Clock

    def source(self, name: str) -> FrameSource:
        """Raises UsageError for a name that there is not."""
        if name not in self.sources:
            raise UsageError(f"the robot has no camera {name!r}; it has {', '.join(self.sources) or 'none'}")
        return self.sources[name]


class ArmCamera:
    """A camera of an arm that is connected. Raises UsageError for a name that it has not."""

    def __init__(self, arm: "SO101", name: str) -> None:
        if name not in arm.cameras:
            raise UsageError(f"the robot has no camera {name!r}; it has {', '.join(arm.cameras) or 'none'}")
        self._name, self._arm = name, arm

    @property
    def name(self) -> str:
        return self._name

    def latest(self, now_s: float) -> Frame:
        """The newest picture."""
        return self._arm.frames()[self._name]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which robot."""
    group = parser.add_argument_group("robot")
    for flag, text in OPTIONS:
        group.add_argument(flag, metavar="VALUE", help=text)


def given(options: argparse.Namespace) -> dict[str, str]:
    """The robot's options that were given: flag -> value."""
    return {flag: value for flag, _ in OPTIONS if (value := getattr(options, flag[2:])) is not None}


def parse(options: argparse.Namespace) -> "SO101Config":
    """The robot's configuration. Raises the robot's ConfigError."""
    from so101_robot.commands import flags

    return flags.parse(given(options)).robot


@contextmanager
def open_cameras(options: argparse.Namespace, only: str | None = None) -> Generator[Cameras]:
    """The robot's cameras, or `only` one of them, connected until the block ends.

    Raises:
        UsageError: no such camera. CameraError: one does not open.
    """
    config = parse(options)
    if config.port == MOCK_PORT and not config.cameras:
        from so101_robot.mock.arm import CAMERAS, MockArm
        from so101_robot.mock.lockstep import LockstepClock

        arm = MockArm(config.mock)
        try:
            sources: dict[str, FrameSource] = {name: MockFrames(name, arm) for name in CAMERAS}
            yield Cameras(sources, LockstepClock(arm, pace=0))
        finally:
            arm.close()
        return
    from lerobot.cameras import make_cameras_from_configs

    if only is not None and only not in config.cameras:
        names = ", ".join(config.cameras) or "none: give --robot.cameras"
        raise UsageError(f"the robot has no camera {only!r}; it has {names}")
    wanted = {name: camera for name, camera in config.cameras.items() if only in (None, name)}
    made = make_cameras_from_configs(wanted)
    opened: dict[str, FrameSource] = {
        name: LeRobotFrames(name, camera, wanted[name]) for name, camera in made.items()
    }
    connect_all(list(opened.values()))
    try:
        yield Cameras(opened, WallClock())
    finally:
        for source in opened.values():
            source.disconnect()


def frames(source: Looks, clock: Clock) -> Iterator[Frame]:
    """Every new picture of a camera, without end. Raises CameraError when none comes for two seconds."""
    last, since_s = -1, clock.now_s()
    while True:
        now_s = clock.now_s()
        frame = source.latest(now_s)
        if frame.sequence != last:
            last, since_s = frame.sequence, now_s
            yield frame
        elif now_s - since_s > NEXT_FRAME_S:
            raise CameraError(f"camera {source.name!r} has sent nothing new for {NEXT_FRAME_S:.0f} s")
        clock.sleep_until(clock.now_s() + POLL_S)


def steady(source: Looks, clock: Clock, count: int = 5) -> NDArray[np.uint8]:
    """The median of `count` new pictures: (height, width, 3) RGB with little noise."""
    pictures: list[NDArray[Any]] = []
    for frame in frames(source, clock):
        pictures.append(frame.image)
        if len(pictures) == count:
            break
    return np.rint(np.median(np.stack(pictures), axis=0)).astype(np.uint8)
