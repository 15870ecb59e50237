"""ACTs for the tests of engines."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from engines import Make
from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy


@pytest.fixture
def make_policy(make_config: Callable[..., Any], sharpen: Callable[[nn.Module], nn.Module]) -> Make:
    """`make_policy(**variant)`: sharp attention, and batch norms that have seen data."""

    def make(**options: Any) -> ACTPolicy:
        torch.manual_seed(3)
        config = make_config(**options)
        policy = (ACTPolicy if type(config) is ACTConfig else RegularizedACTPolicy)(config).eval()
        for module in sharpen(policy).modules():
            if isinstance(module, FrozenBatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias, module.running_mean):
                    values.normal_(std=0.3)
            if isinstance(module, nn.GroupNorm):
                nn.init.normal_(module.weight, 1, 0.3)  # at birth a block's last scale is 0
        return policy

    return make
