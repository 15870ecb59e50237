"""When a study is decided.

Policy by policy against the first one, block by block: x = the policy's outcome minus the first one's, in -1 to 1. The
order in a block was drawn, so with two equal policies x and -x are equally likely whatever the operator, the
evening or a drift of the arm did. The e-value bets on the mean of x (`statistics.sequential`); one may look at it after
each block. A comparison is decided at E >= (k - 1) / alpha for k policies.

A study that is not decided at its planned number of blocks is given one more test, of the whole rule: given the sizes
of the x, their signs are fair coins under the null hypothesis. p = P(such coins cross on the way, or end with a sum at
least as large). So e-value and planned test together have the level alpha / (k - 1), exactly where all coin sequences
are counted (x of -1, 0, 1), and by `DRAWS` of them otherwise. The share of the level that the e-value has spent
is not spent again.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.errors import ConfigError
from so101_eval.statistics import ALPHA, Interval, difference_interval, log_e_value

DRAWS = 20_000
"""Coin sequences where they cannot all be counted: p of 0.05 to within 0.003."""
CHUNK = 2_000
NODES = 32
"""Of the rule over bets, for scores between -1 and 1: exact up to 63 blocks."""

Array = NDArray[np.float64]


class Compared(NamedTuple):
    """One policy against the first, so far."""

    blocks: int
    mean: float
    """Of x: the difference in success or in credit."""
    e_value: float
    """After the last block, or at the crossing."""
    crossed_at: int | None
    """Blocks after which the e-value was large enough; later ones do not change it."""
    p_value: float | None
    """Of the planned test; None before the planned number of blocks."""
    interval: Interval
    """Confidence sequence for the mean of x, valid whenever one looks."""
    verdict: Literal["better", "worse", "open"]


class Verdict(NamedTuple):
    """What the study says after so many blocks."""

    compared: tuple[Compared, ...]
    """Of the second policy, the third, ..."""
    stop: Literal["decided", "planned"] | None
    """Why there are no more blocks."""


def look(outcomes: Sequence[Sequence[float]], planned: int, alpha: float = ALPHA) -> Verdict:
    """After the complete blocks so far, in the order in which they were played.

    Args:
        outcomes: [block][policy], each 0 to 1.
        planned: number of blocks.
        alpha: false "better" or "worse" of all comparisons together.

    Raises:
        ConfigError: no blocks are planned, or a block lacks a policy.
    """
    if planned < 1:
        raise ConfigError(f"{planned} planned blocks: expected 1 or more")
    if not outcomes:
        return Verdict((), None)
    table = np.asarray(outcomes, np.float64)[:planned]
    if table.ndim != 2 or table.shape[1] < 2:
        raise ConfigError("expected an outcome of two policies or more in every block")
    others = table.shape[1] - 1
    level = alpha / others
    compared = tuple(compare(table[:, other] - table[:, 0], planned, level) for other in range(1, others + 1))
    if len(table) == planned:
        return Verdict(compared, "planned")
    return Verdict(compared, "decided" if all(found.verdict != "open" for found in compared) else None)


def compare(differences: Array, planned: int, level: float) -> Compared:
    """One comparison at `level`; `differences` (n,) of n <= planned blocks."""
    x = np.asarray(differences, np.float64)
    found = decide(x, planned, level)
    used = x[: found.crossed_at]
    evidence = float(np.exp(min(log_e_path(used[None])[0, -1], 700.0)))
    return Compared(
        len(x),
        float(x.mean()),
        evidence,
        found.crossed_at,
        found.p_value,
        difference_interval(used, level),
        found.verdict,
    )


class Decided(NamedTuple):
    """The part of `Compared` that decides."""

    crossed_at: int | None
    p_value: float | None
    verdict: Literal["better", "worse", "open"]


def decide(x: Array, planned: int, level: float, draws: int = DRAWS) -> Decided:
    """Of the differences x (n,) of n <= planned blocks."""
    crossed = np.flatnonzero(log_e_path(x[None])[0] >= -math.log(level))
    at = int(crossed[0]) + 1 if len(crossed) else None
    p_value = planned_p(x, level, draws) if at is None and len(x) == planned else None
    total = float(x[:at].sum())
    if total == 0 or not (at is not None or (p_value is not None and p_value <= level)):
        return Decided(at, p_value, "open")
    return Decided(at, p_value, "better" if total > 0 else "worse")


def log_e_path(x: Array) -> Array:
    """(m, n) natural logarithm of the e-value after each block, of m sequences x (m, n) in -1 to 1.

    Where all x are -1, 0 or 1 the bets' average has a closed form (`log_e_value`); it is the same number.
    """
    if is_binary(x):
        return log_e_value(np.cumsum(x > 0, axis=1), np.cumsum(x < 0, axis=1))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    # against the mean 1/2 of (1 + x) / 2, a bet u in 0..1 multiplies the capital by 1 + x (2 u - 1); nodes are 2 u - 1
    capital = np.cumsum(np.log1p(x[:, :, None] * nodes), axis=1)
    top = capital.max(axis=2, keepdims=True)
    return top[:, :, 0] + np.log(np.exp(capital - top) @ weights / 2)


def is_binary(x: Array) -> bool:
    """All -1, 0 or 1."""
    return bool(np.isin(x, (-1.0, 0.0, 1.0)).all())


def planned_p(x: Array, level: float, draws: int = DRAWS) -> float:
    """p-value of the whole rule for a sequence that has not crossed; see the module's docstring."""
    x = np.asarray(x, np.float64)
    sizes = np.abs(x)[x != 0]  # a block without a difference moves neither the e-value nor the sum
    if len(sizes) == 0:
        return 1.0
    if is_binary(x):
        return _counted_p(len(sizes), abs(round(float(x.sum()))), level)
    # the order of the coins matters for crossing: sizes stay in the order of the blocks
    random = np.random.default_rng(len(sizes))  # the same data give the same p
    end, limit, hits = abs(float(x.sum())) - 1e-9, -math.log(level), 0
    for first in range(0, draws, CHUNK):
        flipped = sizes * random.choice((-1.0, 1.0), size=(min(CHUNK, draws - first), len(sizes)))
        hits += int(((log_e_path(flipped) >= limit).any(axis=1) | (np.abs(flipped.sum(axis=1)) >= end)).sum())
    return (hits + 1) / (draws + 1)


@lru_cache(maxsize=4096)
def _counted_p(coins: int, end: int, level: float) -> float:
    """P(the e-value of fair coins crosses within so many, or their sum ends at `end` or beyond): all are counted."""
    limit = -math.log(level)
    alive, crossed = np.zeros(coins + 1), 0.0  # by number of wins
    alive[0] = 1.0
    wins = np.arange(coins + 1)
    for done in range(1, coins + 1):
        alive[1:] = (alive[1:] + alive[:-1]) / 2
        alive[0] /= 2
        there = wins[: done + 1]
        over = log_e_value(there, done - there) >= limit
        crossed += float(alive[: done + 1][over].sum())
        alive[: done + 1][over] = 0.0
    far = np.abs(2 * wins - coins) >= end
    return min(1.0, crossed + float(alive[far].sum()))
