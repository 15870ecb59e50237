"""Two policies on the same scenes, number of scenes fixed beforehand: is one better, and by how much?

Only the pairs in which exactly one policy succeeded tell them apart. `mcnemar_exact` decides, `tango` says by how
much; `mcnemar_mid_p` is less cautious and `newcombe_paired` the second opinion. The difference is always the
first policy's success rate minus the second's. A number of scenes that depended on the outcomes breaks all of this:
then `sequential` is the module to use.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.statistics.checks import (
    ALPHA,
    FloatArray,
    IntArray,
    StatisticsError,
    check_count,
)
from so101_eval.statistics.intervals import Interval, normal_quantile, wilson

BISECTIONS = 60
"""Halvings of an interval of width 2: ends within 2e-18, below the precision of a double."""


class Pairs(NamedTuple):
    """Scenes by who succeeded."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @classmethod
    def from_outcomes(cls, first: Sequence[bool], second: Sequence[bool]) -> "Pairs":
        """From outcomes, scene by scene. Raises StatisticsError where the two are not paired."""
        if len(first) != len(second):
            raise StatisticsError(f"{len(first)} against {len(second)} episodes: pairs need as many of each")
        a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
        return cls(int(sum(a & b)), int(sum(a & ~b)), int(sum(~a & b)), int(sum(~a & ~b)))

    @property
    def total(self) -> int:
        return sum(self)

    @property
    def first(self) -> int:
        """Successes of the first policy."""
        return self.both + self.first_only

    @property
    def second(self) -> int:
        """Successes of the second policy."""
        return self.both + self.second_only

    @property
    def difference(self) -> float:
        """Of the success rates, first minus second. Raises StatisticsError for no pairs."""
        self.check()
        return (self.first_only - self.second_only) / self.total

    @property
    def phi(self) -> float:
        """How much the scenes alone decide: correlation of the two outcomes, 0 where one of them never varies."""
        spread = math.prod((self.first, self.second, self.total - self.first, self.total - self.second))
        if spread == 0:
            return 0.0
        return (self.both * self.neither - self.first_only * self.second_only) / math.sqrt(spread)

    def swapped(self) -> "Pairs":
        """With the two policies' names exchanged."""
        return Pairs(self.both, self.second_only, self.first_only, self.neither)

    def check(self) -> None:
        """Raises StatisticsError for negative counts or none."""
        for name, count in self._asdict().items():
            check_count(f"pairs with success of {name}", count)
        check_count("pairs", self.total, least=1)


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """Two-sided p-value of "a pair with one success is as likely to be the first's as the second's".

    p = min(1, 2 P(Binomial(first_only + second_only, 1/2) <= the smaller one)).
    Source: McNemar, Note on the sampling error of the difference between correlated proportions, 1947; exact form as
    in Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013. Raises StatisticsError.
    """
    _check_discordant(first_only, second_only)
    return float(mcnemar_exact_table(np.asarray(first_only), np.asarray(second_only)))


def mcnemar_exact_table(first_only: IntArray, second_only: IntArray) -> FloatArray:
    """`mcnemar_exact` of whole arrays at once."""
    smaller, total = np.minimum(first_only, second_only), first_only + second_only
    return np.minimum(1.0, 2 * special.bdtr(smaller, total, 0.5))


def mcnemar_mid_p(first_only: int, second_only: int) -> float:
    """Two-sided mid-p-value: of outcomes as likely as the observed one, only half counts. 1 where no pair tells.

    Close to its level on average, not guaranteed. Source: Fagerland, Lydersen and Laake, BMC Medical Research
    Methodology 13:91, 2013. Raises StatisticsError.
    """
    _check_discordant(first_only, second_only)
    total = first_only + second_only
    if total == 0:  # the one possible outcome: half of its probability would pass for evidence
        return 1.0
    log_probability = math.lgamma(total + 1) - math.lgamma(first_only + 1) - math.lgamma(second_only + 1)
    probability = math.exp(log_probability - total * math.log(2))
    if first_only == second_only:
        return 1 - probability / 2
    return mcnemar_exact(first_only, second_only) - probability


