"""A quiet runtime: what Python and its libraries do on their own account does not make the loop late.

- **Garbage collection** looks at every object there is, at a moment of its own choosing; after LeRobot and torch
  are imported that takes 0.1 s and more. Inside `realtime_runtime` what exists already is left alone for good, the
  automatic collection is off, and garbage is collected while the loop waits for its next tick anyway, as far as
  the wait is long enough. A loop that never waits still collects before memory grows.
- **The interpreter's lock.** A thread that computes in Python hands it over after a millisecond, not five.
- **Threads.** `compute_threads.leave_a_core` limits those of inference, `lower_priority` lets the loop go first where
  both want the same core.

What `realtime_runtime` changes it puts back at the end.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from so101_robot.clock import Clock

SWITCH_INTERVAL_S = 0.001
"""How long another Python thread may keep the loop from running once its time has come; Python's own is
0.005."""

MARGIN_S = 0.002
"""A collection is begun only if it should be over so long before the next tick."""

SLOWER = 2.0
"""A collection may take so many times what the last one of its generation took."""

OVERDUE = 50
"""So many times Python's threshold of new objects are collected even if there is no time."""

NICENESS = 5
"""How far a computing thread steps back: to a third of the loop's share of a core that both want. Source: Linux,
kernel/sched/core.c, sched_prio_to_weight: 1024 for 0, 335 for 5."""


class CollectingClock:
    """A clock that collects garbage while it would only wait.

    Args:
        clock: that waits, in the end.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._took_s = [0.0, 0.0, 0.0]
        """Of the last collection of each generation."""
        self.collections = [0, 0, 0]
        """How many there were of each generation."""

    def now_s(self) -> float:
        return self._clock.now_s()

    def sleep_until(self, time_s: float) -> None:
        self._tidy(time_s - self._clock.now_s())
        self._clock.sleep_until(time_s)

    def _tidy(self, spare_s: float) -> None:
        """Collect the generation that Python would, or one that there is time for."""
        counts, thresholds = gc.get_count(), gc.get_threshold()
        if counts[0] <= thresholds[0]:
            return
        due = max(generation for generation in range(3) if counts[generation] > thresholds[generation])
        for generation in range(due, -1, -1):
            if spare_s >= SLOWER * self._took_s[generation] + MARGIN_S:
                self._collect(generation)
                return
        if counts[0] > OVERDUE * thresholds[0]:
            self._collect(0)

    def _collect(self, generation: int) -> None:
        started_s = time.perf_counter()
        gc.collect(generation)
        self._took_s[generation] = time.perf_counter() - started_s
        self.collections[generation] += 1


@contextmanager
def realtime_runtime(clock: Clock) -> Generator[CollectingClock]:
    """A quiet runtime while inside, for a loop that waits by the clock that this gives.

    Args:
        clock: the robot's.
    """
    interval_s, collecting = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield CollectingClock(clock)
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
        sys.setswitchinterval(interval_s)


def lower_priority() -> None:
    """The calling thread, and those that it starts, run where others leave a core free: on Linux, where niceness is a
    thread's own. Elsewhere nothing happens, since the whole process would step back."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
