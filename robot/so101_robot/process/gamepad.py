"""A gamepad as the Linux kernel gives it, /dev/input/js0: no library, and any pad that the kernel knows.

The kernel writes 8 bytes for each change (linux/joystick.h): a time, a value of 16 bits, a type, and the number of the
axis or button. When it is opened it says how everything is.
"""

import contextlib
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from so101_robot.errors import ConfigError

PLACE = Path("/dev/input")
EVENT = struct.Struct("<IhBB")
BUTTON, AXIS, INITIAL = 0x01, 0x02, 0x80
"""Types of an event; INITIAL is added to those that come first."""
END = 32767
"""Of an axis."""


class Gamepad:
    """A pad that is open, from entering a `with` until it is left. One that is unplugged has all its sticks at rest.

    Args:
        path: of its device; None: the first there is.

    Raises:
        ConfigError: there is none, or it may not be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        found = [path] if path is not None else sorted(PLACE.glob("js*"))
        if not found:
            raise ConfigError(
                f"no gamepad is plugged in: there is no {PLACE}/js0. Plug one in, or pair it; if the kernel does not "
                "make this file: sudo modprobe joydev"
            )
        self.path = found[0]
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as problem:
            raise ConfigError(
                f"the gamepad {self.path} cannot be read: {problem.strerror}; add yourself to the group of this file: "
                "sudo usermod -aG input $USER, and log in again"
            ) from problem
        self._axes: dict[int, float] = {}
        self._buttons: dict[int, bool] = {}
        self.gone = False
        """It was unplugged."""

    def axis(self, number: int) -> float:
        """-1 to 1: to the right and down are positive."""
        self._look()
        return self._axes.get(number, 0.0)

    def pressed(self, number: int) -> bool:
        """Whether a button is held down."""
        self._look()
        return self._buttons.get(number, False)

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look(self) -> None:
        if self._fd < 0 or self.gone:
            return
        with contextlib.suppress(BlockingIOError):  # nothing new
            try:
                while data := os.read(self._fd, 64 * EVENT.size):
                    for _, value, kind, number in EVENT.iter_unpack(
                        data[: len(data) // EVENT.size * EVENT.size]
                    ):
                        if kind & ~INITIAL == AXIS:
                            self._axes[number] = max(-1.0, value / END)
                        elif kind & ~INITIAL == BUTTON:
                            self._buttons[number] = bool(value)
                self._lost()
            except BlockingIOError:
                raise
            except OSError:
                self._lost()

    def _lost(self) -> None:
        self.gone = True
        self._axes.clear()
        self._buttons.clear()
