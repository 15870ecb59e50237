"""Which cameras there are, what they show, and how sharp that is."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration import doctor
from so101_policy.files.plain_data import Plain
from so101_policy.registration.background import sharpness
from so101_robot.errors import CameraError
from so101_robot.mock.arm import MockArm, MockConfig

WIDTH, HEIGHT, FPS = 640, 480, 30
"""What is asked of every camera, and what most USB cameras can do."""
WARM_UP = 15
"""Pictures until the exposure has settled."""
INDEXES = range(8)
"""Looked at where the system has no list of its cameras (macOS)."""


class Shown(NamedTuple):
    """What a camera shows."""

    device: str
    """Its number or path; of a simulated one its name."""
    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""

    @property
    def sharpness(self) -> float:
        """Steepness of edges over brightness [1/pixel]; it has its largest value in focus."""
        return sharpness(self.image, np.ones(self.image.shape[:2], np.bool_))

    def save(self, folder: Path, name: str) -> Path:
        """Write it as PNG; returns the file. Raises CameraError."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        if not cv2.imwrite(str(path), cv2.cvtColor(self.image, cv2.COLOR_RGB2BGR)):
            raise CameraError(f"cannot write {path}")
        return path


class Cameras(Protocol):
    """Those of this machine, or those of the simulated arm."""

    def devices(self) -> list[str]:
        """What can be looked through."""
        ...

    def look(self, device: str) -> Shown:
        """A picture. Raises CameraError."""
        ...

    def settings(self, device: str) -> dict[str, Plain]:
        """For so101.yaml; empty: the arm brings it."""
        ...


class OfThisMachine:
    """By OpenCV."""

    def devices(self) -> list[str]:
        if sys.platform == "linux":
            return [str(node) for node in doctor.video_devices()]
        return [str(index) for index in INDEXES if _opens(index)]

    def look(self, device: str) -> Shown:
        with _opened(device) as capture:
            image = None
            for _ in range(WARM_UP):
                got, image = capture.read()
                if not got:
                    raise CameraError(f"camera {device} sends no pictures; is another program using it?")
        assert image is not None
        return Shown(device, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))

    def settings(self, device: str) -> dict[str, Plain]:
        place: Plain = int(device) if device.isdigit() else device
        size = {"width": WIDTH, "height": HEIGHT, "fps": FPS, "fourcc": "MJPG"}
        return {"type": "opencv", "index_or_path": place, **size}


class Simulated:
    """The two of a simulated arm."""

    def devices(self) -> list[str]:
        return ["front", "wrist"]

    def look(self, device: str) -> Shown:
        arm = MockArm(MockConfig(realtime_factor=0, width=WIDTH, height=HEIGHT, scene="palletize-1-small"))
        try:
            arm.advance_to(arm.now_us + 200_000)
            return Shown(device, arm.frame(device).image)
        finally:
            arm.close()

    def settings(self, device: str) -> dict[str, Plain]:
        del device
        return {}


@contextmanager
def _opened(device: str) -> Generator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    try:
        if not capture.isOpened():
            raise CameraError(f"camera {device} cannot be opened; is another program using it?")
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, WIDTH)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT)
        yield capture
    finally:
        capture.release()


def _opens(index: int) -> bool:
    try:
        with _opened(str(index)):
            return True
    except CameraError:
        return False
