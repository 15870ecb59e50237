"""How many blocks to plan, by playing the rule itself on simulated studies.

A simulated study has a worse policy that succeeds in `base` of its trials, a better one that is `difference` above, and
scenes that are harder or easier for both (`phi` is the correlation that this gives). Stage credit is simulated as the
share of stages that are reached one after the other, each with the same probability.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.score.record import MILESTONES
from so101_eval.real_study.rule.rule import decide, log_e_path
from so101_eval.statistics import ALPHA, POWER, discordance, largest_phi

BASE, PHI = 0.5, 0.3
"""Where nothing is known: the rate at which a difference is hardest to see; the latter as in `so101-eval plan`."""
STUDIES = 400
"""Simulated studies for a proposal: power to within 4 points."""
COINS = 1000
"""Coin sequences of the planned test in a simulated study of stage credit."""
TRIED = (6, 8, 10, 12, 16, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200)
"""Numbers of blocks that are proposed."""

Primary = Literal["success", "credit"]


class Planned(NamedTuple):
    """A number of blocks, and what it finds."""

    blocks: int
    power: float
    """For the difference that was asked for."""
    mean_blocks: float
    """That such a study takes."""


def power_of(
    blocks: int,
    difference: float,
    primary: Primary = "success",
    *,
    policies: int = 2,
    base: float = BASE,
    phi: float = PHI,
    alpha: float = ALPHA,
    studies: int = STUDIES,
    seed: int = 0,
) -> Planned:
    """Share of simulated studies in which the last policy, the one that is better, is found better."""
    random, found, used = np.random.default_rng((seed, blocks)), 0, 0
    for outcomes in simulate(random, studies, blocks, difference, primary, policies, base, phi):
        number = stops_at(outcomes, alpha)
        used += number
        x = outcomes[:number, -1] - outcomes[:number, 0]
        found += decide(x, blocks, alpha / (policies - 1), COINS).verdict == "better"
    return Planned(blocks, found / studies, used / studies)


def propose(
    difference: float, primary: Primary = "success", policies: int = 2, alpha: float = ALPHA
) -> Planned:
    """The fewest blocks of `TRIED` that find the difference with the usual power, else the most."""
    low, high = 0, len(TRIED) - 1
    while low < high:  # power grows with the number of blocks
        middle = (low + high) // 2
        if power_of(TRIED[middle], difference, primary, policies=policies, alpha=alpha).power >= POWER:
            high = middle
        else:
            low = middle + 1
    return power_of(TRIED[low], difference, primary, policies=policies, alpha=alpha)


def detectable(
    blocks: int, primary: Primary = "success", policies: int = 2, alpha: float = ALPHA
) -> float | None:
    """The smallest of 15, 20, 25, ... 50 points that so many blocks find with the usual power; None: not even that."""
    steps = [points / 100 for points in range(15, 51, 5)]
    return next(
        (d for d in steps if power_of(blocks, d, primary, policies=policies, alpha=alpha).power >= POWER),
        None,
    )


def stops_at(outcomes: NDArray[np.float64], alpha: float) -> int:
    """Blocks after which a study (blocks, policies) ends: all decided by the e-value, or all blocks played."""
    x = (outcomes[:, 1:] - outcomes[:, :1]).T
    crossed = np.logical_or.accumulate(log_e_path(x) >= np.log(len(x) / alpha), axis=1).all(axis=0)
    return int(np.argmax(crossed)) + 1 if crossed.any() else len(outcomes)


def simulate(
    random: np.random.Generator,
    studies: int,
    blocks: int,
    difference: float,
    primary: Primary,
    policies: int,
    base: float,
    phi: float,
) -> Iterable[NDArray[np.float64]]:
    """Studies (blocks, policies) of outcomes, 0 to 1; the last one is better by `difference`, the others are alike."""
    top = min(base + difference, 1.0)
    if primary == "success":
        only_better, only_worse = discordance(top, base, min(phi, largest_phi(top, base)))
        for _ in range(studies):
            worse = (random.random((blocks, policies)) < base).astype(float)
            scene = random.random(blocks)
            # of the pair (first, last): both, only the last, only the first, neither
            both = base - only_worse
            worse[:, 0] = (scene < both) | (
                (scene >= both + only_better) & (scene < both + only_better + only_worse)
            )
            worse[:, -1] = scene < both + only_better
            yield worse
        return
    stages = len(MILESTONES)
    rates = np.full(policies, base)
    rates[-1] = top
    steps = rates ** (1 / stages)  # all stages in a row are a success
    for _ in range(studies):
        passed = random.random((blocks, policies, stages)) < steps[None, :, None]
        yield np.logical_and.accumulate(passed, axis=2).mean(axis=2)
