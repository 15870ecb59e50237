"""Observer that shows the run in the terminal, or as one plain line a second where there is none.

Where the terminal can show pictures, those of the cameras are below the figures (`terminal_pictures.py`).

The loop's thread only leaves the newest tick here. A thread of the dashboard's own draws it ten times a
second, so a slow or stopped terminal never holds the arm up; what fails there is raised by the next
`on_tick`, and the dashboard is dropped.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from rich.console import Group, RenderableType
from rich.live import Live

from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console
from so101_robot.display.following import Following
from so101_robot.display.view import LOW, Title, View, export_svg, plain_line, render
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

if TYPE_CHECKING:
    from so101_robot.display.terminal_pictures import TerminalPictures
    from so101_robot.state import Frame

Style = Literal["auto", "live", "plain", "off"]
STYLES: tuple[Style, ...] = ("auto", "live", "plain", "off")

REFRESH_S = 0.1
REFRESH_WITH_PICTURES_S = 0.25
"""A picture is some ten thousand characters."""
MOST_ROWS = 14
"""Of a picture in the terminal."""
LEAST_ROWS = 6
"""A smaller one shows nothing."""
PLAIN_EVERY_S = 1.0
CLOSE_TIMEOUT_S = 2.0
"""How long `close` waits for a terminal that takes nothing."""


def choose_style(style: Style, stream: TextIO) -> Literal["live", "plain", "off"]:
    """What `auto` means for `stream`."""
    if style == "auto":
        return "live" if stream.isatty() else "plain"
    return style


def can_be_asked(stream: TextIO) -> bool:
    """Whether a terminal is there that answers at once when it is asked what it can show: with a keyboard and a size,
    and not at the other end of an ssh connection, whose late answer would look like something typed."""
    keyboard = sys.__stdin__
    if stream is not sys.__stdout__ or keyboard is None or "SSH_CONNECTION" in os.environ:
        return False
    return stream.isatty() and keyboard.isatty() and all(os.get_terminal_size(stream.fileno()))


class Dashboard:
    """Shows the run on `stream`; its thread starts with the first tick.

    `picture`: a file that gets the last picture before the way home, as SVG.
    `pictures`: draws those of the cameras, where the terminal shows them.
    """

    name = "dashboard"

    def __init__(
        self,
        title: Title,
        *,
        live: bool,
        stream: TextIO | None = None,
        picture: Path | None = None,
        pictures: "TerminalPictures | None" = None,
    ) -> None:
        self._live = live
        self._picture = picture
        self._pictures = pictures
        self._frames: Mapping[str, Frame] = {}
        self._last_running: View | None = None
        self._stream = stream or sys.stdout
        self._following = Following(title)
        self._started = False
        self._done = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._show, name=self.name, daemon=True)

    def on_tick(self, tick: Tick) -> None:
        if self._problem is not None:
            raise self._problem
        if not self._started:
            self._started = True
            self._thread.start()
        if tick.phase == "home" and self._last_running is None:
            self._last_running = self.view()
        self._following.on_tick(tick)

    def on_message(self, message: Message) -> None:
        self._following.on_message(message)

    def close(self) -> None:
        self._following.end()
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CLOSE_TIMEOUT_S)
        if self._picture is not None:
            export_svg(self._last_running or self.view(), self._picture)

    def view(self) -> View:
        """What is shown now."""
        return self._following.view()

    def _show(self) -> None:
        try:
            if self._live:
                self._show_live()
            else:
                self._show_plain()
        except Exception as problem:  # raised again in the loop's thread, where the observer is dropped
            self._problem = problem

    def _show_live(self) -> None:
        """On the alternate screen, which a terminal that changes its size draws anew; the last picture is left on the
        ordinary one."""
        console = Console(file=self._stream)
        every_s = REFRESH_S if self._pictures is None else REFRESH_WITH_PICTURES_S
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while not self._done.is_set():
                live.update(self._drawn(console.width, console.height), refresh=True)
                self._done.wait(every_s)
        console.print(render(self.view(), console.width))

    def _drawn(self, width: int, height: int) -> RenderableType:
        """The view, and the cameras' pictures below it where there is room for both."""
        view = self.view()
        rows = min(MOST_ROWS, height - LOW)
        if self._pictures is None or view.tick is None or rows < LEAST_ROWS:
            return render(view, width, height)
        self._frames = view.tick.frames or self._frames  # on the way home none are taken
        picture = self._pictures.of({name: frame.image for name, frame in self._frames.items()}, rows)
        if picture is None:
            return render(view, width, height)
        return Group(render(view, width, height - rows), picture)

    def _show_plain(self) -> None:
        told = 0
        due_s = time.monotonic()
        while True:
            last = self._done.is_set()
            view = self.view()
            new = min(self._following.told - told, len(view.messages))
            told += new
            for time_s, message in view.messages[len(view.messages) - new :]:
                say(f"{time_s:7.1f} s | {message.text}", self._stream)
            if view.tick is not None and (last or time.monotonic() >= due_s):
                say(plain_line(view), self._stream)
                due_s += PLAIN_EVERY_S
            self._stream.flush()
            if last:
                return
            self._done.wait(REFRESH_S)
