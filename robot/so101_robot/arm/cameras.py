"""Frames that know when they were taken.

A `Frame` is a picture with the time at which it was captured (or, from cameras that do not say, received) on
the robot's clock, and a number that grows with every new picture, so that everything above can tell a fresh
frame from an old one and an old one from a frozen one. `LeRobotFrames` makes such frames of any LeRobot
camera, `MockFrames` of the mock arm's.

A source never invents a frame: it gives the last one that came, with its true age, or raises CameraError if
none ever came.
"""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import CameraError
from so101_robot.state import Frame

if TYPE_CHECKING:
    from lerobot.cameras import Camera, CameraConfig


FIRST_FRAME_S = 3.0
"""How long a camera that has opened may take to deliver its first picture."""


class FrameSource(Protocol):
    """Where frames of one name come from."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of every frame."""
        ...

    def connect(self) -> None:
        """Open the camera and wait for its first picture. Raises CameraError."""
        ...

    def latest(self, now_s: float) -> Frame:
        """The newest frame, at once. Raises CameraError if there never was one."""
        ...

    def disconnect(self) -> None:
        """Close the camera. May be called twice; never raises for a camera that has gone."""
        ...


class LeRobotFrames:
    """A LeRobot camera as a `FrameSource`.

    LeRobot's cameras read in a thread of their own and keep the newest picture with its time (`latest_frame`,
    `latest_timestamp`, under `frame_lock`); that is read here without waiting. A camera without these (from a
    plugin) is asked for its latest picture, and the time of the first look at a new one is taken.

    Pictures are LeRobot's to the last byte: with `color_mode: bgr` blue is where red should be, as in a dataset that
    was recorded so, and a policy that was trained on it expects that.

    `sequence` counts the pictures that were seen here; those that came and went between two looks are not
    counted.

    Args:
        name: what the robot calls the camera.
        camera: the camera, not yet connected.
        config: the expected pictures, with width and height.
    """

    def __init__(self, name: str, camera: "Camera", config: "CameraConfig") -> None:
        self.camera = camera
        self._name = name
        self._config = config
        self._stamp: object = None
        self._newest: Frame | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self._config.height or 0, self._config.width or 0, 3)

    def connect(self) -> None:
        try:
            self.camera.connect()
            self._await_first_frame()
        except CameraError:
            self.disconnect()
            raise
        except (OSError, RuntimeError, ValueError) as error:
            self.disconnect()
            raise CameraError(
                f"camera {self._name!r} ({self.camera}) does not open with {self._expected()}: {error}"
                f"{_possible(self._config)}"
            ) from error

    def latest(self, now_s: float) -> Frame:
        image, stamp, age_s = self._look()
        if image is None:
            if self._newest is None:
                raise CameraError(f"camera {self._name!r} ({self.camera}) has not delivered a picture yet")
            return self._newest
        if stamp != self._stamp or self._newest is None:
            self._check_size(image)
            sequence = self._newest.sequence + 1 if self._newest else 0
            self._newest = Frame(image, now_s - age_s, sequence, None)
            self._stamp = stamp
        return self._newest

    def disconnect(self) -> None:
        # LeRobot raises when there is nothing to disconnect, and for cameras that were pulled out
        with contextlib.suppress(OSError, RuntimeError):
            self.camera.disconnect()

    def _look(self) -> tuple[NDArray[np.uint8] | None, object, float]:
        """Newest picture, what identifies it, and its age [s]."""
        camera: Any = self.camera
        if hasattr(camera, "latest_frame") and hasattr(camera, "latest_timestamp"):
            with camera.frame_lock:
                image, stamp = camera.latest_frame, camera.latest_timestamp
            if image is None or stamp is None:
                return None, None, 0.0
            return image, stamp, time.perf_counter() - stamp  # LeRobot stamps with this clock
        try:
            image = camera.read_latest()
        except (RuntimeError, OSError):  # none yet, or too old: TimeoutError is an OSError
            return None, None, 0.0
        return image, id(image), 0.0

    def _await_first_frame(self) -> None:
        deadline_s = time.monotonic() + FIRST_FRAME_S
        while self._look()[0] is None:
            if time.monotonic() > deadline_s:
                raise CameraError(
                    f"camera {self._name!r} ({self.camera}) opened, but sent no picture "
                    f"within {FIRST_FRAME_S:.0f} s"
                )
            time.sleep(0.01)
        self.latest(0.0)
        self._newest = None

    def _check_size(self, image: NDArray[np.uint8]) -> None:
        if image.shape != self.shape:
            height, width = image.shape[:2]
            raise CameraError(
                f"camera {self._name!r} ({self.camera}) delivers {width}x{height} pictures; expected "
                f"{self._expected()} - set --robot.cameras' width and height to what it delivers"
            )

    def _expected(self) -> str:
        return f"{self._config.width}x{self._config.height} at {self._config.fps} Hz"


def connect_all(sources: Sequence[FrameSource]) -> None:
    """Connect several cameras at the same time (LeRobot's take a second each to warm up).

    Raises:
        CameraError: of the first one that failed; all are disconnected then.
    """
    if not sources:
        return
    with ThreadPoolExecutor(len(sources)) as pool:
        results = [pool.submit(source.connect) for source in sources]
    failures = [error for result in results if (error := result.exception()) is not None]
    if failures:
        for source in sources:
            source.disconnect()
        raise failures[0]


def _possible(config: "CameraConfig") -> str:
    """Video devices of this machine, for cameras that are one."""
    if config.type != "opencv":
        return ""
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    found = ", ".join(devices) or "none"
    return f" Video devices found: {found}."
