"""The dialogue of program and person: a live table and prompts, on a terminal or from a script.

On a terminal the table is redrawn in place, and keys count at once. Otherwise every prompt takes one line of standard
input (so a file or a pipe can drive the whole flow), the table is printed once at each prompt, and input that ends
before the questions do is an error, never an answer.
"""

import contextlib
import os
import select
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Generator
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from so101_calibration.errors import InputEndedError
from so101_calibration.servos.steps import Step
from so101_policy.command_line.console import Console

POLL_S = 0.02
"""Between two readings of keys and servos [s]."""


class Operator(Protocol):
    """A person, or a simulated one."""

    def say(self, what: RenderableType) -> None:
        """Show something that needs no answer."""
        ...

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        """Ask for `step` and call `look` (which reads the arm and returns what to show) until it is done."""
        ...

    def confirm(self, question: str) -> bool:
        """Yes or no; nothing is assumed."""
        ...


class Terminal:
    """Standard input and output."""

    def __init__(self, console: Console | None = None, fd: int | None = None) -> None:
        self.console = console or Console()
        self._fd = _standard_input() if fd is None else fd
        self.interactive = self._fd >= 0 and os.isatty(self._fd)
        self._partial = b""
        self._lines: deque[str] = deque()
        self._ended = self._fd < 0

    def say(self, what: RenderableType) -> None:
        self.console.print(what, soft_wrap=True)

    def until_done(self, step: Step, look: Callable[[], RenderableType]) -> None:
        if not self.interactive:
            self.say(look())
            self.say(f"{step.text} - then send a line")
            while self._line(step.text) is None:
                look()
            return
        prompt = Text(f"{step.text}  -  ENTER when done, Ctrl-C to leave everything as it was", style="bold")
        with self._keys(), Live(console=self.console, auto_refresh=False, transient=True) as live:
            while self._key() not in ("\n", "\r"):
                live.update(Group(look(), prompt), refresh=True)

    def confirm(self, question: str) -> bool:
        self.say(f"{question} [y/n]")
        while True:
            answer = self._wait_for_answer(question)
            if answer in ("y", "yes"):
                return True
            if answer in ("n", "no", "q"):
                return False
            self.say("y or n, please")

    def _wait_for_answer(self, question: str) -> str:
        if self.interactive:
            with self._keys():
                while not (key := self._key()).strip():
                    pass
            return key.lower()
        while (line := self._line(question)) is None:
            pass
        return line.strip().lower()

    def _line(self, question: str) -> str | None:
        """The next line if there is one yet, after a short wait."""
        if not self._lines and not self._ended and select.select([self._fd], [], [], POLL_S)[0]:
            data = os.read(self._fd, 4096)
            self._ended = not data
            *whole, self._partial = (self._partial + data).split(b"\n")
            self._lines.extend(line.decode(errors="replace") for line in whole)
        if self._lines:
            return self._lines.popleft()
        if self._ended:
            raise InputEndedError(f"input ended at {question!r}; servos and files are as they were")
        return None

    def _key(self) -> str:
        """A key that was pressed, or nothing after a short wait."""
        if not select.select([self._fd], [], [], POLL_S)[0]:
            return ""
        data = os.read(self._fd, 1)
        if not data:
            raise InputEndedError("the terminal was closed; servos and files are as they were")
        return data.decode(errors="replace")

    @contextlib.contextmanager
    def _keys(self) -> Generator[None]:
        """Keys at once and without echo; Ctrl-C stays what it is."""
        before = termios.tcgetattr(self._fd)
        try:
            tty.setcbreak(self._fd)
            yield
        finally:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)


def _standard_input() -> int:
    """Its descriptor, -1 if there is none (a service): then a question that nobody can answer is an error."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return -1