def tango(first_only: int, second_only: int, pairs: int, alpha: float = ALPHA) -> Interval:
    """Differences of the success rates (first minus second) that the score test does not reject.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17, 1998. Raises StatisticsError for counts that do not fit together.
    """
    z = normal_quantile(alpha)
    estimate = (first_only - second_only) / pairs if pairs > 0 else 0.0

    def is_inside(difference: float) -> bool:
        return abs(tango_z(difference, first_only, second_only, pairs)) <= z

    return Interval(_last_inside(is_inside, estimate, -1.0), _last_inside(is_inside, estimate, 1.0))


def tango_z(difference: float, first_only: int, second_only: int, pairs: int) -> float:
    """Score statistic of "the success rates differ by `difference`": standard normal if so, and many pairs.

    With b = first_only, c = second_only, n = pairs, d = difference, and q the most likely P(only second succeeds):
    z = (b - c - n d) / sqrt(n (2 q + d (1 - d))), where 2n q^2 + (2n d - b - c - (b - c) d) q - c d (1 - d) = 0.
    At d = 0 this is McNemar's (b - c) / sqrt(b + c). Source: Tango 1998, as above. Raises StatisticsError.
    """
    _check_discordant(first_only, second_only)
    check_count("pairs", pairs, least=max(1, first_only + second_only))
    if not -1 <= difference <= 1:
        raise StatisticsError(f"difference {difference:g}: success rates differ by -1 to 1")
    if difference < 0:  # the mirrored problem keeps q away from cancellation
        return -tango_z(-difference, second_only, first_only, pairs)
    excess = first_only - second_only - pairs * difference
    linear = 2 * pairs * difference - first_only - second_only - (first_only - second_only) * difference
    constant = second_only * difference * (1 - difference)
    root = math.sqrt(linear * linear + 8 * pairs * constant)
    q = 2 * constant / (linear + root) if linear > 0 else (root - linear) / (4 * pairs)
    variance = pairs * (2 * q + difference * (1 - difference))
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def newcombe_paired(pairs: Pairs, alpha: float = ALPHA) -> Interval:
    """Interval for the difference of the success rates, squared and added from the two Wilson intervals.

    Source: Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
    data, Statistics in Medicine 17, 1998, method 10. Raises StatisticsError for negative counts or none.
    """
    pairs.check()
    n, difference, phi = pairs.total, pairs.difference, _phi_method_10(pairs)
    below_first, above_first = _arms(pairs.first, n, alpha)
    below_second, above_second = _arms(pairs.second, n, alpha)
    down = below_first**2 - 2 * phi * below_first * above_second + above_second**2
    up = above_first**2 - 2 * phi * above_first * below_second + below_second**2
    down, up = math.sqrt(max(down, 0.0)), math.sqrt(max(up, 0.0))  # rounding may go below 0
    return Interval(max(-1.0, difference - down), min(1.0, difference + up))


def _phi_method_10(pairs: Pairs) -> float:
    """Correlation with half a pair taken off where it is positive."""
    determinant = pairs.both * pairs.neither - pairs.first_only * pairs.second_only
    if determinant <= 0:
        return pairs.phi
    return pairs.phi * max(determinant - pairs.total / 2, 0.0) / determinant


def _arms(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    share, interval = successes / trials, wilson(successes, trials, alpha)
    return share - interval.low, interval.high - share


def _last_inside(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where a set that contains `inside` ends on the way to `outside`, from within."""
    if is_inside(outside):
        return outside
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside


def _check_discordant(first_only: int, second_only: int) -> None:
    check_count("pairs with success of the first only", first_only)
    check_count("pairs with success of the second only", second_only)
