"""ACT's inference on one observation, with all that does not depend on the observation computed beforehand.

At inference ACT's latent is zero, so its token is a bias; position embeddings are constants, so what they add to
queries and keys is one too; the first decoder layer attends to zeros, so its output, and with it its query of the
pictures, are parameters. Frozen batch norms go into the convolutions before them. Cameras of one size share one call
of the backbone, channels last, straight from bytes. What is left is `ActGraph`: tensors in, tensors out, made for
running (`engine.py`) and for export (`onnx.py`). Its numbers are those of LeRobot's forward to rounding.

It is made from the weights as they are at that moment, shares with the model those that it does not fold, and changes
none. Constants are computed in float64.

Shapes: C channels, H height, W width, N images, V tokens of all cameras, S all tokens, D model width, T chunk,
A action, P joints; h heads.
"""

import copy
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812
from lerobot.policies.act.modeling_act import ACT
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops.misc import FrozenBatchNorm2d

from so101_policy.attention.isolation import count_isolated
from so101_policy.attention.shares import TokenLayout
from so101_policy.errors import PolicyError
from so101_policy.inference.layers import DecoderLayer, EncoderLayer, FirstDecoderLayer
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACT
from so101_policy.names import camera_name
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.transformer_layers import decoder_layers, encoder_layers


class EngineError(PolicyError, ValueError):
    """An engine that does not exist, or cannot run this policy on this machine."""


class Scaling(NamedTuple):
    """A camera's normalisation, a line per channel: byte * factor + offset."""

    factor_C: Tensor
    offset_C: Tensor


