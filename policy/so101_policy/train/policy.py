"""The policy of a run, its processors, optimizer and schedule: fresh, from a checkpoint, or as a run left them."""

import contextlib
import copy
import os
from collections.abc import Generator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType
from lerobot.optim.optimizers import AdamConfig, AdamWConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.policies.factory import get_policy_class
from lerobot.processor import RenameObservationsProcessorStep

from so101_policy.checkpoint_files import (
    find_checkpoint,
    read_config,
    read_processors,
    read_weights,
    steps_of,
)
from so101_policy.errors import TrainError
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig, check_fresh_backbone
from so101_policy.model.modeling_regularized_act import from_act
from so101_policy.train.checkpoints import Trained
from so101_policy.train.data import Description, start_pose

FUSED_OPTIMIZERS = {AdamWConfig: torch.optim.AdamW, AdamConfig: torch.optim.Adam}


def settle_features(policy: Any, data: Description) -> None:
    """A new policy takes and gives what the dataset has; whichever it is, it acts at the dataset's rate."""
    policy.output_features = {k: f for k, f in data.features.items() if f.type is FeatureType.ACTION}
    if not policy.input_features:
        policy.input_features = {k: f for k, f in data.features.items() if f.type is not FeatureType.ACTION}
    if isinstance(policy, RegularizedACTConfig):
        policy.fps = float(data.dataset.meta.fps)
        policy.start_pose = start_pose(data.dataset)


def make_trained(config: Any, data: Description, device: torch.device) -> Trained:
    """Everything that a checkpoint holds, on the device.

    Raises:
        PolicyError: the policy cannot be built or loaded.
    """
    config.policy.device = str(device)
    if config.seed is not None:
        torch.manual_seed(config.seed)
    policy = _policy(config)
    policy.to(device)
    if config.resume:
        preprocessor, postprocessor = read_processors(
            Path(config.policy.pretrained_path), config.policy, str(device)
        )
    else:
        preprocessor, postprocessor = make_act_pre_post_processors(config.policy, data.statistics)
        for step in steps_of(preprocessor, RenameObservationsProcessorStep):
            step.rename_map = dict(config.rename_map)
    policy.config = config.policy
    optimizer = make_optimizer(config, policy)
    scheduler = config.scheduler.build(optimizer, config.steps) if config.scheduler is not None else None
    return Trained(config, policy, optimizer, scheduler, preprocessor, postprocessor)


def make_optimizer(config: Any, policy: Any) -> torch.optim.Optimizer:
    """LeRobot's, with its parameter groups; as one kernel for all parameters where `config.fused`."""
    groups = policy.get_optim_params() if config.use_policy_training_preset else policy.parameters()
    groups = [group for group in groups if not isinstance(group, dict) or group["params"]]
    fused = FUSED_OPTIMIZERS.get(type(config.optimizer))
    if not config.fused or fused is None:
        return config.optimizer.build(groups)
    settings = asdict(config.optimizer)
    settings.pop("grad_clip_norm")
    return fused(groups, fused=True, **settings)


def _policy(config: Any) -> Any:
    source = config.policy.pretrained_path
    if source is None:
        if isinstance(config.policy, RegularizedACTConfig):
            check_fresh_backbone(config.policy)
        with _explaining_downloads(config.policy):
            return get_policy_class(config.policy.type)(config.policy)  # pyright: ignore[reportCallIssue]
    folder = find_checkpoint(source)
    if isinstance(config.policy, RegularizedACTConfig) and not config.resume:  # mask tokens begin afresh
        ours = {f.name: getattr(config.policy, f.name) for f in fields(ACTConfig) if f.init}
        ours |= {name: getattr(config.policy, name) for name in ("fused", "fps", "start_pose")}
        ours |= {"pretrained_backbone_weights": None}
        return from_act(folder, config.policy.regularizer, **ours)
    read_config(folder, str(config.policy.device))  # says what is wrong with it
    built = copy.copy(config.policy)
    built.pretrained_backbone_weights = None  # they are in the file
    return read_weights(folder, built)


@contextlib.contextmanager
def _explaining_downloads(policy: Any) -> Generator[None]:
    """torchvision fetches the backbone's weights where they are not in its cache, the only network there may be."""
    try:
        yield
    except OSError as problem:  # urllib's errors are OSErrors
        hub = Path(torch.hub.get_dir(), "checkpoints")
        raise TrainError(
            f"the weights {policy.pretrained_backbone_weights} of the backbone are not in {hub} and could not be "
            f"fetched ({problem}). Put the file there (TORCH_HOME={os.environ.get('TORCH_HOME', 'unset')}), or train a "
            "backbone from scratch: --policy.vision_backbone=resnet_thin_gn, or --model=small"
        ) from problem
