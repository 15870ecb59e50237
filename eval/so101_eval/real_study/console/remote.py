"""The runner's side of the console: starts its process, sends it views and pictures, takes its actions.

Nothing here waits for the console: views go through a queue, of pictures only the newest is kept, and both are written
by a thread that steps back before the loop. A console that dies is noticed and the session goes on by the terminal.
"""

import contextlib
import io
import json
import queue
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import get_args

import numpy as np
import segno
from numpy.typing import NDArray
from PIL import Image

from so101_eval.errors import ConfigError
from so101_eval.real_study.session.control import Control
from so101_eval.real_study.session.view import Action, Kind, View
from so101_policy.command_line.command_shell import complain, say
from so101_robot.process import child
from so101_robot.process.realtime import lower_priority
from so101_robot.state import Frame

READY_S = 60.0
QUALITY = 80
AT_ONCE = ("stop", "danger", "hold", "open")
"""Actions that do not wait for the session: the control of the trial gets them in the thread that they come in."""
KINDS = get_args(Kind)


class ConsoleOperator:
    """An operator with a browser.

    Args:
        port: of the console; 0: any that is free.
        lan: other machines of this network are let in, by a token.

    Raises:
        ConfigError: the port is taken, or the process does not start.
    """

    def __init__(self, port: int, lan: bool = False) -> None:
        self._actions: queue.Queue[Action] = queue.Queue()
        self._control: Control | None = None
        self._news = threading.Condition()
        self._views: list[View] = []
        self._pictures: dict[str, NDArray[np.uint8]] = {}
        self._closed = False
        token = secrets.token_urlsafe(16) if lan else None
        host = "0.0.0.0" if lan else "127.0.0.1"
        arguments = [f"--port={port}", f"--host={host}", *([f"--token={token}"] if token else [])]
        known = child.environment()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "so101_eval.real_study.console.process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={name: known[name] for name in ("PATH", "PYTHONPATH") if name in known},
            start_new_session=True,  # a Ctrl-C is the runner's
        )
        self.port = self._wait_until_ready(port)
        self.address = f"http://{_own_address() if lan else '127.0.0.1'}:{self.port}/" + (
            f"?token={token}" if token else ""
        )
        self._threads = [
            threading.Thread(target=self._write, name="console writer", daemon=True),
            threading.Thread(target=self._read, name="console reader", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Of the console's process."""
        return self._process.pid

    def announce(self) -> None:
        """Where it is, for the person at the terminal; as a QR code for a phone."""
        say(f"console: {self.address}")
        if "token=" in self.address:
            segno.make(self.address).terminal(compact=True)

    def show(self, view: View) -> None:
        with self._news:
            self._views.append(view)
            self._news.notify()

    def pictures(self, frames: Mapping[str, Frame]) -> None:
        images = {
            name: frame.image for name, frame in frames.items()
        }  # the mock arm draws in this thread alone
        with self._news:
            self._pictures = images
            self._news.notify()

    def drives(self, control: Control | None) -> None:
        self._control = control

    def next(self, timeout_s: float) -> Action | None:
        try:
            return self._actions.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """The process ends. May be called twice."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._threads[0].join(2.0)
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._threads[1].join(2.0)  # its pipe has ended
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was left for a console that died
                    pipe.close()

    def _wait_until_ready(self, port: int) -> int:
        assert self._process.stdout is not None  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(5.0)
            self._close_pipes()
            raise ConfigError(
                f"--port={port}: the console does not start; is something else using the port? Try another"
            )
        return int(json.loads(line)["data"]["port"])

    def _write(self) -> None:
        lower_priority()
        pipe = self._process.stdin
        assert pipe is not None  # it is one
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._closed or self._views or self._pictures)
                    views, self._views = self._views, []
                    pictures, self._pictures = self._pictures, {}
                    closed = self._closed
                for view in views:
                    pipe.write(json.dumps({"view": asdict(view)}).encode() + b"\n")
                for name, picture in pictures.items():
                    jpeg = as_jpeg(picture)
                    pipe.write(json.dumps({"picture": name, "bytes": len(jpeg)}).encode() + b"\n" + jpeg)
                pipe.flush()
                if closed:
                    break
            pipe.close()
        except OSError:
            if not self._closed:
                complain("so101-bench", "the console is gone; go on with the keys of this terminal")

    def _read(self) -> None:
        assert self._process.stdout is not None  # it is a pipe
        for line in self._process.stdout:
            message = json.loads(line)
            if message["kind"] in KINDS:
                self.take(Action(message["kind"], message["data"]))

    def take(self, action: Action) -> None:
        """To the trial that runs, or to the session."""
        control = self._control
        if action.kind in AT_ONCE:
            if control is not None:
                act(control, action)
        elif control is None:  # what was pressed while the arm drove is not meant for the next screen
            self._actions.put(action)


def act(control: Control, action: Action) -> None:
    """What waits for nobody."""
    match action.kind:
        case "stop":
            control.stop("stopped")
        case "danger":
            control.stop("danger")
        case "hold":
            control.hold()
        case "open":
            control.open()
        case _:
            return


def as_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """(h, w, 3) RGB as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _own_address() -> str:
    """Of this machine in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
