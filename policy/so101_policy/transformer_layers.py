"""LeRobot's transformer layers as functions: the same numbers, in less time.

Each function takes the module that holds the weights and does what the module's own `forward` does, with these
differences, none of which changes a number by more than rounding (and, with dropout, the draw):

- batch first, so that nothing is stacked or transposed between layers;
- query and key of a self-attention, which read the same input, in one product;
- torch's fused attention wherever nobody asked for the weights, instead of weights that are computed and dropped;
- in decoder layer 0, whose input is zeros, attention from what it then depends on: parameters only;
- on a CPU, dropout from 16 random bits a number: 2.6 million numbers take 9 ms of one thread, with torch's draws 24.

Shapes: B batch, S tokens, Q queries, K keys, T queries of the decoder, D model width, H heads, d width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

DRAWS = 2**16
"""Dropout's probability is rounded to a multiple of 1/65536; the scale is that of the rounded one, so unbiased."""


def dropout(x: Tensor, p: float) -> Tensor:
    """Each number is 0 with probability p, else divided by 1 - p."""
    if p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = round(p * DRAWS)
    count = x.numel()
    four_at_once = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = four_at_once.view(torch.int16)[:count] >= dropped - DRAWS // 2
    return x * kept.view(x.shape).to(x.dtype).mul_(DRAWS / (DRAWS - dropped))


