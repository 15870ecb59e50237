"""When a training run has diverged: losses that are NaN or infinite, or far above what they were."""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from so101_policy.errors import StoppedError

FACTOR = 100.0
"""A loss that many times the running median is bad. Dropout and rare samples reach 3 to 5."""

PATIENCE = 10
"""Bad losses in a row. One bad batch is skipped by the optimizer (its gradients are not finite) and forgiven."""

MEDIAN_WINDOW, MIN_LOSSES = 101, 20
"""Losses that the median looks back on, and how many there must be before it is trusted."""


class DivergedError(StoppedError):
    """The loss has diverged; the message says where, and what to try."""


class Divergence(NamedTuple):
    """Where it began."""

    step: int
    loss: float
    median: float | None

    def __str__(self) -> str:
        what = f"became {self.loss}" if not math.isfinite(self.loss) else f"rose to {self.loss:.3g}"
        usual = "" if self.median is None else f" (it was about {self.median:.3g})"
        return (
            f"the loss {what} at step {self.step}{usual} and stayed so for {PATIENCE} steps. Try a lower learning "
            "rate (--policy.optimizer_lr), a warm-up (--scheduler.type=constant_with_warmup "
            "--scheduler.num_warmup_steps=500), or --precision=fp32; look for wrong values in the data"
        )


class DivergenceWatch:
    """Takes every step's loss, in order."""

    def __init__(self, recent: Sequence[float] = ()):
        self.recent = deque(recent, maxlen=MEDIAN_WINDOW)
        self._bad = 0
        self._first: Divergence | None = None

    @property
    def doubt(self) -> Divergence | None:
        """Where the losses that were bad until now began: not a moment to write a checkpoint."""
        return self._first

    def see(self, step: int, loss: float) -> Divergence | None:
        """What has happened, once it has happened for `PATIENCE` steps."""
        usual = median(self.recent) if len(self.recent) >= MIN_LOSSES else None
        if math.isfinite(loss) and (usual is None or loss <= FACTOR * usual):
            self.recent.append(loss)
            self._bad, self._first = 0, None
            return None
        self._bad += 1
        self._first = self._first or Divergence(step, loss, usual)
        return self._first if self._bad >= PATIENCE else None
