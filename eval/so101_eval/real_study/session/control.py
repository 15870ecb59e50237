"""A trial while it runs, from the operator's side: stop, hold, open the hand."""

import math
import queue
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import NOTHING, Planned, Scheduler
from so101_robot.joints import GRIPPER
from so101_robot.leader.config_takeover import TakeoverConfig
from so101_robot.loop.stopping import StopRequests

OPEN_PERCENT = 100.0


class Control:
    """Of one trial; every thread may ask. The first stop counts, later ones change nothing: only a second Ctrl-C lets
    the arm go."""

    def __init__(self) -> None:
        self._stop, self._lock = StopRequests(), threading.Lock()
        self.why: str | None = None
        """stopped, danger or done; None: nobody stopped it."""
        self.asked_s: float | None = None
        """`time.perf_counter` when somebody did."""
        self.running = False
        """The policy's first action was sent."""
        self.held = False
        self.open_hand = False
        self._keys: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def attach(self, stop: StopRequests) -> None:
        """The run is asked through this. A stop from before counts."""
        with self._lock:
            self._stop = stop
            if self.why is not None:
                stop.finish(_words(self.why))

    def stop(self, why: str) -> None:
        """The trial is over; the arm goes home. why: stopped, danger or done."""
        with self._lock:
            if self.why is None:
                self.why, self.asked_s = why, time.perf_counter()
                self._stop.finish(_words(why))

    def take_over(self, takes: bool) -> None:
        """A person takes over with the leader, or gives back; where there is none, nothing happens."""
        self._keys.put(takes)

    def keys_of(self, config: TakeoverConfig) -> Callable[[], list[str]]:
        """The same as the keys that a takeover is asked for by."""

        def pressed() -> list[str]:
            found: list[str] = []
            while not self._keys.empty():
                found.append(config.key if self._keys.get() else config.back_key)
            return found

        return pressed

    def hold(self) -> None:
        """The arm stays where it is, under torque, until it is asked again. The supervisor sends it home after half a
        minute."""
        self.held = not self.held
        self.open_hand = self.open_hand and self.held

    def open(self) -> None:
        """Open the hand of an arm that is held, so that what it holds can be taken out."""
        self.open_hand = self.held


class Controlled:
    """A scheduler that does as its `Control` says."""

    def __init__(
        self, inner: Scheduler, control: Control, standing: Callable[[], NDArray[np.float64]]
    ) -> None:
        self._inner, self._control, self._standing = inner, control, standing
        self._was_held = False

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        if not self._control.held:
            if self._was_held:
                self._inner.reset()  # the scene has gone on
            self._was_held = False
            return self._inner.next(tick, now_s, observe)
        self._was_held = True
        self._inner.wait()
        if not self._control.open_hand:
            return NOTHING
        pose = self._standing()
        pose[GRIPPER] = OPEN_PERCENT
        return Planned(pose, None, "hold", -1, -1, math.nan)

    def wait(self) -> None:
        self._inner.wait()

    def reset(self) -> None:
        self._inner.reset()

    def close(self) -> None:
        self._inner.close()


def _words(why: str) -> str:
    return f"the operator: {why}"
