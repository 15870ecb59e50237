"""Records -> everything that a report shows, as plain data: a pure function.

The same episodes give the same data in whatever order they come, however often the run was interrupted; other names
for variants change nothing but these names. Nothing that depends on the evening (`timing`) is looked at.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from so101_eval.evaluation.records import EpisodeRecord, check_together
from so101_eval.palletizing.scene.scenarios import SCENARIOS
from so101_eval.palletizing.scene.tasks import is_own, load_task
from so101_eval.report.data import choices, describe
from so101_eval.report.data.contrasts import (
    ENOUGH_SEEDS,
    Contrast,
    Rate,
    are_different,
    contrast,
    e_path_of,
    rate_of,
)
from so101_eval.report.data.hand import hand_data
from so101_eval.report.data.integrity import integrity
from so101_eval.report.data.positions import success_maps
from so101_eval.report.data.reliance import reliance_data
from so101_eval.report.data.sentence import first_sentence, verdicts
from so101_eval.report.data.sim_to_real import sim_to_real
from so101_eval.report.data.table import Cell, FloatArray, Table, Variant, cell_labels
from so101_eval.statistics import ALPHA, POWER, compact_letters, holm, posterior_density

SCHEMA = 1
GRID: FloatArray = np.arange(201) / 200
"""Success rates at which posteriors are drawn."""
LOG_10 = float(np.log(10))


def report_data(
    records: Iterable[EpisodeRecord],
    reliance: Sequence[Mapping[str, Any]] = (),
    training: Mapping[str, Mapping[str, float]] | None = None,
    baseline: str | None = None,
    again: Callable[[int], str] | None = None,
) -> dict[str, Any]:
    """What `page.render` draws; ready for JSON.

    Args:
        records: of runs that belong together.
        reliance: what so101-reliance wrote.
        training: policy -> the last figures of its training.
        baseline: the variant that the others are compared with; None: the usual one.
        again: number of scenes -> the command that plays so many new ones.

    Raises:
        ConfigError: there are no episodes, or no such baseline.
        RecordError: the records do not belong together.
    """
    found = list(records)
    check_together(found)
    table = Table(found, baseline)
    labels = cell_labels(table.cells)
    contrasts = [
        c
        for variant in table.others
        for cell in table.cells
        if (c := contrast(table, variant, table.baseline, cell))
    ]
    main = [found for found in contrasts if found.cell == table.main]
    rates = {
        (variant.name, cell): rate_of(table.outcomes(variant, cell))
        for variant in table.variants
        for cell in table.cells
    }
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "alpha": ALPHA,
        "power": POWER,
        "enough_seeds": ENOUGH_SEEDS,
        "sentence": _said(
            table.main,
            first_sentence(main, table.baseline.name, rates[table.baseline.name, table.main], again),
        ),
        "task": _task(table),
        "main": labels[table.main],
        "cells": [{"label": labels[cell], **cell._asdict(), "says": _says(cell)} for cell in table.cells],
        "variants": [_variant(table, variant, rates[variant.name, table.main]) for variant in table.variants],
        "letters": _letters(table, main, rates),
        "contrasts": _with_holm(contrasts, labels),
        "rates": [
            {"variant": variant.name, "cell": labels[cell], **_rate(rate)}
            for variant in table.variants
            for cell in table.cells
            if (rate := rates[variant.name, cell]) is not None
        ],
        "evidence": [path for variant in table.others if (path := _path(table, variant))],
        "maps": success_maps(table),
        "hand": hand_data(table),
        "sim_to_real": sim_to_real(table),
        "reliance": reliance_data(table, reliance, training or {}),
        "choices": choices.chosen(table, _rival(table, main)),
        "integrity": integrity(table),
    }
    return json.loads(json.dumps(data, allow_nan=False))


def _said(cell: Cell, sentence: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal says so before anything else."""
    if cell.kind != "rehearsal":
        return sentence
    return sentence | {"headline": f"Rehearsal on the mock arm, not a result: {sentence['headline']}"}


def _says(cell: Cell) -> str:
    return SCENARIOS[cell.scenario].description if cell.scenario in SCENARIOS else "not known to this version"


