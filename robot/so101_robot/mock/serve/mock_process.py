"""A mock arm in a process of its own, for tests, benchmarks and scripts."""

import contextlib
import json
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from so101_policy.files.plain_data import Plain
from so101_robot.errors import RobotError
from so101_robot.mock.cameras.camera_process import START_S
from so101_robot.process import child

Option = bool | int | float | str | Path | None
"""The value of an option of `so101-mock`."""

ANSWER_S = 30.0
"""How long an answer may take: a loaded machine is slow, a process that ended is noticed at once."""


class MockProcess:
    """Runs `so101-mock` beside this process and gives what is needed to use it.

        with MockProcess(cameras=False, seed=3) as arm:
            robot = SO101Follower(SO101FollowerConfig(port=arm.port, id=arm.robot_id, ...))
            arm.call("joints")

    Args:
        options: command line options of `so101-mock` as keywords: `width=128` is `--width 128`, `hand=True`
            is `--hand`, `cameras=False` is `--no_cameras`. Without `camera_port` any free port is taken.

    Attributes:
        port: path of the pseudo-terminal (of the link, if one was asked for).
        zmq_port: loopback port of the cameras, 0 if there are none.
        calibration_dir, robot_id: what LeRobot's `--robot.calibration_dir` and `--robot.id` want.
        renderer: backend that draws the pictures.
        pid: of the process.

    Raises:
        RobotError: the arm could not start; the message is the one that `so101-mock` prints.
    """

    def __init__(self, **options: Option) -> None:
        self._options = {"camera_port": 0, **options}
        self._child: subprocess.Popen[bytes] | None = None
        self._partial = b""
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        self._socket = ours
        arguments = _arguments(self._options)
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "so101_robot.mock", "--control_fd", str(theirs.fileno()), *arguments],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=child.environment(),
                start_new_session=True,  # for its priority, see `server`; it ends with its control channel
            )
        self.pid = self._child.pid
        try:
            ready = self._receive(2 * START_S)
        except BaseException:
            self.close()
            raise
        self.port = str(ready["port"])
        self.zmq_port = int(ready["zmq_port"])
        self.calibration_dir = Path(ready["calibration_dir"])
        if "calibration_dir" not in self._options:
            self._temporary = self.calibration_dir
        self.robot_id = str(ready["robot_id"])
        self.renderer = str(ready["renderer"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, method: str, **arguments: Plain) -> Any:
        """Ask the arm; the methods are those of `so101_robot.mock.serve.server.Control`.

        Raises:
            RobotError: the arm refused, or is gone.
        """
        self._socket.sendall(json.dumps({"call": method, "with": arguments}).encode() + b"\n")
        return self._receive(ANSWER_S)["result"]

    def wait_until_hand_rests(self, timeout_s: float = 60.0) -> None:
        """Return when the hand has done all its moves.

        Raises:
            RobotError: it still moves after `timeout_s`.
        """
        end_s = time.monotonic() + timeout_s
        while self.call("hand_busy"):
            if time.monotonic() > end_s:
                raise RobotError(f"the hand still moves after {timeout_s:.0f} s")
            time.sleep(0.02)

    def close(self) -> None:
        """End the process; nothing of it is left when this returns. May be called twice."""
        self._socket.close()  # the arm ends when its control channel does
        child = self._child
        if child is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10.0)
        if child.poll() is None:
            child.kill()
            child.wait()
        if self._temporary is not None and child.returncode < 0:  # killed before it could tidy up
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self._partial:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([self._socket], [], [], left_s)[0]:
                raise RobotError(f"the mock arm did not answer within {timeout_s:.0f} s")
            data = self._socket.recv(65536)
            if not data:
                raise RobotError("the mock arm's process has ended")
            self._partial += data
        line, _, self._partial = self._partial.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RobotError(answer["error"])
        return answer


def _arguments(options: Mapping[str, Option]) -> list[str]:
    """Keywords as command line options; None is left out."""
    arguments: list[str] = []
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is False:
            arguments.append(f"--no_{name}")
        elif value is not None:
            arguments += [f"--{name}", str(value)]
    return arguments