class ActGraph(nn.Module):
    """What an ACT does with one observation.

    Called with the tensors that `inputs` names, in that order: joint and environment state, normalised, (P,); pictures
    as uint8 (H, W, 3). Gives normalised actions (T, A), then per decoder layer the cross-attention's probabilities
    (h, T, S).

    Args:
        model: LeRobot's `ACT`, or our `RegularizedACT`: its isolation and what it never sees are known here.
        scalings: camera key -> how its bytes are normalised.
    """

    @torch.no_grad()
    def __init__(self, model: ACT, scalings: Mapping[str, Scaling]):
        super().__init__()
        config = model.config
        regularizer = config.regularizer if isinstance(config, RegularizedACTConfig) else RegularizerConfig()
        vision = _VisionTokens(model, scalings, hidden=regularizer.hides_images)
        self.vision = vision if config.image_features else None
        self.vectors = _vectors(model, without_state=regularizer.hides_state)
        self.grids = vision.grids
        """Camera -> (rows, columns) of its tokens."""
        self.layout = TokenLayout.of(
            config, {name: rows * columns for name, (rows, columns) in vision.grids.items()}
        )
        self.inputs = (*self.vectors.keys, *vision.keys)
        """Keys of what the graph is called with, as in a normalised batch of LeRobot's."""

        alone = count_isolated(config) if regularizer.isolation else 0
        position_SD = torch.cat([model.encoder_1d_feature_pos_embed.weight, *vision.positions])
        self.encoder = nn.ModuleList(
            EncoderLayer(x, position_SD, alone) for x in encoder_layers(model.encoder)
        )
        self.encoder_norm = model.encoder.norm
        first, *others = decoder_layers(model.decoder)
        position_TD = model.decoder_pos_embed.weight
        self.decoder = nn.ModuleList([FirstDecoderLayer(first, position_TD, position_SD)])
        self.decoder.extend(DecoderLayer(x, position_TD, position_SD) for x in others)
        self.decoder_norm = model.decoder.norm
        self.action_head = model.action_head
        self.description = repr((config, self.inputs, alone))
        """What decides, beside the weights, about what `forward` does."""
        features = config.input_features or {}
        self._shapes = [tuple(features[key].shape) for key in self.inputs]

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the right shapes and types: zeros and black."""
        bias: Tensor = self.action_head.bias
        return tuple(
            bias.new_zeros(shape) if len(shape) == 1 else bias.new_zeros((*shape[1:], 3), dtype=torch.uint8)
            for shape in self._shapes
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        vectors, images = inputs[: len(self.vectors.keys)], inputs[len(self.vectors.keys) :]
        x_SD = self.vectors(*vectors)
        if self.vision is not None:
            x_SD = torch.cat([x_SD, self.vision(*images)])
        for layer in self.encoder:
            x_SD = layer(x_SD)
        memory_SD = self.encoder_norm(x_SD)
        x_TD, weights = None, list[Tensor]()
        for layer in self.decoder:
            x_TD, weights_hTS = layer(x_TD, memory_SD)
            weights.append(weights_hTS)
        return self.action_head(self.decoder_norm(x_TD)), *weights


def check_model(model: nn.Module) -> None:
    """Raises EngineError for a model whose forward is not known here: a subclass may do anything in its own."""
    if type(model) not in (ACT, RegularizedACT):
        raise EngineError(
            f"an engine is made for LeRobot's ACT and our RegularizedACT, not for {type(model).__name__}; "
            "possible: engine plain"
        )


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Multiply every frozen batch norm that follows a convolution into it, in place. Returns the module.

    What follows what is read off the order in which a module names its parts, which in torchvision's ResNets is the
    order in which it calls them.
    """
    parts: list[tuple[str, Any]] = list(module.named_children())
    for (_, before), (name, norm) in pairwise(parts):
        if isinstance(before, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            _fold(before, norm)
            setattr(module, name, nn.Identity())
    for _, part in parts:
        fold_batch_norms(part)
    return module


def _fold(convolution: nn.Conv2d, norm: FrozenBatchNorm2d) -> None:
    """Norm(x) = weight (x - mean) / sqrt(variance + eps) + bias is a line, and goes into the convolution's."""
    mean, variance, scale, offset = (
        cast(Tensor, x).cpu().double() for x in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    weight, bias = fuse_conv_bn_weights(
        *(
            convolution.weight.cpu().double(),
            None if convolution.bias is None else convolution.bias.cpu().double(),
        ),
        *(mean, variance, norm.eps, scale, offset),
    )
    there = convolution.weight.device
    convolution.weight, convolution.bias = (nn.Parameter(x.float().to(there)) for x in (weight, bias))


class _Vectors(nn.Module):
    """The tokens before the pictures: latent (a constant), joint state, environment state."""

    latent_1D: Tensor

    def __init__(self, latent_D: Tensor, projections: Mapping[str, nn.Linear], hidden: Iterable[str]):
        super().__init__()
        self.keys = tuple(key for key in projections if key not in hidden)
        self.register_buffer("latent_1D", latent_D[None])
        self.projections: Any = nn.ModuleList(projections.values())
        self._is_hidden = [key in hidden for key in projections]

    def forward(self, *vectors_P: Tensor) -> Tensor:
        seen = iter(vectors_P)
        rows = [
            projection.bias[None] if hidden else projection(next(seen))[None]
            for projection, hidden in zip(self.projections, self._is_hidden, strict=True)
        ]
        return torch.cat([self.latent_1D, *rows])


def _vectors(model: ACT, without_state: bool) -> _Vectors:
    projections: dict[str, nn.Linear] = {}
    if model.config.robot_state_feature:
        projections[OBS_STATE] = model.encoder_robot_state_input_proj
    if model.config.env_state_feature:
        projections[OBS_ENV_STATE] = model.encoder_env_state_input_proj
    hidden = (OBS_STATE,) if without_state else ()
    return _Vectors(model.encoder_latent_input_proj.bias, projections, hidden)


class _VisionTokens(nn.Module):
    """Pictures -> (V, D). Blind, the tokens are those of normalised zeros, whatever there is to see."""

    dark_VD: Tensor | None

    def __init__(self, model: ACT, scalings: Mapping[str, Scaling], hidden: bool):
        super().__init__()
        features: Mapping[str, Any] = model.config.image_features
        self.keys = () if hidden else tuple(features)
        """Of the pictures that it takes."""
        self.grids: dict[str, tuple[int, int]] = {}
        """Camera -> (rows, columns) of its tokens."""
        self.positions: list[Tensor] = []
        """(tokens, D) a camera."""
        if not features:
            return
        backbone: Any = fold_batch_norms(copy.deepcopy(model.backbone))
        self.backbone: Any = backbone.eval().to(memory_format=torch.channels_last)
        self.weight_DC = nn.Parameter(model.encoder_img_feat_input_proj.weight.flatten(1))
        self.bias_D = cast(Tensor, model.encoder_img_feat_input_proj.bias)
        dark: list[Tensor] = []
        for key, feature in features.items():
            maps = self._maps(self.bias_D.new_zeros(1, *feature.shape[1:], 3))
            position = model.encoder_cam_feat_pos_embed(maps)[0].flatten(1).T
            self.grids[camera_name(key)] = (maps.shape[-2], maps.shape[-1])
            self.positions.append(position)
            dark.append(self._tokens(maps)[0])
        self.register_buffer("dark_VD", torch.cat(dark) if hidden else None)
        self._groups = [] if hidden else _by_size(features)
        for number, group in enumerate(self._groups):
            for name in Scaling._fields:
                values_NC = [getattr(scalings[self.keys[index]], name) for index in group]
                self.register_buffer(f"{name}_{number}", torch.stack(values_NC)[:, None, None])

    def forward(self, *images_HWC: Tensor) -> Tensor:
        if self.dark_VD is not None:
            return self.dark_VD
        tokens: dict[int, Tensor] = {}
        for number, group in enumerate(self._groups):
            factor, offset = (getattr(self, f"{name}_{number}") for name in Scaling._fields)
            bytes_NHWC = torch.stack([images_HWC[index] for index in group])
            maps_NCHW = self._maps(torch.addcmul(offset, bytes_NHWC.float(), factor))
            tokens |= zip(group, self._tokens(maps_NCHW), strict=True)
        return torch.cat([tokens[index] for index in range(len(images_HWC))])

    def _maps(self, image_NHWC: Tensor) -> Tensor:
        return self.backbone(image_NHWC.permute(0, 3, 1, 2))["feature_map"]

    def _tokens(self, maps_NCHW: Tensor) -> Tensor:
        return F.linear(maps_NCHW.permute(0, 2, 3, 1).flatten(1, 2), self.weight_DC, self.bias_D)


def _by_size(features: Mapping[str, Any]) -> list[list[int]]:
    """Numbers of the cameras, those of one size together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, feature in enumerate(features.values()):
        groups.setdefault(tuple(feature.shape), []).append(index)
    return list(groups.values())
