"""Where a run's numbers go: always metrics.jsonl, and the trackers that were asked for.

A tracker that is not installed or fails costs one message and itself, never the run.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"

_log = logging.getLogger(__name__)

Figures = Mapping[str, float]


class Tracker(Protocol):
    """Takes the figures of one step."""

    def log(self, step: int, figures: Figures) -> None: ...

    def close(self) -> None: ...


class MetricsFile:
    """metrics.jsonl: a line per log step, complete as soon as it is there."""

    def __init__(self, output_dir: Path, from_step: int = 0):
        """Lines after `from_step`, of a run that is gone back on, are dropped."""
        output_dir.mkdir(parents=True, exist_ok=True)
        self.path = output_dir / METRICS
        if self.path.exists():
            _keep_until(self.path, from_step)
        self._file = self.path.open("a", encoding="utf-8")

    def log(self, step: int, figures: Figures) -> None:
        rounded = {name: float(f"{value:.9g}") for name, value in figures.items()}
        self._file.write(json.dumps({"step": step} | rounded) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files in OUTPUT/tensorboard; look with `tensorboard --logdir OUTPUT`."""

    def __init__(self, output_dir: Path, from_step: int = 0):
        from torch.utils.tensorboard.writer import SummaryWriter

        purge = from_step + 1 if from_step else None  # a resumed run: hide what came after
        self._writer: Any = SummaryWriter(str(output_dir / TENSORBOARD), purge_step=purge)

    def log(self, step: int, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases, as `lerobot-train` does it."""

    def __init__(self, config: Any):
        from lerobot.common.wandb_utils import WandBLogger

        self._logger: Any = WandBLogger(config)

    def log(self, step: int, figures: Figures) -> None:
        self._logger.log_dict(dict(figures), step)

    def close(self) -> None:
        import wandb

        wandb.finish()


class Trackio:
    """Trackio: local first, with wandb's interface."""

    def __init__(self, config: Any):
        import trackio  # pyright: ignore[reportMissingImports]

        self._trackio: Any = trackio
        trackio.init(project=config.wandb.project, name=config.job_name, config=config.to_dict())

    def log(self, step: int, figures: Figures) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self) -> None:
        self._trackio.finish()


class Metrics:
    """All of them as one."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = list(trackers)

    def log(self, step: int, figures: Figures) -> None:
        """Figures that are not numbers (nan, inf) are passed on as they are: they are what one looks for."""
        for tracker in tuple(self._trackers):
            try:
                tracker.log(step, figures)
            except Exception as problem:  # trackers talk to networks and disks; the run goes on
                if isinstance(tracker, MetricsFile):
                    raise
                self._trackers.remove(tracker)
                _log.warning("%s is left out from step %d on: %s", type(tracker).__name__, step, problem)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()
        self._trackers.clear()


def open_metrics(config: Any, from_step: int = 0, write: bool = True) -> Metrics:
    """metrics.jsonl in the run's folder, and `config.tracker_names`; nothing unless `write` (the main process)."""
    if not write:
        return Metrics([])
    folder: Path = config.output_dir
    make: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder, from_step),
        "wandb": lambda: WandB(config),
        "trackio": lambda: Trackio(config),
    }
    trackers: list[Tracker] = [MetricsFile(folder, from_step)]
    for name in config.tracker_names:
        try:
            trackers.append(make[name]())
        except ImportError as problem:
            _log.warning(
                "no %s: the package is not installed (pip install %s); %s has every figure all the same (%s)",
                name,
                name,
                folder / METRICS,
                problem,
            )
        except Exception as problem:  # a login, a network, a quota: the run goes on without
            _log.warning("no %s: %s; %s has every figure all the same", name, problem, folder / METRICS)
    return Metrics(trackers)


def _keep_until(path: Path, step: int) -> None:
    """Drop later lines, and a last one that was cut off; the file is replaced at once."""
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    new = path.with_name(f".{path.name}")
    with new.open("w", encoding="utf-8") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
