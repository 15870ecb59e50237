"""A mean that was measured a few times, made surer by a prediction that is had many times: prediction-powered
inference.

Here the mean is that of the real differences of two policies on some starts, and the prediction is the difference that
the simulation gives: on the same starts (paired), and on many others. Where the simulation says how hard a start is,
its part of the luck is taken out. What it has wrong on average, it has wrong on both and cancels: the estimate is of
the real mean whether the simulation is right or not.

    theta = mean(d) - lam (mean(f) - mean(F))        d real, f simulated on the same starts, F on others
    lam   = Cov(d, f) / (Var(f) (1 + n / N)), from 0 to 1: how far the simulation is believed (0 gives the plain mean)

Source: Angelopoulos, Duchi and Zrnic, PPI++: Efficient prediction-powered inference, 2023, section 6.1. Of our own:
Student's quantile in place of the normal one, a degree of freedom less for lam, and its own spread of F. With these
the interval holds what it says from some 12 starts on (`python -m experiments.null_powered`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from so101_eval.statistics.checks import ALPHA, FloatArray, StatisticsError, check_finite
from so101_eval.statistics.intervals import Interval

FEWEST = 6
"""Paired starts: with fewer, how far the simulation is to be believed is not known."""


class Powered(NamedTuple):
    """A mean with and without the prediction."""

    estimate: float
    interval: Interval
    lam: float
    """How far the prediction is believed, 0 to 1."""
    correlation: float
    """Of measured and predicted on the same starts."""
    plain: float
    """The mean of what was measured, and nothing else."""
    plain_interval: Interval
    """By Student's quantile as well, so the two intervals can be compared."""
    paired: int
    further: int

    @property
    def worth(self) -> float:
        """So many times as many paired starts would make the plain interval as narrow."""
        own, plain = (
            self.interval.high - self.interval.low,
            self.plain_interval.high - self.plain_interval.low,
        )
        return (plain / own) ** 2 if own > 0 else 1.0


def prediction_powered(
    measured: Sequence[float] | FloatArray,
    predicted: Sequence[float] | FloatArray,
    further: Sequence[float] | FloatArray,
    alpha: float = ALPHA,
) -> Powered:
    """The mean of `measured` (n,), by `predicted` (n,) for the same and `further` (N,) predictions for others.

    Raises:
        StatisticsError: fewer than `FEWEST` pairs or than 2 further ones, lengths that differ, or measured values that
            are all the same: then nothing says how far they vary.
    """
    d, f = check_finite("measured", measured, FEWEST), check_finite("predicted", predicted, FEWEST)
    F = check_finite("further predictions", further, 2)
    if len(d) != len(f):
        raise StatisticsError(f"{len(d)} measured and {len(f)} predicted: expected as many of each")
    if np.ptp(d) == 0:
        raise StatisticsError(f"all {len(d)} measured values are {d[0]:g}: nothing says how far they vary")
    n, N = len(d), len(F)
    both = np.cov(d, f, ddof=1)
    spread = float(np.var(np.concatenate((f, F)), ddof=1))
    lam = 0.0 if spread == 0 else float(np.clip(both[0, 1] / spread / (1 + n / N), 0.0, 1.0))
    rest = d - lam * f
    used = 2 if lam > 0 else 1
    error = math.sqrt(
        float(((rest - rest.mean()) ** 2).sum()) / (n - used) / n + lam**2 * float(np.var(F, ddof=1)) / N
    )
    estimate = float(rest.mean() + lam * F.mean())
    reach = -float(special.stdtrit(n - used, alpha / 2)) * error
    plain_reach = -float(special.stdtrit(n - 1, alpha / 2)) * math.sqrt(both[0, 0] / n)
    correlation = float(both[0, 1] / math.sqrt(both[0, 0] * both[1, 1])) if both[1, 1] > 0 else 0.0
    mean = float(d.mean())
    return Powered(
        estimate,
        Interval(estimate - reach, estimate + reach),
        lam,
        correlation,
        mean,
        Interval(mean - plain_reach, mean + plain_reach),
        n,
        N,
    )
