"""The camera process of a real-time arm, seen from the arm: snapshots go in, pictures come out elsewhere.

Rendering would delay the wire by milliseconds, so it has a process of its own (`publish.py`). What the
cameras have captured goes there through a pipe; what a slow renderer has no time for is dropped. The child
ends when the pipe ends, so it cannot outlive the arm, however that ends.
"""

import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from so101_robot.errors import CameraError
from so101_robot.mock.cameras.shutter import Capture

START_S = 60.0
"""A cold start compiles the scene and opens OpenGL: ten seconds on a loaded two-core machine."""
_HEADER = struct.Struct("<qqB")  # sequence, time [us], dark


@dataclass(frozen=True)
class CameraJob:
    """What the camera process has to know."""

    scene: str
    seed: int
    width: int
    height: int
    renderer: str
    shadows: bool
    port: int
    """0 takes any free one."""
    ports: int
    """So many are tried, from `port` on, and then any free one; a single one that is taken is an error."""
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
            [sys.executable, "-m", "so101_robot.mock.cameras.publish", json.dumps(asdict(job))],
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
            raise CameraError(
                answer.get("error") or f"the camera process did not start within {timeout_s:.0f} s"
            )
        self.port, self.renderer = int(answer["port"]), str(answer["renderer"])

    def show(self, captures: Mapping[str, Capture]) -> None:
        """Hand over what the cameras have captured, unless it is known or the renderer lags behind."""
        sequences = tuple(capture.sequence for capture in captures.values())
        if sequences == self._last:
            return
        stalled = any(new == old for new, old in zip(sequences, self._last, strict=False))
        self._last = sequences
        if (
            stalled
        ):  # LeRobot's reader takes another camera's picture where its own is missing: rather none at all
            return
        if not select.select((), (self._pipe,), (), 0)[1]:
            self.dropped += 1
            return
        try:
            self._pipe.send_bytes(pack(captures))
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


def pack(captures: Mapping[str, Capture]) -> bytes:
    """The captures of all cameras as one message."""
    return b"".join(
        _HEADER.pack(capture.sequence, capture.time_us, capture.dark) + capture.snapshot.tobytes()
        for capture in captures.values()
    )


def unpack(message: bytes, cameras: Sequence[str]) -> dict[str, Capture]:
    """What `pack` was given; `cameras` are its names in their order."""
    captures: dict[str, Capture] = {}
    size = len(message) // len(cameras)
    for index, name in enumerate(cameras):
        part = message[index * size : (index + 1) * size]
        sequence, time_us, dark = _HEADER.unpack_from(part)
        captures[name] = Capture(sequence, time_us, np.frombuffer(part, offset=_HEADER.size), bool(dark))
    return captures
