"""Means and shares over frames, with intervals that know what the independent thing is: the episode.

Frames of one episode resemble each other, so episodes are drawn again, not frames. Where a figure compares a frame
with a donor from another episode it depends on both, and a pair counts as often as both its episodes were drawn
(weights w_e w_d: the bootstrap of a U-statistic; Owen 2007, "The pigeonhole bootstrap", doi:10.1214/07-AOAS122; it
errs on the wide side). Drawing only the frames' own episodes would miss half of the spread.

The limits are percentiles, taken further out for few episodes (Hesterberg 2015, "expanded percentile interval",
doi:10.1080/00031305.2015.1089789).

Shapes: F frames, E episodes, R resamples.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = 0.95
LEAST_EPISODES = 3
"""Fewer give a value and no interval."""

Values = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure; None where it cannot be told (`frames` 0, or nothing to divide by)."""

    value: float | None
    low: float | None
    high: float | None
    frames: int
    episodes: int


class Resampled(NamedTuple):
    """A figure and what it was on resampled episodes; of one `Bootstrap`, two can be compared draw by draw."""

    value: float
    draws_R: Values
    frames: int
    episodes: int

    def estimate(self) -> Estimate:
        """Value and interval."""
        if not np.isfinite(self.value):
            return Estimate(None, None, None, self.frames, self.episodes)
        draws = self.draws_R[np.isfinite(self.draws_R)]
        if self.episodes < LEAST_EPISODES or not len(draws):
            return Estimate(self.value, None, None, self.frames, self.episodes)
        tail = expanded_tail(self.episodes)
        low, high = np.quantile(draws, [tail, 1 - tail])
        return Estimate(self.value, float(low), float(high), self.frames, self.episodes)

    def minus(self, other: "Resampled") -> "Resampled":
        """The difference on the same frames."""
        frames, episodes = min(self.frames, other.frames), min(self.episodes, other.episodes)
        return Resampled(self.value - other.value, self.draws_R - other.draws_R, frames, episodes)


class Bootstrap:
    """Draws of episodes, the same for every figure."""

    def __init__(self, episode_F: ArrayLike, seed: int = 0, resamples: int = RESAMPLES):
        names, self._row_F = np.unique(np.asarray(episode_F), return_inverse=True)
        self._count = len(names)
        generator = np.random.default_rng(seed)
        equal = np.full(self._count, 1 / self._count)
        self._weights_RE = generator.multinomial(self._count, equal, size=resamples).astype(float)

    def mean(self, value_F: ArrayLike, donor_F: ArrayLike | None = None) -> Resampled:
        """Mean over the frames where `value_F` is a number.

        Args:
            value_F: NaN where there is none.
            donor_F: the frame with which each was compared.
        """
        value = np.asarray(value_F, dtype=float)
        return self.ratio(value, np.ones_like(value), donor_F)

    def ratio(self, part_F: ArrayLike, whole_F: ArrayLike, donor_F: ArrayLike | None = None) -> Resampled:
        """sum(part) / sum(whole) over the frames where both are numbers."""
        part, whole = np.asarray(part_F, dtype=float), np.asarray(whole_F, dtype=float)
        there = np.isfinite(part) & np.isfinite(whole)
        rows = [self._row_F[there]]
        if donor_F is not None:
            rows.append(self._row_F[np.asarray(donor_F)[there]])
        parts, wholes = self._table(rows, part[there]), self._table(rows, whole[there])
        draws = _divided(self._weighted(parts), self._weighted(wholes))
        value = _divided(np.array([part[there].sum()]), np.array([whole[there].sum()]))
        return Resampled(float(value[0]), draws, int(there.sum()), len(np.unique(rows[0])))

    def _table(self, rows: Sequence[NDArray[np.int64]], values: Values) -> Values:
        """(E,) sums by episode, or (E, E) by episode and donor's episode."""
        table = np.zeros((self._count,) * len(rows))
        np.add.at(table, tuple(rows), values)
        return table

    def _weighted(self, table: Values) -> Values:
        if table.ndim == 1:
            return self._weights_RE @ table
        return ((self._weights_RE @ table) * self._weights_RE).sum(1)


def expanded_tail(episodes: int) -> float:
    """Probability to cut off at either end: that of -sqrt(n/(n-1)) t(n-1) under a normal distribution."""
    t = t_quantile((1 + LEVEL) / 2, episodes - 1)
    return NormalDist().cdf(-t * (episodes / (episodes - 1)) ** 0.5)


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t; Abramowitz and Stegun 26.7.5, for `freedom` >= 2 within 4 % at 0.975, from 5 on within 0.1 %."""
    z, n = NormalDist().inv_cdf(probability), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n**power for power, term in enumerate(terms, start=1))


def _divided(part: Values, whole: Values) -> Values:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
