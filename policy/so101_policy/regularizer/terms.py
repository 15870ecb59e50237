"""The terms of a loss on attention, as pure functions: shares, hinges, reductions, entropies.

Everything starts from log-probabilities before dropout. A share is handled as its logit, log(group / rest), which
is a difference of two log-sum-exps: exact at both ends, without an epsilon, and the same in half precision.
Formulas, sources and what was measured: docs/guides/regularizer.md.

Shapes: B batch, H heads, Q queries, S tokens (keys), V vision tokens, N tokens or cameras that an entropy is over.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from so101_policy.attention.shares import NO_VISION, TokenLayout
from so101_policy.errors import RegularizerError

LOG_ZERO = -104.0
"""float32 knows no positive number below e^-103.98: a token with less attention than this has none."""


class Split(NamedTuple):
    """The tokens whose share is meant, and the rest that it competes with; share = group / (group + rest)."""

    group: slice
    rest: slice

    @classmethod
    def of(cls, layout: TokenLayout, group: str) -> "Split":
        """By `RegularizerConfig.group`.

        Raises:
            RegularizerError: this model has no such tokens, or nothing beside them.
        """
        if group == "state":
            split = cls(slice(layout.latent.stop, layout.vision.start), layout.vision)
        else:
            end = layout.latent.stop if layout.state is None else layout.state.stop
            split = cls(slice(0, end), slice(end, layout.total))
        stateless = layout.state is None and (layout.environment is None or group != "state")
        if stateless or split.rest.stop == split.rest.start:
            raise RegularizerError(
                f"group={group!r} compares the state with the rest, but this model has "
                f"{'no such state' if stateless else 'no cameras'}; possible: a model with both, or weight=0"
            )
        return split

    @property
    def log_chance(self) -> float:
        """Logit of the share under uniform attention, log(n_group / n_rest)."""
        return math.log((self.group.stop - self.group.start) / (self.rest.stop - self.rest.start))

    @property
    def chance(self) -> float:
        """The share under uniform attention."""
        return 1 / (1 + math.exp(-self.log_chance))


def log_mass(log_p: Tensor, part: slice) -> Tensor:
    """log sum of probabilities over the keys of `part`: (.., S) -> (..)."""
    picked = log_p[..., part]
    return picked.squeeze(-1) if picked.shape[-1] == 1 else torch.logsumexp(picked, -1)


def logit_share(log_p_BHQS: Tensor, split: Split) -> Tensor:
    """z = LSE_group - LSE_rest, (B, H, Q); the share is sigmoid(z)."""
    return log_mass(log_p_BHQS, split.group) - log_mass(log_p_BHQS, split.rest)


def rolled_out_logit_share(log_p_BHQS: Tensor, encoder: Sequence[Tensor], split: Split) -> Tensor:
    """z of the attention carried on to the encoder's input tokens, (B, H, Q).

    Attention rollout (Abnar & Zuidema, ACL 2020): a p M_L .. M_1 with M = (I + A) / 2, A (B, S, S) the layer's
    probabilities averaged over heads, layer 1 first in `encoder`. Only two sums of its columns are wanted, so two
    indicator vectors are carried from the inputs to the outputs: 2 S^2 products a layer, not S^3 or H Q S^2.
    """
    into_SN = log_p_BHQS.new_zeros(log_p_BHQS.shape[-1], 2)
    into_SN[split.group, 0] = 1
    into_SN[split.rest, 1] = 1
    into_BSN = into_SN.expand(log_p_BHQS.shape[0], -1, -1)
    for a_BSS in encoder:
        into_BSN = torch.baddbmm(into_BSN, a_BSS.to(into_BSN.dtype), into_BSN, beta=0.5, alpha=0.5)
    mass_BHQN = log_p_BHQS.exp() @ into_BSN[:, None]
    group_BHQ, rest_BHQ = mass_BHQN.clamp_min(torch.finfo(mass_BHQN.dtype).tiny).log().unbind(-1)
    return group_BHQ - rest_BHQ


def hinge(x: Tensor, beta: float) -> Tensor:
    """0 below 0, x^2 / 2 beta up to beta, x - beta/2 beyond; beta = 0: max(x, 0). Huber's loss, one-sided."""
    if beta == 0:
        return torch.relu(x)
    bent = x.clamp(0, beta)
    return bent * (x - bent / 2) / beta


class Band(NamedTuple):
    """phi(x) = h(x - ceiling) + gamma h(floor - x): positive outside, exactly 0 and flat inside."""

    ceiling: Tensor | float | None
    floor: Tensor | float | None
    floor_weight: float
    beta: float

    def __call__(self, x: Tensor) -> Tensor:
        above = 0 if self.ceiling is None else hinge(x - self.ceiling, self.beta)
        below = 0 if self.floor is None else self.floor_weight * hinge(self.floor - x, self.beta)
        return above + below + torch.zeros_like(x)


