"""Keys of the terminal, one by one and without waiting for them; a pedal that types is a key, too.

Only a real terminal has keys: input from a file or a pipe is left alone. Ctrl-C stays what it is.
"""

import contextlib
import os
import queue
import re
import select
import sys
import termios
import threading
import tty
from types import TracebackType
from typing import Self

NAMES = {b"\n": "enter", b"\r": "enter", b" ": "space", b"\t": "tab", b"\x7f": "backspace", b"\x1b": "esc"}
ARROWS = {b"A": "up", b"B": "down", b"C": "right", b"D": "left"}

UNFINISHED = re.compile(rb"\x1b([\[O][0-9;<]{0,20})?\Z")
"""The beginning of an arrow or of a report of the mouse."""

REST_S = 0.03
"""How long the rest of an arrow may take after its first byte; over a network the bytes may come apart."""


class Keys:
    """Reads keys in a thread of its own, from entering a `with` until it is left.

    Args:
        fd: of the terminal; by default standard input.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = _standard_input() if fd is None else fd
        self.available = self._fd >= 0 and os.isatty(self._fd)
        """There is a terminal."""
        self._pressed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: list[object] | None = None

    def pressed(self) -> list[str]:
        """The keys since the last call, oldest first: `right`, `esc`, `space`, or the character."""
        found: list[str] = []
        while not self._pressed.empty():
            found.append(self._pressed.get())
        return found

    def __enter__(self) -> Self:
        if self.available:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
            self._thread = threading.Thread(target=self._read, name="keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal was closed
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)  # pyright: ignore[reportArgumentType]

    def _read(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._fd], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._fd, 64)
                while UNFINISHED.search(data) and select.select([self._fd], [], [], REST_S)[0]:
                    data += os.read(self._fd, 64)
            except OSError:
                return
            if not data:
                return
            for name in names_in(data):
                self._pressed.put(name)


def names_in(data: bytes) -> list[str]:
    """The keys that these bytes of a terminal are. A report of the mouse is one, as it stands: `<0;12;7M` (`mouse.py`).
    Other sequences that are no arrow are left out."""
    found: list[str] = []
    while data:
        if data[:2] in (b"\x1b[", b"\x1bO") and len(data) > 2:
            end = next((i for i in range(2, len(data)) if 0x40 <= data[i] <= 0x7E), len(data) - 1)
            if (arrow := ARROWS.get(data[2 : end + 1])) is not None:
                found.append(arrow)
            elif data[2:3] == b"<":
                found.append(data[2 : end + 1].decode("ascii", errors="ignore"))
            data = data[end + 1 :]
            continue
        first, data = data[:1], data[1:]
        text = first.decode("ascii", errors="ignore")
        name = NAMES.get(first, text if text.isprintable() else "")
        if name:
            found.append(name)
    return found


def _standard_input() -> int:
    """Its descriptor, -1 if there is none (a service)."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
