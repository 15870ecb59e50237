"""The camera process of a real-time arm: snapshots in, pictures out, where LeRobot's `zmq` camera reads them.

Rendering would delay the wire by milliseconds, so it has a process of its own. `CameraProcess` is the arm's end: it sends
what the cameras have captured through a pipe and drops what a slow renderer has no time for. `main` is the other end: it takes the
latest, renders it and publishes one JSON message with all cameras on a loopback socket:

    {"timestamps": {"front": 1.2, ..}, "images": {"front": "<base64 JPEG>", ..}, "sequence": {..}, "renderer": "egl"}

Times are the arm's [s]. The child ends when the pipe ends, so it cannot outlive the arm, however that ends.
"""

import base64
import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from so101_robot.errors import CameraError
from so101_robot.mock.captures import Capture

START_S = 60.0
"""A cold start compiles the scene and opens OpenGL; on a loaded two-core machine that has taken up to ten seconds."""
_HEADER = struct.Struct("<qqB")
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class CameraJob:
    """What the camera process has to know. Port 0 takes any free one."""

    scene: str
    seed: int
    width: int
    height: int
    renderer: str
    shadows: bool
    port: int
    cameras: tuple[str, ...]


class CameraProcess:
    """Renders and publishes in a child process. `wait_ready` before use, `close` after it.

    Raises (from `wait_ready`):
        CameraError: the child could not start: the port is taken, the renderer is missing.
    """

    def __init__(self, job: CameraJob) -> None:
        self._job = job
        self._last: tuple[int, ...] = ()
        self.dropped = 0
        self.port = 0
        self.renderer = ""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "so101_robot.mock.publish", json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdin is not None
        self._pipe = Connection(os.dup(self._child.stdin.fileno()), readable=False)
        self._child.stdin.close()

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Return when the first picture could be rendered and the socket is bound."""
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], timeout_s)
        answer: dict[str, Any] = json.loads(self._child.stdout.readline() or b"{}") if ready else {}
        if "port" not in answer:
            self.close()
            raise CameraError(answer.get("error") or f"the camera process did not start within {timeout_s:.0f} s")
        self.port, self.renderer = int(answer["port"]), str(answer["renderer"])

    def show(self, captures: Mapping[str, Capture]) -> None:
        """Hand over what the cameras have captured, unless it is known or the renderer lags behind."""
        sequences = tuple(capture.sequence for capture in captures.values())
        if sequences == self._last:
            return
        stalled = any(new == old for new, old in zip(sequences, self._last, strict=False))
        self._last = sequences
        if stalled:  # LeRobot's reader takes another camera's picture where its own is missing: rather none at all
            return
        message = b"".join(
            _HEADER.pack(capture.sequence, capture.time_us, capture.dark) + capture.snapshot.tobytes()
            for capture in captures.values()
        )
        if not select.select((), (self._pipe,), (), 0)[1]:
            self.dropped += 1
            return
        try:
            self._pipe.send_bytes(message)
        except OSError as error:
            raise CameraError(f"the camera process ended with exit code {self._child.poll()}") from error

    def close(self) -> None:
        """End the child; it is gone when this returns."""
        self._pipe.close()
        try:
            self._child.wait(timeout=3.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


class _Publisher:
    """The child's side: a world to render, a socket to publish on."""

    def __init__(self, job: CameraJob) -> None:
        import zmq

        from so101_robot.mock.render import open_renderer
        from so101_robot.mock.world import World, load_scene

        self._zmq = zmq
        self._cameras = job.cameras
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2)
        self.port = self._bind(job.port)
        world = World(load_scene(job.scene), job.seed)
        self._shape = (job.height, job.width, 3)
        self.renderer = open_renderer(world.model, job.width, job.height, job.renderer, job.shadows)
        self._size = world.snapshot().nbytes
        for name in job.cameras:
            self.renderer.render(world.snapshot(), name)

    def _bind(self, port: int) -> int:
        if port == 0:
            return int(self._socket.bind_to_random_port("tcp://127.0.0.1"))
        try:
            self._socket.bind(f"tcp://127.0.0.1:{port}")
        except self._zmq.ZMQError as error:
            raise CameraError(
                f"--camera-port {port}: {os.strerror(error.errno or 0).lower()}; 0 takes any free port"
            ) from error
        return port

    def publish(self, message: bytes) -> None:
        import cv2

        times: dict[str, float] = {}
        sequences: dict[str, int] = {}
        images: dict[str, str] = {}
        step = _HEADER.size + self._size
        for index, name in enumerate(self._cameras):
            part = message[index * step : (index + 1) * step]
            sequences[name], time_us, dark = _HEADER.unpack_from(part)
            times[name] = time_us * 1e-6
            if dark:
                image = np.zeros(self._shape, dtype=np.uint8)
            else:
                image = self.renderer.render(np.frombuffer(part, offset=_HEADER.size), name)
            # RGB goes in as it is: LeRobot's reader decodes without swapping channels
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
            images[name] = base64.b64encode(jpeg.tobytes()).decode()
        self._socket.send_string(
            json.dumps(
                {
                    "timestamps": times,
                    "images": images,
                    "sequence": sequences,
                    "renderer": self.renderer.backend,
                }
            )
        )

    def close(self) -> None:
        self.renderer.close()
        self._socket.close()
        self._context.term()


def main() -> None:
    """The child process: announce itself on standard output, then publish until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the arm decides when this ends
    fields = json.loads(sys.argv[1])
    job = CameraJob(**{**fields, "cameras": tuple(fields["cameras"])})
    try:
        publisher = _Publisher(job)
    except (CameraError, OSError, ValueError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(2)
    print(json.dumps({"port": publisher.port, "renderer": publisher.renderer.backend}), flush=True)
    pipe = Connection(os.dup(0), writable=False)
    try:
        while True:
            message = pipe.recv_bytes()
            while pipe.poll():  # the latest wins
                message = pipe.recv_bytes()
            publisher.publish(message)
    except EOFError:
        pass
    finally:
        publisher.close()


if __name__ == "__main__":
    main()
