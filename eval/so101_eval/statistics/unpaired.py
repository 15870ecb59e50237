"""Two policies on scenes that are not shared: is one better, and by how much?

Pairing needs fewer episodes; this is for records that were not paired (`so101-eval compare 17/20 14/20`). `barnard`
decides, `newcombe` says by how much. The difference is always the first policy's success rate minus the second's.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from so101_eval.statistics.checks import (
    ALPHA,
    POWER,
    FloatArray,
    IntArray,
    StatisticsError,
    check_count,
    check_open,
    check_probability,
    check_share,
)
from so101_eval.statistics.intervals import Interval, normal_quantile, wilson
from so101_eval.statistics.power import binomial_pmf, smallest_difference, whole_number_for

COMMON_RATES = 256
"""Common success rates, up to 1/2, over which a p-value is maximised; rates above 1/2 repeat those below."""
EXACT_TABLES = 100_000
"""Tables (n1 + 1)(n2 + 1) up to which p-values are exact; that is 315 episodes each, a second of computing."""
TIE = 1e-9
"""Statistics closer than this are equal."""


def newcombe(first: tuple[int, int], second: tuple[int, int], alpha: float = ALPHA) -> Interval:
    """Interval for the difference of two success rates, each (successes, trials), from their Wilson intervals.

    Source: Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine
    17, 1998, method 10. Raises StatisticsError for impossible counts or no trials.
    """
    (p, low_p, high_p), (q, low_q, high_q) = _rate(first, alpha), _rate(second, alpha)
    down, up = math.hypot(p - low_p, high_q - q), math.hypot(high_p - p, q - low_q)
    return Interval(max(-1.0, p - q - down), min(1.0, p - q + up))


def barnard(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value of "both success rates are the same", each given as (successes, trials).

    The largest probability, over the common rate, of a pooled z statistic at least as far from 0 as the observed one.
    Beyond `EXACT_TABLES` possible tables it is the normal approximation of the same statistic. Source: Barnard,
    Significance tests for 2x2 tables, Biometrika 34, 1947; Suissa and Shuster, JRSS A 148, 1985 (pooled z). Raises
    StatisticsError for impossible counts or no trials.
    """
    for successes, trials in (first, second):
        _check_tried(successes, trials)
    (x, m), (y, n) = first, second
    if not is_exact(m, n):
        return float(2 * special.ndtr(-abs(float(_pooled_z(np.array(x), np.array(y), m, n)))))
    return float(barnard_table(m, n)[x, y])


def is_exact(first_trials: int, second_trials: int) -> bool:
    """Whether `barnard` enumerates so many trials."""
    return (first_trials + 1) * (second_trials + 1) <= EXACT_TABLES


@lru_cache(maxsize=16)
def barnard_table(first_trials: int, second_trials: int, common_rates: int = COMMON_RATES) -> FloatArray:
    """`barnard` for all successes [first_trials + 1, second_trials + 1] at once."""
    x, y = np.indices((first_trials + 1, second_trials + 1))
    distance = np.abs(_pooled_z(x, y, first_trials, second_trials)).ravel()
    order = np.argsort(-distance, kind="stable")
    farthest_first = distance[order]
    # every table of a tie counts for each of them: look the sum up at the last one that is no nearer to 0
    last = np.searchsorted(-farthest_first, -farthest_first + TIE, side="right") - 1
    worst = np.zeros(len(order))
    for rate in np.linspace(0, 0.5, common_rates + 1)[1:]:
        joint = np.outer(binomial_pmf(first_trials, rate), binomial_pmf(second_trials, rate)).ravel()
        np.maximum(worst, np.cumsum(joint[order])[last], out=worst)
    p_values = np.empty(len(order))
    p_values[order] = np.minimum(worst, 1.0)
    return p_values.reshape(first_trials + 1, second_trials + 1)


