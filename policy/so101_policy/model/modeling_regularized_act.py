"""`RegularizedACTPolicy`: LeRobot's ACT that can be trained not to ignore its cameras.

What is stock stays stock. With the regularizer's preset "none" and `fused` off, `forward` is LeRobot's own, random
numbers included. In eval mode it always is: the only thing that may be added is the encoder's isolation, a mask
(`isolation.py`). In training, whatever differs from stock lives in one place, `training_forward`.

Names of weights are ACT's. A trained policy may have more: `model.modality_dropout.*` (mask tokens) and
`attention_regularizer.*` (schedules), both needed in training only.

Shapes: B batch, T chunk, A action.
"""

import copy
import logging
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
from lerobot.configs import FeatureType
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import (
    ACT,
    ACTPolicy,
    ACTSinusoidalPositionEmbedding2d,
    ACTTemporalEnsembler,
)
from lerobot.utils.constants import OBS_IMAGES
from torch import Tensor, nn

from so101_policy.attention.isolation import count_isolated, isolate
from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import read_config, read_weights
from so101_policy.errors import first_line
from so101_policy.model.backbones import BACKBONES, GroupNormResNet
from so101_policy.model.configuration_regularized_act import ModelError, RegularizedACTConfig
from so101_policy.model.loss_terms import LossTerms, loss_terms
from so101_policy.model.training_forward import ForwardPass, training_forward
from so101_policy.regularizer.config import RegularizerConfig
from so101_policy.regularizer.figures import attention_figures
from so101_policy.regularizer.loss import AttentionRecord, AttentionRegularizer
from so101_policy.regularizer.modality_dropout import ModalityDropout

logger = logging.getLogger(__name__)