def threshold_in_space(threshold: Tensor | float, unit: str, space: str, log_chance: float) -> Tensor | float:
    """A threshold as `RegularizerConfig` gives it, as a share ("prob") or a logit of the share ("logit").

    Log-odds per token, o = (LSE_group - ln n_group) - (LSE_rest - ln n_rest), are z - log_chance.
    """
    if unit == "log_odds":
        z = threshold + log_chance
        return z if space == "logit" else _sigmoid(z)
    return threshold if space == "prob" else _logit(threshold)


def reduced(
    x_BHQ: Tensor,
    valid_BQ: Tensor,
    phi: Callable[[Tensor], Tensor],
    reduction: str,
    fraction: float = 0.1,
) -> Tensor:
    """One number: phi of the mean x ("pooled"), or the mean of phi over heads' means, queries, or the worst.

    x is a share or its logit, and so is the mean. For a convex phi: pooled <= head <= query (Jensen) <= cvar.
    "cvar" is the mean of phi over its largest `fraction`, the last one of them counted in part (Rockafellar &
    Uryasev 2000), so that a batch counted twice changes nothing. Only valid queries count; without any it is 0,
    with gradient 0.
    """
    weight_B1Q = valid_BQ[:, None].to(x_BHQ.dtype)
    count = weight_B1Q.sum()  # per head
    if reduction == "cvar":
        return _worst(phi(x_BHQ), valid_BQ, fraction * x_BHQ.shape[1] * count)
    if reduction == "query":
        return (phi(x_BHQ) * weight_B1Q).sum() / (count * x_BHQ.shape[1]).clamp_min(1)
    mean_H = (x_BHQ * weight_B1Q).sum((0, 2)) / count.clamp_min(1)
    mean = mean_H.mean() if reduction == "pooled" else mean_H
    return phi(mean).mean() * count.clamp(max=1)


def identity(x: Tensor) -> Tensor:
    """The phi of a plain mean."""
    return x


def entropy(log_p: Tensor) -> Tensor:
    """Entropy in nats of exp(log_p) over its last dimension, after normalising it; 0 where there is nothing.

    By log-softmax: exact however little attention there is in all, where p / (sum p + eps) is not.
    """
    log_p = log_p.clamp_min(LOG_ZERO)
    log_q = torch.log_softmax(log_p, -1)
    nats = -(log_q.exp() * log_q).sum(-1)
    return torch.where(log_p.detach().amax(-1) > math.log(NO_VISION), nats, 0.0)


def normalised_entropy(log_p_BHQN: Tensor) -> Tensor:
    """`entropy` over its maximum ln N: 0 on one token, 1 uniform; 0 for N = 1. (B, H, Q)"""
    count = log_p_BHQN.shape[-1]
    return entropy(log_p_BHQN) / math.log(count) if count > 1 else log_p_BHQN.new_zeros(log_p_BHQN.shape[:-1])


def entropy_shortfall(log_p_BHQN: Tensor, least: float, valid_BQ: Tensor) -> Tensor:
    """Mean of m (least - Hn)+ over valid queries, m = how much of the attention is here at all (no gradient).

    A floor, never a reward for more: weighted with m, because a query that ignores vision has as steep an
    entropy as one that looks at nothing else.
    """
    mass_BHQ = torch.logsumexp(log_p_BHQN.detach(), -1).exp()
    missing_BHQ = torch.relu(least - normalised_entropy(log_p_BHQN)) * mass_BHQ
    return reduced(missing_BHQ, valid_BQ, identity, "query")


def log_mass_of_cameras(log_p_BHQS: Tensor, layout: TokenLayout) -> Tensor:
    """(B, H, Q, N): one log-mass a camera."""
    return torch.stack([log_mass(log_p_BHQS, part) for part in layout.cameras.values()], -1)


def _worst(phi_BHQ: Tensor, valid_BQ: Tensor, count: Tensor) -> Tensor:
    """Mean of the largest `count` (a real number) of the valid ones. By rank, so that no device is waited for."""
    lowest = torch.finfo(phi_BHQ.dtype).min
    ranked = phi_BHQ.masked_fill(~valid_BQ[:, None], lowest).flatten().sort(descending=True).values
    rank = torch.arange(len(ranked), device=ranked.device)
    weight = (count - rank).clamp(0, 1)
    return (ranked * weight).sum() / count.clamp_min(torch.finfo(ranked.dtype).tiny)


def _sigmoid(z: Tensor | float) -> Tensor | float:
    return z.sigmoid() if isinstance(z, Tensor) else 1 / (1 + math.exp(-z))


def _logit(share: Tensor | float) -> Tensor | float:
    return share.logit() if isinstance(share, Tensor) else math.log(share / (1 - share))
