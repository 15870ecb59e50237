"""The arm on the table beside its simulation, start by start; and what the simulation adds to what the arm showed.

Real and simulated episodes of the same policy, scenario and seed began with the same scene, so they are pairs.
*The gap* of a variant is its success on the arm minus that in the simulation, on these pairs. *The difference* of two
variants on the arm is given twice: by the arm alone, and with the simulation's further starts by the prediction-powered
estimate (`statistics.prediction_powered`). The latter needs no simulation that is right: only one that has an idea of
which starts are hard.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from so101_eval.report.data.table import Cell, FloatArray, Table, Variant, cell_labels
from so101_eval.statistics import (
    ALPHA,
    Interval,
    Pairs,
    StatisticsError,
    difference_interval,
    prediction_powered,
    tango,
)

SIMULATION = "simulation"


def sim_to_real(table: Table) -> dict[str, Any]:
    """`gaps` by variant and cell, `differences` to the baseline; both empty without runs of both kinds."""
    pairs = [(cell, cell._replace(kind=SIMULATION)) for cell in table.cells if cell.kind != SIMULATION]
    pairs = [(real, simulated) for real, simulated in pairs if simulated in table.cells]
    labels = cell_labels([real for real, _ in pairs])
    gaps = [
        gap
        for real, simulated in pairs
        for variant in table.variants
        if (gap := _gap(table, variant, real, simulated, labels[real]))
    ]
    differences = [
        found
        for what in ("success", "credit")
        for variant in table.others
        if (found := _difference(table, variant, pairs, what))
    ]
    return {"gaps": gaps, "differences": differences, "alpha": ALPHA}


def _gap(table: Table, variant: Variant, real: Cell, simulated: Cell, label: str) -> dict[str, Any] | None:
    arm, model = _values(table, variant, real, "success"), _values(table, variant, simulated, "success")
    scenes = sorted(arm.keys() & model.keys())
    if not scenes:
        return None
    a, b = (np.array([found[scene] for scene in scenes]) for found in (arm, model))
    single = bool(np.isin((a, b), (0.0, 1.0)).all())
    if single:
        counted = Pairs.from_outcomes((a > 0).tolist(), (b > 0).tolist())
        interval = tango(counted.first_only, counted.second_only, counted.total)
    else:  # several training seeds: means of each start
        interval = difference_interval(a - b)
    credits = [_values(table, variant, cell, "credit") for cell in (real, simulated)]
    both = sorted(credits[0].keys() & credits[1].keys())
    credit = float(np.mean([credits[0][s] - credits[1][s] for s in both])) if both else None
    return {
        "variant": variant.name, "cell": label, "kind": real.kind, "starts": len(scenes),
        "real": float(a.mean()), "simulated": float(b.mean()), "gap": float((a - b).mean()),
        "interval": list(interval), "alike": float((a == b).mean()), "correlation": _correlation(a, b),
        "credit_gap": credit, "by": "Tango" if single else "confidence sequence",
        "rows": [[scene, float(x), float(y)] for scene, x, y in zip(scenes, a, b, strict=True)],
    }  # fmt: skip


def _difference(
    table: Table, variant: Variant, pairs: Sequence[tuple[Cell, Cell]], what: str
) -> dict[str, Any] | None:
    """Of all cells together: every start counts once."""
    measured: list[float] = []
    predicted: list[float] = []
    further: list[float] = []
    for real, simulated in pairs:
        arm = _differences(table, variant, real, what)
        model = _differences(table, variant, simulated, what)
        common = sorted(arm.keys() & model.keys())
        measured += [arm[scene] for scene in common]
        predicted += [model[scene] for scene in common]
        further += [value for scene, value in sorted(model.items()) if scene not in arm]
    if not measured:
        return None
    row: dict[str, Any] = {
        "variant": variant.name, "what": what, "paired": len(measured), "further": len(further),
        "plain": float(np.mean(measured)),
        "simulated": float(np.mean(predicted + further)),
    }  # fmt: skip
    try:
        found = prediction_powered(measured, predicted, further)
    except StatisticsError as problem:
        return row | {"why_not": str(problem)}
    return row | {
        "plain_interval": _within(found.plain_interval), "estimate": found.estimate,
        "interval": _within(found.interval), "lam": found.lam, "correlation": found.correlation, "worth": found.worth,
    }  # fmt: skip


def _differences(table: Table, variant: Variant, cell: Cell, what: str) -> dict[int, float]:
    own, other = _values(table, variant, cell, what), _values(table, table.baseline, cell, what)
    return {scene: own[scene] - other[scene] for scene in own.keys() & other.keys()}


def _values(table: Table, variant: Variant, cell: Cell, what: str) -> dict[int, float]:
    """By scene, the mean over the variant's policies that all met it; without scenes that have no verdict."""
    met = [found for policy in variant.policies if (found := table.of_policy(policy, cell))]
    rows = [
        {
            seed: float(record.success if what == "success" else record.score["credit"])
            for seed, record in found.items()
            if record.success is not None and record.score["credit"] is not None
        }
        for found in met
    ]
    common = set[int].intersection(*map(set[int], rows)) if rows else set[int]()
    return {seed: sum(row[seed] for row in rows) / len(rows) for seed in common}


def _correlation(a: FloatArray, b: FloatArray) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _within(interval: Interval) -> list[float]:
    """Differences of scores are from -1 to 1."""
    return [max(-1.0, interval.low), min(1.0, interval.high)]
