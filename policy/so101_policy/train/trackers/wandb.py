"""Weights & Biases, as `lerobot-train` does it."""

from collections.abc import Mapping

import wandb
from lerobot.common.wandb_utils import WandBLogger

from so101_policy.train.settings.config import SO101TrainConfig


class WandB:
    """LeRobot's logger, with its settings `--wandb.*`. A resumed run keeps its run id."""

    def __init__(self, config: SO101TrainConfig):
        self._logger = WandBLogger(config)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._logger.log_dict(dict(figures), step)

    def close(self) -> None:
        wandb.finish()


def open_tracker(config: SO101TrainConfig, from_step: int) -> WandB:
    return WandB(config)
