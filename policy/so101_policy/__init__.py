"""The policy room: ACT checkpoints, where they look, and what they cost.

Importing this package is cheap; its names load torch and LeRobot when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from so101_policy.errors import CheckpointError, PolicyError

if TYPE_CHECKING:
    from so101_policy.attention.shares import AttentionProbe, AttentionShares, TokenLayout
    from so101_policy.inference.act_policy import ActPolicy, Prediction

__all__ = [
    "ActPolicy",
    "AttentionProbe",
    "AttentionShares",
    "CheckpointError",
    "PolicyError",
    "Prediction",
    "TokenLayout",
]

_HOMES = {
    "ActPolicy": "so101_policy.inference.act_policy",
    "AttentionProbe": "so101_policy.attention.shares",
    "AttentionShares": "so101_policy.attention.shares",
    "Prediction": "so101_policy.inference.act_policy",
    "TokenLayout": "so101_policy.attention.shares",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