class RegularizedACT(ACT):
    """ACT with a choice of backbones, an isolated encoder, and mask tokens; its `forward` is ACT's, or a control's."""

    def __init__(self, config: RegularizedACTConfig):
        ours = config.vision_backbone in BACKBONES and bool(config.image_features)
        super().__init__(_without_cameras(config) if ours else config)
        self.config = config
        if ours:  # under ACT's names
            self.backbone = GroupNormResNet(
                config.vision_backbone, bool(config.replace_final_stride_with_dilation)
            )
            width = config.dim_model
            self.encoder_img_feat_input_proj = nn.Conv2d(self.backbone.out_channels, width, kernel_size=1)
            self.encoder_cam_feat_pos_embed = ACTSinusoidalPositionEmbedding2d(width // 2)
        if config.regularizer.isolation:
            isolate(self.encoder, count_isolated(config))
        self.modality_dropout = ModalityDropout(config) if config.regularizer.touches_inputs else None

    def forward(self, batch: dict[str, Any]) -> Any:
        """ACT's, without what a control never sees."""
        return super().forward(batch if self.modality_dropout is None else self.modality_dropout.hide(batch))


class RegularizedACTPolicy(ACTPolicy):
    """LeRobot's policy type `regularized_act`.

    Raises:
        PolicyError: the configuration does not go together (no camera, no state, ...).
    """

    config_class = RegularizedACTConfig  # pyright: ignore[reportAssignmentType]  # LeRobot declares None
    name = "regularized_act"  # pyright: ignore[reportAssignmentType]

    config: RegularizedACTConfig
    model: RegularizedACT

    def __init__(self, config: RegularizedACTConfig, **kwargs: Any):
        super(ACTPolicy, self).__init__(config)  # ACTPolicy's own would build a stock ACT first
        config.validate_features()
        self.model = RegularizedACT(config)
        regularizer = config.regularizer
        self.attention_regularizer = (
            None if regularizer.is_off else AttentionRegularizer(regularizer, config.n_action_steps)
        )
        if config.temporal_ensemble_coeff is not None:
            self.temporal_ensembler = ACTTemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
        if regularizer.wants_attention and not regularizer.isolation:
            logger.warning(
                "regularizer %r puts a loss on attention without isolation: it steers where the decoder looks, not "
                "what the actions depend on, because the encoder has mixed the state into the vision tokens "
                "before. Add --regularizer.isolation=true",
                regularizer.preset,
            )
        self.reset()

    @property
    def trains_as_stock(self) -> bool:
        """Training goes through LeRobot's own forward."""
        return self.config.regularizer.is_off and not self.config.fused

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """LeRobot's training interface: the loss, and figures as floats (which waits for the device)."""
        if self.trains_as_stock or not self.training:
            return super().forward(batch)
        terms = self.loss_terms(batch)
        figures = {"l1_loss": terms.l1_sum.detach() / terms.valid_count.clamp_min(1)}
        if terms.kld_mean is not None:
            figures["kld_loss"] = terms.kld_mean.detach()
        figures |= terms.figures
        return terms.loss(self.config.kl_weight), {name: value.item() for name, value in figures.items()}

    def loss_terms(self, batch: dict[str, Tensor], figures: bool = True) -> LossTerms:
        """The parts of the loss; in training mode with the regularizer, in eval mode LeRobot's (no latent, no loss on
        attention).

        Args:
            figures: give shares and such too, where training does not go through LeRobot's forward. False is for
                steps that nobody logs.
        """
        attention_loss, named = None, dict[str, Tensor]()
        if self.trains_as_stock or not self.training:
            actions_BTA, (mean_BL, log_variance_BL) = self.model(self._with_images(batch))
        else:
            done = self._training_forward(batch, figures)
            actions_BTA, mean_BL, log_variance_BL = done.actions_BTA, done.mean_BL, done.log_variance_BL
            attention_loss, named = self._attention(done, batch["action_is_pad"], figures)
        return loss_terms(batch, actions_BTA, mean_BL, log_variance_BL, attention_loss, named)

    def update(self) -> None:
        """After each optimizer step; LeRobot's trainer calls it too. Moves the regularizer's schedules."""
        if self.attention_regularizer is not None:
            self.attention_regularizer.update()

    def observe_heldout(self, l1: float) -> None:
        """After each evaluation on held-out episodes: feeds an adaptive threshold."""
        if self.attention_regularizer is not None:
            self.attention_regularizer.observe_heldout(l1)

    def _training_forward(self, batch: dict[str, Tensor], figures: bool) -> ForwardPass:
        regularizer = self.config.regularizer
        return training_forward(
            self.model,
            batch,
            isolated=regularizer.isolation,
            masking=self.model.modality_dropout,
            with_attention=regularizer.wants_attention or figures,
            with_encoder_attention=regularizer.wants_encoder_attention,
        )

    def _attention(
        self, done: ForwardPass, padded_BT: Tensor, figures: bool
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """The loss on attention, if there is one, and the figures, if they are asked for."""
        if not done.cross:
            return None, {}
        valid_BT = ~padded_BT if done.dropped is None else ~padded_BT & ~done.dropped.one_sided[:, None]
        if self.attention_regularizer is None:
            return None, attention_figures(done.cross, valid_BT, done.layout)
        record = AttentionRecord(done.cross, done.encoder, done.layout, valid_BT)
        if self.config.regularizer.wants_attention:
            return self.attention_regularizer(record, figures)
        with torch.no_grad():
            return None, self.attention_regularizer(record, figures)[1]

    def _with_images(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """As LeRobot's `forward` hands images to its model: as a list."""
        if not self.config.image_features:
            return batch
        return batch | {OBS_IMAGES: [batch[key] for key in self.config.image_features]}


def from_act(
    act: ACTPolicy | str | Path, regularizer: RegularizerConfig, **overrides: Any
) -> RegularizedACTPolicy:
    """A policy with the weights of an ACT, LeRobot's or ours, to be fine-tuned with a regularizer.

    Mask tokens and schedules begin afresh.

    Args:
        act: the policy, or its checkpoint as `ActPolicy.load` takes it.
        overrides: fields of the configuration, e.g. `fused=True`, `optimizer_lr=1e-5`.

    Raises:
        CheckpointError: there is no such checkpoint.
        PolicyError: the weights do not fit what the overrides make of the model.
    """
    if not isinstance(act, ACTPolicy):
        folder = find_checkpoint(act)
        act = read_weights(folder, read_config(folder, str(overrides.get("device") or "cpu")))
    kept: dict[str, Any] = {
        x.name: copy.deepcopy(getattr(act.config, x.name)) for x in fields(ACTConfig) if x.init
    }
    kept["pretrained_backbone_weights"] = None  # they come from `act`
    policy = RegularizedACTPolicy(RegularizedACTConfig(**kept | overrides, regularizer=regularizer))
    weights = {name: value for name, value in act.state_dict().items() if not _is_fresh(name)}
    try:
        missing, unknown = policy.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights do not fit the overrides {overrides}: {first_line(error)}") from error
    if wrong := [name for name in missing if not _is_fresh(name)] + unknown:
        raise ModelError(f"the weights do not fit the overrides {overrides}: {', '.join(wrong[:6])} ...")
    return policy.to(cast(str, policy.config.device))


def _is_fresh(name: str) -> bool:
    return name.startswith(("model.modality_dropout.", "attention_regularizer."))


def _without_cameras(config: RegularizedACTConfig) -> RegularizedACTConfig:
    """So that ACT's constructor builds no backbone of torchvision's."""
    without = copy.copy(config)
    features = config.input_features or {}
    without.input_features = {key: x for key, x in features.items() if x.type is not FeatureType.VISUAL}
    return without
