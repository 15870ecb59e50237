"""Frames of LeRobot cameras: times, ages, sequence numbers, and errors that say what was asked and found."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from lerobot.cameras import Camera, CameraConfig
from lerobot.cameras.opencv import OpenCVCamera, OpenCVCameraConfig
from numpy.typing import NDArray

from so101_robot.arm import cameras
from so101_robot.arm.cameras import LeRobotFrames, connect_all
from so101_robot.errors import CameraError


@dataclass(kw_only=True)
class TestCardConfig(CameraConfig):
    __test__ = False
    type = "test_card"  # pyright: ignore[reportAssignmentType]


class TestCard(Camera):
    """A LeRobot camera with the attributes that OpenCV's and ZMQ's have, moved by hand."""

    __test__ = False

    def __init__(self, config: CameraConfig, delivers: tuple[int, int] | None = (4, 6)) -> None:
        super().__init__(config)
        self.frame_lock = threading.Lock()
        self.latest_frame: NDArray[Any] | None = None
        self.latest_timestamp: float | None = None
        self.delivers = delivers
        self.connected = False

    def __str__(self) -> str:
        return "TestCard"

    def snap(self, value: int, age_s: float = 0.0) -> None:
        assert self.delivers is not None
        self.latest_frame = np.full((*self.delivers, 3), value, np.uint8)
        self.latest_timestamp = time.perf_counter() - age_s

    @property
    def is_connected(self) -> bool:
        return self.connected

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        return []

    def connect(self, warmup: bool = True) -> None:
        self.connected = True
        if self.delivers is not None:
            self.snap(1)

    def read(self) -> NDArray[Any]:
        raise NotImplementedError

    def async_read(self, timeout_ms: float = 0) -> NDArray[Any]:
        raise NotImplementedError

    def disconnect(self) -> None:
        if not self.connected:
            raise RuntimeError("not connected")
        self.connected = False


class Plugin(TestCard):
    """A camera that has only LeRobot's interface."""

    def __init__(self, config: CameraConfig) -> None:
        super().__init__(config)
        self.picture: NDArray[Any] | None = None
        del self.latest_frame, self.latest_timestamp

    def snap(self, value: int, age_s: float = 0.0) -> None:
        self.picture = np.full((4, 6, 3), value, np.uint8)

    def read_latest(self, max_age_ms: int = 500) -> NDArray[Any]:
        if self.picture is None:
            raise TimeoutError("too old")
        return self.picture


CONFIG = TestCardConfig(width=6, height=4, fps=30)


def test_a_frame_has_the_time_of_its_capture_on_the_robots_clock():
    camera = TestCard(CONFIG)
    source = LeRobotFrames("front", camera, CONFIG)
    source.connect()
    camera.snap(7, age_s=0.2)
    frame = source.latest(now_s=1000.0)
    assert frame.captured_s == pytest.approx(999.8, abs=0.05)
    assert frame.image[0, 0, 0] == 7
    assert frame.image.shape == source.shape == (4, 6, 3)


def test_the_sequence_number_grows_with_new_pictures_only_and_an_old_one_keeps_its_time():
    camera = TestCard(CONFIG)
    source = LeRobotFrames("front", camera, CONFIG)
    source.connect()
    first, again = source.latest(1.0), source.latest(2.0)
    assert again is first
    camera.snap(2)
    assert source.latest(3.0).sequence == first.sequence + 1


def test_a_camera_without_time_stamps_is_stamped_when_its_picture_is_first_seen():
    camera = Plugin(CONFIG)
    source = LeRobotFrames("front", camera, CONFIG)
    source.connect()
    first = source.latest(5.0)
    assert source.latest(6.0) is first
    assert first.captured_s == 5.0
    camera.snap(9)
    second = source.latest(7.0)
    assert (second.captured_s, second.sequence) == (7.0, first.sequence + 1)
    camera.picture = None
    assert source.latest(8.0) is second


def test_a_wrong_size_names_what_was_asked_and_what_came():
    camera = TestCard(CONFIG, delivers=(480, 640))
    with pytest.raises(
        CameraError, match=r"camera 'wrist' \(TestCard\) delivers 640x480 .* expected 6x4 at 30 Hz"
    ):
        LeRobotFrames("wrist", camera, CONFIG).connect()
    assert not camera.connected


def test_a_camera_that_opens_but_sends_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cameras, "FIRST_FRAME_S", 0.05)
    camera = TestCard(CONFIG, delivers=None)
    source = LeRobotFrames("wrist", camera, CONFIG)
    with pytest.raises(CameraError, match="sent no picture"):
        source.connect()
    with pytest.raises(CameraError, match="has not delivered a picture"):
        source.latest(0.0)
    source.disconnect()


def test_a_camera_that_does_not_exist_is_reported_with_those_that_do():
    config = OpenCVCameraConfig(index_or_path="/dev/video99", width=640, height=480, fps=30)  # pyright: ignore
    source = LeRobotFrames("front", OpenCVCamera(config), config)
    with pytest.raises(
        CameraError, match=r"(?s)camera 'front' .* with 640x480 at 30 Hz: .*Video devices found"
    ):
        source.connect()


def test_a_picture_in_bgr_is_the_one_that_lerobot_gives_and_records():
    config = OpenCVCameraConfig(index_or_path=0, width=6, height=4, fps=30, color_mode="bgr")  # pyright: ignore
    camera = TestCard(CONFIG)
    source = LeRobotFrames("front", camera, config)
    source.connect()
    camera.snap(0)
    assert camera.latest_frame is not None
    camera.latest_frame[..., 0] = 255
    assert source.latest(0.0).image[0, 0].tolist() == [255, 0, 0]


def test_if_one_camera_fails_the_others_are_closed_again():
    good, bad = TestCard(CONFIG), TestCard(CONFIG, delivers=(1, 1))
    with pytest.raises(CameraError, match="'bad'"):
        connect_all([LeRobotFrames("good", good, CONFIG), LeRobotFrames("bad", bad, CONFIG)])
    assert not good.connected
    assert not bad.connected
    connect_all([])
