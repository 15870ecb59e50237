"""TensorBoard: event files in OUTPUT/tensorboard; look with `tensorboard --logdir OUTPUT`."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from so101_policy.train.settings.config import SO101TrainConfig

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files; of a resumed run, what came after `from_step` is hidden."""

    def __init__(self, folder: Path, from_step: int = 0):
        purge = from_step + 1 if from_step else None
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def open_tracker(config: SO101TrainConfig, from_step: int) -> TensorBoard:
    return TensorBoard(config.run_folder / FOLDER, from_step)
