"""Do the procedures keep what they promise? False alarms where there is nothing to find, coverage over a grid.

python -m experiments.null_simulations
python -m experiments.null_simulations --repetitions 1000 --seed 1

Prints Markdown. False alarms are simulated, with both directions counted: studies of two equally good policies, up to
100 pairs, watched after every pair where it says so. Coverage of intervals from counts is not simulated but summed
over all outcomes, so it is exact at every point of the grid. All of it takes half a minute of one core.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.errors import EvalError
from so101_eval.statistics.checks import ALPHA, BoolArray, FloatArray, check_count
from so101_eval.statistics.intervals import Interval, clopper_pearson, jeffreys, wilson
from so101_eval.statistics.paired import Pairs, mcnemar_exact_table, newcombe_paired, tango
from so101_eval.statistics.power import binomial_pmf, discordance
from so101_eval.statistics.rates import garwood
from so101_eval.statistics.resampling import cluster_bootstrap, permutation_test, sign_flip_test
from so101_eval.statistics.sequential import log_e_mean, log_e_two_samples, log_e_value
from so101_eval.statistics.unpaired import barnard_table, newcombe

REPETITIONS = 10_000
SEED = 20260
PAIRS = 100
SHARED = 0.6
"""Share of scenes whose difficulty decides alone, in the correlated setting of the protocol."""
RATES = (0.5, 0.8)
PARTIAL_CREDIT = 7
"""Milestones of a box: partial credit comes in sevenths."""
GRID = np.arange(0.01, 1.0, 0.01)
TENTHS = [tenth / 10 for tenth in range(1, 10)]
LIMIT = -math.log(ALPHA)
BATCH = 500
"""Studies at once where every one of them needs a table of bets."""


class Alarms(NamedTuple):
    """How often a rule declares a difference that is not there."""

    rule: str
    setting: str
    share: float
    repetitions: int


class Coverage(NamedTuple):
    """How often an interval holds the truth, over a grid of truths."""

    interval: str
    episodes: str
    least: float
    mean: float


def false_alarms(repetitions: int = REPETITIONS, seed: int = SEED) -> list[Alarms]:
    """Of every rule that decides from success alone."""
    rng = np.random.default_rng(seed)
    rows: list[Alarms] = []
    for rate in RATES:
        for shared in (0.0, SHARED):
            first, second = outcomes(rng, rate, shared, repetitions)
            setting = f"both succeed {rate:.0%}, " + (
                f"{shared:.0%} of scenes decide" if shared else "independent"
            )
            for rule, alarm in _rules(first, second).items():
                rows.append(Alarms(rule, setting, float(alarm.mean()), repetitions))
    return sorted(rows, key=lambda row: row.rule)


def outcomes(
    rng: np.random.Generator, rate: float, shared: float, repetitions: int
) -> tuple[BoolArray, BoolArray]:
    """[repetitions, PAIRS] successes of two equally good policies; on a share of scenes both have the same luck."""
    first, second = rng.random((2, repetitions, PAIRS))
    second = np.where(rng.random(first.shape) < shared, first, second)
    return first < rate, second < rate


def sequence_misses(repetitions: int = REPETITIONS, seed: int = SEED) -> list[Alarms]:
    """How often the confidence sequence of a mean ever leaves the truth out, watched after every pair."""
    rng = np.random.default_rng(seed)
    shape = (repetitions, PAIRS)
    score = rng.binomial(PARTIAL_CREDIT, 0.6, shape) / PARTIAL_CREDIT
    other = rng.binomial(PARTIAL_CREDIT, rng.beta(2, 2, shape)) / PARTIAL_CREDIT
    settings = {
        "success of 80 %": ((rng.random(shape) < 0.8).astype(float), 0.8),
        "difference of success, 75 % - 60 %": (_ternary(rng, shape, 0.75, 0.6), (1 + 0.15) / 2),
        "difference of partial credit, 0.6 - 0.5": ((1 + score - other) / 2, (1 + 0.1) / 2),
    }
    return [
        Alarms("confidence sequence", name, float(_ever_out(values, mean).mean()), repetitions)
        for name, (values, mean) in settings.items()
    ]


def permutation_alarms(repetitions: int = REPETITIONS, seed: int = SEED) -> list[Alarms]:
    """Of the tests over five (paired: six) training seeds."""
    rng = np.random.default_rng(seed)
    group = [permutation_test(*rng.normal(size=(2, 5))) <= ALPHA for _ in range(repetitions)]
    flips = [sign_flip_test(rng.normal(size=6)) <= ALPHA for _ in range(repetitions)]
    return [
        Alarms("permutation test", "5 seeds against 5", float(np.mean(group)), repetitions),
        Alarms("sign-flip test", "6 pairs of seeds", float(np.mean(flips)), repetitions),
    ]


def rate_coverages(trials: Sequence[int] = (10, 20, 50, 100, 200)) -> list[Coverage]:
    """Of the intervals for one success rate, over rates from 0.01 to 0.99."""
    rows: list[Coverage] = []
    for interval in (wilson, clopper_pearson, jeffreys):
        for n in trials:
            low, high = np.array([interval(k, n) for k in range(n + 1)]).T
            covered = [float(binomial_pmf(n, p)[(low <= p) & (p <= high)].sum()) for p in GRID.tolist()]
            rows.append(_summary(interval.__name__, str(n), covered))
    return rows


def paired_coverages(pairs: Sequence[int] = (20, 50)) -> list[Coverage]:
    """Of the intervals for a paired difference, over success rates 0.1 to 0.9 and correlations 0, 0.3, 0.6."""
    rows: list[Coverage] = []
    for n in pairs:
        tables = np.array([(n - w - l - d, w, l, d) for w, l, d in _compositions(n)])  # noqa: E741
        log_count = special.gammaln(n + 1) - special.gammaln(tables + 1).sum(axis=1)
        by_discordant = {(w, l): tango(w, l, n) for w, l in {(int(t[1]), int(t[2])) for t in tables}}  # noqa: E741
        ends = {
            "Tango": [by_discordant[int(t[1]), int(t[2])] for t in tables],
            "Newcombe, paired": [newcombe_paired(Pairs(*map(int, t))) for t in tables],
        }
        cells = list(_paired_grid())
        pmf = [np.exp(log_count + special.xlogy(tables, cell).sum(axis=1)) for cell in cells]
        for name, intervals in ends.items():
            rows.append(_summary(name, f"{n} pairs", _covered(intervals, pmf, [c[1] - c[2] for c in cells])))
    return rows


def unpaired_coverages(trials: Sequence[int] = (20, 50, 100)) -> list[Coverage]:
    """Of Newcombe's interval for a difference of two rates, each 0.1 to 0.9."""
    rows: list[Coverage] = []
    for n in trials:
        intervals = [newcombe((x, n), (y, n)) for x in range(n + 1) for y in range(n + 1)]
        rates = [(p, q) for p in TENTHS for q in TENTHS]
        pmf = [
            np.asarray(np.outer(binomial_pmf(n, p), binomial_pmf(n, q)).ravel(), dtype=np.float64)
            for p, q in rates
        ]
        rows.append(
            _summary("Newcombe, separate", f"{n} each", _covered(intervals, pmf, [p - q for p, q in rates]))
        )
    return rows


