"""How boxes were carried: the hand's path from each lift to the release, and how smooth it was."""

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.smoothness import FEWEST, log_dimensionless_jerk, sparc, speeds

SHORTEST = 2 * FEWEST
"""[ticks] A shorter carry is a lift and a fall, and says nothing."""


class Carries:
    """Pieces of a path, sampled once a tick."""

    def __init__(self) -> None:
        self.done: list[NDArray[np.float64]] = []
        """Finished carries, (n, 3) [m] each."""
        self._now: list[NDArray[np.float64]] = []

    def see(self, point_m: NDArray[np.float64], carrying: bool) -> None:
        """Where the hand (3,) is a tick later."""
        if carrying:
            self._now.append(point_m)
        elif self._now:
            self.done.append(np.array(self._now))
            self._now = []

    def smoothness(self, rate_hz: float) -> tuple[float, float] | tuple[None, None]:
        """SPARC and log dimensionless jerk, means over the carries; None, None if nothing was carried."""
        profiles = [speeds(path, rate_hz) for path in self.done if len(path) >= SHORTEST and rate_hz > 0]
        values = [
            (sparc(speed, rate_hz), log_dimensionless_jerk(speed, rate_hz))
            for speed in profiles
            if speed.sum() > 0
        ]
        if not values:
            return None, None
        spectral, jerk = np.mean(values, axis=0).tolist()
        return spectral, jerk
