"""Time as a collaborator: a loop asks a `Clock` what time it is and waits through it.

`WallClock` is the bench. The mock arm in lockstep brings a clock of its own
(`so101_robot.mock.lockstep.LockstepClock`), whose `sleep_until` advances physics instead of sleeping. Both count
seconds from an arbitrary zero and never run backwards.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never run backwards, and a way to wait for one of them."""

    def now_s(self) -> float:
        """Seconds since an arbitrary zero."""
        ...

    def sleep_until(self, time_s: float) -> None:
        """Return at `time_s`, or at once if that has passed."""
        ...


class WallClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        return time.perf_counter()

    def sleep_until(self, time_s: float) -> None:
        delay_s = time_s - time.perf_counter()
        if delay_s > 0:
            time.sleep(delay_s)