def garwood_coverages(expected: float = 20.0) -> list[Coverage]:
    """Of the interval for a Poisson rate, over expected counts from 0.1 to `expected`."""
    counts = np.arange(200)
    low, high = np.array([garwood(int(k), 1.0) for k in counts]).T
    covered: list[float] = []
    for mean in np.arange(0.1, expected, 0.1):
        pmf = np.exp(special.xlogy(counts, mean) - mean - special.gammaln(counts + 1))
        covered.append(float(pmf[(low <= mean) & (mean <= high)].sum()))
    return [_summary("Garwood", f"0.1 to {expected:g} events expected", covered)]


def bootstrap_coverages(
    seeds: Sequence[int] = (3, 5, 8), repetitions: int = 1000, seed: int = SEED
) -> list[Coverage]:
    """Of the cluster bootstrap, simulated: success of a run varies by 10 points, that of a scene by 20."""
    rng = np.random.default_rng(seed)
    rows: list[Coverage] = []
    for count in seeds:
        held: list[bool] = []
        for repetition in range(repetitions):
            scene = rng.normal(0, 0.2, 100)
            arms = [rng.random((count, 100)) < 0.6 + rng.normal(0, 0.1, (count, 1)) + scene for _ in range(2)]
            found = cluster_bootstrap(
                arms[0].astype(np.float64), arms[1].astype(np.float64), resamples=1000, seed=repetition
            )
            held.append(found.interval.covers(0.0))
        rows.append(_summary("cluster bootstrap", f"{count} + {count} seeds, 100 scenes", held))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints everything as Markdown; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.null_simulations",
        description="False alarms and coverages of the statistics, as Markdown.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--repetitions", type=int, default=REPETITIONS, help="studies a row (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        check_count("--repetitions", options.repetitions, least=1)
    except EvalError as error:
        print(f"null_simulations: {error}", file=sys.stderr)
        return 2
    print(f"False alarms at alpha {ALPHA:g}, up to {PAIRS} pairs, seed {options.seed}\n")
    print("| rule | setting | false alarms | studies |\n|---|---|---:|---:|")
    for simulate in (false_alarms, sequence_misses, permutation_alarms):
        for row in simulate(options.repetitions, options.seed):
            print(f"| {row.rule} | {row.setting} | {row.share:.2%} | {row.repetitions} |", flush=True)
    print(
        f"\nCoverage of {1 - ALPHA:.0%} intervals\n\n| interval | episodes | least | mean |\n|---|---|---:|---:|"
    )
    few = min(1000, options.repetitions)
    for cover in (rate_coverages, paired_coverages, unpaired_coverages, garwood_coverages):
        _print_coverages(cover())
    _print_coverages(bootstrap_coverages(repetitions=few, seed=options.seed))
    return 0


