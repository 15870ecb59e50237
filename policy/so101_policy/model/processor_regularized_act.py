"""The processors of `regularized_act` are ACT's: LeRobot finds them here by this module's and the function's name."""

from typing import Any

from lerobot.policies.act.processor_act import make_act_pre_post_processors
from torch import Tensor


def make_regularized_act_pre_post_processors(
    config: Any, dataset_stats: dict[str, dict[str, Tensor]] | None = None
) -> tuple[Any, Any]:
    """Normalisation with the dataset's statistics before the policy, and back behind it."""
    return make_act_pre_post_processors(config, dataset_stats)
