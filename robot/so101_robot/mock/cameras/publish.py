"""What runs in the camera process: draw the latest snapshot, publish it where LeRobot's `zmq` camera reads.

One JSON message on a loopback socket holds all cameras:

    {"timestamps": {"front": 1.2, ..}, "images": {"front": "<base64 JPEG>", ..},
     "sequence": {"front": 36, ..}, "renderer": "egl"}

Times are the arm's [s]. `sequence` and `renderer` are ours; LeRobot's reader ignores them.
"""

import base64
import errno
import json
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np
import zmq

from so101_robot.errors import CameraError
from so101_robot.mock.cameras.camera_process import CameraJob, unpack
from so101_robot.mock.cameras.render import open_renderer
from so101_robot.mock.cameras.shutter import Capture
from so101_robot.mock.physics.world import World, load_scene

JPEG_QUALITY = 95
LOOPBACK = "tcp://127.0.0.1"


class Publisher:
    """A world to draw and a socket to publish on."""

    def __init__(self, job: CameraJob) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2)
        self.port = listen(self._socket, job.port, job.ports)
        world = World(load_scene(job.scene), job.seed)
        self._shape = (job.height, job.width, 3)
        self.renderer = open_renderer(world.model, job.width, job.height, job.renderer, job.shadows)
        for name in job.cameras:
            self.renderer.render(world.snapshot(), name)

    def publish(self, captures: Mapping[str, Capture]) -> None:
        """Draw and send one message. RGB goes in as it is: LeRobot's reader does not swap channels."""
        images: dict[str, str] = {}
        for name, capture in captures.items():
            if capture.dark:
                image = np.zeros(self._shape, dtype=np.uint8)
            else:
                image = self.renderer.render(capture.snapshot, name)
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            images[name] = base64.b64encode(jpeg.tobytes()).decode()
        message = {
            "timestamps": {name: capture.time_us * 1e-6 for name, capture in captures.items()},
            "images": images,
            "sequence": {name: capture.sequence for name, capture in captures.items()},
            "renderer": self.renderer.backend,
        }
        self._socket.send_string(json.dumps(message))

    def close(self) -> None:
        self.renderer.close()
        self._socket.close()
        self._context.term()


def listen(socket: "zmq.Socket[bytes]", port: int, ports: int = 1) -> int:
    """Bind it on the loopback; the port that it got.

    To look first which port is free would not do: of two arms that are started at once, both would find the same one.

    Args:
        socket: not bound yet.
        port: the first that is tried; 0: any free one.
        ports: how many are tried, one after the other; when all of several are taken, any free one is.

    Raises:
        CameraError: the only one is taken, or cannot be had.
    """
    for wanted in range(port, port + ports if port else 0):
        try:
            socket.bind(f"{LOOPBACK}:{wanted}")
        except zmq.ZMQError as error:
            if ports == 1 or error.errno != errno.EADDRINUSE:
                raise CameraError(
                    f"--camera_port {port}: {os.strerror(error.errno or 0).lower()}; 0 takes any free port"
                ) from error
        else:
            return wanted
    return int(socket.bind_to_random_port(LOOPBACK))


def main() -> None:
    """The child process: announce itself on standard output, then publish until standard input ends."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the arm decides when this ends
    fields: dict[str, Any] = json.loads(sys.argv[1])
    fields["cameras"] = tuple(fields["cameras"])
    job = CameraJob(**fields)
    try:
        publisher = Publisher(job)
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
            publisher.publish(unpack(message, job.cameras))
    except EOFError:
        pass
    finally:
        publisher.close()


if __name__ == "__main__":
    main()