def unpaired_power(
    first_trials: int, second_trials: int, first_rate: float, second_rate: float, alpha: float = ALPHA
) -> float:
    """Probability that `barnard` rejects, whichever way: exactly, or by the normal approximation beyond its limit.

    Source of the approximation: Fleiss, Levin and Paik, Statistical methods for rates and proportions, 2003, 4.4.
    Raises StatisticsError for no trials and impossible rates.
    """
    check_open("alpha", alpha)
    check_count("first trials", first_trials, least=1)
    check_count("second trials", second_trials, least=1)
    check_probability("first rate", first_rate)
    check_probability("second rate", second_rate)
    if is_exact(first_trials, second_trials):
        rejects = barnard_table(first_trials, second_trials) <= alpha
        return float(
            binomial_pmf(first_trials, first_rate) @ rejects @ binomial_pmf(second_trials, second_rate)
        )
    pooled = (first_trials * first_rate + second_trials * second_rate) / (first_trials + second_trials)
    under_null = math.sqrt(pooled * (1 - pooled) * (1 / first_trials + 1 / second_trials))
    spread = math.sqrt(
        first_rate * (1 - first_rate) / first_trials + second_rate * (1 - second_rate) / second_trials
    )
    excess = abs(first_rate - second_rate) - normal_quantile(alpha) * under_null
    return float(special.ndtr(excess / spread)) if spread > 0 else float(excess > 0)


def unpaired_needed(first_rate: float, second_rate: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Episodes of each policy for the pooled z test to find this difference with this probability.

    n = (z_alpha/2 sqrt(2 p q) + z_power sqrt(p1 q1 + p2 q2))^2 / (p1 - p2)^2 with p the mean rate, q = 1 - p.
    Source: Fleiss, Levin and Paik, 2003, equation 4.14. Raises StatisticsError for no difference, impossible rates, and
    more than `power.MOST_NEEDED` episodes.
    """
    check_open("power", power)
    check_probability("first rate", first_rate)
    check_probability("second rate", second_rate)
    if first_rate == second_rate:
        raise StatisticsError("difference 0: no number of episodes shows a difference that is not there")
    mean = (first_rate + second_rate) / 2
    root = normal_quantile(alpha) * math.sqrt(2 * mean * (1 - mean))
    root += float(special.ndtri(power)) * math.sqrt(
        first_rate * (1 - first_rate) + second_rate * (1 - second_rate)
    )
    return whole_number_for(root, first_rate - second_rate)


def detectable_unpaired(
    first_trials: int, second_trials: int, middle: float, power: float = POWER, alpha: float = ALPHA
) -> float | None:
    """Smallest difference around this middle rate that `barnard` finds with this probability; None where none is.

    Where the middle is too near to 0 or 1, the pair of rates is shifted back inside.
    """
    check_open("power", power)
    check_probability("middle rate", middle)

    def is_found(difference: float) -> bool:
        high = min(1.0, max(middle + difference / 2, difference))
        low = max(0.0, high - difference)
        return unpaired_power(first_trials, second_trials, high, low, alpha) >= power

    return smallest_difference(is_found)


def _rate(counts: tuple[int, int], alpha: float) -> tuple[float, float, float]:
    successes, trials = counts
    _check_tried(successes, trials)
    low, high = wilson(successes, trials, alpha)
    return successes / trials, low, high


def _check_tried(successes: int, trials: int) -> None:
    check_share(successes, trials)
    if trials == 0:
        raise StatisticsError(f"{successes}/{trials}: nothing was tried")


def _pooled_z(x: IntArray, y: IntArray, first_trials: int, second_trials: int) -> FloatArray:
    """Pooled z of x and y successes; 0 where every attempt had the same outcome."""
    pooled = (x + y) / (first_trials + second_trials)
    variance = pooled * (1 - pooled) * (1 / first_trials + 1 / second_trials)
    difference = x / first_trials - y / second_trials
    return np.divide(difference, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
