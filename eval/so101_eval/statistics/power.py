"""How many episodes a difference needs, and which difference a number of episodes can show.

`pairs_needed` is the textbook's approximation, `mcnemar_power` what the exact test really does, `sequential_power`
what a study watched after every pair does; both of these are sums over all outcomes, not simulations. Differences are
of the first policy minus the second.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.statistics.checks import (
    ALPHA,
    POWER,
    BoolArray,
    FloatArray,
    IntArray,
    StatisticsError,
    check_count,
    check_open,
    check_probability,
)
from so101_eval.statistics.intervals import normal_quantile
from so101_eval.statistics.sequential import log_e_value

MOST_NEEDED = 100_000
"""Episodes that are planned at most: exact sums over so many take seconds, and nobody runs them."""
MOST_WATCHED = 2000
"""Pairs up to which the detectable difference of a watched study is worked out: some seconds."""
STEP = 0.001
"""Differences are searched on this grid: a tenth of a point."""


class Watched(NamedTuple):
    """What a study that is looked at after every pair does in the long run."""

    first: FloatArray
    """[N + 1] probability that the first policy was declared better by pair 0 to N."""
    second: FloatArray
    """[N + 1] the same for the second policy."""

    def pairs_for(self, power: float) -> int | None:
        """Pairs by which the first policy was declared better with this probability; None if not by the last."""
        enough = np.flatnonzero(self.first >= power)
        return int(enough[0]) if len(enough) else None

    def mean_pairs(self, planned: int) -> float:
        """Pairs used on average by studies that end at the planned pair at the latest."""
        return float(np.sum(1 - self.first[:planned] - self.second[:planned]))


def discordance(first: float, second: float, phi: float = 0.0) -> tuple[float, float]:
    """P(only the first succeeds), P(only the second does) for two success rates whose outcomes correlate by phi.

    P(only the first) = first (1 - second) - phi sqrt(first (1 - first) second (1 - second)). phi = 0 is policies that
    share no luck; common scenes give more. Raises StatisticsError where no two policies are like that.
    """
    check_probability("first rate", first)
    check_probability("second rate", second)
    if not -1 <= phi <= 1:
        raise StatisticsError(f"phi {phi:g}: a correlation is from -1 to 1")
    common = phi * math.sqrt(first * (1 - first) * second * (1 - second))
    first_only, second_only = first * (1 - second) - common, second * (1 - first) - common
    cells = (first_only, second_only, first - first_only, 1 - second - first_only)
    if min(cells) < -1e-12:
        raise StatisticsError(
            f"phi {phi:g}: no two policies with success rates {first:g} and {second:g} correlate like that; "
            f"possible is {-largest_phi(first, 1 - second):.3f} to {largest_phi(first, second):.3f}"
        )
    return max(first_only, 0.0), max(second_only, 0.0)


def largest_phi(first: float, second: float) -> float:
    """Highest correlation of two outcomes with these success rates: the worse never succeeds where the better fails.

    0 where one of them never varies. Raises StatisticsError for impossible rates.
    """
    check_probability("first rate", first)
    check_probability("second rate", second)
    low, high = min(first, second), max(first, second)
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    return low * (1 - high) / spread if spread > 0 else 0.0


def pairs_needed(first_only: float, second_only: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Pairs with which McNemar's test finds a difference with this probability.

    n = (z_alpha/2 sqrt(s) + z_power sqrt(s - d^2))^2 / d^2 with s = P(one succeeds alone), d = the difference.
    Source: Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43,
    1987. Raises StatisticsError for no difference, impossible probabilities, and more than `MOST_NEEDED` pairs.
    """
    _check_discordance(first_only, second_only)
    check_open("power", power)
    alone, difference = first_only + second_only, first_only - second_only
    if difference == 0:
        raise StatisticsError("difference 0: no number of episodes shows a difference that is not there")
    root = normal_quantile(alpha) * math.sqrt(alone)
    root += float(special.ndtri(power)) * math.sqrt(max(alone - difference**2, 0.0))
    return whole_number_for(root, difference)


def pairs_needed_exactly(
    first_only: float, second_only: float, power: float = POWER, alpha: float = ALPHA
) -> int:
    """Pairs with which `mcnemar_exact` finds a difference with this probability: some more than `pairs_needed`.

    The first number from the approximation upwards that has the power. Raises StatisticsError like `pairs_needed`.
    """
    pairs = pairs_needed(first_only, second_only, power, alpha)
    while mcnemar_power(pairs, first_only, second_only, alpha) < power:
        pairs += 1
    return pairs


def whole_number_for(root: float, difference: float) -> int:
    """The least whole number n with sqrt(n) difference >= root: 1 where a test rejects often enough by itself.

    Raises StatisticsError beyond `MOST_NEEDED`.
    """
    number = (max(root, 0.0) / difference) ** 2
    if not number <= MOST_NEEDED:
        raise StatisticsError(
            f"difference {abs(difference):.3g}: it takes more than {MOST_NEEDED} episodes to find"
        )
    return max(1, math.ceil(number))


