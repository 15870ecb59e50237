"""Many comparisons at once: who may still be called different?

`holm` where no false alarm at all is wanted (the pre-registered family), `benjamini_hochberg` where some among many
are tolerable (everything exploratory), `cochran_q` for all policies together, and letters for tables: two policies
share a letter exactly when they could not be told apart.
"""

import string
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.statistics.checks import (
    ALPHA,
    BoolArray,
    FloatArray,
    StatisticsError,
    check_finite,
    check_open,
    check_p_values,
)


class CochranQ(NamedTuple):
    """Of several policies on the same scenes."""

    statistic: float
    p_value: float


def holm(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p-values, in the order given: rejecting those <= alpha makes any false alarm at most alpha likely.

    The i-th smallest of k becomes the largest of (k - j + 1) p_j over j <= i, at most 1. Source: Holm, A simple
    sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979. Raises StatisticsError.
    """
    p = check_p_values(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def benjamini_hochberg(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p-values, in the order given: of those <= alpha, on average at most alpha are false alarms.

    The i-th smallest of k becomes the smallest of k p_j / j over j >= i. Source: Benjamini and Hochberg, Controlling
    the false discovery rate, JRSS B 57, 1995. For independent or positively dependent tests. Raises StatisticsError.
    """
    p = check_p_values(p_values)
    order = np.argsort(-p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1)))
    return adjusted


def e_benjamini_hochberg(e_values: Sequence[float] | FloatArray, alpha: float = ALPHA) -> BoolArray:
    """Which claims to reject so that at most alpha of them are false alarms on average, whatever their dependence.

    Rejects the k largest for the largest k with k e_(k) >= n / alpha. Source: Wang and Ramdas, False discovery rate
    control with e-values, JRSS B 84, 2022. Raises StatisticsError.
    """
    check_open("alpha", alpha)
    e = np.asarray(e_values, dtype=np.float64)
    order = np.argsort(-e, kind="stable")
    enough = np.flatnonzero(np.arange(1, len(e) + 1) * e[order] >= len(e) / alpha)
    rejected = np.zeros(len(e), dtype=bool)
    rejected[order[: enough[-1] + 1 if len(enough) else 0]] = True
    return rejected


def mean_e_value(e_values: Sequence[float] | FloatArray) -> float:
    """Evidence against "all of these claims hold", whatever the dependence. For independent ones multiply instead.

    Source: Vovk and Wang, E-values: calibration, combination and applications, Annals of Statistics 49, 2021.
    """
    return float(check_finite("e-values", e_values).mean())


def cochran_q(successes: Sequence[Sequence[bool]] | BoolArray) -> CochranQ:
    """Of "all policies succeed equally often", for outcomes [scenes, policies] of policies on the same scenes.

    Q = (k - 1) (k sum of C_j^2 - N^2) / (k N - sum of R_i^2), with column sums C, row sums R, their total N; compared
    with chi-squared of k - 1 degrees of freedom. Source: Cochran, The comparison of percentages in matched samples,
    Biometrika 37, 1950. Scenes on which all do the same tell nothing; p = 1 where all scenes are like that. Raises
    StatisticsError for fewer than two policies.
    """
    table = np.asarray(successes, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise StatisticsError(f"outcomes of shape {table.shape}: needed are scenes x two or more policies")
    k, rows, columns, total = table.shape[1], table.sum(axis=1), table.sum(axis=0), int(table.sum())
    spread = k * total - int(rows @ rows)
    if spread == 0:
        return CochranQ(0.0, 1.0)
    q = (k - 1) * (k * int(columns @ columns) - total**2) / spread
    return CochranQ(q, float(special.chdtrc(k - 1, q)))


def compact_letters(names: Sequence[str], are_different: Callable[[str, str], bool]) -> dict[str, str]:
    """Letters by name: two names share one exactly when they are not different. Give the names best first.

    Insert and absorb: start with one letter for all; each different pair splits every letter that holds both; a
    letter within another one is dropped. Source: Piepho, An algorithm for a letter-based representation of
    all-pairwise comparisons, Journal of Computational and Graphical Statistics 13, 2004. Raises StatisticsError for
    a name that occurs twice.
    """
    if len(set(names)) != len(names):
        raise StatisticsError(f"names {', '.join(names)}: each may occur once")
    groups = {frozenset(names)} if names else set[frozenset[str]]()
    for a, b in combinations(names, 2):
        if are_different(a, b):
            split = (part for group in groups for part in _split(group, a, b))
            groups = _absorb(split)
    in_order = sorted(groups, key=lambda group: [name not in group for name in names])
    return {
        name: "".join(_letter(index) for index, group in enumerate(in_order) if name in group)
        for name in names
    }


def _split(group: frozenset[str], a: str, b: str) -> tuple[frozenset[str], ...]:
    return (group - {b}, group - {a}) if a in group and b in group else (group,)


def _absorb(groups: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    distinct: Collection[frozenset[str]] = set(groups)
    return {group for group in distinct if not any(group < other for other in distinct)}


def _letter(index: int) -> str:
    letters = string.ascii_lowercase
    return letters[index] if index < len(letters) else f"{letters[index % 26]}{index // 26}"
