"""An ACT's loss, before it is one number: the error of the actions, the latent's divergence, the loss on attention.

    loss = L1 + kl_weight KL + attention loss

as LeRobot's `ACTPolicy.forward` adds them up (the last one is ours). The terms are kept apart, so that several
processes with a part of a batch each can make the loss of the joint batch (`joint_loss`). Nothing here waits for a
device.

Shapes: B batch, T chunk, A action, L latent.
"""

from collections.abc import Mapping
from typing import NamedTuple

from lerobot.utils.constants import ACTION
from torch import Tensor, nn


class Part(NamedTuple):
    """What a batch adds to the loss of a joint batch, which is the sum of the parts. Scalars, in the graph."""

    loss: Tensor
    """Of this part: `l1` + kl_weight `kld` + `attention_loss`."""
    l1: Tensor
    kld: Tensor
    """0 without a VAE."""
    attention_loss: Tensor
    """0 without a loss on attention."""


class LossTerms(NamedTuple):
    """The terms of one batch, scalars."""

    l1_sum: Tensor
    """Sum of |action - predicted| over the values that are not padding, in normalised units."""
    valid_count: Tensor
    """How many such values; 0 where all is padding."""
    kld_mean: Tensor | None
    """KL divergence of the latent from a unit normal [nats], summed over its dimensions, mean of the samples (padding
    or not: a latent belongs to a sample); None without a VAE."""
    attention_loss: Tensor | None
    """Weighted and scheduled already; None where there is no loss on attention."""
    figures: dict[str, Tensor]
    """Detached: shares, lambda and so on."""

    def loss(self, kl_weight: float) -> Tensor:
        """LeRobot's loss of this batch by itself, plus the regularizer's."""
        return self.part(kl_weight, self.valid_count, 1.0).loss

    def part(self, kl_weight: float, valid_count: Tensor, share: float) -> Part:
        """This batch as a part of a joint one.

        Args:
            valid_count: of the joint batch. The error is a mean over values, so it is divided by this.
            share: this batch's part of the joint batch's samples, 0 to 1. The divergence is a mean over samples, so it
                is multiplied by this; so is the loss on attention, which is exact for the reductions that are means
                over queries with as many valid ones a sample.
        """
        loss = l1 = self.l1_sum / valid_count.clamp_min(1)
        kld = attention_loss = l1.new_zeros(())
        if self.kld_mean is not None:
            kld = self.kld_mean * share
            loss = loss + kld * kl_weight
        if self.attention_loss is not None:
            attention_loss = self.attention_loss * share
            loss = loss + attention_loss
        return Part(loss, l1, kld, attention_loss)


def loss_terms(
    batch: Mapping[str, Tensor],
    actions_BTA: Tensor,
    mean_BL: Tensor | None,
    log_variance_BL: Tensor | None,
    attention_loss: Tensor | None = None,
    figures: dict[str, Tensor] | None = None,
) -> LossTerms:
    """The terms of a batch, given what a forward pass made of it.

    Args:
        batch: LeRobot's: the demonstrated actions (B, T, A), normalised, and `action_is_pad` (B, T).
        actions_BTA: predicted.
        mean_BL: of the latent, with its log-variance; None without a VAE.
    """
    error_BTA = nn.functional.l1_loss(batch[ACTION], actions_BTA, reduction="none")
    valid_BT1 = ~batch["action_is_pad"].unsqueeze(-1)
    return LossTerms(
        l1_sum=(error_BTA * valid_BT1).sum(),
        valid_count=valid_BT1.sum() * error_BTA.shape[-1],
        kld_mean=None
        if mean_BL is None or log_variance_BL is None
        else kl_divergence(mean_BL, log_variance_BL),
        attention_loss=attention_loss,
        figures=figures or {},
    )


def kl_divergence(mean_BL: Tensor, log_variance_BL: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) [nats], summed over dimensions, mean of the batch.

    -1/2 sum (1 + log variance - mean^2 - variance): Kingma and Welling 2014, appendix B.
    """
    return (-0.5 * (1 + log_variance_BL - mean_BL.pow(2) - log_variance_BL.exp())).sum(-1).mean()
