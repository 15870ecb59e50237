"""Where a run's numbers go: always metrics.jsonl, and the trackers that were asked for.

A tracker that is not installed or fails costs one message and itself, never the run.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from so101_policy.command_line.extras import TRACKERS
from so101_policy.files.whole_files import Lines, write_text
from so101_policy.train.settings.config import SO101TrainConfig

METRICS = "metrics.jsonl"

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
        self._lines = Lines(self.path)

    def log(self, step: int, figures: Figures) -> None:
        rounded = {name: float(f"{value:.9g}") for name, value in figures.items()}
        self._lines.write(json.dumps({"step": step} | rounded))

    def close(self) -> None:
        self._lines.close()


class Metrics:
    """All of them as one."""

    def __init__(self, trackers: Sequence[Tracker]):
        self._trackers = list(trackers)

    def log(self, step: int, figures: Figures) -> None:
        """NaN and infinite figures are passed on as they are: they are what one looks for."""
        for tracker in tuple(self._trackers):
            try:
                tracker.log(step, figures)
            except Exception as problem:  # trackers use networks and disks; the run continues
                if isinstance(tracker, MetricsFile):
                    raise
                self._trackers.remove(tracker)
                _log.warning(
                    "%s is not used any more from step %d on: %s", type(tracker).__name__, step, problem
                )

    def close(self) -> None:
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as problem:  # what was trained is saved, and metrics.jsonl has the figures
                _log.warning("%s could not be finished: %s", type(tracker).__name__, problem)
        self._trackers.clear()


def open_metrics(config: SO101TrainConfig, from_step: int = 0, write: bool = True) -> Metrics:
    """metrics.jsonl in the run's folder, and `config.tracker_names`; nothing unless `write` (the main process)."""
    if not write:
        return Metrics([])
    trackers: list[Tracker] = [MetricsFile(config.run_folder, from_step)]
    for name in config.tracker_names:
        try:
            trackers.append(TRACKERS[name].load().open_tracker(config, from_step))
        except Exception as problem:  # not installed, a login, a network, a quota: the run continues without
            _log.warning(
                "%s is not used: %s. All figures are in %s", name, problem, config.run_folder / METRICS
            )
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
    write_text(path, "".join(kept))