def _task(table: Table) -> dict[str, Any]:
    """Of a task of one's own only what its episodes say."""
    name = table.main.task
    if is_own(name):
        records = [record for variant in table.variants for record in table.episodes(variant, table.main)]
        return {"name": name, "own": True, "boxes": max(len(record.score["boxes"]) for record in records),
                "time_limit_s": max(1.0, *(record.duration_s for record in records)), "slots_mm": []}  # fmt: skip
    task = load_task(name)
    slots = [[1000 * slot.u_m, 1000 * slot.v_m, slot.layer] for slot in task.slots]
    return {
        "name": name,
        "own": False,
        "boxes": task.boxes,
        "time_limit_s": task.time_limit_s,
        "slots_mm": slots,
    }


def _variant(table: Table, variant: Variant, rate: Rate | None) -> dict[str, Any]:
    episodes = table.episodes(variant, table.main)
    return {
        "name": variant.name,
        "is_baseline": variant is table.baseline,
        "train_seeds": [policy.train_seed for policy in variant.policies],
        "success": None if rate is None else _rate(rate) | {"posterior": _posterior(rate)},
        "times": describe.times(episodes),
        "throughput": describe.throughput(episodes),
        "milestones": describe.milestones(episodes),
        "placement": describe.placement(episodes),
        "failures": describe.failures(episodes),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"rate": rate.rate, "interval": list(rate.interval), "successes": rate.successes,
            "episodes": rate.episodes, "by_seed": [list(counts) for counts in rate.by_seed]}  # fmt: skip


def _posterior(rate: Rate) -> list[float]:
    """Density over `GRID` of the rate of one of these checkpoints: the mean of their Beta posteriors."""
    densities = [posterior_density(successes, episodes, GRID) for successes, episodes in rate.by_seed]
    return [round(float(value), 6) for value in np.mean(densities, axis=0)]


def _letters(
    table: Table, main: Sequence[Contrast], rates: Mapping[tuple[str, Cell], Rate | None]
) -> dict[str, Any]:
    """No difference was detected between variants that share one, in the main cell, all pairs at once by Holm."""
    variants = [variant for variant in table.variants if rates[variant.name, table.main] is not None]
    known = {(found.first, found.second): found for found in main}
    pairs: list[Contrast] = []
    for a, b in combinations(variants, 2):
        found = known.get((b.name, a.name)) or contrast(table, a, b, table.main)
        pairs += [found] if found else []
    decided = {
        (found.first, found.second): verdict != "open"
        for found, verdict in zip(pairs, verdicts(pairs), strict=True)
    }
    share = {name: rate.rate for (name, cell), rate in rates.items() if rate and cell == table.main}
    best_first = sorted(variants, key=lambda variant: -share[variant.name])
    letters = compact_letters([variant.name for variant in best_first], are_different(decided))
    return {
        "pairs": len(pairs),
        "of": [{"variant": variant.name, "letters": letters[variant.name]} for variant in variants],
    }


def _with_holm(contrasts: Sequence[Contrast], labels: Mapping[Cell, str]) -> list[dict[str, Any]]:
    """All comparisons with the baseline are one family."""
    adjusted = holm([found.p_value for found in contrasts])
    return [
        found.as_data() | {"label": labels[found.cell], "holm_p": float(p), "verdict": verdict}
        for found, p, verdict in zip(contrasts, adjusted, verdicts(contrasts), strict=True)
    ]


def _path(table: Table, variant: Variant) -> dict[str, Any] | None:
    if (found := e_path_of(table, variant, table.baseline, table.main)) is None:
        return None
    scenes, path = found
    crossed = np.flatnonzero(path >= -np.log(ALPHA))
    return {
        "variant": variant.name,
        "scenes": len(scenes),
        "log10_e": [round(float(value) / LOG_10, 6) for value in path],
        "crossed_at": int(crossed[0]) + 1 if len(crossed) else None,
    }


def _rival(table: Table, main: Sequence[Contrast]) -> Variant | None:
    """Whose pairs with the baseline are shown: the variant that was trained and did best, whatever else took part."""
    by_name = {variant.name: variant for variant in table.others}
    trained = [variant for variant in table.others if variant.policies[0].train_seed is not None and variant.name in
               {found.first for found in main}]  # fmt: skip
    return next(iter(trained or by_name.values()), None)