def mcnemar_power(pairs: int, first_only: float, second_only: float, alpha: float = ALPHA) -> float:
    """Probability that `mcnemar_exact` rejects, whichever way, exactly.

    Sum over the number of telling pairs (binomial) and over who won them (binomial). Raises StatisticsError.
    """
    check_count("pairs", pairs)
    check_open("alpha", alpha)
    _check_discordance(first_only, second_only)
    alone = min(first_only + second_only, 1.0)
    if alone == 0:
        return 0.0
    most, telling, share = _rejected_minority(pairs, alpha), np.arange(pairs + 1), first_only / alone
    rejected = special.bdtr(np.maximum(most, 0), telling, share) + special.bdtr(
        np.maximum(most, 0), telling, 1 - share
    )
    return float(np.sum(binomial_pmf(pairs, alone) * np.where(most >= 0, rejected, 0.0)))


def detectable_difference(
    pairs: int, alone: float, power: float = POWER, alpha: float = ALPHA
) -> float | None:
    """Smallest difference that `mcnemar_exact` finds with this probability, None where none is.

    `alone`: P(exactly one policy succeeds); a difference larger than that raises it. Raises StatisticsError.
    """
    check_probability("share of telling pairs", alone)
    check_open("power", power)

    def is_found(difference: float) -> bool:
        both_ways = max(alone, difference)
        return (
            mcnemar_power(pairs, (both_ways + difference) / 2, (both_ways - difference) / 2, alpha) >= power
        )

    return smallest_difference(is_found)


def detectable_watched(pairs: int, alone: float, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """`detectable_difference` of a study that is looked at after every pair, with the e-value as its rule."""
    check_count("pairs", pairs, least=1)
    check_probability("share of telling pairs", alone)
    check_open("power", power)

    def is_found(difference: float) -> bool:
        both_ways = max(alone, difference)
        watched = sequential_power((both_ways + difference) / 2, (both_ways - difference) / 2, pairs, alpha)
        return bool(watched.first[-1] >= power)

    return smallest_difference(is_found)


def sequential_power(
    first_only: float, second_only: float, planned_pairs: int, alpha: float = ALPHA
) -> Watched:
    """What the paired e-process of `sequential` declares, by number of pairs, exactly.

    Raises StatisticsError for impossible probabilities.
    """
    check_open("alpha", alpha)
    limit = -math.log(alpha)
    return watch(
        lambda wins, losses: log_e_value(wins, losses) >= limit, first_only, second_only, planned_pairs
    )


def watch(
    stops: Callable[[IntArray, IntArray], BoolArray],
    first_only: float,
    second_only: float,
    planned_pairs: int,
) -> Watched:
    """Probabilities of a study that is looked at after every pair and ends where `stops(wins, losses)` says so.

    Only telling pairs move it, so it is a walk over them, and their number among n pairs is binomial. Raises
    StatisticsError for impossible probabilities.
    """
    check_count("planned pairs", planned_pairs, least=1)
    _check_discordance(first_only, second_only)
    alone = min(first_only + second_only, 1.0)
    share = first_only / alone if alone > 0 else 0.5
    declared = np.zeros((2, planned_pairs + 1))  # by telling pairs
    going = np.ones(1)  # probability of each number of wins among the telling pairs so far, not stopped
    for telling in range(1, planned_pairs + 1):
        going = np.append(going * (1 - share), 0.0) + np.append(0.0, going * share)
        wins = np.arange(telling + 1)
        stop = stops(wins, telling - wins)
        declared[0, telling] = going[stop & (2 * wins > telling)].sum()
        declared[1, telling] = going[stop & (2 * wins < telling)].sum()
        going = np.where(stop, 0.0, going)
    by_telling = np.cumsum(declared, axis=1)
    first, second = np.zeros((2, planned_pairs + 1))
    for pairs in range(1, planned_pairs + 1):
        first[pairs], second[pairs] = by_telling[:, : pairs + 1] @ binomial_pmf(pairs, alone)
    return Watched(first, second)


def binomial_pmf(trials: int, probability: float) -> FloatArray:
    """[trials + 1] probabilities of 0, 1, ... successes."""
    k = np.arange(trials + 1)
    log_choose = special.gammaln(trials + 1) - special.gammaln(k + 1) - special.gammaln(trials - k + 1)
    return np.exp(log_choose + special.xlogy(k, probability) + special.xlog1py(trials - k, -probability))


def smallest_difference(is_found: Callable[[float], bool]) -> float | None:
    """Smallest difference that is found, on a grid of a tenth of a point; None where even 1 is not."""
    low, high = 0, round(1 / STEP)
    if not is_found(1.0):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_found(middle * STEP) else (middle, high)
    return high * STEP


@lru_cache(maxsize=64)
def _rejected_minority(pairs: int, alpha: float) -> IntArray:
    """For 0 to `pairs` telling pairs, the most that the loser may have won for the exact test to reject; -1: none."""
    most = [-1]
    for telling in range(1, pairs + 1):  # grows by at most 1 from one number of pairs to the next
        more = most[-1] + 1
        rejects = 2 * more < telling and 2 * special.bdtr(more, telling, 0.5) <= alpha
        most.append(more if rejects else most[-1])
    return np.array(most)


def _check_discordance(first_only: float, second_only: float) -> None:
    check_probability("P(only the first succeeds)", first_only)
    check_probability("P(only the second succeeds)", second_only)
    if first_only + second_only > 1 + 1e-12:
        raise StatisticsError(
            f"P(exactly one succeeds) {first_only + second_only:g}: a probability is from 0 to 1"
        )
