"""Rates of rare events: interventions per 100 boxes, hours between failures.

Events are taken to come independently at a constant rate, as in a Poisson process.
"""

from scipy import special

from so101_eval.statistics.checks import ALPHA, StatisticsError, check_count, check_open
from so101_eval.statistics.intervals import Interval, clopper_pearson

INFINITE = float("inf")


def garwood(events: int, exposure: float, alpha: float = ALPHA) -> Interval:
    """Exact interval for events per unit of exposure: [chi2(a/2; 2k) / 2, chi2(1 - a/2; 2k + 2) / 2] / exposure.

    chi2(p; 2k) / 2 is the p quantile of a Gamma distribution of shape k. Source: Garwood, Fiducial limits for the
    Poisson distribution, Biometrika 28, 1936. Raises StatisticsError for no exposure.
    """
    _check(events, exposure)
    check_open("alpha", alpha)
    low = float(special.gammaincinv(events, alpha / 2)) if events else 0.0
    return Interval(low / exposure, float(special.gammaincinv(events + 1, 1 - alpha / 2)) / exposure)


def between_events(events: int, exposure: float, alpha: float = ALPHA) -> Interval:
    """Exact interval for the exposure between events: boxes per intervention, hours between failures.

    One over `garwood`; without an event it has no upper end (infinity). Raises StatisticsError for no exposure.
    """
    rate = garwood(events, exposure, alpha)
    return Interval(1 / rate.high, 1 / rate.low if rate.low > 0 else INFINITE)


def rate_ratio(first: tuple[int, float], second: tuple[int, float], alpha: float = ALPHA) -> Interval:
    """Exact interval for how many times the second rate the first is, each (events, exposure).

    Given the sum of events, the first's share p is binomial, and ratio = p / (1 - p) * exposure 2 / exposure 1.
    Source: Przyborowski and Wilenski, Homogeneity of results in testing samples from Poisson series, Biometrika 31,
    1940. Raises StatisticsError for no exposure.
    """
    _check(*first)
    _check(*second)
    low, high = clopper_pearson(first[0], first[0] + second[0], alpha)
    scale = second[1] / first[1]
    return Interval(
        scale * low / (1 - low) if low < 1 else INFINITE, scale * high / (1 - high) if high < 1 else INFINITE
    )


def _check(events: int, exposure: float) -> None:
    check_count("events", events)
    if not 0 < exposure < INFINITE:
        raise StatisticsError(f"exposure {exposure:g}: needed is a finite number above 0")
