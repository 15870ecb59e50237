"""LeRobot's transformer layers for one observation, with what positions add to them computed beforehand.

Parts of `graph.ActGraph`. A layer is made of LeRobot's and shares with it the weights that it does not fold.

Shapes: S tokens, D model width, E any width, T chunk; h heads, d width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from so101_policy.transformer_layers import attend_to_a_constant


class _Projection(nn.Module):
    """x W' + b of all rows, with a position's part of it computed beforehand: (S, D) -> (S, E)."""

    constant_SE: Tensor
    weight_ED: Tensor

    def __init__(self, weight_ED: Tensor, bias_E: Tensor, position_SD: Tensor, moved: int):
        """The position is added for the first `moved` outputs only: queries and keys have one, values do not."""
        super().__init__()
        constant_SE = _exact(bias_E).repeat(len(position_SD), 1)
        constant_SE[:, :moved] += _exact(position_SD) @ _exact(weight_ED[:moved]).T
        self.register_buffer("constant_SE", constant_SE.to(weight_ED))
        self.register_buffer("weight_ED", weight_ED)

    def forward(self, x_SD: Tensor) -> Tensor:
        return torch.addmm(self.constant_SE, x_SD, self.weight_ED.T)


class _SelfAttention(nn.Module):
    """Self-attention; the first `alone` tokens see each only itself, and the others see nothing of them."""

    def __init__(self, attention: nn.MultiheadAttention, position_SD: Tensor, alone: int = 0):
        super().__init__()
        D = attention.embed_dim
        weight, bias = _with_scaled_queries(attention)
        self.project = _Projection(weight, bias, position_SD, moved=2 * D)
        self.out_proj = attention.out_proj
        self._heads, self._alone = attention.num_heads, alone

    def forward(self, x_SD: Tensor) -> Tensor:
        q_hSd, k_hSd, v_hSd = _heads(self.project(x_SD), 3 * self._heads).chunk(3)
        seeing = slice(self._alone, None)
        mixed_1hSd = F.scaled_dot_product_attention(
            q_hSd[None, :, seeing], k_hSd[None, :, seeing], v_hSd[None, :, seeing], scale=1.0
        )
        mixed_hSd = mixed_1hSd[0]
        if self._alone:
            mixed_hSd = torch.cat([v_hSd[:, : self._alone], mixed_hSd], dim=1)
        return self.out_proj(mixed_hSd.transpose(0, 1).flatten(1))


class _CrossAttention(nn.Module):
    """Attention to the encoder's tokens, with its weights."""

    def __init__(self, attention: nn.MultiheadAttention, position_TD: Tensor, position_SD: Tensor):
        super().__init__()
        D = attention.embed_dim
        weight, bias = _with_scaled_queries(attention)
        self.ask = _Projection(weight[:D], bias[:D], position_TD, moved=D)
        self.see = _Projection(weight[D:], bias[D:], position_SD, moved=D)
        self.out_proj = attention.out_proj
        self._heads = attention.num_heads

    def query(self, x_TD: Tensor) -> Tensor:
        return _heads(self.ask(x_TD), self._heads)

    def forward(self, q_hTd: Tensor, memory_SD: Tensor) -> tuple[Tensor, Tensor]:
        k_hSd, v_hSd = _heads(self.see(memory_SD), 2 * self._heads).chunk(2)
        weights_hTS = (q_hTd @ k_hSd.transpose(1, 2)).softmax(-1)
        return self.out_proj((weights_hTS @ v_hSd).transpose(0, 1).flatten(1)), weights_hTS


class EncoderLayer(nn.Module):
    def __init__(self, layer: Any, position_SD: Tensor, alone: int):
        super().__init__()
        self.layer = layer
        self.attention = _SelfAttention(layer.self_attn, position_SD, alone)

    def forward(self, x_SD: Tensor) -> Tensor:
        layer: Any = self.layer
        y_SD = self.attention(layer.norm1(x_SD) if layer.pre_norm else x_SD)
        return _feed_forward(layer, x_SD + y_SD, layer.norm1, layer.norm2)


class DecoderLayer(nn.Module):
    def __init__(self, layer: Any, position_TD: Tensor, position_SD: Tensor):
        super().__init__()
        self.layer = layer
        self.self_attention = _SelfAttention(layer.self_attn, position_TD)
        self.attention = _CrossAttention(layer.multihead_attn, position_TD, position_SD)

    def forward(self, x_TD: Tensor, memory_SD: Tensor) -> tuple[Tensor, Tensor]:
        layer: Any = self.layer
        x_TD = x_TD + self.self_attention(layer.norm1(x_TD) if layer.pre_norm else x_TD)
        if layer.pre_norm:
            q_hTd = self.attention.query(layer.norm2(x_TD))
        else:
            x_TD = layer.norm1(x_TD)
            q_hTd = self.attention.query(x_TD)
        y_TD, weights_hTS = self.attention(q_hTd, memory_SD)
        return _feed_forward(layer, x_TD + y_TD, layer.norm2, layer.norm3), weights_hTS


class FirstDecoderLayer(nn.Module):
    """Its input is zeros, so all before it looks at the encoder's tokens is known."""

    def __init__(self, layer: Any, position_TD: Tensor, position_SD: Tensor):
        super().__init__()
        self.layer = layer
        self.attention = _CrossAttention(layer.multihead_attn, position_TD, position_SD)
        zeros_11D = torch.zeros_like(position_TD[None, :1])
        y_11D = layer.norm1(zeros_11D) if layer.pre_norm else zeros_11D
        x_11D = attend_to_a_constant(layer.self_attn, y_11D + position_TD, y_11D, 0.0, 1)
        y_11D = layer.norm2(x_11D) if layer.pre_norm else layer.norm1(x_11D)
        self.register_buffer("x_1D", (x_11D if layer.pre_norm else y_11D)[0])
        self.register_buffer("q_hTd", self.attention.query(y_11D[0].expand_as(position_TD)).contiguous())
        del self.attention.ask

    def forward(self, x_TD: None, memory_SD: Tensor) -> tuple[Tensor, Tensor]:
        y_TD, weights_hTS = self.attention(self.q_hTd, memory_SD)
        return _feed_forward(self.layer, self.x_1D + y_TD, self.layer.norm2, self.layer.norm3), weights_hTS


def _feed_forward(layer: Any, x_SD: Tensor, before: nn.Module, last: nn.Module) -> Tensor:
    """The rest of a layer. Pre-norm: only the last norm is left, inside. Post-norm: one before it and one after."""
    if not layer.pre_norm:
        x_SD = before(x_SD)
    y_SD = layer.linear2(layer.activation(layer.linear1(last(x_SD) if layer.pre_norm else x_SD)))
    return x_SD + y_SD if layer.pre_norm else last(x_SD + y_SD)


def _with_scaled_queries(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """Input weight (3D, D) and bias (3D,), the scores' 1 / sqrt(d) in those of the queries."""
    D = attention.embed_dim
    scale = torch.ones(3 * D, dtype=torch.float64)
    scale[:D] = (D // attention.num_heads) ** -0.5
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    return (_exact(weight) * scale[:, None]).to(weight), (_exact(bias) * scale).to(bias)


def _heads(x_SE: Tensor, count: int) -> Tensor:
    return x_SE.unflatten(1, (count, -1)).transpose(0, 1)


def _exact(x: Tensor) -> Tensor:
    return x.detach().cpu().double()
