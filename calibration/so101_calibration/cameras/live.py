"""Cameras of a robot without its arm: opened, read, closed. No servo is touched."""

import argparse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from lerobot.cameras import make_cameras_from_configs
from numpy.typing import NDArray

from so101_calibration.errors import UsageError
from so101_calibration.robot_options import MOCK_PORT, given
from so101_robot.arm.arm import SO101
from so101_robot.arm.cameras import FrameSource, LeRobotFrames, connect_all
from so101_robot.arm.config_arm import SO101Config
from so101_robot.clock import Clock, WallClock
from so101_robot.commands import flags
from so101_robot.errors import CameraError
from so101_robot.mock.arm import MockArm
from so101_robot.mock.config import CAMERAS
from so101_robot.mock.frames import MockFrames
from so101_robot.mock.lockstep import LockstepClock
from so101_robot.state import Frame

NEXT_FRAME_S = 2.0
"""How long a camera may take for its next picture."""
POLL_S = 0.005
MOCK_FPS = 5.0
"""Of the mock arm in memory, whose time stands still while a picture is looked at: every one costs time, and a board
that rests is in five of them."""


class FrameReader(Protocol):
    """What is needed of an open camera."""

    @property
    def name(self) -> str: ...
    def latest(self, now_s: float) -> Frame: ...


class Cameras(NamedTuple):
    """Open cameras by name, and the clock of their times."""

    sources: dict[str, FrameSource]
    clock: Clock

    def source(self, name: str) -> FrameSource:
        """Raises UsageError for an unknown name."""
        if name not in self.sources:
            raise UsageError(f"the robot has no camera {name!r}; it has {', '.join(self.sources) or 'none'}")
        return self.sources[name]


class ArmCamera:
    """A camera of a connected arm. Raises UsageError for an unknown name."""

    def __init__(self, arm: SO101, name: str) -> None:
        if name not in arm.cameras:
            raise UsageError(f"the robot has no camera {name!r}; it has {', '.join(arm.cameras) or 'none'}")
        self._name, self._arm = name, arm

    @property
    def name(self) -> str:
        return self._name

    def latest(self, now_s: float) -> Frame:
        """The newest picture."""
        return self._arm.frames()[self._name]


def parse(options: argparse.Namespace) -> SO101Config:
    """The robot's configuration. Raises the robot's ConfigError."""
    return flags.parse(given(options)).robot


@contextmanager
def open_cameras(options: argparse.Namespace, only: str | None = None) -> Generator[Cameras]:
    """The robot's cameras, or `only` one of them, connected until the block ends.

    Raises:
        UsageError: no such camera. CameraError: one does not open.
    """
    config = parse(options)
    if config.port == MOCK_PORT and not config.cameras:
        arm = MockArm(replace(config.mock, camera_fps=min(MOCK_FPS, config.mock.camera_fps)))
        try:
            sources: dict[str, FrameSource] = {name: MockFrames(name, arm) for name in CAMERAS}
            yield Cameras(sources, LockstepClock(arm, pace=0))
        finally:
            arm.close()
        return
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


def frames(source: FrameReader, clock: Clock) -> Iterator[Frame]:
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


def steady(source: FrameReader, clock: Clock, count: int = 5) -> NDArray[np.uint8]:
    """The median of `count` new pictures: (height, width, 3) RGB with little noise."""
    pictures: list[NDArray[np.uint8]] = []
    for frame in frames(source, clock):
        pictures.append(frame.image)
        if len(pictures) == count:
            break
    return np.rint(np.median(np.stack(pictures), axis=0)).astype(np.uint8)
