"""Whether what is known about arm and scene is of now.

A time stamp may be a little ahead of the tick's own time, since reading takes a while. It must not be old, lie in
the future, run backwards, or stay the same although tick after tick goes by: an age alone would believe a clock
that stands still.
"""

import math
from typing import NamedTuple

FUTURE_S = 0.05
"""How far a time stamp may be ahead of the tick: a read with a silent servo takes 0.02 s, and a picture may arrive
after it."""

BACKWARDS_S = 1e-3
"""Time stamps of the same picture differ by rounding when they are made from ages."""

FASTEST_HZ = 200.0
"""The highest rate of ticks: so many ticks with one and the same time stamp are longer than its age allows."""


class Stale(NamedTuple):
    """Why something is not to be trusted."""

    why: str
    """`too old`, `from the future`, `runs backwards` or `does not get newer`."""
    found: float
    """[s], or ticks."""
    allowed: float


class Freshness:
    """Time stamps of one source, tick by tick."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._most_ticks = math.ceil(max_age_s * FASTEST_HZ)
        self._newest_s = -math.inf
        self._ticks = 0

    def judge(self, age_s: float, now_s: float) -> Stale | None:
        """What is wrong with data of that age on this tick; None: nothing."""
        if not age_s <= self._max_age_s:  # written so that an age that is not a number is old
            return Stale("too old", age_s, self._max_age_s)
        if age_s < -FUTURE_S:
            return Stale("from the future", age_s, -FUTURE_S)
        time_s = now_s - age_s
        if time_s < self._newest_s - BACKWARDS_S:
            return Stale("runs backwards", time_s - self._newest_s, 0.0)
        self._ticks = 0 if time_s > self._newest_s + BACKWARDS_S else self._ticks + 1
        self._newest_s = max(time_s, self._newest_s)
        if self._ticks > self._most_ticks:
            return Stale("does not get newer", self._ticks, self._most_ticks)
        return None
