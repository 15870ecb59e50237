"""Untrained policies on disk, small enough to be made in every test module that needs one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_STATE

from so101_policy.checkpoint.folder import TRAINED_ON
from so101_policy.checkpoint.trained_on import TrainedOn, to_json
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy
from so101_policy.units import Units

POSE = (0.0, -60.0, 60.0, 50.0, 0.0, 30.0)
"""Where the statistics of the checkpoint keep its actions, LeRobot's units."""


def untrained(
    folder: Path,
    *,
    cameras: Sequence[str] = ("front", "wrist"),
    px: int = 96,
    config: type[ACTConfig] = ACTConfig,
    policy: type[ACTPolicy] = ACTPolicy,
    says_fps: float | None = None,
    joints: Mapping[str, Sequence[float]] | None = None,
    **settings: Any,
) -> Path:
    """Write an ACT with random weights, always the same ones, and its processors to `folder`; returns it.

    Args:
        cameras: names; pictures are px high and wide.
        says_fps: the rate, in the file in which `so101-train` says what a policy was trained on; None: no such file.
        joints: statistics of state and action by name; None: mean and deviation about `POSE`.
        settings: of `config`, over a chunk of 20 actions in a network of width 32.
    """
    inputs = {OBS_STATE: PolicyFeature(FeatureType.STATE, (6,))}
    inputs |= {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, px, px)) for name in cameras
    }
    small = {
        "dim_model": 32,
        "n_heads": 4,
        "dim_feedforward": 64,
        "n_encoder_layers": 1,
        "n_vae_encoder_layers": 1,
        "chunk_size": 20,
        "n_action_steps": 20,
        "device": "cpu",
        "pretrained_backbone_weights": None,
    }
    outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (6,))}
    made = config(input_features=inputs, output_features=outputs, **(small | settings))
    numbers = {"mean": torch.tensor(POSE), "std": torch.full((6,), 5.0)}
    if joints is not None:
        numbers = {name: torch.tensor(values) for name, values in joints.items()}
    pictures = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
    statistics = {name: pictures if "images" in name else numbers for name in (*inputs, ACTION)}
    torch.manual_seed(0)
    policy(made).save_pretrained(folder)
    for processor in make_act_pre_post_processors(made, statistics):
        processor.save_pretrained(folder)
    if says_fps is not None:
        sizes = dict.fromkeys(cameras, (px, px))
        known = TrainedOn(fps=says_fps, units=Units.DEGREES, recorded=sizes, trained=sizes)
        (folder / TRAINED_ON).write_text(to_json(known))
    return folder


def thin(folder: Path, **settings: Any) -> Path:
    """The same with a thin backbone, a `regularized_act`: for tests that play a policy of any kind. A ResNet-18 takes
    seconds to load and to prepare."""
    ours: dict[str, Any] = {"config": RegularizedACTConfig, "policy": RegularizedACTPolicy}
    return untrained(folder, **ours, vision_backbone="resnet_thin_gn", **settings)
