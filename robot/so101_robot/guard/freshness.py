"""Whether what is known about arm and scene is of now.

A time stamp may be a little ahead of the tick's own time, since reading takes a while. It must not be old, be in
the future, run backwards, or stay the same although tick after tick goes by: an age alone would trust a clock
that has stopped.
"""

import math
from enum import Enum
from typing import NamedTuple

FUTURE_S = 0.05
"""How far a time stamp may be ahead of the tick: a read with a silent servo takes 0.02 s, and a picture may arrive
after it."""

BACKWARDS_S = 1e-3
"""Time stamps of the same picture differ by rounding when they are made from ages."""

FASTEST_HZ = 200.0
"""The highest rate of ticks: so many ticks with one and the same time stamp are longer than its age allows."""


class Staleness(Enum):
    """What can be wrong with a time stamp."""

    TOO_OLD = "too old"
    FROM_THE_FUTURE = "from the future"
    RUNS_BACKWARDS = "runs backwards"
    STANDS_STILL = "does not get newer"


class Stale(NamedTuple):
    """Why something is not to be trusted."""

    why: Staleness
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
        if not age_s <= self._max_age_s:  # written so that NaN is too old
            return Stale(Staleness.TOO_OLD, age_s, self._max_age_s)
        if age_s < -FUTURE_S:
            return Stale(Staleness.FROM_THE_FUTURE, age_s, -FUTURE_S)
        time_s = now_s - age_s
        if time_s < self._newest_s - BACKWARDS_S:
            return Stale(Staleness.RUNS_BACKWARDS, time_s - self._newest_s, 0.0)
        self._ticks = 0 if time_s > self._newest_s + BACKWARDS_S else self._ticks + 1
        self._newest_s = max(time_s, self._newest_s)
        if self._ticks > self._most_ticks:
            return Stale(Staleness.STANDS_STILL, self._ticks, self._most_ticks)
        return None
