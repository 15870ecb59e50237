"""Looking after every pair and stopping when it is clear, without more false alarms than promised.

An e-value is the capital of a gambler who bets against "there is no difference" with 1 at the start: if there is
none, he ever reaches 1 / alpha with probability at most alpha, however often one looks (Ville's inequality). So
`e_value(w, l) >= 20` may end a study at any pair, and a confidence sequence holds at all times at once.

There is one gambler in this file. Outcomes x lie in 0 to 1, the claim is "their mean is m", and capital spread evenly
over all bets u has become

    E = integral over u from 0 to 1 of  product over i of  x_i u / m + (1 - x_i) (1 - u) / (1 - m).

With x = 1 for a pair won, 0 for a pair lost and m = 1/2 this is the closed form 2^(w+l) B(w+1, l+1); with
x = (1 + difference) / 2 it is the test of partial credit; and the means m that it does not reject are the confidence
sequence. E is log-convex in m (each factor is) and at most 1 at the sample mean, so they are an interval around it.

It does not matter in which order outcomes came. It does matter that the order of scenes was fixed beforehand and that
no pair is left out because of how it went.

Sources: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024; Orabona and
Jun, Tight concentrations and confidence sequences from the regret of universal portfolio, IEEE Trans. Inf. Theory 70,
2024 (the even spread over bets); Ville, Etude critique de la notion de collectif, 1939.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from so101_eval.statistics.checks import (
    ALPHA,
    FloatArray,
    StatisticsError,
    check_count,
    check_finite,
    check_open,
    check_probability,
)
from so101_eval.statistics.intervals import Interval

LOG_2 = math.log(2)
MAX_NODES = 400
"""Of the Gauss-Legendre rule over bets: n outcomes make a polynomial of degree n, exact up to n = 799. The bets that
matter have a width of about 1 / sqrt(n), far above the distance of nodes for any number of episodes one can run."""
BISECTIONS = 50
"""Halvings per end of an interval: ends within 1e-15."""

Winner = Literal["first", "second"]


class Decision(NamedTuple):
    """What a study watched after every pair may say."""

    winner: Winner | None
    """None while, or because, nothing is decided: never "equal"."""
    pairs: int
    """Scenes that both policies had met by then."""
    e_value: float
    finished: bool
    """No more pairs: decided, or the planned number is used up."""


def e_value(wins: int, losses: int) -> float:
    """Evidence against "a pair with one success is as likely the first's as the second's"; reject at 1 / alpha.

    E = 2^(w+l) B(w+1, l+1); infinity beyond the largest double. Source: the Beta-Bernoulli mixture with a uniform
    prior, Robbins, Statistical methods related to the law of the iterated logarithm, 1970. Raises StatisticsError.
    """
    return _exp(float(log_e_value(*_checked(wins, losses))))


def log_e_value(wins: npt.ArrayLike, losses: npt.ArrayLike) -> FloatArray:
    """Natural logarithm of `e_value`, of whole arrays at once."""
    w, l = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)  # noqa: E741 - as in E(w, l)
    return (w + l) * LOG_2 + special.betaln(w + 1, l + 1)


def e_value_one_sided(wins: int, losses: int) -> float:
    """Evidence against "the first wins at most half of such pairs"; reject at 1 / alpha.

    E1 = 2^(w+l+1) B(w+1, l+1) P(Beta(w+1, l+1) > 1/2), bets spread over win shares from 1/2 to 1. The two-sided
    e-value is the mean of the two one-sided ones. Source: as `e_value`. Raises StatisticsError.
    """
    w, l = _checked(wins, losses)  # noqa: E741 - as in E(w, l)
    share = float(special.betainc(l + 1, w + 1, 0.5))
    if share == 0:
        return 0.0
    return _exp(float(log_e_value(w, l)) + LOG_2 + math.log(share))


def e_path(first: Sequence[bool], second: Sequence[bool]) -> FloatArray:
    """Natural logarithm of the e-value after each pair, in the order in which they were run: what a report draws.

    Raises StatisticsError where the two are not paired.
    """
    wins, losses = _running_counts(first, second)
    return log_e_value(wins, losses)


def decide(
    first: Sequence[bool], second: Sequence[bool], planned_pairs: int, alpha: float = ALPHA
) -> Decision:
    """What the study says, stopped at the first pair at which E >= 1 / alpha, at the latest after the planned ones.

    Pairs beyond the stop do not count. Raises StatisticsError where outcomes are not paired.
    """
    check_open("alpha", alpha)
    check_count("planned pairs", planned_pairs, least=1)
    wins, losses = (counts[:planned_pairs] for counts in _running_counts(first, second))
    if len(wins) == 0:
        return Decision(None, 0, 1.0, False)
    crossed = np.flatnonzero(log_e_value(wins, losses) >= -math.log(alpha))
    last = int(crossed[0]) if len(crossed) else len(wins) - 1
    w, l = int(wins[last]), int(losses[last])  # noqa: E741 - as in E(w, l)
    winner: Winner | None = None
    if len(crossed):
        winner = "first" if w > l else "second"
    return Decision(winner, last + 1, e_value(w, l), winner is not None or last + 1 == planned_pairs)


def e_value_mean(
    outcomes: Sequence[float] | FloatArray,
    mean: float,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> float:
    """Evidence against "outcomes in 0 to 1 have this mean", or against "at most this mean" for "greater".

    Formula and source: this module's docstring; one-sided, bets are spread over u from m to 1. Raises StatisticsError
    for outcomes outside 0 to 1 and for a mean at or beyond these ends.
    """
    check_open("mean", mean)
    values, counts = _unit_counts(outcomes, paths=False)
    from_u = 0.0 if alternative == "two-sided" else mean
    return _exp(float(log_e_mean(values, counts, mean, from_u)[0]))


def log_e_mean(values: FloatArray, counts: FloatArray, mean: float, from_u: float = 0.0) -> FloatArray:
    """Natural logarithm of `e_value_mean` of many studies at once, from counts [studies, values] of each outcome.

    Bets are spread over from_u to 1. Nothing is checked.
    """
    nodes, weights = _nodes(int(counts.sum(axis=1).max(initial=0)))
    u = from_u + (1 - from_u) * (1 + nodes) / 2
    return _log_mean_capital(counts @ _log_bets(values, np.array([mean]), u)[0], weights)


def mean_interval(outcomes: Sequence[float] | FloatArray, alpha: float = ALPHA) -> Interval:
    """Where the mean of outcomes in 0 to 1 lies, valid however the number of outcomes came about.

    The means whose `e_value_mean` is below 1 / alpha. Raises StatisticsError for outcomes outside 0 to 1.
    """
    if len(outcomes) == 0:
        check_open("alpha", alpha)
        return Interval(0.0, 1.0)
    values, counts = _unit_counts(outcomes, paths=False)
    low, high = _invert(values, counts, alpha)
    return Interval(float(low[0]), float(high[0]))


def mean_sequence(
    outcomes: Sequence[float] | FloatArray, alpha: float = ALPHA
) -> tuple[FloatArray, FloatArray]:
    """Both ends of `mean_interval` after each outcome; all of them hold at once with probability 1 - alpha."""
    check_open("alpha", alpha)
    if len(outcomes) == 0:
        return np.empty(0), np.empty(0)
    values, counts = _unit_counts(outcomes, paths=True)
    return _invert(values, counts, alpha)


def difference_interval(differences: Sequence[float] | FloatArray, alpha: float = ALPHA) -> Interval:
    """Where the mean difference of paired scores lies, valid at any time: scores in 0 to 1, differences in -1 to 1.

    For success it leaves out 0 exactly when `e_value(wins, losses)` reaches 1 / alpha. Raises StatisticsError.
    """
    interval = mean_interval(_halved(differences), alpha)
    return Interval(2 * interval.low - 1, 2 * interval.high - 1)


def difference_sequence(
    differences: Sequence[float] | FloatArray, alpha: float = ALPHA
) -> tuple[FloatArray, FloatArray]:
    """Both ends of `difference_interval` after each pair."""
    low, high = mean_sequence(_halved(differences), alpha)
    return 2 * low - 1, 2 * high - 1


def log_e_two_samples(first: FloatArray, second: FloatArray, prior: float = 0.18) -> FloatArray:
    """Natural logarithm of the e-value after each block of one attempt per policy, on scenes that are not shared.

    Each policy's next success is forecast from its own past, (prior + successes) / (2 prior + attempts); capital is
    multiplied by how much better that forecast the block than their average. Along the last axis; other axes are
    repetitions. Depends on the order of blocks. Source: Turner, Ly and Gruenwald, Generic e-variables for exact
    sequential k-sample tests that allow for optional stopping, 2024, section 3, with their default prior.
    """
    rates = [_forecast(outcomes, prior) for outcomes in (first, second)]
    middle = (rates[0] + rates[1]) / 2
    log_bets = sum(
        np.log(np.where(outcomes > 0, rate / middle, (1 - rate) / (1 - middle)))
        for outcomes, rate in zip((first, second), rates, strict=True)
    )
    return np.cumsum(log_bets, axis=-1)


def _forecast(outcomes: FloatArray, prior: float) -> FloatArray:
    before = np.cumsum(outcomes, axis=-1) - outcomes
    return (prior + before) / (2 * prior + np.arange(outcomes.shape[-1]))


def _running_counts(first: Sequence[bool], second: Sequence[bool]) -> tuple[FloatArray, FloatArray]:
    if len(first) != len(second):
        raise StatisticsError(f"{len(first)} against {len(second)} episodes: pairs need as many of each")
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return np.cumsum(a & ~b, dtype=np.float64), np.cumsum(b & ~a, dtype=np.float64)


def _halved(differences: Sequence[float] | FloatArray) -> FloatArray:
    row = check_finite("differences", differences, least=0)
    for value in row[np.abs(row) > 1]:
        raise StatisticsError(f"difference {value:g}: differences of scores from 0 to 1 are from -1 to 1")
    return (1 + row) / 2


def _unit_counts(outcomes: Sequence[float] | FloatArray, paths: bool) -> tuple[FloatArray, FloatArray]:
    """Distinct outcomes [V] and how often each was seen [T, V]: after all outcomes, or after each one."""
    row = check_finite("outcomes", outcomes, least=0)
    for value in row[(row < 0) | (row > 1)]:
        check_probability("outcome", float(value))
    values, which = np.unique(row, return_inverse=True)
    seen = np.zeros((len(row), len(values)))
    seen[np.arange(len(row)), which] = 1
    return values, np.cumsum(seen, axis=0) if paths else seen.sum(axis=0, keepdims=True)


def _log_e_by_row(values_V: FloatArray, counts_TV: FloatArray, means_T: FloatArray) -> FloatArray:
    """log E of each row of counts against its own mean."""
    nodes, weights = _nodes(int(counts_TV.sum(axis=1).max()))
    log_capital_TN = np.einsum("tv,tvn->tn", counts_TV, _log_bets(values_V, means_T, (1 + nodes) / 2))
    return _log_mean_capital(log_capital_TN, weights)


def _log_bets(values_V: FloatArray, means_T: FloatArray, u_N: FloatArray) -> FloatArray:
    """[T, V, N] what one outcome does to the logarithm of capital, for each mean, outcome and bet."""
    up_TV, down_TV = values_V / means_T[:, None], (1 - values_V) / (1 - means_T[:, None])
    return np.log(up_TV[:, :, None] * u_N + down_TV[:, :, None] * (1 - u_N))


def _log_mean_capital(log_capital_TN: FloatArray, weights_N: FloatArray) -> FloatArray:
    """Logarithm of the capital averaged over bets, without overflow."""
    best_T1 = log_capital_TN.max(axis=1, keepdims=True)
    return best_T1[:, 0] + np.log(np.exp(log_capital_TN - best_T1) @ weights_N / 2)


def _invert(values: FloatArray, counts: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Ends of the means with E < 1 / alpha, by bisection on both sides of the sample means."""
    check_open("alpha", alpha)
    sample_mean = counts @ values / counts.sum(axis=1)
    ends = [_bisect(values, counts, sample_mean, end, -math.log(alpha)) for end in (0.0, 1.0)]
    return ends[0], ends[1]


def _bisect(
    values: FloatArray, counts: FloatArray, inside: FloatArray, end: float, limit: float
) -> FloatArray:
    outside = np.full_like(inside, end)
    at_end = inside == end  # all outcomes are as low, or as high, as they can be: so may the mean be
    for _ in range(BISECTIONS):
        middle = np.where(at_end, 0.5, (inside + outside) / 2)
        is_inside = _log_e_by_row(values, counts, middle) < limit
        inside, outside = np.where(is_inside, middle, inside), np.where(is_inside, outside, middle)
    return np.where(at_end, end, inside)


@lru_cache(maxsize=32)
def _nodes(outcomes: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on -1 to 1, exact for so many outcomes up to the limit."""
    nodes, weights = np.polynomial.legendre.leggauss(min(outcomes // 2 + 1, MAX_NODES))
    return nodes, weights


def _checked(wins: int, losses: int) -> tuple[int, int]:
    check_count("wins", wins)
    check_count("losses", losses)
    return wins, losses


def _exp(log_value: float) -> float:
    return math.exp(log_value) if log_value < 709 else math.inf
