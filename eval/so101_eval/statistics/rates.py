"""Rates of rare events: interventions per 100 boxes.

Events are taken to come independently at a constant rate, as in a Poisson process.
"""

from scipy import special

from so101_eval.statistics.checks import ALPHA, StatisticsError, check_count, check_open
from so101_eval.statistics.intervals import Interval

INFINITE = float("inf")


def garwood(events: int, exposure: float, alpha: float = ALPHA) -> Interval:
    """Exact interval for events per unit of exposure: [chi2(a/2; 2k) / 2, chi2(1 - a/2; 2k + 2) / 2] / exposure.

    chi2(p; 2k) / 2 is the p quantile of a Gamma distribution of shape k. Source: Garwood, Fiducial limits for the
    Poisson distribution, Biometrika 28, 1936. Raises StatisticsError for no exposure.
    """
    _check(events, exposure)
    check_open("alpha", alpha)
    low = float(special.gammaincinv(events, alpha / 2)) if events else 0.0
    return Interval(low / exposure, float(special.gammainccinv(events + 1, alpha / 2)) / exposure)


def _check(events: int, exposure: float) -> None:
    check_count("events", events)
    if not 0 < exposure < INFINITE:
        raise StatisticsError(f"exposure {exposure:g}: expected a finite number above 0")
