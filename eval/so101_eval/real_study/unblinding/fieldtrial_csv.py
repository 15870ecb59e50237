"""All trials, voided ones too, as a table with the column names of fieldtrial 0.3."""

import csv
import io

from so101_eval.real_study.design.sealing import Schedule
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.journal import Event
from so101_eval.real_study.events.state import Kind, State

COLUMNS = (
    *(
        "trial_id",
        "seq",
        "block",
        "replicate",
        "condition",
        "arm",
        "status",
        "attempt",
        "stage_index",
        "success",
    ),
    *("termination", "duration_s", "failure_tags", "operator", "rig", "session_id", "started_at", "origin"),
    *("invalid_reason", "notes"),
)
"""In its order."""


def as_fieldtrial(study: Study, schedule: Schedule, state: State, events: list[Event], origin: str) -> str:
    """A line a trial; practice is left out. origin: real or rehearsal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    started = {event.data["trial"]: event.t for event in events if event.kind == Kind.TRIAL_STARTED}
    session: dict[str, tuple[int, str]] = {}
    number, rig = 0, ""
    for event in events:
        if event.kind == Kind.SESSION_OPENED:
            number, rig = number + 1, str(event.data["host"])
        elif event.kind == Kind.TRIAL_STARTED:
            session[event.data["trial"]] = number, rig
    attempts: dict[tuple[int, int], int] = {}
    for seq, trial in enumerate((t for t in state.trials.values() if t.block >= 0), 1):
        policy = schedule.orders[trial.place][trial.slot]
        attempts[trial.block, policy] = attempts.get((trial.block, policy), 0) + 1
        outcome, place = trial.outcome, state.queue[trial.place]
        whole = trial.void is None and not place.void
        start = study.start(trial.block)
        writer.writerow(
            {
                "trial_id": trial.code,
                "seq": seq,
                "block": trial.block + 1,
                "replicate": 1,
                "condition": f"{start.scenario}:{start.level}:{start.seed}",
                "arm": study.policies[policy].name,
                "status": "completed" if whole and outcome is not None else "invalid",
                "attempt": attempts[trial.block, policy],
                "stage_index": "" if outcome is None else min(outcome.stages),
                "success": "" if outcome is None else outcome.success,
                "termination": "" if outcome is None else outcome.why,
                "duration_s": "" if trial.ended is None else trial.ended["driven_s"],
                "failure_tags": "" if outcome is None else ";".join(outcome.tags),
                "operator": "" if outcome is None else outcome.by,
                "rig": session[trial.code][1],
                "session_id": session[trial.code][0],
                "started_at": started[trial.code],
                "origin": origin,
                "invalid_reason": trial.void or ("" if whole else "another trial of its block is void"),
                "notes": "" if outcome is None else outcome.note,
            }
        )
    return text.getvalue()
