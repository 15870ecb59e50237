"""Configuration of the policy type `regularized_act`: LeRobot's ACT, and what keeps it from ignoring its cameras.

Everything of `ACTConfig` is here with its defaults, so flags and checkpoints read alike. Importing this module
registers the type; the model itself is imported by LeRobot when it is asked for, from `modeling_regularized_act`.
"""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig

from so101_policy.errors import PolicyError
from so101_policy.regularizer.config import RegularizerConfig

THIN_RESNET = "resnet_thin_gn"
GROUP_NORM_BACKBONES = (THIN_RESNET, "resnet10_gn", "resnet18_gn")
"""Backbones of `backbones.py`, which this module does not import, to stay light."""

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
        "vision_backbone": THIN_RESNET,
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
        ModelError: an unknown backbone.
        RegularizerError: a regularizer that contradicts itself.
    """

    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    """What keeps the policy from ignoring its cameras; the default does nothing."""

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
        if self.vision_backbone not in TORCHVISION + GROUP_NORM_BACKBONES:
            raise ModelError(
                f"there is no backbone {self.vision_backbone!r}; possible: {', '.join(TORCHVISION)} (torchvision's, "
                f"with pretrained weights) and {', '.join(GROUP_NORM_BACKBONES)} (GroupNorm, from scratch)"
            )
        if self.vision_backbone in GROUP_NORM_BACKBONES:
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
                f"regularizer preset {regularizer.preset!r} compares the state with cameras, but this policy has no "
                "camera; its inputs: " + ", ".join(self.input_features or {})
            )
        drops_state = regularizer.state_dropout or regularizer.state_dim_dropout or regularizer.state_noise
        if drops_state and not self.robot_state_feature:
            raise ModelError(
                f"regularizer preset {regularizer.preset!r} hides the joint state or adds noise to it, but this "
                "policy has none; its inputs: " + ", ".join(self.input_features or {})
            )


def check_backbone(config: ACTConfig) -> None:
    """Raises ModelError for a backbone that an ACT cannot have, or pretrained weights of another one."""
    name, weights = config.vision_backbone, config.pretrained_backbone_weights
    if name in GROUP_NORM_BACKBONES and isinstance(config, RegularizedACTConfig):
        return
    if name not in TORCHVISION:
        raise ModelError(
            f"there is no backbone {name!r} for {config.type}; possible: {', '.join(TORCHVISION)}"
        )
    if weights is not None and weights.partition(".")[0].lower() != f"{name}_weights":
        raise ModelError(
            f"--policy.pretrained_backbone_weights={weights} are not of --policy.vision_backbone={name}; expected "
            f"{weights_of(name)} or null"
        )


def weights_of(backbone: str) -> str:
    """Torchvision's name of a ResNet's weights of ImageNet."""
    return f"{backbone.replace('resnet', 'ResNet')}_Weights.IMAGENET1K_V1"


def check_fresh_backbone(config: ACTConfig) -> None:
    """Refuse to train a torchvision backbone from random weights, whose frozen batch norm would normalise nothing.

    Raises:
        ModelError: with the reason and what is possible instead.
    """
    has_cameras = config.input_features is None or not config.input_features or bool(config.image_features)
    fresh = config.pretrained_backbone_weights is None and not config.pretrained_path
    if has_cameras and fresh and config.vision_backbone not in GROUP_NORM_BACKBONES:
        raise ModelError(
            f"{config.vision_backbone} with random weights cannot be trained: LeRobot freezes its batch norm, and "
            "a frozen batch norm that never saw data normalises nothing. Give "
            "--policy.pretrained_backbone_weights (the default for resnet18 is "
            "ResNet18_Weights.IMAGENET1K_V1), or take a backbone for training from scratch: "
            f"--policy.vision_backbone={THIN_RESNET} (others: {', '.join(GROUP_NORM_BACKBONES[1:])})"
        )
