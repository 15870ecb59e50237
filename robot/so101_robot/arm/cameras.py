"""Frames that know when they were taken.

A `Frame` is a picture with the time at which it was captured (or, from cameras that do not say, received) on
the robot's clock, and a number that grows with every new picture, so that everything above can tell a fresh
frame from an old one and an old one from a frozen one. `LeRobotFrames` makes such frames of any LeRobot
camera, `MockFrames` of the mock arm's.

A source never invents a frame: it gives the last one that came, with its true age, or raises CameraError if
none ever came, or none comes any more.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from lerobot.cameras import make_cameras_from_configs
from numpy.typing import NDArray

from so101_robot.arm.reading_threads import close, has_died, keep_reasons, take_reason
from so101_robot.arm.reopening import Reopening
from so101_robot.arm.video_devices import VideoDevice, found, require_different
from so101_robot.errors import CameraError
from so101_robot.state import Frame

if TYPE_CHECKING:
    from lerobot.cameras import Camera, CameraConfig


FIRST_FRAME_S = 3.0
"""How long a camera that has opened may take to deliver its first picture."""

STALLED_S = 2.0
"""A camera without a new picture for so long has stopped delivering, for callers that have no limit of their own."""

LEAVE_S = 4.0
"""How long is waited for a camera to close: a read that hangs, and the driver. Then it is left to itself."""

WARMED_UP_HERE = ("opencv", "zmq")
"""Types whose pictures are waited for here. Where a camera sends none, LeRobot's own warm-up releases it under the
thread that reads it; with a `zmq` camera that ends the whole program ("Fatal Python error: Aborted")."""

SHORT_READS = ("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
"""OpenCV's setting for how long a read waits for a camera that sends nothing [s]; its default of 10 s is as long as the
arm is held for a camera, which can only be opened again when the read has returned."""


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
        """The newest frame, at once. Raises CameraError if there never was one, or the camera has stopped
        delivering."""
        ...

    def disconnect(self) -> None:
        """Close the camera, within a few seconds. May be called twice; never raises for a camera that has gone."""
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

    A camera whose reading thread has died, that delivers another size, or whose newest picture is older than
    `stalled_s` is closed and opened again every half second, in a thread of its own, until it delivers. A video device
    is found again under another number (`video_devices`). Nobody who asks for a frame waits for that.

    Args:
        name: what the robot calls the camera.
        camera: the camera, not yet connected.
        config: the expected pictures, with width and height.
        stalled_s: how old the newest picture may be before the camera has stopped delivering.
    """

    def __init__(
        self, name: str, camera: "Camera", config: "CameraConfig", stalled_s: float = STALLED_S
    ) -> None:
        self.camera = camera
        """The one that is open now; another object after it was opened again."""
        self._name = name
        self._config = config
        self._stalled_s = stalled_s
        self._device: VideoDevice | None = None
        self._reopening = Reopening(self._open_again, f"{name}: opening again")
        self._is_open = self._is_stuck = False
        self._wrong = ""
        self._stamp: object = None
        self._newest: Frame | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def config(self) -> "CameraConfig":
        """How the camera was asked to be."""
        return self._config

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self._config.height or 0, self._config.width or 0, 3)

    def connect(self) -> None:
        if self._config.type == "opencv":
            self._device = VideoDevice.at(getattr(self._config, "index_or_path", 0))
        try:
            self._open(self.camera)
        except CameraError:
            raise
        except (
            Exception
        ) as error:  # OpenCV's own are no RuntimeError, and a plugin's camera raises what it likes
            raise CameraError(
                f"camera {self._name!r} ({self.camera}) does not open with {self._expected()}: {error}"
                f"{found(self._config)}"
            ) from error

    def latest(self, now_s: float) -> Frame:
        if not self._reopening.under_way:
            self._take_newest(now_s)
        if self._newest is None:
            raise CameraError(f"camera {self._name!r} ({self.camera}) has not delivered a picture yet")
        stalled = now_s - self._newest.captured_s > self._stalled_s
        if stalled or self._wrong or has_died(self.camera):
            self._reopening.begin()
        if stalled:
            raise CameraError(self._stopped_delivering())
        return self._newest

    def disconnect(self) -> None:
        self._reopening.stop()
        if self._is_open or self._reopening.under_way:
            leaving = threading.Thread(target=self._leave, name=f"{self._name}: closing", daemon=True)
            leaving.start()
            leaving.join(LEAVE_S)

    # opening and closing -----

    def _open(self, camera: "Camera") -> None:
        """Open a camera and wait for its first picture; closed again where anything is wrong."""
        keep_reasons()
        os.environ.setdefault(*SHORT_READS)
        take_reason(camera)  # of an earlier life
        own_warm_up = self._config.type in WARMED_UP_HERE
        opened_s = time.monotonic()
        try:
            camera.connect(warmup=not own_warm_up)
            self._check_size(_first_picture(camera))
        except Exception as error:
            close(camera)
            if reason := take_reason(camera):
                raise RuntimeError(reason) from error
            raise
        if own_warm_up:
            time.sleep(max(0.0, opened_s + getattr(self._config, "warmup_s", 0.0) - time.monotonic()))
        self.camera, self._is_open = camera, True

    def _open_again(self) -> None:
        """One attempt. A new object is made: the old one may be stuck in a read, and must not be touched then."""
        if self._is_open:
            self._wrong = self._wrong or take_reason(self.camera)
            self._is_open = False
            self._is_stuck = not close(self.camera)
        config = self._config
        if self._device is not None:
            if (device := self._device.now()) is None:
                raise CameraError(f"{self._device.node} is not there")
            config = dataclasses.replace(config, index_or_path=device)
        try:
            self._open(make_cameras_from_configs({self._name: config})[self._name])
        except Exception as error:
            if self._is_stuck:
                raise CameraError("its driver does not return from a read") from error
            raise
        self._wrong, self._is_stuck = "", False

    def _leave(self) -> None:
        self._reopening.wait()
        if self._is_open:
            self._is_open = False
            close(self.camera)

    def _stopped_delivering(self) -> str:
        why = self._reopening.trouble or self._wrong
        return f"camera {self._name} stopped delivering; check its cable or hub{f' ({why})' if why else ''}"

    # pictures -----

    def _take_newest(self, now_s: float) -> None:
        image, stamp, age_s = _look(self.camera)
        if image is None or (stamp == self._stamp and self._newest is not None):
            return
        try:
            self._check_size(image)
        except CameraError as error:
            self._wrong = str(error)
            return
        sequence = self._newest.sequence + 1 if self._newest else 0
        self._newest = Frame(image, now_s - age_s, sequence, None)
        self._stamp = stamp

    def _check_size(self, image: NDArray[np.uint8]) -> None:
        if image.shape != self.shape:
            height, width = image.shape[:2]
            raise CameraError(
                f"camera {self._name!r} ({self.camera}) delivers {width}x{height} pictures; expected "
                f"{self._expected()} - set --robot.cameras' width and height to what it delivers"
            )

    def _expected(self) -> str:
        return f"{self._config.width}x{self._config.height} at {self._config.fps} Hz"


def _look(camera: Any) -> tuple[NDArray[np.uint8] | None, object, float]:
    """Newest picture, what identifies it, and its age [s]."""
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


def _first_picture(camera: "Camera") -> NDArray[np.uint8]:
    """Raises CameraError if none comes."""
    deadline_s = time.monotonic() + FIRST_FRAME_S
    while (image := _look(camera)[0]) is None:
        if time.monotonic() > deadline_s or has_died(camera):
            raise CameraError(f"{camera} opened, but sent no picture within {FIRST_FRAME_S:.0f} s")
        time.sleep(0.01)
    return image


def connect_all(sources: Sequence[FrameSource]) -> None:
    """Connect several cameras at the same time (LeRobot's take a second each to warm up).

    Raises:
        CameraError: two are the same device; or of the first one that failed; all are disconnected then.
    """
    if not sources:
        return
    require_different({source.name: source.config for source in sources if isinstance(source, LeRobotFrames)})
    with ThreadPoolExecutor(len(sources)) as pool:
        results = [pool.submit(source.connect) for source in sources]
    failures = [error for result in results if (error := result.exception()) is not None]
    if failures:
        for source in sources:
            source.disconnect()
        raise failures[0]
