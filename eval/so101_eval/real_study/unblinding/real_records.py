"""Trials of a study as episodes, in the schema of the simulation.

Only trials of complete blocks: each start was met once by every policy. What a person cannot say exactly (when a
stage was reached, what the boxes weigh) is null with its reason.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from so101_eval.evaluation.policy_specs import PolicySpec
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.palletizing.scene.tasks import OWN
from so101_eval.palletizing.score.record import MILESTONES, BoxScore, Score
from so101_eval.palletizing.score.record import Event as Failure
from so101_eval.real_study.design.sealing import Schedule
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.state import State, Trial
from so101_eval.real_study.measurement.grasp import grasp_in
from so101_eval.real_study.session.kept_pictures import MEASURED
from so101_eval.real_study.session.outcomes import value_of
from so101_eval.real_study.session.runner import TRIALS
from so101_policy.files.plain_data import parse_json
from so101_robot.runs.log import RUN, TICKS, read_ticks

NOT_TIMED = "when it was passed was not timed; the time is that of the end of the trial"
NOT_COUNTED = "not counted on a real arm"
NOT_MEASURED = "not measured"

_NEXT = ("missed_grasp", "missed_grasp", "slip", "drop", "drop", "misplace", "topple")
"""Number of stages that a box reached -> what kept it from the next one."""
_PHASE = ("approach", "grasp", "grasp", "carry", "place", "place", "rest")


class Counted(NamedTuple):
    """A trial that counts, with the policy that drove it."""

    trial: Trial
    policy: int


def counted(schedule: Schedule, state: State) -> list[Counted]:
    """All trials of complete blocks, in the order in which they were played."""
    return [
        Counted(state.trials[code], schedule.orders[place.index][slot])
        for place in state.complete
        for slot, code in enumerate(place.trials)
    ]


def as_records(
    study: Study, schedule: Schedule, state: State, folder: Path, kind: str
) -> list[EpisodeRecord]:
    """Of all trials that count. kind: real or rehearsal. Raises `ConfigError` for a damaged run folder."""
    found = counted(schedule, state)
    versions = joined_versions([_about(folder, one.trial.code) for one in found])
    return [_record(study, study.policies[one.policy], one.trial, folder, kind, versions) for one in found]


def joined_versions(abouts: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Of all sittings together: one record set has one text, and none of them is hidden."""
    names = sorted({name for about in abouts for name in about.get("versions", {})})
    return {
        name: " and ".join(sorted({str(about.get("versions", {}).get(name)) for about in abouts}))
        for name in names
    }


def task_of(study: Study) -> str:
    """As records call it."""
    return study.task if study.own is None else OWN + study.task


def _about(folder: Path, code: str) -> Mapping[str, Any]:
    return parse_json((folder / TRIALS / code / RUN).read_text(encoding="utf-8"))


def _record(
    study: Study, spec: PolicySpec, trial: Trial, folder: Path, kind: str, versions: dict[str, str | None]
) -> EpisodeRecord:
    start, reset = study.start(trial.block), study.reset(trial.block)
    assert trial.ended is not None  # it counts
    assert trial.outcome is not None
    ticks = list(read_ticks(folder / TRIALS / trial.code / TICKS))
    driven = [tick for tick in ticks if tick.get("phase") == "run"]
    guard = Counter(
        f"{change['rule']} {change['joint'] or ''}".strip()
        for tick in driven
        if isinstance(tick.get("guard"), dict)
        for change in tick["guard"].get("interventions", [])
    )
    offsets = [] if trial.overridden else trial.started["offsets"]  # the operator says that they were wrong
    answers = sum("inference" in tick for tick in driven)
    seconds = float(trial.ended["driven_s"])
    started = datetime.fromisoformat(_about(folder, trial.code)["started"]).timestamp()
    return EpisodeRecord(
        kind=kind,
        run=study.sha256[:16],
        policy=spec.name,
        policy_sha256=spec.sha256,
        variant=spec.variant,
        train_seed=spec.train_seed,
        task=task_of(study),
        suite=study.suite,
        scenario=start.scenario,
        level=start.level,
        seed=start.seed,
        scene_sha256=hashlib.sha256(reset.to_json().encode()).hexdigest(),
        latency_s=None,
        chunks="auto" if spec.kind == "act" else "none",
        success=bool(value_of(study, trial)) if study.primary == "success" else trial.outcome.success,
        score=json.loads(_score(study, trial, seconds, kind).to_json()),
        duration_s=seconds,
        ticks=len(driven),
        shares=None,
        inferences=answers if spec.kind == "act" else None,
        held_ticks=sum(tick.get("chunk", {}).get("source") == "hold" for tick in driven),
        interventions=dict(guard),
        state_hash=None,
        versions=versions,
        timing={"started_unix_s": started, "wall_s": seconds, "trial": trial.code},
        media=_media(folder, trial.code),
        start="home",
        end=trial.outcome.why,
        fault=trial.ended["fault"],
        ending="home" if trial.ended["at_home"] else "not home",
        grasp=grasp_in(driven, reset, offsets, trial.started.get("zero_deg", ())),
        overridden=trial.overridden,
    )


