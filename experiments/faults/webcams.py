"""USB cameras that fail as real ones do, under LeRobot's own `OpenCVCamera`: a stand-in for `cv2.VideoCapture`.

    host = UsbHost(folder)
    wrist = host.plug_in(Webcam(seed=1), number=2, port="1.2")
    with host.installed():         # cv2.VideoCapture(2) and ("/dev/video2") open `wrist`
        ...
        wrist.does = "fails"       # every read returns (False, None)

What a host keeps in /dev (nodes, and the links of /dev/v4l that udev makes) is in a folder, for tests of names.
"""

import itertools
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_robot.arm import video_devices

Does = Literal["delivers", "fails", "raises", "gives nothing", "hangs", "another size", "freezes", "is dark"]

PATIENCE_S = 0.005
"""How long a read that fails takes: a device that has gone answers at once."""


class Webcam:
    """One camera.

    Args:
        seed: of its picture, so that two cameras show different things.
        size: width and height that it delivers.
        fps: pictures a second that it really delivers; it says that it delivers what it was asked for.
        serial: its name below /dev/v4l/by-id; None: it has none.
    """

    def __init__(
        self, seed: int = 0, size: tuple[int, int] = (96, 96), fps: float = 30.0, serial: str | None = None
    ) -> None:
        self.size, self.fps, self.serial = size, fps, serial
        self.does: Does = "delivers"
        self.plugged = True
        self.opened = 0
        """How often it was opened."""
        self.released_in_a_read = 0
        """How often it was released while a read was under way, which may crash a real program."""
        self.asked: dict[int, float] = {}
        """Properties that were set."""
        self.user: Capture | None = None
        """Who has it open: one at a time."""
        width, height = size
        self._scene = np.random.default_rng(seed).integers(0, 200, (height, width, 3)).astype(np.uint8)
        self._numbers = itertools.count()
        self._shift = 0

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3) BGR, as OpenCV gives it; a little different each time."""
        if self.does != "freezes":
            self._shift = next(self._numbers) % 50
        scene = self._scene[::2, ::2] if self.does == "another size" else self._scene
        return scene * np.uint8(self.does != "is dark") + np.uint8(
            0 if self.does == "is dark" else self._shift
        )


class UsbHost:
    """What a computer has in /dev.

    Args:
        folder: for nodes and links.
    """

    def __init__(self, folder: Path) -> None:
        self.dev = folder / "dev"
        self.cameras: dict[Path, Webcam] = {}
        """Node -> camera."""
        self.known: set[Webcam] = set()
        self.named: dict[str, Webcam] = {}
        """Those that were given a name when they were plugged in."""
        self._ports: dict[Path, str] = {}
        for kind in ("by-path", "by-id"):
            (self.dev / "v4l" / kind).mkdir(parents=True)

    @contextmanager
    def installed(self) -> Generator["UsbHost"]:
        """`cv2.VideoCapture` is this host's while inside, and /dev too. At the end every read that hangs returns."""
        host = self

        class HostCapture(Capture):
            def __init__(self, place: Any, backend: int = 0) -> None:
                super().__init__(host, place)

        with (
            mock.patch.object(cv2, "VideoCapture", HostCapture),
            mock.patch.object(video_devices, "DEV", self.dev),
        ):
            try:
                yield self
            finally:
                for camera in self.known:
                    camera.does = "fails"

    def plug_in(self, camera: Webcam, number: int, port: str = "", name: str = "") -> Webcam:
        """At /dev/video<number>, on a USB port; returns the camera."""
        if name:
            self.named[name] = camera
        node = self.dev / f"video{number}"
        node.touch()
        self.cameras[node], self._ports[node] = camera, port
        self.known.add(camera)
        camera.plugged = True
        for link in self._links(node):
            link.unlink(missing_ok=True)  # udev gives a name to who came last
            link.symlink_to(node)
        return camera

    def unplug(self, camera: Webcam) -> None:
        node = next(node for node, there in self.cameras.items() if there is camera)
        camera.plugged = False
        for link in self._links(node):
            link.unlink(missing_ok=True)
        del self.cameras[node]
        node.unlink()

    def at(self, place: Any) -> Webcam | None:
        """What `cv2.VideoCapture(place)` opens."""
        node = self.dev / f"video{place}" if isinstance(place, int) else Path(place)
        return self.cameras.get(Path(os.path.realpath(node)))

    def _links(self, node: Path) -> list[Path]:
        port, camera = self._ports[node], self.cameras[node]
        links = [self.dev / "v4l" / "by-path" / f"pci-usb-0:{port}:1.0-video-index0"] if port else []
        if camera.serial is not None:
            links.append(self.dev / "v4l" / "by-id" / f"usb-Webcam_{camera.serial}-video-index0")
        return links


class Capture:
    """What LeRobot uses of `cv2.VideoCapture`."""

    def __init__(self, host: UsbHost, place: Any) -> None:
        camera = host.at(place)
        self._camera = camera if camera is not None and camera.plugged and camera.user is None else None
        self._due_s = time.monotonic()
        self._reading = 0
        if self._camera is not None:
            self._camera.user = self
            self._camera.opened += 1

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._camera is not None

    def get(self, key: int) -> float:
        camera = self._camera
        if camera is None:
            return 0.0
        size = {cv2.CAP_PROP_FRAME_WIDTH: camera.size[0], cv2.CAP_PROP_FRAME_HEIGHT: camera.size[1]}
        return float(size[key] if key in size else camera.asked.get(key, 30.0))

    def set(self, key: int, value: float) -> bool:
        if self._camera is None:
            return False
        self._camera.asked[key] = value
        return True

    def read(self) -> tuple[bool, Any]:
        camera = self._camera
        if camera is None:
            return False, None
        self._reading += 1
        try:
            return self._read(camera)
        finally:
            self._reading -= 1

    def release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is None:
            return
        camera.released_in_a_read += self._reading
        if camera.user is self:
            camera.user = None

    def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
        return "STAND-IN"

    def _read(self, camera: Webcam) -> tuple[bool, Any]:
        self._due_s = max(self._due_s + 1 / camera.fps, time.monotonic() - 1 / camera.fps)
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        while camera.does == "hangs":
            time.sleep(PATIENCE_S)
        if not camera.plugged or camera.does == "fails":
            time.sleep(PATIENCE_S)
            return False, None
        if camera.does == "raises":
            raise cv2.error("VIDIOC_DQBUF: no such device")
        return True, None if camera.does == "gives nothing" else camera.picture()


def reading_threads() -> list[threading.Thread]:
    """LeRobot's threads that read a camera."""
    return [thread for thread in threading.enumerate() if thread.name.endswith("_read_loop")]
