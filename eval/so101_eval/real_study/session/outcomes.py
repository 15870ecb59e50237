"""Outcomes by policy: where codes and the sealed order come together."""

import math

from so101_eval.errors import RecordError
from so101_eval.real_study.design.sealing import Schedule
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.events.outcome import HUMAN
from so101_eval.real_study.events.state import Place, State, Trial


def outcomes_by_policy(
    study: Study, schedule: Schedule, state: State, places: tuple[Place, ...]
) -> list[list[float]]:
    """[block][policy] the primary outcome, in the order in which blocks were played."""
    table: list[list[float]] = []
    for place in places:
        row = [math.nan] * state.policies
        for slot, code in enumerate(place.trials):
            row[schedule.orders[place.index][slot]] = value_of(study, state.trials[code])
        table.append(row)
    return table


def value_of(study: Study, trial: Trial) -> float:
    """The primary outcome of a trial, 0 to 1. Raises `RecordError` for one without."""
    if trial.outcome is None:
        raise RecordError(f"trial {trial.code} has no outcome")
    if trial.outcome.why == HUMAN:
        return 0.0  # whatever the camera sees: it was not the policy
    success = trial.outcome.success
    if study.decided_by == "camera" and trial.measured is not None and trial.measured["success"] is not None:
        success = bool(trial.measured["success"])
    if study.primary == "success":
        return float(success)
    return trial.outcome.credit
