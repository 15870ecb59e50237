"""The loss of a step, also where several processes have a part of its batch each.

LeRobot's L1 is a mean over the values that are not padding. The mean of the processes' means is another number when
they have different amounts of padding, so here sums are divided by the joint count: the loss and its gradients are
those of one process with the joint batch. The latent's divergence is weighted by samples. A loss on attention is
too, which is exact for the reductions that are means over queries (a pooled one pools per process).
"""

from collections.abc import Mapping
from typing import Any

import torch
from lerobot.utils.constants import ACTION, OBS_IMAGES
from torch import Tensor, nn

from so101_policy.model.modeling_regularized_act import LossTerms, RegularizedACTPolicy
from so101_policy.train.batches import Share
from so101_policy.train.processes import Processes

COLUMNS = ("loss", "l1", "kld", "attention_loss")


class LossOf(nn.Module):
    """Batch -> `LossTerms`, as a module, for what wraps modules. LeRobot's ACT has no `loss_terms`; it gets them."""

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(self, batch: dict[str, Tensor], figures: bool) -> LossTerms:
        if isinstance(self.policy, RegularizedACTPolicy):
            return self.policy.loss_terms(batch, figures)
        return stock_loss_terms(self.policy, batch)


def stock_loss_terms(policy: Any, batch: Mapping[str, Tensor]) -> LossTerms:
    """What `ACTPolicy.forward` computes, not yet added up and without waiting for the device."""
    images = [batch[key] for key in policy.config.image_features]
    given: dict[str, Any] = {**batch, OBS_IMAGES: images} if images else dict(batch)
    actions_BTA, (mean_BL, log_variance_BL) = policy.model(given)
    error_BTA = nn.functional.l1_loss(batch[ACTION], actions_BTA, reduction="none")
    valid_BT1 = ~batch["action_is_pad"].unsqueeze(-1)
    divergence = None
    if mean_BL is not None:
        divergence = -0.5 * (1 + log_variance_BL - mean_BL.pow(2) - log_variance_BL.exp())
    return LossTerms(
        l1_sum=(error_BTA * valid_BT1).sum(),
        valid_count=valid_BT1.sum() * error_BTA.shape[-1],
        kld_mean=None if divergence is None else divergence.sum(-1).mean(),
        attention_loss=None,
        figures={},
    )


def joint_loss(
    terms: LossTerms, kl_weight: float, share: Share, processes: Processes
) -> tuple[Tensor, Tensor]:
    """What to differentiate here, and this process's part of `COLUMNS`: parts add up over the processes.

    Gradients are averaged over the processes afterwards, so what is differentiated is `count` times the part.
    """
    if processes.count == 1:
        valid, weight = terms.valid_count, 1.0
    else:
        valid, weight = processes.total(terms.valid_count), share.weight
    l1 = terms.l1_sum / valid.clamp_min(1)
    zero = torch.zeros_like(l1)
    kld = zero if terms.kld_mean is None else terms.kld_mean * weight
    attention = zero if terms.attention_loss is None else terms.attention_loss * weight
    part = l1 if terms.kld_mean is None else l1 + kld * kl_weight
    part = part if terms.attention_loss is None else part + attention
    columns = torch.stack([x.detach().float() for x in (part, l1, kld, attention)])
    return (part if processes.count == 1 else part * processes.count), columns
