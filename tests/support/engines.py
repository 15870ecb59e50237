"""ACTs of every kind for the tests of engines, what they see, and LeRobot's own answer."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lerobot.configs import FeatureType
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from torch import Tensor

from so101_policy.attention.shares import AttentionProbe
from so101_policy.inference.engine import PolicyInputs, PolicyOutputs, scalings_of
from so101_policy.inference.graph import ActGraph
from so101_policy.regularizer.config import RegularizerConfig

STOCK: dict[str, Any] = {"kind": ACTConfig}
VARIANTS: dict[str, dict[str, Any]] = {
    "stock": STOCK,
    "dilated ResNet-50": STOCK
    | {"cameras": 1, "vision_backbone": "resnet50", "replace_final_stride_with_dilation": True},
    "pre-norm": STOCK | {"pre_norm": True, "n_decoder_layers": 2},
    "two decoder layers": {"n_decoder_layers": 2},
    "gelu, without VAE": {"feedforward_activation": "gelu", "use_vae": False},
    "three cameras and an environment state": {"cameras": 3, "env": 4},
    "no joint state": {"state": 0, "cameras": 1, "env": 2},
    "no camera": STOCK | {"cameras": 0, "env": 4},
    "group norm": {"vision_backbone": "resnet18_gn", "cameras": 1},
    "isolated": {"regularizer": RegularizerConfig(isolation=True), "env": 4},
    "never sees the state": {"regularizer": RegularizerConfig(state_dropout=1.0, isolation=True)},
    "never sees a picture": {"regularizer": RegularizerConfig(camera_dropout=1.0)},
}

Make = Callable[..., ACTPolicy]
"""`make_policy` of conftest.py."""


def normalise(raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Like LeRobot's preprocessor: a line per channel or joint, and a batch dimension."""
    scales = {key: torch.linspace(0.2, 0.4, len(value)) for key, value in raw.items()}
    return {
        key: ((x - 0.3) / scales[key][(...,) + (None,) * (x.ndim - 1)])[None].contiguous()
        for key, x in raw.items()
    }


def observe(policy: ACTPolicy, seed: int = 0) -> PolicyInputs:
    generator = torch.Generator().manual_seed(seed)
    vectors, images = dict[str, Tensor](), dict[str, Tensor]()
    for key, feature in (policy.config.input_features or {}).items():
        if feature.type is FeatureType.VISUAL:
            size = (*feature.shape[1:], 3)
            images[key] = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        else:
            vectors[key] = torch.randn(feature.shape, generator=generator)
    return PolicyInputs(vectors, images)


class Plain:
    """LeRobot's own forward on an observation, and how often it was asked."""

    def __init__(self, policy: ACTPolicy, observation: PolicyInputs):
        self.policy, self.observation, self.calls = policy, observation, 0

    def __call__(self) -> PolicyOutputs:
        self.calls += 1
        pictures = {key: (x / 255).permute(2, 0, 1) for key, x in self.observation.images.items()}
        batch = normalise(pictures | self.observation.vectors)
        batch.setdefault("observation.state", torch.zeros(1, 1))  # LeRobot asks it for its device
        with AttentionProbe(self.policy, per_head=True) as probe, torch.no_grad():
            return PolicyOutputs(self.policy.predict_action_chunk(batch)[0], probe.shares)


def engine_graph(policy: ACTPolicy) -> ActGraph:
    """What its engines run."""
    return ActGraph(policy.model, scalings_of(policy, normalise))
