"""ACT's training forward, in less time than LeRobot's `ACT.forward` and with the same numbers.

Both cameras go through the backbone in one call, channels last; tokens are concatenated once, batch first, instead of
taken apart into a list and stacked; of the VAE encoder's last layer only the CLS token's output is computed, which is
all that is used; the rest is `transformer_layers`. It reads the modules of a LeRobot `ACT` and changes none of them, so
a model trained here is an ordinary ACT. Dropout draws other random numbers than LeRobot's, of the same distribution.

It is also where training differs from stock on purpose: modality dropout, the encoder's isolation, and the record of
the attention that the regularizer asks for. Without those it computes LeRobot's loss and gradients to rounding.

Shapes: B batch, S tokens, N tokens of a camera, D model width, L latent, P joints, T chunk, A action, H heads.
"""

from typing import NamedTuple, cast

import torch
from lerobot.policies.act.modeling_act import ACT
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn

from so101_policy.attention.isolation import count_isolated, isolation_mask
from so101_policy.attention.shares import TokenLayout
from so101_policy.names import camera_name
from so101_policy.regularizer.modality_dropout import DropMasks, ModalityDropout
from so101_policy.transformer_layers import decode, decoder_layers, encode, encoder_layers

Batch = dict[str, Tensor]


class ForwardPass(NamedTuple):
    """One training forward."""

    actions_BTA: Tensor
    mean_BL: Tensor | None
    """Of the latent; with `log_variance_BL`, None without a VAE."""
    log_variance_BL: Tensor | None
    cross: list[Tensor]
    """Per decoder layer (B, H, T, S) log-probabilities before dropout, float32; empty unless asked for."""
    encoder: list[Tensor]
    """Per encoder layer (B, S, S) probabilities before dropout, mean of the heads; empty unless asked for."""
    layout: TokenLayout
    dropped: DropMasks | None
    """What each sample lost to modality dropout."""


class _Tokens(NamedTuple):
    """The encoder's input."""

    x_BSD: Tensor
    position_1SD: Tensor
    layout: TokenLayout


def training_forward(
    model: ACT,
    batch: Batch,
    *,
    isolated: bool = False,
    masking: ModalityDropout | None = None,
    with_attention: bool = False,
    with_encoder_attention: bool = False,
) -> ForwardPass:
    """Forward pass of a LeRobot `ACT` as in training mode (with its dropout if `model.training`).

    Args:
        batch: LeRobot's training batch; images by camera key, (B, 3, h, w).
        isolated: the encoder keeps the state out of the vision tokens.
        masking: modality dropout; None for none.
        with_attention: give the decoder's cross-attention; `with_encoder_attention`: and the encoder's self-attention.
    """
    p = float(model.config.dropout) if model.training else 0.0
    samples, device = len(batch[ACTION]), batch[ACTION].device
    dropped = masking.draw(samples, device) if masking else None
    batch = masking.hide(batch) if masking else batch
    if masking and dropped and model.config.robot_state_feature:
        batch = batch | {OBS_STATE: masking.state(batch[OBS_STATE], dropped)}

    mean_BL = log_variance_BL = None
    if model.config.use_vae:
        mean_BL, log_variance_BL = _posterior(model, batch, masking, dropped, p)
        latent_BL = mean_BL + log_variance_BL.div(2).exp() * torch.randn_like(mean_BL)
    else:
        latent_BL = torch.zeros(samples, model.config.latent_dim, device=device)

    tokens = _tokens(model, batch, latent_BL, masking, dropped)
    bias_SS = (
        _minus_inf(isolation_mask(tokens.layout.total, count_isolated(model.config), device))
        if isolated
        else None
    )
    x_BSD, encoder = tokens.x_BSD, list[Tensor]()
    for layer in encoder_layers(model.encoder):
        x_BSD, log_BHSS = encode(
            layer, x_BSD, tokens.position_1SD, p, bias_SS, with_attention=with_encoder_attention
        )
        encoder += [] if log_BHSS is None else [log_BHSS.exp().mean(1)]
    actions_BTA, cross = _decode(model, model.encoder.norm(x_BSD), tokens.position_1SD, p, with_attention)
    return ForwardPass(actions_BTA, mean_BL, log_variance_BL, cross, encoder, tokens.layout, dropped)


