"""A small stock LeRobot ACT, trained in about a minute on two slow cores.

What makes it quick: the ResNet stays as it was born, random, so its features are computed once for all pictures and
only the transformer is trained on them. A random ResNet with LeRobot's frozen batch norm would be useless, because
with statistics of mean 0 and variance 1 nothing is normalised and its output explodes; so these statistics are set
once from the recorded pictures (data-dependent initialisation). No VAE: the script does one thing only.

The result is an ordinary ACT. How well it follows is measured afterwards (`following.py`), not assumed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from so101_robot.demo.motion import Sweep
from so101_robot.demo.recording import FPS, demonstrate, mock_robots, plan_for
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import CAMERAS, MockConfig

Progress = Callable[[float], None]
"""Told the fraction that is done."""


class Recipe(NamedTuple):
    """Everything that decides what comes out, with the seed and the renderer."""

    episodes: int = 40
    every: int = 6
    """Look at every n-th tick only; neighbouring pictures teach little."""
    size: int = 96
    """Of both cameras, width and height [px]."""
    chunk: int = 60
    steps: int = 500
    batch: int = 32
    learning_rate: float = 1e-3
    dim: int = 128
    seed: int = 0


class Recordings(NamedTuple):
    """N moments of demonstrations: what was seen, and the targets of the next T ticks."""

    state: NDArray[np.float32]
    """(N, 6)"""
    images: dict[str, NDArray[np.uint8]]
    """camera -> (N, height, width, 3)"""
    targets: NDArray[np.float32]
    """(N, T, 6)"""


def record(recipe: Recipe, progress: Progress) -> Recordings:
    """Demonstrations in scenes of seed 0, 1, ..., in memory."""
    states: list[NDArray[np.float64]] = []
    targets: list[NDArray[np.float64]] = []
    images: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in CAMERAS}
    config = MockConfig(seed=recipe.seed, width=recipe.size, height=recipe.size)
    with mock_robots(config) as robots:
        for episode, robot in zip(range(recipe.episodes), robots, strict=False):
            sweep = plan_for(robot, recipe.seed + episode)
            for moment in demonstrate(robot, sweep, recipe.seed + episode, wobble=episode % 4 > 0):
                if (moment.tick + episode) % recipe.every:
                    continue
                states.append(moment.state)
                targets.append(_ahead(sweep, moment.tick, recipe.chunk))
                for name, frame in robot.frames().items():
                    images[name].append(frame.image)
            progress((episode + 1) / recipe.episodes)
    return Recordings(
        np.array(states, np.float32),
        {name: np.array(pictures) for name, pictures in images.items()},
        np.array(targets, np.float32),
    )


def statistics(recordings: Recordings) -> dict[str, dict[str, Tensor]]:
    """Mean and standard deviation of every feature, as LeRobot's processors take them."""
    found = {OBS_STATE: recordings.state, ACTION: recordings.targets.reshape(-1, len(JOINTS))}
    stats = {
        name: {"mean": torch.tensor(values.mean(0)), "std": torch.tensor(values.std(0) + 1e-3)}
        for name, values in found.items()
    }
    for name, pictures in recordings.images.items():
        values = pictures[::7].astype(np.float32) / 255
        stats[f"{OBS_IMAGES}.{name}"] = {
            "mean": torch.tensor(values.mean((0, 1, 2))).reshape(3, 1, 1),
            "std": torch.tensor(values.std((0, 1, 2))).reshape(3, 1, 1),
        }
    return stats


def new_policy(recipe: Recipe) -> ACTPolicy:
    """The untrained ACT."""
    picture = PolicyFeature(FeatureType.VISUAL, (3, recipe.size, recipe.size))
    config = ACTConfig(
        input_features={OBS_STATE: PolicyFeature(FeatureType.STATE, (len(JOINTS),))}
        | {f"{OBS_IMAGES}.{name}": picture for name in CAMERAS},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (len(JOINTS),))},
        chunk_size=recipe.chunk,
        n_action_steps=recipe.chunk // 2,
        vision_backbone="resnet18",
        pretrained_backbone_weights=None,
        dim_model=recipe.dim,
        n_heads=4,
        dim_feedforward=2 * recipe.dim,
        n_encoder_layers=2,
        use_vae=False,
        dropout=0.05,
        device="cpu",
        push_to_hub=False,
    )
    return ACTPolicy(config)


