"""What the trained policies of a study rely on: `so101-reliance` for each, all on the same held-out frames.

A policy's findings lie beside its training and are made once; they belong to the checkpoint whose hash they carry.
"""

import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from so101_eval.errors import ConfigError, StudyError
from so101_eval.report.data.reliance import read_reliance
from so101_eval.study.crew import Crew, last_words, run_all
from so101_eval.study.training import TrainRun
from so101_policy.command_line.console import Console
from so101_policy.errors import PolicyError
from so101_policy.reliance import command as reliance_command
from so101_policy.reliance.frames import MIN_EPISODES

RELIANCE = "reliance.json"
PROGRAM = ("-c", "import sys; from so101_policy.cli import RELIANCE; sys.exit(RELIANCE.main(sys.argv[1:]))")
FRAMES = 320
HELD_OUT = "held-out:0.1"
"""The episodes that `so101-train` holds out unless told otherwise."""


class Findings(NamedTuple):
    """A trained policy of a study, in numbers."""

    run: TrainRun
    metrics: dict[str, float]
    """Of its last step, as `so101-train` logged them."""
    reliance: dict[str, Any]
    """Its entry in reliance.json."""

    def value(self, *path: str) -> float:
        """An estimate of the probes, e.g. `value("reliance", "any", "executed")`."""
        return self._number(*path, "value")

    def share(self, part: str) -> float:
        """Of the decoder's cross-attention: "state", "latent", "vision"."""
        return self._number("attention", "shares", part)

    def _number(self, *path: str) -> float:
        found: Any = self.reliance
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, int | float):
            raise StudyError(f"{self.run.reliance / RELIANCE} has no number {'.'.join(path)}")
        return float(found)


class Probing(NamedTuple):
    """What a crew is given to probe a policy."""

    run: TrainRun
    data: Path

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def log(self) -> Path:
        return self.run.reliance.with_suffix(".reliance.log")

    def command(self) -> list[str]:
        return [sys.executable, *PROGRAM, *flags(self.run, self.data)]


def require_held_out(demonstrations: int) -> None:
    """Before hours are spent: the probes take what one held-out episode shows and put it into another one.

    Raises:
        ConfigError: fewer than two would be held out.
    """
    share = float(HELD_OUT.partition(":")[2])
    if math.ceil(demonstrations * share) < MIN_EPISODES:
        fewest = math.floor((MIN_EPISODES - 1) / share) + 1
        raise ConfigError(
            f"--demonstrations={demonstrations}: expected {fewest} or more, because {share:.0%} of them are held out, "
            f"and the probes need {MIN_EPISODES} held-out episodes; --until=training does without probes"
        )


def probe_all(runs: Sequence[TrainRun], data: Path, crew: Crew, console: Console) -> None:
    """Probe whatever is not probed yet, as many at a time as the crew takes.

    Raises:
        StudyError: a run is not trained, or the probes of one failed; the others were finished first.
    """
    tasks = [Probing(run, data) for run in runs if not is_probed(run)]
    for task in tasks:
        console.print(f"to be probed: {task.name}", style="dim")
    failed = run_all(tasks, crew, lambda task: is_probed(task.run))
    if failed:
        raise StudyError(
            "; ".join(f"the probes of {task.name} failed: {last_words(task)}" for task in failed)
        )


def is_probed(run: TrainRun) -> bool:
    """Whether what was found is there, of these very weights. Raises `StudyError` where there are none."""
    file = run.reliance / RELIANCE
    return file.exists() and _policy(file)["sha256"] == _sha256(run)


def flags(run: TrainRun, data: Path) -> list[str]:
    """For `so101-reliance`."""
    return [
        f"--policy.path={run.policy}={run.checkpoint}", f"--dataset.root={data}", f"--episodes={HELD_OUT}",
        f"--frames={FRAMES}", f"--output_dir={run.reliance}", "--no_picture",
    ]  # fmt: skip


def probe(run: TrainRun, data: Path) -> Findings:
    """What a trained policy relies on, from its file or by the probes.

    Raises:
        StudyError: the run is not trained, or the probes failed.
    """
    if not is_probed(run):
        try:
            reliance_command.main(flags(run, data))
        except PolicyError as problem:
            raise StudyError(f"the probes of {run.name} failed: {problem}") from problem
    return Findings(run, _last_evaluated(run), _policy(run.reliance / RELIANCE))


def _policy(file: Path) -> dict[str, Any]:
    policies: list[dict[str, Any]] = read_reliance(file)["policies"]
    if not policies:
        raise StudyError(f"{file} has no policy in it; remove it, and it is made again")
    return policies[0]


def _sha256(run: TrainRun) -> str:
    weights = run.checkpoint / "model.safetensors"
    if not weights.exists():
        raise StudyError(f"{run.name} is not trained: there is no {weights}")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_evaluated(run: TrainRun) -> dict[str, float]:
    evaluated = [line for line in run.metrics() if "heldout_l1" in line]
    if not evaluated:
        raise StudyError(f"{run.name} has no held-out loss in {run.folder / 'metrics.jsonl'}")
    return evaluated[-1]