def _posterior(
    model: ACT, batch: Batch, masking: ModalityDropout | None, dropped: DropMasks | None, p: float
) -> tuple[Tensor, Tensor]:
    """The VAE encoder: mean and log-variance (B, L) of the latent, given the state and the actions to be taken."""
    padded_BT = batch["action_is_pad"]
    tokens = [model.vae_encoder_cls_embed.weight.expand(len(padded_BT), 1, -1)]
    if model.config.robot_state_feature:
        state_BD = model.vae_encoder_robot_state_input_proj(batch[OBS_STATE])
        if masking and dropped:
            state_BD = masking.state_tokens(state_BD, dropped, of_vae=True)
        tokens.append(state_BD[:, None])
    never_padded = padded_BT.new_zeros(len(padded_BT), len(tokens))
    bias_B11S = _minus_inf(torch.cat([never_padded, padded_BT], dim=1))[:, None, None]
    x_BSD = torch.cat([*tokens, model.vae_encoder_action_input_proj(batch[ACTION])], dim=1)
    layers, position_1SD = encoder_layers(model.vae_encoder), cast(Tensor, model.vae_encoder_pos_enc)
    for layer in layers:
        x_BSD, _ = encode(layer, x_BSD, position_1SD, p, bias_B11S, first_only=layer is layers[-1])
    moments_B2L = model.vae_encoder_latent_output_proj(model.vae_encoder.norm(x_BSD[:, 0])).float()
    mean_BL, log_variance_BL = moments_B2L.chunk(2, dim=1)
    return mean_BL, log_variance_BL


def _tokens(
    model: ACT, batch: Batch, latent_BL: Tensor, masking: ModalityDropout | None, dropped: DropMasks | None
) -> _Tokens:
    """Latent, joint state, environment state, cameras: LeRobot's order."""
    config = model.config
    single = [model.encoder_latent_input_proj(latent_BL)]
    if config.robot_state_feature:
        state_BD = model.encoder_robot_state_input_proj(batch[OBS_STATE])
        single.append(masking.state_tokens(state_BD, dropped) if masking and dropped else state_BD)
    if config.env_state_feature:
        single.append(model.encoder_env_state_input_proj(batch[OBS_ENV_STATE]))
    positions = [model.encoder_1d_feature_pos_embed.weight[None]]
    cameras: list[Tensor] = []
    if config.image_features:
        maps = _feature_maps(model.backbone, [batch[key] for key in config.image_features])
        cameras = _camera_tokens(model, maps)
        positions += _camera_positions(model, maps)
    if masking and dropped:
        cameras = [masking.camera(token_BND, dropped, index) for index, token_BND in enumerate(cameras)]
    counts = {
        camera_name(key): token_BND.shape[1]
        for key, token_BND in zip(config.image_features, cameras, strict=True)
    }
    x_BSD = torch.cat([torch.stack(single, dim=1), *cameras], dim=1)
    return _Tokens(x_BSD, torch.cat(positions, dim=1), TokenLayout.of(config, counts))


def _feature_maps(backbone: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Each camera's (B, C, h, w), channels last; cameras of one size share one call of the backbone."""
    if len({image.shape for image in images}) > 1:
        return [maps for image in images for maps in _feature_maps(backbone, [image])]
    together = torch.cat(images).contiguous(memory_format=torch.channels_last)
    return list(backbone(together)["feature_map"].chunk(len(images)))


def _camera_tokens(model: ACT, maps: list[Tensor]) -> list[Tensor]:
    """(B, N, D) a camera: its feature map, projected by LeRobot's 1x1 convolution as the matrix it is."""
    project = model.encoder_img_feat_input_proj
    weight_DC = project.weight.flatten(1)
    return [
        torch.nn.functional.linear(x_BChw.permute(0, 2, 3, 1).flatten(1, 2), weight_DC, project.bias)
        for x_BChw in maps
    ]


def _camera_positions(model: ACT, maps: list[Tensor]) -> list[Tensor]:
    """(1, N, D) a camera: sinusoids that depend on the map's size only."""
    by_size = {
        x_BChw.shape[-2:]: model.encoder_cam_feat_pos_embed(x_BChw)
        .flatten(2)
        .transpose(1, 2)
        .to(x_BChw.dtype)
        for x_BChw in {y.shape[-2:]: y for y in maps}.values()
    }
    return [by_size[x_BChw.shape[-2:]] for x_BChw in maps]


def _decode(
    model: ACT, value_BSD: Tensor, position_1SD: Tensor, p: float, with_attention: bool
) -> tuple[Tensor, list[Tensor]]:
    """The decoder and the action head: actions, and the cross-attention if asked for."""
    key_BSD = value_BSD + position_1SD
    position_1TD = model.decoder_pos_embed.weight[None]
    x_BTD: Tensor | None = None
    cross: list[Tensor] = []
    for layer in decoder_layers(model.decoder):
        x_BTD, log_BHTS = decode(layer, x_BTD, position_1TD, key_BSD, value_BSD, p, with_attention)
        cross += [] if log_BHTS is None else [log_BHTS]
    return model.action_head(model.decoder.norm(x_BTD)), cross


def _minus_inf(where: Tensor) -> Tensor:
    return torch.zeros(where.shape, device=where.device).masked_fill(where, -torch.inf)
