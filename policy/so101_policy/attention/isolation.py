"""Encoder isolation: the state reaches the decoder by its own token, and by no other way.

A stock ACT's encoder lets every token see every other one, so joint state is copied into the vision tokens before the
decoder looks, and the decoder's attention says little about what it uses. Isolated, vision tokens see vision tokens
only, and the latent, the joint state and the environment state each see only themselves. The decoder's share on the
state token is then a real valve.

It is a mask in the encoder's self-attention, on at training and inference alike. LeRobot's encoder layer takes no mask,
so it comes in through forward-pre-hooks, which hold no reference to the model: they survive a deep copy, and a loaded
model gets its own from its configuration. No weight and no name of a weight changes.

Shapes: S tokens, in LeRobot's order latent, joint state, environment state, vision.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def forbidden(total: int, alone: int, device: torch.device | str | None = None) -> Tensor:
    """(S, S) bool, True where the row's token must not see the column's: `alone` tokens of their own come first."""
    group_S = torch.arange(total, device=device).clamp_max(alone)
    return group_S[:, None] != group_S


def tokens_alone(config: Any) -> int:
    """How many tokens come before the vision tokens in a LeRobot `ACTConfig`'s encoder."""
    return 1 + bool(config.robot_state_feature) + bool(config.env_state_feature)


def isolate(encoder: nn.Module, alone: int) -> None:
    """Isolate the first `alone` tokens of a LeRobot `ACTEncoder`, for good."""
    layers: Any = encoder.layers
    for layer in layers:
        layer.self_attn.register_forward_pre_hook(partial(_with_mask, alone), with_kwargs=True)


def _with_mask(
    alone: int, attention: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    query_SBD: Tensor = args[0] if args else kwargs["query"]
    return args, kwargs | {"attn_mask": forbidden(query_SBD.shape[0], alone, query_SBD.device)}
