"""LeRobot's own OpenCVCamera, on USB cameras that fail: opened again without anybody waiting, found again under another
number, and left alone where its driver hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.cameras.opencv import OpenCVCamera, OpenCVCameraConfig

from experiments.faults.webcams import Does, UsbHost, Webcam, reading_threads
from so101_robot.arm import cameras
from so101_robot.arm.cameras import LeRobotFrames, connect_all
from so101_robot.errors import CameraError
from so101_robot.state import Frame

LONG_S = 30.0
"""For a machine that is busy; nothing here takes so long by itself."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[UsbHost]:
    with UsbHost(tmp_path).installed() as one:
        yield one


def config(index_or_path: int | Path = 0, **more: Any) -> OpenCVCameraConfig:
    return OpenCVCameraConfig(
        **{"index_or_path": index_or_path, "width": 96, "height": 96, "fps": 30, "warmup_s": 0, **more}
    )


def frames_of(
    index_or_path: int | Path = 0, name: str = "wrist", stalled_s: float = 0.5, **more: Any
) -> LeRobotFrames:
    wanted = config(index_or_path, **more)
    return LeRobotFrames(name, OpenCVCamera(wanted), wanted, stalled_s)


@pytest.fixture
def wrist(host: UsbHost) -> Iterator[LeRobotFrames]:
    host.plug_in(Webcam(), number=0, port="1.2")
    source = frames_of()
    source.connect()
    yield source
    source.disconnect()


def now_s() -> float:
    return time.perf_counter()


