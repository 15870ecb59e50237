"""The policy of a run, its processors, optimizer and schedule: fresh, from a checkpoint, or as a run left them."""

import contextlib
import copy
import os
from collections.abc import Generator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import torch
from lerobot.configs import FeatureType
from lerobot.optim.optimizers import AdamConfig, AdamWConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.policies.factory import get_policy_class
from lerobot.processor import RenameObservationsProcessorStep

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import read_config, read_processors, read_weights, steps_of
from so101_policy.errors import TrainError
from so101_policy.model.configuration_regularized_act import RegularizedACTConfig, check_fresh_backbone
from so101_policy.model.modeling_regularized_act import from_act
from so101_policy.train.checkpoints import Trained
from so101_policy.train.data import Description, start_pose, trained_on
from so101_policy.train.settings.config import SO101TrainConfig

FUSED_OPTIMIZERS = {AdamWConfig: torch.optim.AdamW, AdamConfig: torch.optim.Adam}


def settle_features(policy: ACTConfig, data: Description) -> None:
    """A new policy takes and gives what the dataset has; whichever it is, it acts at the dataset's rate."""
    policy.output_features = {k: f for k, f in data.features.items() if f.type is FeatureType.ACTION}
    if not policy.input_features:
        policy.input_features = {k: f for k, f in data.features.items() if f.type is not FeatureType.ACTION}
    if isinstance(policy, RegularizedACTConfig):
        policy.fps = float(data.dataset.meta.fps)
        policy.start_pose = start_pose(data.dataset, data.trained)


def make_trained(config: SO101TrainConfig, data: Description, device: torch.device) -> Trained:
    """Everything that a checkpoint holds, on the device.

    Raises:
        PolicyError: the policy cannot be built or loaded.
    """
    config.act.device = str(device)
    if config.seed is not None:
        torch.manual_seed(config.seed)
    policy = _policy(config)
    policy.to(device)
    if config.resume:
        preprocessor, postprocessor = read_processors(
            Path(config.act.pretrained_path or config.resumes_from), config.act, str(device)
        )
    else:
        preprocessor, postprocessor = make_act_pre_post_processors(config.act, data.statistics)
        for step in steps_of(preprocessor, RenameObservationsProcessorStep):
            step.rename_map = dict(config.rename_map)
    policy.config = config.act
    optimizer = make_optimizer(config, policy)
    scheduler = config.scheduler.build(optimizer, config.steps) if config.scheduler is not None else None
    return Trained(
        config, policy, optimizer, scheduler, preprocessor, postprocessor, trained_on(config, data)
    )


def make_optimizer(config: SO101TrainConfig, policy: ACTPolicy) -> torch.optim.Optimizer:
    """LeRobot's, with its parameter groups; as one kernel for all parameters where `config.fused`."""
    assert config.optimizer is not None  # `validate` has filled it in
    by_preset = cast(list[dict[str, Any]], policy.get_optim_params())
    groups = [group for group in by_preset if group["params"]]
    parameters = groups if config.use_policy_training_preset else policy.parameters()
    for kind, fused in FUSED_OPTIMIZERS.items():
        if config.fused and type(config.optimizer) is kind:
            settings = asdict(config.optimizer)
            settings.pop("grad_clip_norm")
            return fused(parameters, fused=True, **settings)
    return cast(torch.optim.Optimizer, config.optimizer.build(parameters))


def _policy(config: SO101TrainConfig) -> ACTPolicy:
    wanted = config.act
    source = wanted.pretrained_path
    if source is None:
        if isinstance(wanted, RegularizedACTConfig):
            check_fresh_backbone(wanted)
        with _explaining_downloads(wanted):
            return cast(type[ACTPolicy], get_policy_class(wanted.type))(wanted)
    folder = find_checkpoint(source)
    if isinstance(wanted, RegularizedACTConfig) and not config.resume:  # mask tokens begin afresh
        ours = {f.name: getattr(wanted, f.name) for f in fields(ACTConfig) if f.init}
        ours |= {name: getattr(wanted, name) for name in ("fused", "fps", "start_pose")}
        ours |= {"pretrained_backbone_weights": None}
        return from_act(folder, wanted.regularizer, **ours)
    read_config(folder, str(wanted.device))  # says what is wrong with it
    built = copy.copy(wanted)
    built.pretrained_backbone_weights = None  # they are in the file
    return read_weights(folder, built)


@contextlib.contextmanager
def _explaining_downloads(policy: ACTConfig) -> Generator[None]:
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
