"""A small study without checkpoints: two arms that stay where they are, so that it is made and locked in no time."""

import hashlib
from pathlib import Path

from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.real_study.design.lock import lock
from so101_eval.real_study.design.study import Study, write_study

POSE = (0.0, -57.4, 46.3, 90.0, 0.0, 30.0)


def spec(name: str) -> PolicySpec:
    return PolicySpec(
        name, "hold", hashlib.sha256(name.encode()).hexdigest(), hashlib.sha256(b"").hexdigest()
    )


def small_study(blocks: int = 3, policies: int = 2, practice: int = 0) -> Study:
    specs = tuple(spec(f"secret-name-{number}") for number in range(policies))
    return Study(specs, "palletize-1-small", (("nominal", 0),), blocks, 0.3, POSE, practice=practice)


def locked(folder: Path, study: Study | None = None) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, study or small_study())
    return lock(folder)
