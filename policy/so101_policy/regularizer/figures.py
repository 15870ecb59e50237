"""Named figures of attention in training, left on their device: what a log shows beside the loss.

As `attention.AttentionShares`, over the queries that count and from log-probabilities before dropout, but as
tensors: a training step waits for no device. A share says where the decoder looks, not what the action depends on.

Shapes: B batch, H heads (of all layers, side by side), Q queries, S tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from so101_policy.attention.shares import STATE_PERCENTILE, TokenLayout
from so101_policy.regularizer.terms import Split, normalised_entropy, reduced, unchanged


@torch.no_grad()
def attention_figures(cross: Sequence[Tensor], valid_BQ: Tensor, layout: TokenLayout) -> dict[str, Tensor]:
    """Mean share of each part over all tokens, `share_state_p95`, and `entropy` (normalised, within vision).

    All 0 where no query counts.
    """
    log_p_BHQS = cross[0] if len(cross) == 1 else torch.cat(list(cross), 1)
    p_BHQS = log_p_BHQS.exp()
    weight_BQ = valid_BQ.to(p_BHQS.dtype)
    count = weight_BQ.sum().clamp_min(1) * p_BHQS.shape[1]
    mean_S = torch.einsum("bhqs,bq->s", p_BHQS, weight_BQ) / count

    parts = {"latent": layout.latent, "state": layout.state, "environment": layout.environment}
    parts |= {"vision": layout.vision} | layout.cameras
    figures = {f"share_{name}": mean_S[part].sum() for name, part in parts.items() if part is not None}
    if layout.state is not None:
        state_BHQ = p_BHQS[..., layout.state].sum(-1)
        figures["share_state_p95"] = percentile(state_BHQ, valid_BQ, STATE_PERCENTILE)
    figures["entropy"] = reduced(
        normalised_entropy(log_p_BHQS[..., layout.vision]), valid_BQ, unchanged, "query"
    )
    return figures


@torch.no_grad()
def share_figures(z: Sequence[Tensor], valid_BQ: Tensor, split: Split) -> dict[str, Tensor]:
    """Of the share that the loss is about, from its logits (B, H, Q) per layer: `ratio`, `log_odds` per token
    against uniform attention, and `chance`, the ratio that uniform attention has."""
    z_BHQ = torch.cat(list(z), 1)
    mean_z = reduced(z_BHQ, valid_BQ, unchanged, "query")
    return {
        "ratio": reduced(z_BHQ.sigmoid(), valid_BQ, unchanged, "query"),
        "log_odds": mean_z - split.log_chance,
        "chance": torch.full_like(mean_z, split.chance),
    }


def percentile(x_BHQ: Tensor, valid_BQ: Tensor, fraction: float) -> Tensor:
    """Nearest rank over the valid queries of all heads; 0 where there are none."""
    ranked = x_BHQ.masked_fill(~valid_BQ[:, None], torch.inf).flatten().sort().values
    count = valid_BQ.sum() * x_BHQ.shape[1]
    rank = (fraction * count).ceil().long() - 1
    value = ranked.index_select(0, rank.clamp_min(0)[None])[0]
    return torch.where(count > 0, value, 0.0)
