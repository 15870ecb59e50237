"""Many comparisons at once: who may still be called different?

`holm` for p-values, `mean_e_value` for e-values, and letters for tables: two policies share a letter exactly when no
difference between them was detected.
"""

import string
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations

import numpy as np

from so101_eval.statistics.checks import (
    FloatArray,
    StatisticsError,
    check_p_values,
)


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


def mean_e_value(e_values: Sequence[float] | FloatArray) -> float:
    """Evidence against "all of these claims hold", whatever the dependence. For independent ones multiply instead.

    Infinite where one of them is (`e_value` beyond the largest double). Source: Vovk and Wang, E-values: calibration,
    combination and applications, Annals of Statistics 49, 2021. Raises StatisticsError for none, and for numbers that
    no e-value has.
    """
    if len(e_values) == 0:
        raise StatisticsError("e-values: expected one or more, found none")
    for value in e_values:
        if not value >= 0:
            raise StatisticsError(f"e-value {value:g}: expected 0 or more")
    return sum(float(value) / len(e_values) for value in e_values)


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