def attend(
    attention: nn.MultiheadAttention,
    query_BQD: Tensor,
    key_BKD: Tensor,
    value_BKD: Tensor,
    p: float,
    bias: Tensor | None = None,
    explain: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `nn.MultiheadAttention` gives, batch first; with `explain` its log-probabilities before dropout too.

    Args:
        query_BQD: may have a batch of one. Where query *is* key, both are projected together.
        p: dropout of the weights.
        bias: added to the scores, -inf where a key must not be seen; anything that broadcasts to (B, H, Q, K).

    Returns:
        (B, Q, D), and (B, H, Q, K) in float32 or None.
    """
    D, H = attention.embed_dim, attention.num_heads
    weight, in_bias = attention.in_proj_weight, attention.in_proj_bias
    if query_BQD is key_BKD:
        (w_qk, w_v), (b_qk, b_v) = weight.split((2 * D, D)), in_bias.split((2 * D, D))
        q_BHQd, k_BHKd = _heads(F.linear(query_BQD, w_qk, b_qk), 2 * H).chunk(2, dim=1)
    else:
        (w_q, w_k, w_v), (b_q, b_k, b_v) = weight.chunk(3), in_bias.chunk(3)
        q_BHQd = _heads(F.linear(query_BQD, w_q, b_q), H)
        k_BHKd = _heads(F.linear(key_BKD, w_k, b_k), H)
    v_BHKd = _heads(F.linear(value_BKD, w_v, b_v), H)
    q_BHQd = q_BHQd.expand(len(v_BHKd), -1, -1, -1)
    mixed_BHQd, log_BHQK = _mix(q_BHQd, k_BHKd, v_BHKd, p, bias, explain)
    return attention.out_proj(mixed_BHQd.transpose(1, 2).flatten(2)), log_BHQK


def attend_to_a_constant(
    attention: nn.MultiheadAttention, query_1TD: Tensor, value_11D: Tensor, p: float, samples: int
) -> Tensor:
    """Self-attention whose values are all the same, as over the decoder's zeros.

    Weights that sum to 1 then give back that value, whatever they are: (1, 1, D). With dropout they do not sum to 1,
    and what is left of the sum scales the value, for each sample, head and query: (B, T, D).
    """
    D, H = attention.embed_dim, attention.num_heads
    (w_qk, w_v), (b_qk, b_v) = (
        attention.in_proj_weight.split((2 * D, D)),
        attention.in_proj_bias.split((2 * D, D)),
    )
    value_11D = F.linear(value_11D, w_v, b_v)
    if p == 0:
        return attention.out_proj(value_11D)
    q_1HTd, k_1HTd = _heads(F.linear(query_1TD, w_qk, b_qk), 2 * H).chunk(2, dim=1)
    weights_1HTT = _scores(q_1HTd, k_1HTd, None).softmax(-1)
    left_BHT1 = dropout(weights_1HTT.expand(samples, -1, -1, -1), p).sum(-1, keepdim=True)
    mixed_BHTd = left_BHT1 * _heads(value_11D, H)
    return attention.out_proj(mixed_BHTd.transpose(1, 2).flatten(2))


def encode(
    layer: Any,
    x_BSD: Tensor,
    position_1SD: Tensor,
    p: float,
    bias: Tensor | None = None,
    *,
    explain: bool = False,
    first_only: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """One `ACTEncoderLayer`; with `first_only`, only the first token's output is computed: (B, 1, D)."""
    y_BSD = layer.norm1(x_BSD) if layer.pre_norm else x_BSD
    query_BSD = key_BSD = y_BSD + position_1SD
    if first_only:
        query_BSD, x_BSD = key_BSD[:, :1], x_BSD[:, :1]
    y_BSD, log_BHSS = attend(layer.self_attn, query_BSD, key_BSD, y_BSD, p, bias, explain)
    x_BSD = x_BSD + dropout(y_BSD, p)
    norms = (layer.norm2, None) if layer.pre_norm else (layer.norm1, layer.norm2)
    return _feed_forward(layer, x_BSD, p, *norms), log_BHSS


def decode(
    layer: Any,
    x_BTD: Tensor | None,
    position_1TD: Tensor,
    key_BSD: Tensor,
    value_BSD: Tensor,
    p: float,
    explain: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """One `ACTDecoderLayer`; `x_BTD` None means zeros, as the first layer's input is."""
    skip_BTD = torch.zeros_like(position_1TD[:, :1]) if x_BTD is None else x_BTD
    y_BTD = layer.norm1(skip_BTD) if layer.pre_norm else skip_BTD
    query_BTD = y_BTD + position_1TD
    if x_BTD is None:
        y_BTD = attend_to_a_constant(layer.self_attn, query_BTD, y_BTD, p, len(key_BSD))
    else:
        y_BTD, _ = attend(layer.self_attn, query_BTD, query_BTD, y_BTD, p)
    skip_BTD = skip_BTD + dropout(y_BTD, p)
    y_BTD = layer.norm2(skip_BTD) if layer.pre_norm else layer.norm1(skip_BTD)
    skip_BTD = skip_BTD if layer.pre_norm else y_BTD
    query_BTD = y_BTD + position_1TD
    y_BTD, log_BHTS = attend(layer.multihead_attn, query_BTD, key_BSD, value_BSD, p, explain=explain)
    norms = (layer.norm3, None) if layer.pre_norm else (layer.norm2, layer.norm3)
    return _feed_forward(layer, skip_BTD + dropout(y_BTD, p), p, *norms), log_BHTS


def _feed_forward(layer: Any, x_BSD: Tensor, p: float, before: nn.Module, after: nn.Module | None) -> Tensor:
    """Pre-norm (no norm `after`): the shortcut passes by the norm before. Post-norm: it starts behind it."""
    y_BSD = before(x_BSD)
    skip_BSD = x_BSD if after is None else y_BSD
    y_BSD = layer.linear2(dropout(layer.activation(layer.linear1(y_BSD)), p))
    y_BSD = skip_BSD + dropout(y_BSD, p)
    return y_BSD if after is None else after(y_BSD)


def _heads(x_BSD: Tensor, count: int) -> Tensor:
    return x_BSD.unflatten(-1, (count, -1)).transpose(1, 2)


def _scores(q_BHQd: Tensor, k_BHKd: Tensor, bias: Tensor | None) -> Tensor:
    scores_BHQK = (q_BHQd * q_BHQd.shape[-1] ** -0.5) @ k_BHKd.transpose(-1, -2)
    return scores_BHQK if bias is None else scores_BHQK + bias


def _mix(
    q_BHQd: Tensor, k_BHKd: Tensor, v_BHKd: Tensor, p: float, bias: Tensor | None, explain: bool
) -> tuple[Tensor, Tensor | None]:
    """softmax(q k' / sqrt d + bias) v. With `explain` also the log of the softmax, in float32."""
    if explain:
        log_BHQK = _scores(q_BHQd, k_BHKd, bias).float().log_softmax(-1)
        return dropout(log_BHQK.exp().to(v_BHKd.dtype), p) @ v_BHKd, log_BHQK
    if (
        p and q_BHQd.device.type == "cpu"
    ):  # there torch's fused attention has no dropout, and its substitute is slow
        return dropout(_scores(q_BHQd, k_BHKd, bias).softmax(-1), p) @ v_BHKd, None
    mask = None if bias is None else bias.to(q_BHQd.dtype)
    return F.scaled_dot_product_attention(q_BHQd, k_BHKd, v_BHKd, attn_mask=mask, dropout_p=p), None
