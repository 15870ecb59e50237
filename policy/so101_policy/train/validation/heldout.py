"""How well a policy imitates episodes that it was not trained on: mean L1 of the actions that would be executed.

In eval mode, in normalised units, over the first `n_action_steps` actions of each chunk that are not padding. (The
training loss is another number: all of the chunk, with dropout and the VAE's latent.)

Shapes: B batch, T chunk, A action.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor

from so101_policy.attention.shares import AttentionProbe
from so101_policy.train.processes import Processes


class HeldOut(NamedTuple):
    """One set of frames."""

    l1: float
    shares: dict[str, float]
    """Of the decoder's attention at inference: latent, state, vision."""


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` positions, evenly spaced: neighbouring frames are nearly the same. 0: all."""
    if most <= 0 or count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


@torch.no_grad()
def held_out_l1(
    policy: ACTPolicy,
    batch_of: Callable[[NDArray[np.int64]], dict[str, Tensor]],
    positions: NDArray[np.int64],
    batch_size: int,
    processes: Processes,
) -> HeldOut:
    """Mean L1 over `positions`, every process a part; all get the same answer.

    Args:
        policy: unwrapped; it is put back into training mode.
        batch_of: the normalised batch of some positions, on the policy's device.
    """
    policy.eval()
    mine = positions[processes.rank :: processes.count]
    device = next(policy.parameters()).device
    exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's devices have no doubles
    sums = torch.zeros(6, dtype=exact, device=device)
    for start in range(0, len(mine), batch_size):
        batch = batch_of(mine[start : start + batch_size])
        with AttentionProbe(policy) as probe:
            actions_BTA = policy.predict_action_chunk(batch)
        total, count = executed_error(actions_BTA, batch, policy.config.n_action_steps)
        samples = len(actions_BTA)
        sums[:2] += torch.stack([total.to(exact), count.to(exact)])
        if (shares := probe.shares) is not None:
            parts = torch.tensor([1, shares.latent, shares.state, shares.vision], dtype=exact)
            sums[2:] += samples * parts.to(device)
    policy.train()
    l1_sum, count, seen, *shares = processes.total(sums).tolist()
    names = ("share_latent", "share_state", "share_vision")
    return HeldOut(
        l1=l1_sum / max(count, 1),
        shares={name: share / seen for name, share in zip(names, shares, strict=True)} if seen else {},
    )


def executed_error(
    actions_BTA: Tensor, batch: dict[str, Tensor], n_action_steps: int
) -> tuple[Tensor, Tensor]:
    """Sum of |error| over the executed, not padded values, and how many these are."""
    valid_BT1 = ~batch["action_is_pad"][:, :n_action_steps, None]
    error_BTA = (batch[ACTION] - actions_BTA)[:, :n_action_steps].abs()
    return (error_BTA * valid_BT1).sum(), valid_BT1.sum() * error_BTA.shape[-1]
