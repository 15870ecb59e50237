"""Names for codes: once, at the end. What is written can be made again from events, key and run folders."""

import json
from pathlib import Path

from so101_eval.errors import ConfigError
from so101_eval.evaluation.plan import Plan
from so101_eval.evaluation.policy_specs import picture_size
from so101_eval.evaluation.records import RUN, SCHEMA, write_tables
from so101_eval.real_study.design.lock import writing
from so101_eval.real_study.design.sealing import unseal
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import Event
from so101_eval.real_study.events.state import Kind, State, fold
from so101_eval.real_study.session.kept_pictures import MEASURED, save_measured
from so101_eval.real_study.session.runner import TRIALS
from so101_eval.real_study.unblinding.fieldtrial_csv import as_fieldtrial
from so101_eval.real_study.unblinding.real_records import as_records, task_of
from so101_eval.real_study.unblinding.summary import Summary, summarise
from so101_policy.files.whole_files import write_json, write_text

SUMMARY, SUMMARY_TEXT, FIELDTRIAL = "study_summary.json", "study_summary.txt", "fieldtrial.csv"


def unblind(folder: Path, early: bool = False) -> Summary:
    """Open the key for good: records, tables, summary.

    Args:
        folder: of a locked study. One that was unblinded before gives the same again.
        early: although blocks are missing.

    Raises:
        ConfigError: no block is complete, or the study is not over and nobody asked for it early.
    """
    with writing(folder) as (study, journal):
        state = fold(journal.events)
        if not state.complete:
            raise ConfigError(f"{folder} has no complete block: there is nothing to unblind")
        if state.now is not None and not early:
            raise ConfigError(
                f"{folder} is not over: {len(state.complete)} of {study.blocks} blocks are complete. so101-bench run "
                "goes on; --early unblinds it as it is, and no trial can be added then"
            )
        if not state.unblinded:
            journal.append(Kind.UNBLINDED, {"blocks": len(state.complete), "early": state.now is not None})
        schedule, state = unseal(folder, study), fold(journal.events)
        kind = kind_of(journal.events)
        _draw_measured(study, state, folder)
        records = as_records(study, schedule, state, folder, kind)
        write_text(folder / RUN, json.dumps(_as_run(study, kind), indent=2) + "\n")
        write_tables(folder, records)
        origin = "rehearsal" if kind == "rehearsal" else "real"
        write_text(folder / FIELDTRIAL, as_fieldtrial(study, schedule, state, journal.events, origin))
        summary = summarise(study, schedule, state, kind)
        write_json(folder / SUMMARY, summary.as_data())
        write_text(folder / SUMMARY_TEXT, "\n".join(summary.lines()) + "\n")
        return summary


def _draw_measured(study: Study, state: State, folder: Path) -> None:
    """Nobody has to judge any more: what the camera measured may be seen beside the films."""
    for trial in state.trials.values():
        if trial.measured is not None:
            at = folder / TRIALS / trial.code
            save_measured(at, trial.measured, study.objects, at / MEASURED)


def kind_of(events: list[Event]) -> str:
    """real, unless any sitting was on the mock arm: nobody shall take a rehearsal for a result."""
    sittings = [event for event in events if event.kind == Kind.SESSION_OPENED]
    return "rehearsal" if any(event.data["rehearsal"] for event in sittings) else "real"


def _as_run(study: Study, kind: str) -> dict[str, object]:
    """What `so101-eval report` looks for, and the simulation of the same study: `so101-eval run` with this plan."""
    height, width = picture_size(study.policies, study.task, None)
    plan = Plan(
        task_of(study),
        study.cells,
        study.blocks,
        study.policies,
        study.first_seed,
        width=width,
        height=height,
    )
    return {"schema": SCHEMA, "run": study.sha256[:16], "kind": kind, "plan": plan.to_dict(), "versions": {}}
