"""The mouse in a terminal: asks the terminal to report it. The reports come among the keys (`keys.py`)."""

import sys
from types import TracebackType
from typing import Self

ON, OFF = "\x1b[?1002h\x1b[?1006h", "\x1b[?1006l\x1b[?1002l"
"""xterm's: motion while a button is held (1002), written in numbers (1006)."""


class MouseReports:
    """The terminal reports the mouse, from entering a `with` until it is left."""

    def __enter__(self) -> Self:
        self._write(ON)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(OFF)

    def _write(self, sequence: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(sequence)
            sys.stdout.flush()
