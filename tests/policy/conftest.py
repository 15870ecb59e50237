"""Tiny ACTs for the tests of this room: built in milliseconds, with attention sharper than at birth."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from torch import Tensor, nn

from so101_policy.model.configuration_regularized_act import RegularizedACTConfig

TINY: dict[str, Any] = {"device": "cpu", "chunk_size": 6, "n_action_steps": 4, "dim_model": 16, "n_heads": 2}
TINY |= {"dim_feedforward": 24, "n_encoder_layers": 2, "n_vae_encoder_layers": 2, "latent_dim": 4}
THIN = {"vision_backbone": "resnet_thin_gn"}

MakeConfig = Callable[..., RegularizedACTConfig]
MakeBatch = Callable[..., dict[str, Tensor]]

torch.set_num_threads(1)  # threads that wait for each other cost these small tensors more than they save


def _features(cameras: int, state: int, env: int, size: tuple[int, int]) -> dict[str, PolicyFeature]:
    names = ("front", "wrist", "side")[:cameras]
    inputs = {f"observation.images.{n}": PolicyFeature(FeatureType.VISUAL, (3, *size)) for n in names}
    if state:
        inputs[OBS_STATE] = PolicyFeature(FeatureType.STATE, (state,))
    if env:
        inputs[OBS_ENV_STATE] = PolicyFeature(FeatureType.ENV, (env,))
    return inputs


@pytest.fixture
def make_config() -> MakeConfig:
    """`make_config(kind=RegularizedACTConfig, cameras=2, state=5, env=0, size=(32, 64), **fields)`.

    The backbone is the thin one unless `kind` is LeRobot's ACTConfig.
    """

    def make(
        kind: type[Any] = RegularizedACTConfig,
        *,
        cameras: int = 2,
        state: int = 5,
        env: int = 0,
        size: tuple[int, int] = (32, 64),
        **options: Any,
    ) -> Any:
        backbone = {"pretrained_backbone_weights": None} | ({} if kind is ACTConfig else THIN)
        return kind(
            input_features=_features(cameras, state, env, size),
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (3,))},
            **TINY | backbone | options,
        )

    return make


@pytest.fixture
def make_batch() -> MakeBatch:
    """`make_batch(config, samples=4)`: random inputs and actions; the last steps of two samples are padding."""

    def make(config: ACTConfig, samples: int = 4, seed: int = 1) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        features = (config.input_features or {}) | (config.output_features or {})
        batch = {
            key: torch.randn(
                samples, *(() if key != ACTION else (config.chunk_size,)), *x.shape, generator=generator
            )
            for key, x in features.items()
        }
        padded_BT = torch.zeros(samples, config.chunk_size, dtype=torch.bool)
        padded_BT[:1, 4:] = padded_BT[1:2, 2:] = True
        return batch | {"action_is_pad": padded_BT}

    return make


@pytest.fixture
def sharpen() -> Callable[[nn.Module], nn.Module]:
    """Gives every attention weights and biases that are not the small or zero ones it is born with."""

    def sharpen_(model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "attn.in_proj" in name or "attn.out_proj" in name:
                    parameter.normal_(std=0.3, generator=generator)
                elif "norm" in name and "backbone" not in name:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        return model

    return sharpen_
