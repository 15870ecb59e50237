"""Studies of so101-bench, simulated with their whole rule: how often is one of equal policies called better, and how
often is a better one found?

    python -m experiments.null_studies            the tables of docs/compare_on_your_arm.md, some minutes
    python -m experiments.null_studies --studies 50

A simulated evening is unkind: scenes differ, the second trial of a block is easier than the first (boxes are warm, the
operator has learned), the arm gets worse from trial to trial, and the operator voids one failure in five, and no
success, so that the block is queued again. The order in each block is drawn, as in a study.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.real_study.rule.planning import COINS, Primary, power_of, stops_at
from so101_eval.real_study.rule.rule import decide
from so101_eval.statistics import ALPHA, wilson

STAGES = 7
SLOT, DRIFT, VOID = 0.08, -0.15, 0.2
"""Easier by so much in each later place of a block; harder over the whole evening; failures that are voided."""
SPREAD = 0.25
"""Standard deviation of a scene's own success rate."""
BLOCKS, POLICIES = (12, 20, 40), (2, 4)
POINTS = (15, 25, 40, 50)
POWER_BLOCKS = (12, 20, 30, 40, 60, 100)


class Found(NamedTuple):
    """Of many studies with equal policies."""

    better: int
    worse: int
    blocks: float
    """Played on average, voided ones left out."""


def study(random: np.random.Generator, blocks: int, policies: int, primary: Primary) -> NDArray[np.float64]:
    """(blocks, policies) outcomes of equal policies on an unkind evening, in the order in which blocks are complete."""
    rows: list[NDArray[np.float64]] = []
    played, last = 0, 3 * blocks * policies
    while len(rows) < blocks and played < last:
        scene, order = random.normal(0.5, SPREAD), random.permutation(policies)
        row, void = np.zeros(policies), False
        for slot, policy in enumerate(order):
            rate = float(np.clip(scene + SLOT * slot + DRIFT * played / (blocks * policies), 0.02, 0.98))
            played += 1
            passed = random.random(STAGES) < rate ** (1 / STAGES)
            success = bool(passed.all())
            row[policy] = float(success) if primary == "success" else np.logical_and.accumulate(passed).mean()
            void = void or (not success and random.random() < VOID)
            if void:
                break
        if not void:
            rows.append(row)
    return np.array(rows)


def null(studies: int, blocks: int, policies: int, primary: Primary) -> Found:
    """Studies in which some policy is called better, or worse, than the first."""
    random, better, worse, used = np.random.default_rng((blocks, policies)), 0, 0, 0
    level = ALPHA / (policies - 1)
    for _ in range(studies):
        table = study(random, blocks, policies, primary)
        end = stops_at(table, ALPHA) if len(table) else 0
        used += end
        verdicts = [
            decide(table[:end, k] - table[:end, 0], blocks, level, COINS).verdict for k in range(1, policies)
        ]
        better += "better" in verdicts
        worse += "worse" in verdicts
    return Found(better, worse, used / studies)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=500)
    studies = parser.parse_args(arguments).studies
    print(f"| equal policies, {studies} studies each | blocks | false better | false worse | blocks played |")
    print("|---|---|---|---|---|")
    for primary in ("success", "credit"):
        for policies in POLICIES:
            for blocks in BLOCKS:
                found = null(studies, blocks, policies, primary)
                low, high = wilson(found.better, studies)
                shares = f"{found.better / studies:.1%} [{low:.1%}, {high:.1%}] | {found.worse / studies:.1%}"
                print(f"| {primary}, k = {policies} | {blocks} | {shares} | {found.blocks:.1f} |", flush=True)
    print("\n| found better, k = 2, from 50 % | " + " | ".join(f"{n} blocks" for n in POWER_BLOCKS) + " |")
    print("|---|" + "---|" * len(POWER_BLOCKS))
    for primary in ("success", "credit"):
        for points in POINTS:
            powers = [power_of(n, points / 100, primary, studies=studies).power for n in POWER_BLOCKS]
            print(
                f"| {primary}, {points} points | " + " | ".join(f"{p:.0%}" for p in powers) + " |", flush=True
            )


if __name__ == "__main__":
    main()
