"""Training the variants of a study: `so101-train` once per variant and seed, several at a time, resumed where they
stopped.

Each run is a process of its own with its own log, so a study trains by the same command as everybody else, and a run
that fails leaves the others alone. Which runs are done is read from their checkpoints and from nothing else.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from so101_eval.errors import StudyError
from so101_eval.json_lines import read_figures
from so101_eval.study.crew import Crew, last_words, run_all
from so101_eval.study.design import VARIANTS, Design
from so101_policy.command_line.console import Console

PROGRAM = ("-m", "so101_policy.train")


class TrainRun(NamedTuple):
    """One variant with one training seed."""

    variant: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.variant}-s{self.seed}"

    @property
    def policy(self) -> str:
        """As `so101-eval` calls it: training seeds of a variant are taken together by what is before the colon."""
        return f"{self.variant}:{self.seed}"

    @property
    def checkpoint(self) -> Path:
        """Of the last step so far: `lerobot-train`'s layout."""
        return self.folder / "checkpoints" / "last" / "pretrained_model"

    @property
    def reliance(self) -> Path:
        """Folder of what the probes found."""
        return self.folder.parent / f"{self.name}.reliance"

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    def step(self) -> int:
        """Of its last checkpoint; 0 where there is none."""
        return int(self.checkpoint.resolve().parent.name) if self.checkpoint.exists() else 0

    def metrics(self) -> list[dict[str, float]]:
        """What it has logged, without a line that is still being written."""
        file = self.folder / "metrics.jsonl"
        return read_figures(file) if file.exists() else []


def runs_of(design: Design, folder: Path) -> list[TrainRun]:
    """All trainings of a study, seed by seed, so that every variant has its first policy before any has its second."""
    return [
        TrainRun(variant, seed, folder / "training" / f"{variant}-s{seed}")
        for seed in design.train_seeds
        for variant in design.variants
    ]


class Training(NamedTuple):
    """What a crew is given to make or finish a run."""

    run: TrainRun
    design: Design
    data: Path
    shifted: Path | None

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def log(self) -> Path:
        return self.run.log

    @property
    def is_done(self) -> bool:
        return self.run.step() >= self.design.steps

    def command(self) -> list[str]:
        """Where there is a folder without a checkpoint, it is put aside."""
        run = self.run
        if run.folder.exists() and not run.checkpoint.exists():
            run.folder.rename(run.folder.with_name(f"{run.folder.name}.abandoned-{time.time_ns()}"))
        return [sys.executable, *PROGRAM, *command(run, self.design, self.data, self.shifted)]


def train_all(
    design: Design,
    folder: Path,
    data: Path,
    shifted: Path | None,
    crew: Crew,
    console: Console,
    tell: Callable[[str], None] = lambda words: None,
) -> None:
    """Train whatever is not trained yet, as many at a time as the crew takes; `tell` is told what runs, every second.

    Raises:
        StudyError: a training failed; the others were finished first.
        KeyboardInterrupt: after every running training has saved its checkpoint.
    """
    runs = runs_of(design, folder)
    waiting = [run for run in runs if run.step() < design.steps]
    total, before = len(runs), len(runs) - len(waiting)
    if waiting:
        waiting[0].folder.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=total * design.steps)

        def look(running: Sequence[Training], ended: int) -> None:
            done = before + ended
            steps = done * design.steps + sum(_steps(task.run) for task in running)
            names = ", ".join(task.name for task in running)
            progress.update(bar, completed=steps, description=f"training {done}/{total} ({names})")
            tell(f"{done}/{total} trained, {steps} of {total * design.steps} steps; now {names or 'none'}")

        tasks = [Training(run, design, data, shifted) for run in waiting]
        failed = run_all(tasks, crew, lambda task: task.is_done, look)
    failed.sort(key=lambda task: (task.run.seed, design.variants.index(task.run.variant)))
    if failed:
        raise StudyError("; ".join(f"training {task.name} failed: {last_words(task)}" for task in failed))


def command(run: TrainRun, design: Design, data: Path, shifted: Path | None) -> list[str]:
    """The `so101-train` call that makes or finishes a run."""
    if run.checkpoint.exists():
        return [f"--config_path={run.checkpoint / 'train_config.json'}", "--resume=true"]
    return [
        f"--dataset.repo_id=study/{data.name}",
        f"--dataset.root={data}",
        *([f"--shifted.root={shifted}"] if shifted is not None else []),
        f"--model={design.model}",
        *VARIANTS[run.variant].flags,
        f"--seed={run.seed}",
        f"--steps={design.steps}",
        f"--batch_size={design.batch_size}",
        f"--save_freq={max(1, design.steps // 4)}",
        f"--eval_steps={max(1, design.steps // 8)}",
        "--trackers=none",
        f"--output_dir={run.folder}",
    ]


def _steps(run: TrainRun) -> int:
    metrics = run.metrics()
    return int(metrics[-1]["step"]) if metrics else 0