def train(recordings: Recordings, recipe: Recipe, look: Progress, learn: Progress) -> ACTPolicy:
    """An ACT that imitates the recordings. `look` follows the passes through the ResNet, `learn` the training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        policy = new_policy(recipe)
        stats = statistics(recordings)
        features = _features(policy, recordings, stats, look)
        _fit(policy, recordings, stats, features, recipe, learn)
    return policy.eval()


def _features(
    policy: ACTPolicy, recordings: Recordings, stats: dict[str, dict[str, Tensor]], progress: Progress
) -> dict[str, Tensor]:
    """camera key -> (N, 512, h, w): the ResNet's answers to all pictures, after its statistics have been set."""
    backbone: Any = policy.model.backbone
    pictures = {
        key: (recordings.images[key.removeprefix(f"{OBS_IMAGES}.")], stats[key])
        for key in policy.config.image_features
    }
    _settle(backbone, torch.cat([_normalised(images[:: max(1, len(images) // 64)], s) for images, s in pictures.values()]))
    features: dict[str, Tensor] = {}
    done, total = 0, sum(len(images) for images, _ in pictures.values())
    for key, (images, image_stats) in pictures.items():
        parts: list[Tensor] = []
        for part in np.array_split(images, math.ceil(len(images) / 32)):
            with torch.no_grad():
                parts.append(backbone(_normalised(part, image_stats))["feature_map"])
            done += len(part)
            progress(done / total)
        features[key] = torch.cat(parts)
    return features


def _normalised(images: NDArray[np.uint8], stats: dict[str, Tensor]) -> Tensor:
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - stats["mean"]) / stats["std"]


def _settle(backbone: nn.Module, images: Tensor) -> None:
    """Give every frozen batch norm the mean and variance of what it meets on `images`, from the first to the last."""

    def take(norm: nn.Module, args: tuple[Tensor]) -> None:
        assert isinstance(norm, FrozenBatchNorm2d)
        norm.running_mean.copy_(args[0].mean((0, 2, 3)))
        norm.running_var.copy_(args[0].var((0, 2, 3)))

    norms = [module for module in backbone.modules() if isinstance(module, FrozenBatchNorm2d)]
    handles = [norm.register_forward_pre_hook(take) for norm in norms]
    with torch.no_grad():
        backbone(images)
    for handle in handles:
        handle.remove()


class _Seen(nn.Module):
    """Stands in for the backbone while its answers are fed instead of pictures."""

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"feature_map": features}


def _fit(
    policy: ACTPolicy,
    recordings: Recordings,
    stats: dict[str, dict[str, Tensor]],
    features: dict[str, Tensor],
    recipe: Recipe,
    progress: Progress,
) -> None:
    """LeRobot's own loss; AdamW with a cosine from a short warm-up to zero."""
    model: Any = policy.model
    backbone, model.backbone = model.backbone, _Seen()
    state = (torch.from_numpy(recordings.state) - stats[OBS_STATE]["mean"]) / stats[OBS_STATE]["std"]
    targets = (torch.from_numpy(recordings.targets) - stats[ACTION]["mean"]) / stats[ACTION]["std"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1)
    whole = torch.zeros(recipe.batch, recipe.chunk, dtype=torch.bool)
    policy.train()
    for step in range(recipe.steps):
        rows = torch.randint(len(state), (recipe.batch,))
        batch = {key: values[rows] for key, values in features.items()}
        loss, _ = policy.forward(batch | {OBS_STATE: state[rows], ACTION: targets[rows], "action_is_pad": whole})
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        progress((step + 1) / recipe.steps)
    model.backbone = backbone


def _ahead(sweep: Sweep, tick: int, chunk: int) -> NDArray[np.float64]:
    """(chunk, 6) targets of this tick and those that follow; the script knows them beyond the episode's end."""
    return sweep.at((tick + np.arange(chunk)) / FPS)
