"""Made-up episodes for tests of the report: scenes with a difficulty, arms with a skill, training seeds with luck."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.palletizing.score.record import MILESTONES, BoxScore, Event, Score

KINDS = (
    ("missed_grasp", "grasp", 1),
    ("drop", "carry", 3),
    ("misplace", "place", 5),
    ("timeout_stuck", "approach", 0),
)
"""Class of failure, its phase, and how many milestones were passed."""
UNIFORM = {"state": 0.05, "vision": 0.9, "latent": 0.05}


def made_up(
    arms: Mapping[str, float],
    scenes: int = 20,
    train_seeds: Sequence[int | None] = (None,),
    cells: Mapping[tuple[str, int], float] | None = None,
    luck: float = 0.3,
    task: str = "palletize-2",
) -> list[EpisodeRecord]:
    """`arms` and `cells` as log-odds of success; every policy meets the same scenes."""
    records: list[EpisodeRecord] = []
    for (scenario, level), shift in (cells or {("nominal", 0): 0.0}).items():
        difficulty = np.random.default_rng([1, len(scenario), level]).normal(0, 1, scenes)
        for number, (arm, skill) in enumerate(arms.items()):
            for train_seed in train_seeds:
                rng = np.random.default_rng([2, number, train_seed or 0, len(scenario), level])
                own = skill + luck * np.random.default_rng([3, number, train_seed or 0]).normal()
                for scene in range(scenes):
                    odds = own + shift - difficulty[scene]
                    success = bool(rng.random() < 1 / (1 + np.exp(-odds)))
                    records.append(
                        episode(arm, success, 1000 + scene, train_seed, scenario, level, rng, task)
                    )
    return records


def episode(
    arm: str,
    success: bool | None,
    seed: int,
    train_seed: int | None = None,
    scenario: str = "nominal",
    level: int = 0,
    rng: np.random.Generator | None = None,
    task: str = "palletize-2",
) -> EpisodeRecord:
    """One of them; of success None nobody knows how it went."""
    rng = rng or np.random.default_rng(seed)
    policy = arm if train_seed is None else f"{arm}-s{train_seed}"
    state = float(np.clip(0.3 - 0.1 * len(arm) / 10 + rng.normal(0, 0.02), 0, 1))
    return EpisodeRecord(
        kind="simulation", run="made-up", policy=policy, policy_sha256=hashlib.sha256(policy.encode()).hexdigest(),
        arm=arm, train_seed=train_seed, task=task, suite="v1", scenario=scenario, level=level, seed=seed,
        scene_sha256=f"{scenario}{level}{seed}", latency_s=0.1, chunks="asynchronous", success=success,
        score=_score(success, seed, scenario, level, rng, task), duration_s=20.0, ticks=600,
        shares={"state": state, "vision": 0.95 - state, "latent": 0.05, "uniform": UNIFORM},
        inferences=9, held_ticks=3, interventions={"speed gripper": 2}, state_hash=f"{policy}{scenario}{level}{seed}",
        versions={"lerobot": "0.6.1", "mujoco": "3.6.0", "code": "0123456789abcdef"}, timing={"wall_s": 2.0},
    )  # fmt: skip


def _score(
    success: bool | None, seed: int, scenario: str, level: int, rng: np.random.Generator, task: str
) -> dict[str, Any]:
    kind, phase, passed = KINDS[int(rng.integers(len(KINDS)))]
    count = int(task.split("-")[1])
    boxes = [_box(index, success is True or index > 0, passed, rng) for index in range(count)]
    seconds = float(rng.normal(14, 2)) if success else 30.0
    reasons = (
        {} if success is not None else {"success": "the camera was lost", "credit": "the camera was lost"}
    )
    whole = Score(
        task, "v1", scenario, level, seed, "mujoco", success,
        None if success is None else float(np.mean([box.credit for box in boxes])), tuple(boxes),
        int(kind == "drop" and not success), 0, int(kind == "missed_grasp" and not success), 20.0, seconds,
        seconds / count, 3600 * count / seconds, -2.0, -9.0,
        None if success is not False else Event(float(rng.uniform(2, 18)), kind, phase, 0), unmeasured=reasons,
    )  # fmt: skip
    return json.loads(whole.to_json())


def _box(index: int, good: bool, passed: int, rng: np.random.Generator) -> BoxScore:
    passed = len(MILESTONES) if good else passed
    du, dv = (float(x) for x in rng.normal(0, 4 if good else 25, 2))
    if not good and passed < 5:
        du += 300.0
    times = {name: float(at + 1) if at < passed else None for at, name in enumerate(MILESTONES)}
    return BoxScore(
        index, index, good, times, du, dv, float(np.hypot(du, dv)), 0.0, 2.0, 0.0, 0.0, 8.0, int(not good)
    )


def reliance_file(records: Sequence[EpisodeRecord], seed: int = 0) -> dict[str, Any]:
    """As so101-reliance writes it, for the policies of these records."""
    rng = np.random.default_rng(seed)

    def figure(middle: float) -> dict[str, Any]:
        value = float(np.clip(middle + rng.normal(0, 0.05), 0, 1))
        return {"value": value, "low": value - 0.06, "high": value + 0.06, "frames": 320, "episodes": 16}

    policies: list[dict[str, Any]] = []
    for name, sha in sorted({(record.policy, record.policy_sha256) for record in records}):
        vci = 0.3 + 0.05 * len(name)
        policies.append({
            "name": name, "path": name, "sha256": sha, "n_action_steps": 8,
            "reliance": {"phase": {"executed": figure(1 - vci)}, "any": {"executed": figure(1 - vci)}},
            "cue_conflict": {"executed": figure(vci)},
            "phases": {phase: {"reliance": figure(1 - vci)} for phase in ("approach", "grasp", "carry", "release")},
            "attention": {"shares": {}, "uniform": {}, "note": ""},
        })  # fmt: skip
    study = {"dataset": "made/up", "episodes": list(range(16)), "frames": 320, "phases": {"approach": 100},
             "seed": 0, "delay": 10}  # fmt: skip
    return {"schema": 1, "study": study, "interval": "95% bootstrap over episodes", "policies": policies}
