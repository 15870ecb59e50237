"""Configuration of the policy type `regularized_act`: LeRobot's ACT, and what keeps it from going blind.

Everything of `ACTConfig` is here with its defaults, so flags and checkpoints read alike. Importing this module
registers the type; the model itself is imported by LeRobot when it is asked for, from `modeling_regularized_act`.
"""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.errors import PolicyError
from so101_policy.regularizer.config import RegularizerConfig

THIN = "resnet_thin_gn"
OURS = (THIN, "resnet10_gn", "resnet18_gn")
"""Backbones of `backbones.py`, which this module does not import: it shall stay light."""

TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

MODEL_SIZES: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {
        "dim_model": 128,
        "n_heads": 4,
        "dim_feedforward": 512,
        "n_encoder_layers": 2,
        "n_decoder_layers": 1,
        "use_vae": False,
        "vision_backbone": THIN,
        "pretrained_backbone_weights": None,
        "chunk_size": 20,
        "n_action_steps": 5,
        "optimizer_lr": 1e-3,  # held-out L1 after 1500 steps of 16 samples: .145; with 3e-4 .167
        "optimizer_lr_backbone": 1e-3,
    },
}
"""Named sizes: values for a policy's fields. `default` is LeRobot's ACT, 51.6 M parameters. `small` has 1.0 M, sees 20
tokens with two 96x96 cameras and trains from scratch on a laptop's CPU: 2 s of actions at 10 Hz, replanned twice a
second."""


class ModelError(PolicyError, ValueError):
    """A model that cannot be built, trained or converted as asked."""


@PreTrainedConfig.register_subclass("regularized_act")
@dataclass
class RegularizedACTConfig(ACTConfig):
    """`ACTConfig` with a regularizer. With its preset "none" and `fused` off, training is stock ACT's, bit for bit.

    Raises:
        ModelError: an unknown backbone, or one that does not know dilation.
        RegularizerError: a regularizer that contradicts itself.
    """

    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)

    fused: bool = False
    """Train by `training_forward.py`: the same numbers (to rounding, at dropout 0) in less time. With any regularizer
    on, training goes that way anyway. Inference never does."""

    fps: float | None = None
    """Frames per second of the demonstrations, so the rate of the actions; `so101-train` fills it in."""

    start_pose: list[float] | None = None
    """Where the demonstrations began, one joint value each: the median of their first states. A policy knows no other
    place to start from, so a runner goes there first; `so101-train` fills it in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vision_backbone not in TORCHVISION + OURS:
            raise ModelError(
                f"there is no backbone {self.vision_backbone!r}; possible: {', '.join(TORCHVISION)} (torchvision's, "
                f"with pretrained weights) and {', '.join(OURS)} (GroupNorm, from scratch)"
            )
        if self.vision_backbone in OURS:
            if self.replace_final_stride_with_dilation:
                raise ModelError(
                    f"{self.vision_backbone} has no dilated form; drop replace_final_stride_with_dilation"
                )
            self.pretrained_backbone_weights = None  # ACT's default names weights of a ResNet-18

    def validate_features(self) -> None:
        """LeRobot's checks; and a regularizer must have something to act on.

        Raises:
            ModelError: it is about a modality that this policy does not have.
        """
        super().validate_features()
        regularizer, cameras = self.regularizer, len(self.image_features)
        if not cameras and (
            regularizer.isolation or regularizer.camera_dropout or regularizer.wants_attention
        ):
            raise ModelError(
                f"regularizer preset {regularizer.preset!r} weighs state against cameras, but this policy has no "
                "camera; its inputs: " + ", ".join(self.input_features or {})
            )
        drops_state = regularizer.state_dropout or regularizer.state_dim_dropout or regularizer.state_noise
        if drops_state and not self.robot_state_feature:
            raise ModelError(
                f"regularizer preset {regularizer.preset!r} hides or blurs the joint state, but this policy has none; "
                "its inputs: " + ", ".join(self.input_features or {})
            )


def check_fresh_backbone(config: Any) -> None:
    """Refuse to train a torchvision backbone from random weights, whose frozen batch norm would normalise nothing.

    Raises:
        ModelError: with the reason and what is possible instead.
    """
    has_cameras = config.input_features is None or not config.input_features or bool(config.image_features)
    fresh = config.pretrained_backbone_weights is None and not config.pretrained_path
    if has_cameras and fresh and config.vision_backbone not in OURS:
        raise ModelError(
            f"{config.vision_backbone} with random weights cannot be trained: LeRobot freezes its batch norm, and "
            "frozen at its start it normalises nothing. Give --policy.pretrained_backbone_weights (the default for "
            "resnet18 is ResNet18_Weights.IMAGENET1K_V1), or take a backbone for training from scratch: "
            f"--policy.vision_backbone={THIN} (others: {', '.join(OURS[1:])})"
        )
