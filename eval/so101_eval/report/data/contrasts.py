"""One arm against another on the scenes that both met: by how much, how sure, and what would have been found.

With one checkpoint on each side the exact McNemar test decides and Tango's interval says by how much. With several
training seeds on either side the scenes are no longer all the luck there is. Then the interval is the bootstrap over
training seeds and scenes, and a p-value has to stand both tests: over scenes (sign flips of the mean difference per
scene) and over seeds (Student's, with the standard error that the interval implies, so it is below alpha exactly when
the interval leaves out 0). The e-process is about these checkpoints on further scenes, whatever their number.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from so101_eval.report.data.table import Arm, Cell, FloatArray, Outcomes, Table, common_scenes
from so101_eval.statistics import (
    ALPHA,
    POWER,
    Interval,
    Pairs,
    barnard,
    cluster_bootstrap,
    difference_interval,
    mcnemar_exact,
    permutation_test,
    sign_flip_test,
    smallest_permutation_p,
    wilson,
)
from so101_eval.statistics.compare import Count, compare_counts, compare_pairs, points, span
from so101_eval.statistics.sequential import log_e_mean

ENOUGH_SEEDS = 5
"""Training seeds per arm from which on a distribution-free test can reach 0.05: 2 / C(10, 5) = 0.008 (with 3: 0.1)."""


class Contrast(NamedTuple):
    """First arm minus second, in one cell."""

    first: str
    second: str
    cell: Cell
    scenes: int
    seeds: tuple[int, int]
    """Policies on either side."""
    rates: tuple[float, float]
    difference: float
    interval: Interval
    p_value: float
    method: str
    detectable: float | None
    pairs: Pairs | None
    """Where both sides are one checkpoint."""
    permutation_p: float | None
    """Over training seeds alone; None for a single one."""
    smallest_p: float | None
    """That so few seeds could reach."""
    text: str
    """The finding in one line."""

    def as_data(self) -> dict[str, Any]:
        data = self._asdict()
        pairs = self.pairs._asdict() if self.pairs else None
        return data | {"cell": self.cell._asdict(), "interval": list(self.interval), "pairs": pairs}


def contrast(table: Table, first: Arm, second: Arm, cell: Cell) -> Contrast | None:
    """None where one of the two was not evaluated in this cell."""
    a, b = table.outcomes(first, cell), table.outcomes(second, cell)
    if not a.scenes or not b.scenes:
        return None
    scenes = common_scenes(a, b)
    if len(a.policies) == len(b.policies) == 1:
        return _of_checkpoints(first, second, cell, a, b, scenes)
    return _of_seeds(first, second, cell, a.on(scenes), b.on(scenes)) if scenes else None


def _of_checkpoints(
    first: Arm, second: Arm, cell: Cell, a: Outcomes, b: Outcomes, scenes: list[int]
) -> Contrast:
    names = (first.name, second.name)
    if scenes:
        pairs = Pairs.from_outcomes((a.on(scenes)[0] > 0).tolist(), (b.on(scenes)[0] > 0).tolist())
        found, p_value = compare_pairs(pairs, names), mcnemar_exact(pairs.first_only, pairs.second_only)
    else:
        counts = [Count(int(x.success_SN.sum()), len(x.scenes)) for x in (a, b)]
        pairs, found, p_value = (
            None,
            compare_counts(counts[0], counts[1], names),
            barnard(counts[0], counts[1]),
        )
    rates = (found.first.successes / found.first.episodes, found.second.successes / found.second.episodes)
    method = f"{found.evidence.split(' p =')[0]}, {found.interval_name} interval"
    return Contrast(
        *names, cell, len(scenes), (1, 1), rates, found.difference, found.interval, p_value, method,
        found.detectable, pairs, None, None, found.sentence(),
    )  # fmt: skip


def _of_seeds(first: Arm, second: Arm, cell: Cell, a_SN: FloatArray, b_SN: FloatArray) -> Contrast:
    seeds, scenes = (len(a_SN), len(b_SN)), a_SN.shape[1]
    difference = float(a_SN.mean() - b_SN.mean())
    over_scenes = sign_flip_test(a_SN.mean(axis=0) - b_SN.mean(axis=0))
    if min(seeds) > 1:
        interval = cluster_bootstrap(a_SN, b_SN).interval
        freedom = sum(seeds) - 2
        inner = difference - interval.low if difference > 0 else interval.high - difference
        error = inner / -float(special.stdtrit(freedom, ALPHA / 2))
        p_value = max(over_scenes, _student_p(difference, error, freedom))
        detectable = _detectable(error, freedom)
        if interval.low == interval.high:  # where all agree, resampling them shows nothing
            interval = difference_interval(a_SN.mean(axis=0) - b_SN.mean(axis=0))
        method = f"bootstrap over {seeds[0]} and {seeds[1]} training seeds and {scenes} scenes"
    else:  # a control without training seeds: of the trained side only these checkpoints are meant
        rows = np.vstack([a_SN.mean(axis=0), b_SN.mean(axis=0)])
        interval, p_value, detectable = difference_interval(rows[0] - rows[1]), over_scenes, None
        method = f"sign flips over {scenes} scenes, these checkpoints only"
    permutation = permutation_test(a_SN.mean(axis=1), b_SN.mean(axis=1)) if min(seeds) > 1 else None
    smallest = (
        smallest_permutation_p(min(seeds)) if seeds[0] == seeds[1] else 2 / math.comb(sum(seeds), seeds[0])
    )
    found = Contrast(
        first.name, second.name, cell, scenes, seeds, (float(a_SN.mean()), float(b_SN.mean())), difference, interval,
        p_value, method, detectable, None, permutation, min(1.0, smallest) if min(seeds) > 1 else None, "",
    )  # fmt: skip
    return found._replace(text=_text(found))


def _text(found: Contrast) -> str:
    rates = ", ".join(
        f"{name} {100 * rate:.0f} % of {found.scenes} scenes by {seeds} checkpoint{'s' if seeds > 1 else ''}"
        for name, rate, seeds in zip((found.first, found.second), found.rates, found.seeds, strict=True)
    )
    return (
        f"{rates}: {points(found.difference)} points, {100 * (1 - ALPHA):g} % interval {span(found.interval)} points "
        f"(p = {found.p_value:.2g}; {found.method})."
    )


def _student_p(difference: float, error: float, freedom: int) -> float:
    if error <= 0:
        return 0.0 if difference else 1.0
    return float(2 * special.stdtr(freedom, -abs(difference) / error))


def _detectable(error: float, freedom: int) -> float | None:
    """(t_alpha/2 + t_power) standard errors: the textbook's minimal detectable difference; None above 1."""
    found = error * float(special.stdtrit(freedom, 1 - ALPHA / 2) + special.stdtrit(freedom, POWER))
    return found if 0 < found <= 1 else None


