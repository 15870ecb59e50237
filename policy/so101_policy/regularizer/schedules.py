"""What changes during training: warm-up, a ceiling that gives way, a weight that finds itself.

All state is in persistent buffers, on the model's device, and is moved without waiting for that device: a resumed
run continues with the same values. Nothing here is in the graph.
"""

import math

import torch
from torch import Tensor, nn

from so101_policy.errors import RegularizerError

ERROR_DECAY = 0.9
"""Per optimizer step, of the PI controller's error: batches of 8 to 64 samples differ by more than a step moves."""

HELD_OUT_DECAY = 0.5
"""Per evaluation; there are a few dozen in a run, so older than three of them is old."""


def warm_up(step: Tensor, start: int, end: int) -> Tensor:
    """clip((step - start) / (end - start), 0, 1); a jump at `start` where both are equal."""
    if end == start:
        return (step >= start).float()
    return ((step - start) / (end - start)).clamp(0, 1)


class RunningMean(nn.Module):
    """Exponential mean without the pull of its start: m / (1 - decay^n) (Adam's bias correction)."""

    def __init__(self, decay: float):
        super().__init__()
        self._decay = decay
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.total: Tensor
        self.count: Tensor

    @torch.no_grad()
    def add(self, value: Tensor | float, counts: Tensor) -> None:
        """Nothing happens where `counts` is false."""
        self.total.copy_(
            torch.where(counts, self._decay * self.total + (1 - self._decay) * value, self.total)
        )
        self.count.add_(counts)

    @property
    def value(self) -> Tensor:
        """0 before the first one."""
        return self.total / (1 - self._decay ** self.count.clamp_min(1))


class PIWeight(nn.Module):
    """A weight that grows until an error is gone: the ceiling as a constraint, its weight as the multiplier.

    e = running mean of (share - ceiling); I <- clip(I + Ki e, 0, largest); weight = clip(Kp e + I, 0, largest).
    A dual ascent with a proportional term (Stooke, Achiam & Abbeel, ICML 2020, on Lagrangian methods). A fixed
    weight reaches the ceiling only where it beats the slope of the task's own loss; this one finds that slope.
    """

    def __init__(self, kp: float, ki: float, largest: float):
        super().__init__()
        self._kp, self._ki, self._largest = kp, ki, largest
        self.error = RunningMean(ERROR_DECAY)
        self.register_buffer("integral", torch.zeros(()))
        self.integral: Tensor

    @property
    def value(self) -> Tensor:
        return (self._kp * self.error.value + self.integral).clamp(0, self._largest)

    @torch.no_grad()
    def move(self, error: Tensor, counts: Tensor) -> None:
        """One optimizer step with this error; nothing moves where `counts` is false."""
        self.error.add(error, counts)
        moved = (self.integral + self._ki * self.error.value).clamp(0, self._largest)
        self.integral.copy_(torch.where(counts, moved, self.integral))


class Relaxation(nn.Module):
    """How far a ceiling gives way, 0..1, because the held-out loss suffers.

    With s the running mean of the held-out loss and b its lowest value so far, the relaxation is at least
    clip((s/b - low) / (high - low), 0, 1). Hysteresis (a play operator): it comes back only on the same line
    moved left by low - 1, so that it is back at 0 when s is at its best, and in between it stays where it is.
    """

    def __init__(self, low: float, high: float):
        super().__init__()
        self._low, self._range = low, high - low
        self.held_out = RunningMean(HELD_OUT_DECAY)
        self.register_buffer("best", torch.full((), math.inf))
        self.register_buffer("value", torch.zeros(()))
        self.best: Tensor
        self.value: Tensor

    @torch.no_grad()
    def observe(self, loss: float, warm: Tensor) -> None:
        """A held-out loss. Before `warm` it counts for the running mean only: the best would be no reference.

        Raises:
            RegularizerError: the loss is not a finite number.
        """
        if not math.isfinite(loss):
            raise RegularizerError(f"the held-out loss is {loss}; the adaptive ceiling needs a finite number")
        self.held_out.add(loss, torch.ones_like(warm))
        mean = self.held_out.value
        self.best.copy_(torch.where(warm, torch.minimum(self.best, mean), self.best))
        ratio = mean / self.best  # 0 while there is no best
        rise = ((ratio - self._low) / self._range).clamp(0, 1)
        fall = ((ratio - 1) / self._range).clamp(0, 1)
        self.value.copy_(self.value.clamp(rise, fall))