def _media(folder: Path, code: str) -> dict[str, Any]:
    """Paths in the study's folder."""
    of = {"trial": f"{TRIALS}/{code}"}
    measured = f"{TRIALS}/{code}/{MEASURED}"
    return of | ({"measured": measured} if (folder / measured).is_file() else {})


def _score(study: Study, trial: Trial, seconds: float, kind: str) -> Score:
    start = study.start(trial.block)
    outcome = trial.outcome
    assert outcome is not None  # it counts
    boxes = tuple(
        _box(study, box, stage, seconds, trial.measured) for box, stage in enumerate(outcome.stages)
    )
    good = sum(bool(box.good) for box in boxes)
    robot_s = min(seconds, study.limit_s)
    unmeasured: dict[str, str] = dict.fromkeys(
        ("drops", "collisions", "empty_grasps", "sparc", "ldlj"), NOT_COUNTED
    )
    if not good:
        unmeasured["seconds_per_box"] = "no box stands as it should"
    if robot_s <= 0:
        unmeasured["boxes_per_hour"] = "the policy did not drive"
    return Score(
        task=task_of(study),
        suite=study.suite,
        scenario=start.scenario,
        level=start.level,
        seed=start.seed,
        backend="so101" if kind == "real" else "so101 on the mock arm",
        success=outcome.success,
        credit=outcome.credit,
        boxes=boxes,
        drops=None,
        collisions=None,
        empty_grasps=None,
        duration_s=seconds,
        robot_s=robot_s,
        seconds_per_box=robot_s / good if good else None,
        boxes_per_hour=3600 * good / robot_s if robot_s > 0 else None,
        sparc=None,
        ldlj=None,
        failure=None if outcome.success else _failure(study, trial, seconds),
        unmeasured=unmeasured,
    )


def _box(study: Study, box: int, stage: int, seconds: float, measured: Mapping[str, Any] | None) -> BoxScore:
    found: dict[str, Any] = next(
        (one for one in (measured or {}).get("boxes", []) if one["box"] == box), {"why_not": NOT_MEASURED}
    )
    du, dv, yaw = (found.get(name) for name in ("du_mm", "dv_mm", "dyaw_deg"))
    known = du is not None and dv is not None and yaw is not None
    why = found.get("why_not") or NOT_MEASURED
    unmeasured = {"milestones": NOT_TIMED, "slot": "the operator does not say which", "dz_mm": NOT_MEASURED,
                  "tilt_deg": NOT_MEASURED, "overhang_mm": NOT_MEASURED, "seconds": NOT_COUNTED,
                  "drops": NOT_COUNTED}  # fmt: skip
    if not known:
        unmeasured |= dict.fromkeys(("du_mm", "dv_mm", "error_mm", "yaw_deg"), why)
    return BoxScore(
        box=box,
        slot=None,
        good=stage == len(study.stages),
        milestones={}
        if study.own is not None
        else {name: seconds if at < stage else None for at, name in enumerate(MILESTONES)},
        du_mm=du if known else None,
        dv_mm=dv if known else None,
        error_mm=float((du**2 + dv**2) ** 0.5) if du is not None and dv is not None and known else None,
        dz_mm=None,
        yaw_deg=yaw if known else None,
        tilt_deg=None,
        overhang_mm=None,
        seconds=None,
        drops=None,
        unmeasured=unmeasured,
    )


def _failure(study: Study, trial: Trial, seconds: float) -> Failure:
    """In the words of the simulation, from the box that came least far; of another task in the operator's alone."""
    outcome = trial.outcome
    assert outcome is not None  # asked by `_score`
    worst = min(range(len(outcome.stages)), key=lambda box: outcome.stages[box])
    stage = min(outcome.stages[worst], outcome.of - 1)
    own = [] if study.own is None else [f"{study.objects[worst]}: not {study.stages[stage]}"]
    words = [f"by the operator: {outcome.why}", *own, *outcome.tags, outcome.note]
    ended = {"fault": "stopped", "danger": "stopped", "human": "stopped", "time": "timeout_stuck"}
    kind, phase = ("misplace", "rest") if own else (_NEXT[stage], _PHASE[stage])
    return Failure(seconds, ended.get(outcome.why, kind), phase, worst, "; ".join(filter(None, words)))
