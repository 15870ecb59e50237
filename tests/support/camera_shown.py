"""A LeRobot camera (type `shown`) whose pictures are files: each stands for a second of a clock that a test sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lerobot.cameras import Camera, CameraConfig
from numpy.typing import NDArray

from so101_calibration.cameras import pictures


class FakeClock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)


@CameraConfig.register_subclass("shown")
@dataclass(kw_only=True)
class ShownCameraConfig(CameraConfig):
    """Pictures of a folder, in order."""

    folder: str = ""


class ShownCamera(Camera):
    """Four frames a second; the last picture stays."""

    clock: ClassVar[FakeClock] = FakeClock()
    driver: ClassVar[Any] = None

    def __init__(self, config: ShownCameraConfig) -> None:
        super().__init__(config)
        self._pictures = [pictures.read(path) for path in pictures.find([Path(config.folder)])]
        self._frames: dict[int, NDArray[Any]] = {}
        self._open = False

    @property
    def videocapture(self) -> Any:
        """As LeRobot's OpenCV camera has it."""
        return ShownCamera.driver

    @property
    def is_connected(self) -> bool:
        return self._open

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        return []

    def connect(self, warmup: bool = True) -> None:
        self._open = True

    def read(self) -> NDArray[Any]:
        return self.read_latest()

    def async_read(self, timeout_ms: float = 0.0) -> NDArray[Any]:
        return self.read_latest()

    def read_latest(self, max_age_ms: int = 0) -> NDArray[Any]:
        quarter = int(ShownCamera.clock.now_s() * 4)
        if quarter not in self._frames:
            picture = self._pictures[min(quarter // 4, len(self._pictures) - 1)]
            self._frames[quarter] = np.array(picture)  # another object: LeRobotFrames tells new ones by that
        return self._frames[quarter]

    def disconnect(self) -> None:
        self._open = False