class Rate(NamedTuple):
    """An arm's success rate in a cell."""

    rate: float
    interval: Interval
    successes: int
    episodes: int
    by_seed: tuple[tuple[int, int], ...]
    """Successes and episodes of each policy."""


def rate_of(outcomes: Outcomes) -> Rate | None:
    """With Wilson's interval for one checkpoint; for several the bootstrap over seeds and scenes, or Wilson's of all
    episodes together where that is wider."""
    success = outcomes.success_SN
    if not success.size:
        return None
    counts = tuple((int(row.sum()), len(row)) for row in success)
    total = int(success.sum())
    if len(success) == 1:
        interval = wilson(total, success.size)
    else:
        low, high = cluster_bootstrap(success, np.zeros_like(success), seeds_are_paired=True).interval
        one = wilson(total, success.size)  # where all agree, resampling them shows nothing
        interval = Interval(max(0.0, min(low, one.low)), min(1.0, max(high, one.high)))
    return Rate(float(success.mean()), interval, total, success.size, counts)


def e_path_of(table: Table, first: Arm, second: Arm, cell: Cell) -> tuple[list[int], FloatArray] | None:
    """Natural logarithm of the e-value after each common scene, in the scenes' order, and these scenes.

    Of a scene the difference of the two sides' mean success counts: with one checkpoint each it is 1, 0 or -1, and
    this is `statistics.e_path`.
    """
    a, b = table.outcomes(first, cell), table.outcomes(second, cell)
    if not (scenes := common_scenes(a, b)):
        return None
    halved = (1 + a.on(scenes).mean(axis=0) - b.on(scenes).mean(axis=0)) / 2
    values, which = np.unique(halved, return_inverse=True)
    seen = np.zeros((len(scenes), len(values)))
    seen[np.arange(len(scenes)), which] = 1
    return scenes, log_e_mean(values, np.cumsum(seen, axis=0), 0.5)


def are_different(decided: dict[tuple[str, str], bool]) -> Callable[[str, str], bool]:
    """For `compact_letters`, of decisions by pair of names in either order."""
    return lambda a, b: decided.get((a, b), False) or decided.get((b, a), False)
