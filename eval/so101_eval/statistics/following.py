"""How far one thing follows another in the plane: the hand a box that lies elsewhere.

A policy that looks puts its hand where the box is; one that has learned a motion by heart closes in the middle of where
boxes were in its demonstrations. The number is a slope times 30 mm: how far the hand goes after a box that starts 30 mm
elsewhere. 30 is all the way, 0 is not at all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from so101_eval.statistics.checks import ALPHA, FloatArray
from so101_eval.statistics.intervals import Interval

ASKED_M = 0.030
"""What the number is told for: a hand's breadth from where demonstrations were."""
FEWEST, LEAST_SPREAD_M = 6, 0.008
"""Trials, and standard deviation of where their boxes lay: with less, following cannot be told from standing."""
DRAWS, SEED = 4000, 20261130


class Following(NamedTuple):
    """How far the hand follows a box that starts 30 mm elsewhere."""

    trials: int
    follows_mm: float | None
    interval: Interval | None
    """By bootstrap over trials [mm]."""
    why_not: str = ""

    def __str__(self) -> str:
        if self.follows_mm is None or self.interval is None:
            return f"not known how far the hand follows the box: {self.why_not}"
        low, high = self.interval
        return (
            f"the hand follows a box that starts {1000 * ASKED_M:.0f} mm elsewhere by {self.follows_mm:.0f} mm, "
            f"95 % interval {low:.0f} to {high:.0f}, {self.trials} trials"
        )


def following(
    boxes_m: Sequence[tuple[float, float]], hands_m: Sequence[tuple[float, float]], alpha: float = ALPHA
) -> Following:
    """From where the box lay and where the hand closed, trial by trial [m].

    The slope of one on the other by least squares, both in the plane and about their means, times 30 mm. The boxes' own
    error of 1 mm makes it too small by (1 / spread)^2, less than 1 % for a spread of 10 mm.
    """
    box, hand = np.array(boxes_m, float).reshape(-1, 2), np.array(hands_m, float).reshape(-1, 2)
    if len(box) < FEWEST:
        return Following(
            len(box), None, None, f"the hand closed in {len(box)} trials, at least {FEWEST} are needed"
        )
    spread_m = float(np.sqrt(((box - box.mean(0)) ** 2).sum(1).mean()))
    if spread_m < LEAST_SPREAD_M:
        why = (
            f"boxes lay within {1000 * spread_m:.0f} mm of each other, {1000 * LEAST_SPREAD_M:.0f} are needed"
        )
        return Following(len(box), None, None, why)
    chosen = np.random.default_rng(SEED).integers(len(box), size=(DRAWS, len(box)))
    slopes = _slope(box[chosen], hand[chosen])
    low, high = np.nanquantile(slopes, (alpha / 2, 1 - alpha / 2)).tolist()
    mm = 1000 * ASKED_M
    return Following(len(box), mm * float(_slope(box[None], hand[None])[0]), Interval(mm * low, mm * high))


def _slope(box: FloatArray, hand: FloatArray) -> FloatArray:
    """(...) of (..., n, 2)."""
    b, h = box - box.mean(-2, keepdims=True), hand - hand.mean(-2, keepdims=True)
    size = (b * b).sum((-1, -2))
    return np.divide((b * h).sum((-1, -2)), size, out=np.full(size.shape, np.nan), where=size > 0)
