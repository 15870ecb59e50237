"""Episodes of a task in simulation while a policy is trained: what says which checkpoint is the best one.

Held-out L1 says how well demonstrations are imitated, which did not tell the good training seeds from the bad ones in
the studies (docs/study.md). So a checkpoint is played by the command that everybody uses, `so101-eval run`, in a
process of its own (nothing of the training is touched, its random states least of all), in scenes that are kept for
this: no study and no evaluation has them unless asked for by number.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from lerobot.configs.default import EvalConfig

from so101_policy.errors import TrainError, first_line

FIRST_SCENE = 900_000
"""Of the scenes that choose checkpoints."""
EPISODES = 20
FOLDER = "episodes"
"""Of a run: a folder of `so101-eval` for each step at which episodes were played."""


@dataclass
class PlayedConfig(EvalConfig):
    """LeRobot's settings of an evaluation, and the task."""

    n_episodes: int = EPISODES
    """Episodes each time."""
    task: str | None = None
    """Play episodes of this simulated task, as palletize-1-small, every `env_eval_freq` steps and at the end;
    `checkpoints/best` is then the one that succeeds most often. null: none, and it is the one with the lowest
    held-out L1."""


class Wins(NamedTuple):
    """What became of a checkpoint."""

    successes: int
    episodes: int

    def __str__(self) -> str:
        return f"{self.successes} of {self.episodes} episodes"


def require_task(task: str) -> None:
    """Raises TrainError: no installed package brings such a task."""
    tasks: set[str] = set()
    for point in entry_points(group="so101.scenes"):
        if isinstance(scenes := point.load(), Mapping):
            tasks |= set(map(str, scenes))
    if task not in tasks:
        raise TrainError(
            f"--eval.task={task}: there is no such task; possible are {', '.join(sorted(tasks))}"
        )


def play(checkpoint: Path, config: PlayedConfig, folder: Path) -> Wins:
    """Play episodes with a checkpoint; takes as long as they take.

    Args:
        checkpoint: its `pretrained_model`.
        config: with a task.
        folder: where records go, and the log beside it; what is there is replaced.

    Raises:
        TrainError: they could not be played; the last line of the log is in it.
    """
    log = folder.with_suffix(".log")
    words = ["run", "--policies", f"trained={checkpoint}", f"--task={config.task}", "--scenarios=nominal"]
    words += [
        f"--episodes={config.n_episodes}",
        f"--first_seed={FIRST_SCENE}",
        f"--output_dir={folder}",
    ]
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            code = subprocess.run([_command(), *words], stdout=out, stderr=out, check=False).returncode
    except OSError as problem:  # no such command, a full disk
        what = f"the episodes of {checkpoint.parent.name} could not be played"
        raise TrainError(f"{what}: {problem.filename or log}: {first_line(problem)}") from problem
    if code:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [f"exit code {code}"]
        raise TrainError(f"the episodes of {checkpoint.parent.name} could not be played: {said[-1]} ({log})")
    return read_successes(folder)


def read_successes(folder: Path) -> Wins:
    """Of a folder of `so101-eval run` with one policy.

    Raises:
        TrainError: its records cannot be read.
    """
    try:
        lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        won = [bool(json.loads(line)["success"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise TrainError(f"the episodes in {folder} cannot be read: {first_line(problem)}") from problem
    return Wins(sum(won), len(won))


def _command() -> str:
    return str(Path(sys.executable).with_name("so101-eval"))
