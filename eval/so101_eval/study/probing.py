"""What the trained policies of a study rely on: `so101-reliance` for each, all on the same held-out frames.

A policy's findings lie beside its training and are made once; they belong to the checkpoint whose hash they carry.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from so101_eval.errors import StudyError
from so101_eval.report.data.reliance import read_reliance
from so101_eval.study.training import TrainRun
from so101_policy.errors import PolicyError
from so101_policy.reliance import command as reliance_command

RELIANCE = "reliance.json"
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


def probe(run: TrainRun, data: Path) -> Findings:
    """What a trained policy relies on, from its file or by the probes.

    Raises:
        StudyError: the run is not trained, or the probes failed.
    """
    file = run.reliance / RELIANCE
    if not file.exists() or _policy(file)["sha256"] != _sha256(run):
        try:
            reliance_command.main(
                [f"--policy.path={run.policy}={run.checkpoint}", f"--dataset.root={data}", f"--episodes={HELD_OUT}",
                 f"--frames={FRAMES}", f"--output_dir={run.reliance}", "--no_picture"]
            )  # fmt: skip
        except PolicyError as problem:
            raise StudyError(f"the probes of {run.name} failed: {problem}") from problem
    return Findings(run, _last_evaluated(run), _policy(file))


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
