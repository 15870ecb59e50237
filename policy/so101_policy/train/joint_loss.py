"""The loss of a step, also where several processes have a part of its batch each.

LeRobot's L1 is a mean over the values that are not padding. The mean of the processes' means is another number when
they have different amounts of padding, so sums are divided by the joint count here: the loss and its gradients are
those of one process with the joint batch. The latent's divergence is weighted by samples. The loss on attention is
too, which is exact for the reductions that are means over queries (a pooled one pools per process).
"""

from typing import Any

import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import OBS_IMAGES
from torch import Tensor, nn

from so101_policy.model.loss_terms import LossTerms, Part, loss_terms
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.train.batches import BatchPart
from so101_policy.train.processes import Processes

COLUMNS = Part._fields


class LossOf(nn.Module):
    """Batch -> `LossTerms`, as a module, for what wraps modules. LeRobot's ACT has no `loss_terms`; it gets them."""

    def __init__(self, policy: ACTPolicy):
        super().__init__()
        self.policy = policy

    def forward(self, batch: dict[str, Tensor], figures: bool) -> LossTerms:
        if isinstance(self.policy, RegularizedACTPolicy):
            return self.policy.loss_terms(batch, figures)
        return _stock_loss_terms(self.policy, batch)


def joint_loss(
    terms: LossTerms, kl_weight: float, share: BatchPart, processes: Processes
) -> tuple[Tensor, Tensor]:
    """What to differentiate here, and this process's part of `COLUMNS`: parts add up over the processes.

    Gradients are averaged over the processes afterwards, so what is differentiated is `count` times the part.
    """
    if processes.count == 1:
        part = terms.part(kl_weight, terms.valid_count, 1.0)
    else:
        part = terms.part(kl_weight, processes.total(terms.valid_count), share.weight)
    columns = torch.stack([x.detach().float() for x in part])
    return (part.loss if processes.count == 1 else part.loss * processes.count), columns


def _stock_loss_terms(policy: ACTPolicy, batch: dict[str, Tensor]) -> LossTerms:
    """What `ACTPolicy.forward` computes, not yet added up and without waiting for the device."""
    images = [batch[key] for key in policy.config.image_features]
    given: dict[str, Any] = {**batch, OBS_IMAGES: images} if images else dict(batch)
    actions_BTA, (mean_BL, log_variance_BL) = policy.model(given)
    return loss_terms(batch, actions_BTA, mean_BL, log_variance_BL)