def until(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline_s = time.monotonic() + LONG_S
    while not (answer := what()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return answer


def complaint(source: LeRobotFrames) -> str:
    """What is said instead of a frame; empty where there is one."""
    try:
        source.latest(now_s())
    except CameraError as problem:
        return str(problem)
    return ""


def newer(source: LeRobotFrames, than: Frame) -> Frame | None:
    """A frame that came after `than`, if there is one."""
    if complaint(source):
        return None
    frame = source.latest(now_s())
    return frame if frame.sequence > than.sequence else None


@pytest.mark.parametrize("does", ["fails", "raises", "gives nothing", "another size"])
def test_a_camera_that_fails_is_opened_again_and_goes_on(
    host: UsbHost, wrist: LeRobotFrames, does: Does, capfd: pytest.CaptureFixture[str]
):
    camera = host.cameras[host.dev / "video0"]
    before = wrist.latest(now_s())
    camera.does = does
    said = until(lambda: complaint(wrist))
    assert said.startswith("camera wrist stopped delivering; check its cable or hub")
    camera.does = "delivers"
    after = until(lambda: newer(wrist, before))
    assert after.image.shape == (96, 96, 3)
    assert now_s() - after.captured_s < 0.5
    assert camera.opened >= 2
    assert camera.released_in_a_read == 0
    assert "Traceback" not in capfd.readouterr().err


def test_an_outage_that_is_over_before_a_picture_is_too_old_is_not_noticed(host: UsbHost):
    camera = host.plug_in(Webcam(), number=0)
    source = frames_of(stalled_s=2 * LONG_S)
    source.connect()
    before = source.latest(now_s())
    camera.does = "fails"
    until(lambda: not reading_threads())
    last = source.latest(now_s())
    assert source.latest(now_s()) is last  # with its true age
    camera.does = "delivers"
    assert until(lambda: newer(source, last)).sequence > before.sequence
    source.disconnect()


def test_why_a_camera_does_not_come_back_is_said(host: UsbHost, wrist: LeRobotFrames):
    camera = host.cameras[host.dev / "video0"]
    camera.does = "another size"
    until(lambda: "frame width=48 or height=48 do not match configured width=96" in complaint(wrist))
    host.unplug(camera)
    until(lambda: complaint(wrist).endswith(f"check its cable or hub ({host.dev / 'video0'} is not there)"))


def test_nobody_waits_for_a_read_that_hangs_and_it_is_not_released_under_it(
    host: UsbHost, wrist: LeRobotFrames, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("so101_robot.arm.reading_threads.CLOSE_S", 0.2)
    camera = host.cameras[host.dev / "video0"]
    before = wrist.latest(now_s())
    camera.does = "hangs"
    until(lambda: "does not return from a read" in complaint(wrist))
    began_s = time.monotonic()
    complaint(wrist)
    assert time.monotonic() - began_s < cameras.LEAVE_S / 2
    host.unplug(camera)  # its read hangs for good; on another port it is a new device
    spare = host.plug_in(Webcam(seed=0), number=0, port="1.2")
    until(lambda: newer(wrist, before))
    assert camera.released_in_a_read == 0
    assert spare.opened == 1
    camera.does = "fails"


def test_a_camera_that_hangs_is_left_in_time(host: UsbHost, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("so101_robot.arm.reading_threads.CLOSE_S", 0.2)
    camera = host.plug_in(Webcam(), number=0)
    source = frames_of()
    source.connect()
    camera.does = "hangs"
    source.disconnect()
    source.disconnect()
    assert camera.released_in_a_read == 0
    assert camera.user is not None
    camera.does = "delivers"
    until(lambda: not reading_threads())


def test_a_camera_that_hangs_while_it_is_opened_again_keeps_nobody_waiting(
    host: UsbHost, wrist: LeRobotFrames, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cameras, "LEAVE_S", 0.1)
    camera = host.cameras[host.dev / "video0"]
    camera.does = "fails"
    until(lambda: complaint(wrist))
    opening, goes_on = threading.Event(), threading.Event()

    def hang(self: OpenCVCamera, warmup: bool = True) -> None:
        opening.set()
        assert goes_on.wait(LONG_S)

    monkeypatch.setattr(OpenCVCamera, "connect", hang)
    assert opening.wait(LONG_S)
    wrist.disconnect()  # would wait for as long as the camera does
    assert not goes_on.is_set()
    goes_on.set()


# names -----


@pytest.mark.parametrize("as_path", [False, True])
def test_a_camera_that_comes_back_with_another_number_is_found_by_its_port(host: UsbHost, as_path: bool):
    twin = host.plug_in(Webcam(seed=1), number=0, port="1.1")
    camera = host.plug_in(Webcam(seed=2), number=2, port="1.2")
    source = frames_of(host.dev / "video2" if as_path else 2)
    source.connect()
    before = source.latest(now_s())
    for each in (twin, camera):  # a hub loses its power
        host.unplug(each)
    until(lambda: complaint(source))
    host.plug_in(camera, number=0, port="1.2")
    host.plug_in(twin, number=2, port="1.1")
    after = until(lambda: newer(source, before))
    assert (
        np.ptp(after.image.astype(int) - before.image.astype(int)) == 0
    )  # the same scene, a little brighter
    assert source.camera.config.index_or_path == (host.dev / "video0" if as_path else 0)
    source.disconnect()


def test_a_camera_with_a_serial_number_is_found_on_another_port(host: UsbHost):
    camera = host.plug_in(Webcam(serial="SN1"), number=2, port="1.2")
    source = frames_of(2)
    source.connect()
    before = source.latest(now_s())
    host.unplug(camera)
    until(lambda: complaint(source))
    host.plug_in(camera, number=4, port="1.4")
    assert until(lambda: newer(source, before))
    source.disconnect()


def test_the_twin_that_was_there_is_not_taken_for_a_camera_that_has_gone(host: UsbHost):
    """Two of one model without serial numbers share one name below by-id."""
    twin = host.plug_in(Webcam(seed=1, serial="none"), number=0, port="1.1")
    camera = host.plug_in(Webcam(seed=2, serial="none"), number=2, port="1.2")
    source = frames_of(2)
    source.connect()
    host.unplug(camera)
    (host.dev / "v4l" / "by-id" / "usb-Webcam_none-video-index0").symlink_to(host.dev / "video0")
    until(lambda: "is not there" in complaint(source))
    time.sleep(0.6)
    assert complaint(source)
    assert twin.opened == 0
    source.disconnect()


def test_a_name_that_stays_is_followed_as_it_is(host: UsbHost):
    camera = host.plug_in(Webcam(), number=2, port="1.2")
    link = host.dev / "v4l" / "by-path" / "pci-usb-0:1.2:1.0-video-index0"
    source = frames_of(link)
    source.connect()
    before = source.latest(now_s())
    host.unplug(camera)
    until(lambda: f"{link} is not there" in complaint(source))
    host.plug_in(camera, number=3, port="1.2")
    assert until(lambda: newer(source, before))
    source.disconnect()


def test_two_cameras_that_are_one_device_are_refused_before_they_are_opened(host: UsbHost):
    camera = host.plug_in(Webcam(), number=2, port="1.2")
    link = host.dev / "v4l" / "by-path" / "pci-usb-0:1.2:1.0-video-index0"
    for other in (2, host.dev / "video2", link):
        with pytest.raises(CameraError, match=r"cameras 'front' and 'wrist' are the same device, .*/video2"):
            connect_all([frames_of(2, "front"), frames_of(other, "wrist")])
    assert camera.opened == 0


# settings -----


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"color_mode": "bgr"},
        {"rotation": 90},
        {"rotation": 180},
        {"rotation": -90},
        {"color_mode": "bgr", "rotation": 90},
        {"fourcc": "MJPG"},
        {"width": None, "height": None},
    ],
)
def test_a_picture_is_lerobots_whatever_the_settings(host: UsbHost, settings: dict[str, Any]):
    camera = host.plug_in(Webcam(size=(64, 48)), number=0)
    turned = settings.get("rotation") in (90, -90)
    size = {"width": 48 if turned else 64, "height": 64 if turned else 48}
    wanted = config(0, **{**size, **settings})
    theirs = OpenCVCamera(wanted)
    theirs.connect()
    expected = theirs.async_read(timeout_ms=1e3 * LONG_S)
    theirs.disconnect()
    asked = dict(camera.asked)
    source = frames_of(0, **size, **{k: v for k, v in settings.items() if k not in size})
    source.connect()
    mine = source.latest(now_s()).image
    source.disconnect()
    assert mine.shape == expected.shape == source.shape
    assert np.ptp(mine.astype(int) - expected.astype(int)) == 0
    assert settings.get("width", 0) is None or camera.asked == asked


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"width": 80}, r"camera 'wrist' .* with 80x96 at 30 Hz: .*capture_width=80 \(actual_width=96"),
        ({"index_or_path": 7}, r"camera 'wrist' .*Failed to open .*Video devices found: .*/video0"),
    ],
)
def test_a_camera_that_cannot_be_as_asked_is_named(host: UsbHost, trouble: dict[str, Any], words: str):
    host.plug_in(Webcam(), number=0)
    with pytest.raises(CameraError, match=words):
        frames_of(**trouble).connect()


def test_a_camera_that_fails_from_the_start_is_one_message(host: UsbHost, capfd: pytest.CaptureFixture[str]):
    host.plug_in(Webcam(), number=0).does = "another size"
    with pytest.raises(CameraError, match=r"camera 'wrist' .*frame width=48 or height=48 do not match"):
        frames_of().connect()
    assert "Traceback" not in capfd.readouterr().err
