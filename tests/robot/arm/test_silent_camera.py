"""LeRobot's own ZMQCamera, on an address where nobody sends: given up without taking its socket from its thread."""

import socket
import threading
from collections.abc import Iterator

import pytest
from lerobot.cameras.zmq import ZMQCamera, ZMQCameraConfig

from so101_robot.arm import cameras
from so101_robot.arm.cameras import LeRobotFrames
from so101_robot.errors import CameraError


@pytest.fixture
def silent() -> Iterator[ZMQCameraConfig]:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
        yield ZMQCameraConfig(
            "127.0.0.1", port, "wrist", width=96, height=96, fps=30, timeout_ms=300, warmup_s=0
        )


@pytest.mark.parametrize("read_s", [0.1, 0.6])
def test_a_socket_is_never_closed_while_it_is_read(
    silent: ZMQCameraConfig, monkeypatch: pytest.MonkeyPatch, read_s: float
) -> None:
    """libzmq ends the process in which that happens. (A read of 0.6 s does not return before it is given up.)"""
    monkeypatch.setattr(cameras, "FIRST_FRAME_S", 0.2)
    monkeypatch.setattr("so101_robot.arm.reading_threads.CLOSE_S", 0.3)
    silent.timeout_ms = round(1e3 * read_s)
    closed_while_read: list[bool] = []
    release = ZMQCamera._cleanup

    def cleanup(camera: ZMQCamera) -> None:
        closed_while_read.append(any(t.name == f"{camera}_read_loop" for t in threading.enumerate()))
        if not closed_while_read[-1]:
            release(camera)

    monkeypatch.setattr(ZMQCamera, "_cleanup", cleanup)
    source = LeRobotFrames("wrist", ZMQCamera(silent), silent)
    with pytest.raises(CameraError) as refused:
        source.connect()
    assert not any(closed_while_read)
    assert "sent no picture within" in str(refused.value)
    source.disconnect()
    for thread in threading.enumerate():
        if thread.name.endswith("_read_loop"):
            thread.join(5)
