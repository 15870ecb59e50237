"""How far one success rate is known: Wilson, Clopper-Pearson, Jeffreys, and the posterior for violins.

Wilson for plots (right on average over rates), Clopper-Pearson for guarantees (never below its level), Jeffreys and
the posterior where a distribution is drawn. Independent attempts with one common rate are assumed; attempts watched
along the way need `sequential` instead. No attempts at all tell nothing: the interval is 0 to 1.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.statistics.checks import ALPHA, FloatArray, check_open, check_probability, check_share


class Interval(NamedTuple):
    """Both ends included."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    def mirrored(self) -> "Interval":
        """Of the same quantity with the other sign: what first minus second says about second minus first."""
        return Interval(-self.high, -self.low)


NOTHING_KNOWN = Interval(0.0, 1.0)


def normal_quantile(alpha: float = ALPHA) -> float:
    """z that a standard normal exceeds in absolute value with probability alpha. Raises StatisticsError."""
    check_open("alpha", alpha)
    return -float(special.ndtri(alpha / 2))


def wilson(successes: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Rates p with |share - p| <= z sqrt(p (1 - p) / trials).

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    Raises StatisticsError for more successes than trials.
    """
    check_share(successes, trials)
    z = normal_quantile(alpha)
    if trials == 0:
        return NOTHING_KNOWN
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    low = 0.0 if successes == 0 else middle - half
    return Interval(low, 1.0 if successes == trials else middle + half)


def clopper_pearson(successes: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Rates that neither one-sided exact binomial test rejects at alpha / 2.

    Source: Clopper and Pearson, The use of confidence or fiducial limits, 1934, in its Beta form.
    Raises StatisticsError for more successes than trials.
    """
    check_share(successes, trials)
    check_open("alpha", alpha)
    failures = trials - successes
    low = special.betaincinv(successes, failures + 1, alpha / 2) if successes else 0.0
    high = special.betainccinv(successes + 1, failures, alpha / 2) if failures else 1.0
    return Interval(float(low), float(high))


def jeffreys(successes: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Middle 1 - alpha of Beta(successes + 1/2, failures + 1/2), reaching 0 or 1 where all attempts agree.

    Source: Brown, Cai and DasGupta, Interval estimation for a binomial proportion, 2001, section 3.1.2.
    Raises StatisticsError for more successes than trials.
    """
    check_share(successes, trials)
    check_open("alpha", alpha)
    shape = successes + 0.5, trials - successes + 0.5
    low = special.betaincinv(*shape, alpha / 2) if successes else 0.0
    high = special.betainccinv(*shape, alpha / 2) if successes < trials else 1.0
    return Interval(float(low), float(high))


def posterior_density(successes: int, trials: int, rates: FloatArray) -> FloatArray:
    """Density of the success rate at `rates` after a uniform prior: Beta(successes + 1, failures + 1).

    For drawing. Its mean is above 0 even after 0 successes. Raises StatisticsError for impossible counts and rates.
    """
    check_share(successes, trials)
    for rate in rates:
        check_probability("rate", float(rate))
    failures = trials - successes
    log_density = special.xlogy(successes, rates) + special.xlog1py(failures, -rates)
    return np.exp(log_density - special.betaln(successes + 1, failures + 1))
