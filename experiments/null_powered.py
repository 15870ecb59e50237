"""Does the prediction-powered interval of so101-eval report hold what it promises, and how many blocks does it save?

    python -m experiments.null_powered                    the tables of docs/compare_on_your_arm.md, half a minute
    python -m experiments.null_powered --repetitions 200

A made-up world: a start decides alone, for a policy on the arm and in the simulation alike, in a share of trials; in
the others both are luck of their own. On top of it the simulation is wrong: it succeeds in some of the trials in which
it should not. The correlation of the two policies' difference on the arm and in the simulation is measured and printed.
Each study has its blocks on the arm, the same starts in the simulation, and `FURTHER` more starts there.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.real_study.rule.planning import Primary
from so101_eval.statistics import StatisticsError, prediction_powered, wilson

STAGES = 7
FURTHER, BASE, WRONG = 200, 0.5, 0.2
"""Starts that only the simulation plays; success of the worse policy; failures that the simulation calls a success."""
SHARES = (0.0, 0.3, 0.6, 0.9)
BLOCKS, POINTS = (12, 20, 30, 40, 60), (15, 25, 40)

Array = NDArray[np.float64]


class World(NamedTuple):
    """One study: differences of the better policy to the worse one."""

    arm: Array
    """(n,)"""
    paired: Array
    """(n,) of the simulation on the same starts."""
    further: Array
    """(FURTHER,) of the simulation on others."""


def world(
    random: np.random.Generator, blocks: int, difference: float, share: float, primary: Primary
) -> World:
    """Outcomes of two policies on `blocks` starts, and in the simulation on these and on more."""
    count, rates = blocks + FURTHER, np.array((BASE, BASE + difference))
    arm = _outcomes(random, rates, count, primary)
    own = _outcomes(random, rates, count, primary)
    model = np.where(random.random((count, 2)) < share, arm, own)
    model = np.where(random.random((count, 2)) < WRONG, 1.0, model)
    d, f = arm[:, 1] - arm[:, 0], model[:, 1] - model[:, 0]
    return World(d[:blocks], f[:blocks], f[blocks:])


def _outcomes(random: np.random.Generator, rates: Array, count: int, primary: Primary) -> Array:
    """(count, 2) from 0 to 1: success, or stages passed one after the other."""
    if primary == "success":
        return (random.random((count, 2)) < rates).astype(float)
    passed = random.random((count, 2, STAGES)) < (rates ** (1 / STAGES))[:, None]
    return np.logical_and.accumulate(passed, axis=2).mean(axis=2)


class Found(NamedTuple):
    """Of many studies: shares of intervals that leave out the number asked about."""

    plain: float
    powered: float
    worth: float
    """Blocks of the arm that the simulation is worth, median, in blocks played."""


def studies(
    repetitions: int, blocks: int, difference: float, share: float, primary: Primary, asked: float
) -> Found:
    """How often the intervals leave out `asked`; where all outcomes are alike there is no interval to do so."""
    random = np.random.default_rng((blocks, round(1000 * difference), round(1000 * share), len(primary)))
    plain = powered = 0
    worth: list[float] = []
    for _ in range(repetitions):
        try:
            found = prediction_powered(*world(random, blocks, difference, share, primary))
        except StatisticsError:
            continue
        plain += not found.plain_interval.low <= asked <= found.plain_interval.high
        powered += not found.interval.low <= asked <= found.interval.high
        worth.append(found.worth)
    return Found(plain / repetitions, powered / repetitions, float(np.median(worth)))


def truth(difference: float, primary: Primary) -> float:
    """Of the mean difference of outcomes: with stage credit it is not that of success."""
    if primary == "success":
        return difference
    steps = [rate ** (1 / STAGES) for rate in (BASE, BASE + difference)]
    credit = [sum(step**k for k in range(1, STAGES + 1)) / STAGES for step in steps]
    return credit[1] - credit[0]


def correlation(share: float, primary: Primary) -> float:
    """Of the difference on the arm and in the simulation, with 25 points."""
    found = world(np.random.default_rng(1), 200_000, 0.25, share, primary)
    return float(np.corrcoef(found.arm, found.paired)[0, 1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args(arguments).repetitions
    names = " | ".join(f"shared {share:.0%} (r = {correlation(share, 'success'):.2f})" for share in SHARES)
    print(f"| the interval misses the truth, {repetitions} studies each | blocks | the arm alone | {names} |")
    print("|---|---|---|" + "---|" * len(SHARES))
    for primary in ("success", "credit"):
        for points in (0, 25):
            for blocks in BLOCKS[:4]:
                asked = truth(points / 100, primary)
                found = [
                    studies(repetitions, blocks, points / 100, share, primary, asked) for share in SHARES
                ]
                missed = " | ".join(_share(one.powered, repetitions) for one in found)
                alone = _share(found[0].plain, repetitions)
                print(f"| {primary}, {points} points | {blocks} | {alone} | {missed} |", flush=True)
    print(f"\n| difference found | blocks | the arm alone | {names} | worth of the last |")
    print("|---|---|---|" + "---|" * len(SHARES) + "---|")
    for primary in ("success", "credit"):
        for points in POINTS:
            for blocks in BLOCKS:
                found = [studies(repetitions, blocks, points / 100, share, primary, 0.0) for share in SHARES]
                powers = " | ".join(f"{one.powered:.0%}" for one in found)
                print(
                    f"| {primary}, {points} points | {blocks} | {found[0].plain:.0%} | {powers} | "
                    f"{found[-1].worth:.1f} times |",
                    flush=True,
                )


def _share(share: float, of: int) -> str:
    low, high = wilson(round(share * of), of)
    return f"{share:.1%} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    main()
