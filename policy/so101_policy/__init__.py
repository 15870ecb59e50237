"""ACT policies that use their cameras: load one, see where it looks, train one with a regularizer.

    policy = ActPolicy.load("outputs/train/boxes")                     # or a hub id, or a checkpoint of lerobot-train
    prediction = policy.predict(state, {"front": image, "wrist": image})
    prediction.actions                                                 # (T, A) joint targets, in the robot's units
    prediction.shares.state, prediction.shares.uniform["state"]        # share of attention, and its base rate

Importing this package is cheap; its names load torch and LeRobot when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so101_policy.errors import CheckpointError, PolicyError, RegularizerError, TrainError

if TYPE_CHECKING:
    from so101_policy.attention.shares import AttentionProbe, AttentionShares, TokenLayout
    from so101_policy.inference.act_policy import ActPolicy
    from so101_policy.inference.any_policy import load_policy
    from so101_policy.inference.loaded import LoadedPolicy, Prediction
    from so101_policy.model.configuration_regularized_act import RegularizedACTConfig
    from so101_policy.model.export import export_as_act
    from so101_policy.model.modeling_regularized_act import RegularizedACTPolicy, from_act
    from so101_policy.regularizer.config import RegularizerConfig

__all__ = [
    "ActPolicy",
    "AttentionProbe",
    "AttentionShares",
    "CheckpointError",
    "LoadedPolicy",
    "PolicyError",
    "Prediction",
    "RegularizedACTConfig",
    "RegularizedACTPolicy",
    "RegularizerConfig",
    "RegularizerError",
    "TokenLayout",
    "TrainError",
    "export_as_act",
    "from_act",
    "load_policy",
]

_HOMES = {
    "ActPolicy": "so101_policy.inference.act_policy",
    "AttentionProbe": "so101_policy.attention.shares",
    "AttentionShares": "so101_policy.attention.shares",
    "LoadedPolicy": "so101_policy.inference.loaded",
    "Prediction": "so101_policy.inference.loaded",
    "RegularizedACTConfig": "so101_policy.model.configuration_regularized_act",
    "RegularizedACTPolicy": "so101_policy.model.modeling_regularized_act",
    "RegularizerConfig": "so101_policy.regularizer.config",
    "TokenLayout": "so101_policy.attention.shares",
    "export_as_act": "so101_policy.model.export",
    "from_act": "so101_policy.model.modeling_regularized_act",
    "load_policy": "so101_policy.inference.any_policy",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
