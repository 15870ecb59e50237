"""When the cameras see: capture instants, and what a camera fault does to them.

Frame k is captured at k / fps. The physics is remembered at that instant (a few hundred bytes); the picture
is rendered when somebody asks for it, so pictures that nobody looks at cost nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.mock.wire.fault_plan import CameraState

TICK_US = 1000
"""One firmware tick (the STS3215 controls at 1 kHz) and one `Plant.tick`."""
NEVER = 1 << 62


class Capture(NamedTuple):
    """What one camera has captured: enough to render it."""

    sequence: int
    time_us: int
    snapshot: NDArray[np.float64]
    dark: bool


class Shutter:
    """Opens all cameras at the same instants.

    Args:
        cameras: their names.
        fps: captures per second, at most one per tick.
        state: what the fault plan does to camera `name` at a time [us].
    """

    def __init__(self, cameras: Sequence[str], fps: float, state: Callable[[str, int], CameraState]) -> None:
        self._cameras = tuple(cameras)
        self._fps = fps
        self._state = state
        self._latest: dict[str, Capture] = {}
        self._sequence = 0
        self._open: tuple[int, NDArray[np.float64]] | None = (
            None  # captured, but its instant may still lie ahead
        )
        self.next_tick = 0 if self._cameras else NEVER

    def take(self, snapshot: NDArray[np.float64]) -> None:
        """Remember the world at the next capture instant; to be called when tick `next_tick` has been
        reached.
        """
        self._develop()
        self._open = (self._instant_us(self._sequence), snapshot)
        self.next_tick = self._instant_us(self._sequence + 1) // TICK_US

    def latest(self, now_us: int) -> dict[str, Capture]:
        """The newest capture of every camera whose instant has come. A stalled camera keeps its old one."""
        if self._open is not None and self._open[0] <= now_us:
            self._develop()
        return self._latest

    def _instant_us(self, sequence: int) -> int:
        return round(sequence * 1_000_000 / self._fps)

    def _develop(self) -> None:
        if self._open is None:
            return
        time_us, snapshot = self._open
        for name in self._cameras:
            state = self._state(name, time_us).kind
            before = self._latest.get(name)
            if state == "stall" and before is not None:
                continue
            if state == "freeze" and before is not None:
                self._latest[name] = Capture(self._sequence, time_us, before.snapshot, before.dark)
            else:
                self._latest[name] = Capture(self._sequence, time_us, snapshot, state == "dark")
        self._open = None
        self._sequence += 1
