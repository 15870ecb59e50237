"""Training the variants of a study: `so101-train` once per variant and seed, several at a time, resumed where they
stopped.

Each run is a process of its own with its own log, so a study trains by the same command as everybody else, and a run
that fails leaves the others alone. Which runs are done is read from their checkpoints and from nothing else.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from so101_eval.errors import StudyError
from so101_eval.json_lines import read_figures
from so101_eval.pool import start_command, stop_commands
from so101_eval.study.design import VARIANTS, Design
from so101_policy.command_line.console import Console

PROGRAM = ("-m", "so101_policy.train")
LOOK_S = 1.0
"""How often running trainings are looked at."""


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


def train_all(
    design: Design, folder: Path, data: Path, shifted: Path | None, jobs: int, console: Console
) -> None:
    """Train whatever is not trained yet, `jobs` at a time.

    Raises:
        StudyError: a training failed; the others were finished first.
        KeyboardInterrupt: after every running training has saved its checkpoint.
    """
    waiting = [run for run in runs_of(design, folder) if run.step() < design.steps]
    total = len(design.variants) * len(design.train_seeds)
    done = total - len(waiting)
    running: dict[TrainRun, subprocess.Popen[bytes]] = {}
    failed: list[TrainRun] = []
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=total * design.steps)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.pop(0)
                    running[run] = _start(run, design, data, shifted, jobs)
                time.sleep(LOOK_S)
                for run in [run for run, process in running.items() if process.poll() is not None]:
                    good = running.pop(run).returncode == 0 and run.step() >= design.steps
                    done, failed = done + good, failed if good else [*failed, run]
                steps = done * design.steps + sum(_steps(run) for run in running)
                names = ", ".join(run.name for run in running)
                progress.update(bar, completed=steps, description=f"training {done}/{total} ({names})")
        finally:
            stop_commands(running.values())
    failed.sort(key=lambda run: (run.seed, design.variants.index(run.variant)))
    if failed:
        raise StudyError("; ".join(f"training {run.name} failed: {_last_words(run)}" for run in failed))


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


def _start(
    run: TrainRun, design: Design, data: Path, shifted: Path | None, jobs: int
) -> subprocess.Popen[bytes]:
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    if run.folder.exists() and not run.checkpoint.exists():
        run.folder.rename(run.folder.with_name(f"{run.folder.name}.abandoned-{time.time_ns()}"))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    trainer = [sys.executable, *PROGRAM, *command(run, design, data, shifted)]
    return start_command(trainer, run.log, {"OMP_NUM_THREADS": str(threads)})


def _steps(run: TrainRun) -> int:
    metrics = run.metrics()
    return int(metrics[-1]["step"]) if metrics else 0


def _last_words(run: TrainRun) -> str:
    lines = [line.strip() for line in run.log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'no output'} ({run.log})"
