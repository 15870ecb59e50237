"""How a person moves a leader arm, against how a script moves: unevenly.

Speeds vary, there are pauses, and for about a second before and after the work nothing moves. The way itself stays
the script's; only when the arm is where on it changes.
"""

import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

TICK_S = 1 / 30
"""A controller's tick."""
SPEED_SD, SPEED_S = 0.3, 0.8
"""Of the logarithm of the speed against the script's: standard deviation and correlation time, an Ornstein-Uhlenbeck
process."""
MEAN_SPEED, MOST_SPEED = 0.75, 1.15
"""People are slower than the script, and hardly ever faster."""
PAUSES_PER_S, PAUSE_S = 0.12, (0.2, 1.0)
"""How often a pause begins, and how long it takes."""
IDLE_S = (0.6, 1.4)
"""Before and after."""

type Vector = NDArray[np.float64]


class Tempo:
    """Plays the references of one attempt at an uneven speed. Own choice of figures; no study of people behind them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._log_speed = 0.0
        self._pause_ticks = 0
        self._idle_ticks = [round(s / TICK_S) for s in rng.uniform(*IDLE_S, 2)]
        self._from: Vector | None = None
        self._to: Vector | None = None
        self._share = 0.0

    def __call__(self, work: Generator[Vector]) -> Vector | None:
        """The reference (6,) of this tick, between two of the script's; None when the idle time after it is over."""
        if self._from is None or self._to is None:
            self._from = self._to = next(work)
        if self._idle_ticks[0] > 0:
            self._idle_ticks[0] -= 1
            return self._from
        self._share += self._speed()
        while self._share >= 1.0:
            ahead = next(work, None)
            if ahead is None:
                return self._after(self._to)
            self._from, self._to = self._to, ahead
            self._share -= 1.0
        return self._from + self._share * (self._to - self._from)

    def _after(self, last: Vector) -> Vector | None:
        self._idle_ticks[1] -= 1
        return last if self._idle_ticks[1] >= 0 else None

    def _speed(self) -> float:
        """Of this tick, against the script's."""
        keep = math.exp(-TICK_S / SPEED_S)
        step = SPEED_SD * math.sqrt(1 - keep**2)
        self._log_speed = keep * self._log_speed + step * float(self._rng.standard_normal())
        if self._pause_ticks > 0:
            self._pause_ticks -= 1
            return 0.0
        if self._rng.uniform() < PAUSES_PER_S * TICK_S:
            self._pause_ticks = round(self._rng.uniform(*PAUSE_S) / TICK_S)
        return min(MEAN_SPEED * math.exp(self._log_speed), MOST_SPEED)
