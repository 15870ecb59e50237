"""A clock that is set by who waits, and the least that a policy answers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    actions: NDArray[np.floating]
    shares: None = None
    maps: None = None
    spread: None = None


class SimulatedClock:
    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.time_s = max(self.time_s, time_s)
