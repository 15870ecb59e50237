"""What was evaluated, with what, and what was left out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.report.data.table import Cell, Table, Variant, cell_labels, common_scenes


def integrity(table: Table) -> dict[str, Any]:
    """Hashes, versions, seeds and exclusions."""
    everything = [
        record
        for variant in table.variants
        for cell in table.cells
        for record in table.episodes(variant, cell)
    ]
    return {
        "policies": [
            _policy(variant, policy.name, policy.sha256, policy.train_seed, everything)
            for variant in table.variants
            for policy in variant.policies
        ],
        "cells": [
            {"cell": label, **_seeds(table, cell), "scene_hashes": _hashed(table, cell)}
            for cell, label in cell_labels(table.cells).items()
        ],
        "versions": sorted({tuple(sorted(record.versions.items())) for record in everything}, key=str),
        "runs": sorted({record.run for record in everything}),
        "suites": sorted({record.suite for record in everything}),
        "kinds": sorted({record.kind for record in everything}),
        "episodes": len(everything),
        "overridden": _overridden(table),
        "exclusions": _without_verdict(everything) + _without_partner(table),
    }


def _overridden(table: Table) -> list[dict[str, Any]]:
    """Of policies on an arm: trials that began although a box was measured to lie elsewhere. They count."""
    rows: list[dict[str, Any]] = []
    for variant in table.variants:
        records = [record for cell in table.cells for record in table.episodes(variant, cell)]
        asked = [record for record in records if record.overridden is not None]
        if asked:
            rows.append(
                {
                    "variant": variant.name,
                    "trials": len(asked),
                    "overridden": sum(bool(r.overridden) for r in asked),
                }
            )
    return rows


def _policy(
    variant: Variant, name: str, sha256: str, train_seed: int | None, everything: Sequence[EpisodeRecord]
) -> dict[str, Any]:
    own = [record for record in everything if record.policy == name]
    guard: Counter[str] = Counter()
    for record in own:
        guard.update(record.interventions)
    held, ticks = sum(record.held_ticks or 0 for record in own), sum(record.ticks for record in own)
    return {
        "variant": variant.name, "policy": name, "train_seed": train_seed, "sha256": sha256, "episodes": len(own),
        "latency_s": sorted({record.latency_s for record in own if record.latency_s is not None}),
        "chunks": sorted({record.chunks for record in own}), "guard_ticks": guard.total(),
        "held_share": held / ticks if ticks else None,
    }  # fmt: skip


def _seeds(table: Table, cell: Cell) -> dict[str, Any]:
    scenes = sorted({record.seed for variant in table.variants for record in table.episodes(variant, cell)})
    return {"first_seed": scenes[0], "last_seed": scenes[-1], "scenes": len(scenes)}


def _hashed(table: Table, cell: Cell) -> bool:
    """Whether it is known that every policy met the same scenes."""
    return all(record.scene_sha256 for variant in table.variants for record in table.episodes(variant, cell))


def _without_verdict(everything: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    reasons: Counter[tuple[str, str]] = Counter()
    for record in everything:
        if record.success is None:
            why = record.score.get("unmeasured", {}).get("success", "no reason was given")
            reasons[record.policy, why] += 1
    return [
        {"what": f"{policy}: no verdict ({why})", "episodes": count}
        for (policy, why), count in reasons.items()
    ]


def _without_partner(table: Table) -> list[dict[str, Any]]:
    """Episodes that count for no comparison with the baseline, because the other side has none on that scene."""
    rows: list[dict[str, Any]] = []
    labels = cell_labels(table.cells)
    for variant in table.others:
        for cell in table.cells:
            own, other = table.outcomes(variant, cell), table.outcomes(table.baseline, cell)
            common = len(common_scenes(own, other))
            if own.scenes and common < len(own.scenes):
                left = (len(own.scenes) - common) * len(own.policies)
                what = f"{variant.name}, {labels[cell]}: no partner in {table.baseline.name}"
                rows.append({"what": what, "episodes": left})
    return rows
