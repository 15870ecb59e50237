"""Trackio: local first, with wandb's interface."""

from collections.abc import Mapping

import trackio  # pyright: ignore[reportMissingImports]  # in none of our extras

from so101_policy.train.settings.config import SO101TrainConfig


class Trackio:
    """A run of the project `--wandb.project`, named `--job_name`."""

    def __init__(self, config: SO101TrainConfig):
        trackio.init(project=config.wandb.project, name=config.job_name, config=config.to_dict())

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        trackio.log(dict(figures), step=step)

    def close(self) -> None:
        trackio.finish()


def open_tracker(config: SO101TrainConfig, from_step: int) -> Trackio:
    return Trackio(config)
