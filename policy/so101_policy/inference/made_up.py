"""Observations that nobody made: joints and pictures drawn from the statistics of the recordings.

For what has to be known of a policy before it meets an arm: whether its engine is right, and what less precision costs.
They depend on the checkpoint alone.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.processor import NormalizerProcessorStep
from torch import Tensor

from so101_policy.checkpoint.reader import Preprocessor, steps_of
from so101_policy.inference.engine import PolicyInputs

PATCH = 8
"""Pixels across a patch of one colour: a picture has surfaces, pixel noise has none."""


def made_up(features: Mapping[str, PolicyFeature], preprocess: Preprocessor, seed: int = 0) -> PolicyInputs:
    """An observation for a policy of these input features, keyed by them; joints in the robot's units."""
    statistics: Mapping[str, Mapping[str, Any]] = {}
    for step in steps_of(preprocess, NormalizerProcessorStep):
        statistics = step.stats or {}
    generator = torch.Generator().manual_seed(seed)
    vectors, images = dict[str, Tensor](), dict[str, Tensor]()
    for key, feature in features.items():
        found = statistics.get(key, {})
        if feature.type is FeatureType.VISUAL:
            images[key] = _picture(tuple(feature.shape), found, generator)
        else:
            mean, std = (
                _numbers(found, name, feature.shape[0], fill) for name, fill in (("mean", 0), ("std", 1))
            )
            vectors[key] = mean + std * torch.randn(feature.shape[0], generator=generator)
    return PolicyInputs(vectors, images)


def _picture(shape: tuple[int, ...], statistics: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """(H, W, 3) bytes: patches around the mean colour, and a little noise."""
    channels, height, width = shape
    rows, columns = -(-height // PATCH), -(-width // PATCH)
    patches = torch.randn(1, channels, rows, columns, generator=generator)
    coarse = F.interpolate(patches, scale_factor=float(PATCH), mode="nearest")[0, :, :height, :width]
    noise = 0.1 * torch.randn(channels, height, width, generator=generator)
    mean, std = (_numbers(statistics, name, channels, fill) for name, fill in (("mean", 0.5), ("std", 0.25)))
    picture = mean[:, None, None] + std[:, None, None] * (coarse + noise)
    return (255 * picture).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def _numbers(statistics: Mapping[str, Any], name: str, size: int, fill: float) -> Tensor:
    """(size,) of the statistics, or `fill` where they do not say."""
    if name not in statistics:
        return torch.full((size,), float(fill))
    return torch.as_tensor(statistics[name], dtype=torch.float32).reshape(size).cpu()