def _print_coverages(rows: Sequence[Coverage]) -> None:
    for row in rows:
        print(f"| {row.interval} | {row.episodes} | {row.least:.1%} | {row.mean:.1%} |", flush=True)


def _rules(first: BoolArray, second: BoolArray) -> dict[str, BoolArray]:
    """Whether each study [repetitions] ended with a winner, by rule."""
    wins = np.cumsum(first & ~second, axis=1, dtype=np.int64)
    losses = np.cumsum(second & ~first, axis=1, dtype=np.int64)
    rejects = mcnemar_exact_table(wins, losses) <= ALPHA
    separate = barnard_table(PAIRS, PAIRS)[first.sum(axis=1), second.sum(axis=1)] <= ALPHA
    two_samples = log_e_two_samples(first.astype(np.float64), second.astype(np.float64))
    return {
        "e-value, every pair": np.any(log_e_value(wins, losses) >= LIMIT, axis=1),
        "exact McNemar, every pair": np.any(rejects, axis=1),
        "exact McNemar, every 10 pairs": np.any(rejects[:, 9::10], axis=1),
        "exact McNemar, once": rejects[:, -1],
        "Barnard, once": separate,
        "two-sample e-value, every pair": np.any(two_samples >= LIMIT, axis=1),
    }


def _ternary(rng: np.random.Generator, shape: tuple[int, int], first: float, second: float) -> FloatArray:
    """(1 + difference) / 2 of the outcomes of two policies on common scenes."""
    only_first, only_second = discordance(first, second, 0.3)
    return rng.choice([1.0, 0.0, 0.5], shape, p=[only_first, only_second, 1 - only_first - only_second])


def _ever_out(values: FloatArray, mean: float) -> BoolArray:
    """Whether the mean was left out after any outcome, by study."""
    levels = np.unique(values)
    out: list[BoolArray] = []
    for batch in np.array_split(values, max(1, len(values) // BATCH)):
        counts = np.cumsum(batch[:, :, None] == levels, axis=1, dtype=np.float64)
        rows = counts.reshape(-1, len(levels))
        is_out = (log_e_mean(levels, rows, mean) >= LIMIT).reshape(counts.shape[:2])
        out.append(np.any(is_out, axis=1))
    return np.concatenate(out)


def _compositions(total: int) -> list[tuple[int, int, int]]:
    """Three counts of which the sum is at most the total."""
    return [
        (a, b, c) for a in range(total + 1) for b in range(total + 1 - a) for c in range(total + 1 - a - b)
    ]


def _paired_grid() -> list[tuple[float, float, float, float]]:
    """Probabilities of both, first only, second only, neither."""
    cells: list[tuple[float, float, float, float]] = []
    for p in TENTHS:
        for q in TENTHS:
            for phi in (0.0, 0.3, 0.6):
                try:
                    first_only, second_only = discordance(p, q, phi)
                except EvalError:
                    continue  # no two such policies
                cells.append((p - first_only, first_only, second_only, max(0.0, 1 - q - first_only)))
    return cells


def _covered(
    intervals: Sequence[Interval], pmf: Sequence[FloatArray], truths: Sequence[float], rounding: float = 1e-12
) -> list[float]:
    low, high = np.array(intervals).T
    return [
        float(row[(low - rounding <= truth) & (truth <= high + rounding)].sum())
        for row, truth in zip(pmf, truths, strict=True)
    ]


def _summary(name: str, episodes: str, covered: Sequence[float]) -> Coverage:
    """The least of one simulated point is its mean."""
    mean = float(np.mean(covered))
    is_simulated = all(isinstance(value, bool) for value in covered)
    return Coverage(name, episodes, mean if is_simulated else float(np.min(covered)), mean)


if __name__ == "__main__":
    sys.exit(main())
