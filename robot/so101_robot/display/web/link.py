"""A page's side in the command that shows something by it: starts its process, sends it views, pictures and a film,
and hands on its actions.

Nothing here waits for the page: of views and pictures only the newest is kept, and they are written by a thread that
steps back before the loop. Pictures travel as they are and are encoded over there. A server that dies takes nobody
with it: `gone` says so, and everything else does nothing from then on.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_robot.process import child
from so101_robot.process.realtime import lower_priority

LOOPBACK = "127.0.0.1"
PROCESS = "so101_robot.display.web.process"
READY_S = 60.0
"""How long a server may take to begin: importing it takes half a second, on a machine that does nothing else."""
LAST_S = 3.0
"""How long the end waits for what is to be shown last."""

View = Callable[[], Mapping[str, Any]]
"""Makes a view, as plain data: called in the writing thread, and not for a view that is never shown."""


class PageLink:
    """A page.

    Args:
        page: the HTML file.
        port: 0: any that is free.
        or_any_port: another one where that is taken.
        lan: other machines of this network are let in as well; needs a token.
        token: see `app.make_app`.
        stay_s: how long the server stays after `close` for somebody who opens the page late.
        on_action: is told of every action, in a thread of its own.
        on_ready: is told the port, in that thread.
        on_gone: is told, once, that the server has died.
    """

    def __init__(
        self,
        page: Path,
        *,
        port: int = 0,
        or_any_port: bool = False,
        lan: bool = False,
        token: str | None = None,
        stay_s: float = 0.0,
        on_action: Callable[[str, dict[str, Any]], None] = lambda kind, data: None,
        on_ready: Callable[[int], None] = lambda port: None,
        on_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self.gone = False
        self._on_action, self._on_ready, self._on_gone = on_action, on_ready, on_gone
        self._stays = stay_s > 0
        self._news = threading.Condition()
        self._view: View | None = None
        self._pictures: dict[str, NDArray[np.uint8]] = {}
        self._film: bytes | None = None
        self._closed = False
        self._port: queue.Queue[int | None] = queue.Queue()
        known = child.environment()
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROCESS, f"--page={page}", f"--port={port}", f"--stay_s={stay_s}",
             f"--host={'0.0.0.0' if lan else LOOPBACK}", *(["--or_any_port"] if or_any_port else []),
             *([f"--token={token}"] if token else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={name: known[name] for name in ("PATH", "PYTHONPATH") if name in known},
            start_new_session=True,  # a Ctrl-C is the command's
        )  # fmt: skip
        self._writer = threading.Thread(target=self._write, name="page writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="page reader", daemon=True)
        self._writer.start()
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def wait(self, timeout_s: float = READY_S) -> int | None:
        """The port, once the server listens there; None: it does not begin. To be called once."""
        with contextlib.suppress(queue.Empty):
            return self._port.get(timeout=timeout_s)
        return None

    def show(self, view: View) -> None:
        """Another view; one that was not sent yet is forgotten."""
        with self._news:
            self._view = view
            self._news.notify()

    def pictures(self, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Newer pictures, (h, w, 3) RGB by camera; they are not copied."""
        with self._news:
            self._pictures.update(images)
            self._news.notify()

    def film(self, film: bytes) -> None:
        """An MP4 file, to be sent before the view that was given last."""
        with self._news:
            self._film = film
            self._news.notify()

    def close(self) -> None:
        """The server ends, or stays for a while by itself. May be called twice."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._writer.join(LAST_S)
        if self._stays and not self.gone and not self._writer.is_alive():
            self._process.returncode = 0  # it ends by itself, and nobody waits for it
        else:
            try:
                self._process.wait(0 if self._writer.is_alive() else 5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._writer.join(LAST_S)
        self._reader.join(2.0)  # its pipe has ended
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not (pipe is self._process.stdout and self._reader.is_alive()):
                with contextlib.suppress(OSError):  # what was left for a server that died
                    pipe.close()

    def _write(self) -> None:
        lower_priority()
        pipe = self._process.stdin
        assert pipe is not None  # it is one
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._closed or self._view or self._pictures or self._film)
                    view, self._view = self._view, None
                    pictures, self._pictures = self._pictures, {}
                    film, self._film = self._film, None
                    closed = self._closed
                for message, data in _messages(view, pictures, film):
                    pipe.write(json.dumps(message).encode() + b"\n")
                    pipe.write(data)
                pipe.flush()
                if closed:
                    break
            pipe.close()
        except OSError:
            self.gone = True
            if not self._closed:
                self._on_gone()

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None  # it is one
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in pipe:
                message = json.loads(line)
                if message["kind"] == "ready":
                    self._port.put(port := int(message["data"]["port"]))
                    self._on_ready(port)
                else:
                    self._on_action(message["kind"], message["data"])
        self._port.put(None)


def _messages(
    view: View | None, pictures: Mapping[str, NDArray[np.uint8]], film: bytes | None
) -> Sequence[tuple[Mapping[str, Any], bytes]]:
    """What goes over the pipe: a line of JSON each, and what follows it."""
    found: list[tuple[Mapping[str, Any], bytes]] = [
        (
            {"picture": name, "height": image.shape[0], "width": image.shape[1], "bytes": image.size},
            image.tobytes(),
        )
        for name, image in pictures.items()
    ]
    if film is not None:
        found.append(({"film": "mp4", "bytes": len(film)}, film))
    if view is not None:
        found.append(({"view": view()}, b""))
    return found
