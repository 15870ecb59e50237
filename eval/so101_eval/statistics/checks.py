"""Numbers that cannot be are refused here, with one message that says what was asked and what is possible."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from so101_eval.errors import EvalError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ALPHA = 0.05
"""Intervals hold 1 - alpha, tests are wrong at most this often; the convention of the field."""
POWER = 0.8
"""How often a planned comparison shall find what is there; the convention of the field."""


MOST = 1_000_000
"""Of anything that is counted: sums over all outcomes take seconds for so many, and memory that grows with them."""
LEAST = 1e-12
"""Of alpha and power, and of what they leave to 1."""


class StatisticsError(EvalError, ValueError):
    """Counts, probabilities or tables that cannot exist."""


def check_share(successes: int, trials: int) -> None:
    """Raises StatisticsError unless 0 <= successes <= trials, both whole numbers."""
    if not 0 <= successes <= trials:
        raise StatisticsError(
            f"{successes}/{trials}: successes are from 0 to the number of trials, which is 0 or more"
        )
    check_count("trials", trials)
    check_count("successes", successes)


def check_count(name: str, count: int, least: int = 0) -> None:
    """Raises StatisticsError for fewer than the least possible, more than `MOST`, and what is no whole number."""
    if not count >= least:
        raise StatisticsError(f"{name} {count}: expected {least} or more")
    if count > MOST:
        raise StatisticsError(f"{name} {count:.4g}: expected at most {MOST}")
    if count % 1:
        raise StatisticsError(f"{name} {count}: expected a whole number")


def check_open(name: str, value: float) -> None:
    """Raises StatisticsError unless 0 < value < 1, and not beyond what quantiles can tell from 0 and 1."""
    if not LEAST <= value <= 1 - LEAST:
        raise StatisticsError(
            f"{name} {value:g}: expected a number between 0 and 1, both excluded ({LEAST:g} is the least)"
        )


def check_probability(name: str, value: float) -> None:
    """Raises StatisticsError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise StatisticsError(f"{name} {value:g}: a probability is from 0 to 1")


def check_finite(name: str, values: Sequence[float] | FloatArray, least: int = 1) -> FloatArray:
    """As one row of numbers. Raises StatisticsError where some are not finite or there are too few."""
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or len(row) < least:
        raise StatisticsError(f"{name}: expected one row of {least} or more numbers, found shape {row.shape}")
    if not np.isfinite(row).all():
        bad = next(float(value) for value in row if not math.isfinite(value))
        raise StatisticsError(
            f"{name}: {bad} is not a finite number; leave such episodes out by a stated rule"
        )
    return row


def check_p_values(p_values: Sequence[float] | FloatArray) -> FloatArray:
    """As an array. Raises StatisticsError for numbers outside 0 to 1."""
    row = check_finite("p-values", p_values, least=0)
    for value in row:
        check_probability("p-value", float(value))
    return row
