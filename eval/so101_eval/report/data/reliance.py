"""Reliance probes beside success: what so101-reliance found, and whether anything predicts success across checkpoints.

A predictor is a figure of a checkpoint: a probe (causal: an input was exchanged), an attention share (a diagnostic),
or a held-out loss. Its rank correlation with success is given over all checkpoints, and within variants, where only the
training seed differs. With fewer than `LEAST` checkpoints there is no interval worth the name, and none is given.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from so101_eval.errors import RecordError
from so101_eval.report.data.table import FloatArray, Policy, Table
from so101_eval.statistics import ALPHA
from so101_eval.statistics.intervals import normal_quantile
from so101_policy.errors import shown
from so101_policy.files.plain_data import parse_json
from so101_policy.files.typed_data import typed

SCHEMA = 1
LEAST = 8
"""Checkpoints: with 8, an observed correlation of 0.7 has an interval from -0.1 to 0.95."""
PROBES = (
    ("cue conflict", ("cue_conflict", "executed"), "1 follows the image, 0 the joint state"),
    ("reliance on state", ("reliance", "phase", "executed"), "0 follows the cameras, 1 the joint state"),
)
"""Name, where it stands in reliance.json, how to read it."""
FIGURE = ("value", "low", "high", "frames", "episodes")
"""What a figure of a probe has: an estimate with its interval, and on how much it rests."""
SHARES = (("share of state", "state"), ("share of vision", "vision"), ("share of latent", "latent"))
LOSSES = (("held-out L1", "heldout_l1"), ("shifted L1", "shifted_l1"))


def read_reliance(path: Path) -> dict[str, Any]:
    """A reliance.json. Raises `RecordError` for anything else, `OSError` where it cannot be read."""
    try:
        data = typed(dict[str, Any], parse_json(path.read_text(encoding="utf-8")))
        if data.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {shown(data.get('schema'))}, this version reads {SCHEMA}")
        _check_reliance(data)
    except ValueError as error:
        raise RecordError(f"{path} is no reliance.json of so101-reliance: {error}") from error
    return data


def _check_reliance(data: Mapping[str, Any]) -> None:
    """Raises ValueError where something that is told of is not what it should be."""
    typed(str, data.get("interval"), "interval")
    study = typed(dict[str, Any], data.get("study"), "study")
    typed(int, study.get("frames"), "study.frames")
    for at, policy in enumerate(typed(list[dict[str, Any]], data.get("policies"), "policies")):
        for name in ("name", "sha256"):
            typed(str, policy.get(name), f"policies[{at}].{name}")
        phases = typed(dict[str, dict[str, Any]], policy.get("phases", {}), f"policies[{at}].phases")
        found = [_dig(policy, path) for _, path, _ in PROBES]
        for figure in filter(None, (*found, *(_dig(phase, ("reliance",)) for phase in phases.values()))):
            numbers = {name: figure.get(name) for name in FIGURE}
            typed(dict[str, float | None], numbers, f"a figure in policies[{at}]")


def reliance_data(
    table: Table, files: Sequence[Mapping[str, Any]], training: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Probes and shares by policy, and what predicts success. `training` is the last figures by policy name."""
    probed = {str(policy["sha256"]): policy for file in files for policy in file["policies"]}
    rows = [
        _row(table, variant.name, policy, probed.get(policy.sha256, {}), training.get(policy.name, {}))
        for variant in table.variants
        for policy in variant.policies
    ]
    known = {policy.sha256 for variant in table.variants for policy in variant.policies}
    return {
        "policies": rows,
        "frames": [file["study"] | {"interval": file["interval"]} for file in files],
        "unmatched": sorted(str(policy["name"]) for sha, policy in probed.items() if sha not in known),
        "predictors": _predictors(rows),
    }


def _row(
    table: Table, variant: str, policy: Policy, probed: Mapping[str, Any], training: Mapping[str, float]
) -> dict[str, Any]:
    shares = [
        record.shares
        for cell in table.cells
        for record in table.of_policy(policy, cell).values()
        if record.shares
    ]
    success = {
        "nominal": _success(table, policy, [table.main]),
        "shifted": _success(table, policy, [cell for cell in table.cells if cell != table.main]),
    }
    phases: Mapping[str, Any] = probed.get("phases", {})
    return {
        "variant": variant, "policy": policy.name, "train_seed": policy.train_seed, "success": success,
        "probes": {name: _dig(probed, path) for name, path, _ in PROBES},
        "phases": {phase: _dig(found, ("reliance",)) for phase, found in phases.items()},
        "shares": {name: _mean([share.get(key) for share in shares]) for name, key in SHARES},
        "uniform": {name: _mean([(share.get("uniform") or {}).get(key) for share in shares]) for name, key in SHARES},
        "episodes_with_shares": len(shares),
        "losses": {name: training.get(key) for name, key in LOSSES},
    }  # fmt: skip


def _success(table: Table, policy: Policy, cells: Sequence[Any]) -> float | None:
    """Mean over cells, so that each scenario counts alike."""
    rates: list[float] = []
    for cell in cells:
        verdicts = [
            record.success for record in table.of_policy(policy, cell).values() if record.success is not None
        ]
        if verdicts:
            rates.append(sum(verdicts) / len(verdicts))
    return _mean(rates)


def _predictors(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = [("probes", name) for name, *_ in PROBES]
    names += [("shares", name) for name, _ in SHARES] + [("losses", name) for name, _ in LOSSES]
    found: list[dict[str, Any]] = []
    for group, name in names:
        for target in ("nominal", "shifted"):
            points: list[tuple[str, float, float]] = []
            for row in rows:
                value, success = _value(row[group][name]), row["success"][target]
                if value is not None and success is not None and row["train_seed"] is not None:
                    points.append((str(row["variant"]), value, float(success)))
            if points:
                variants = [variant for variant, *_ in points]
                x, y = (
                    np.array([value for _, value, _ in points]),
                    np.array([success for *_, success in points]),
                )
                found.append({
                    "name": name, "group": group, "target": target, "points": [list(point) for point in points],
                    "all": correlation(x, y, len(points)), "within": _within(variants, x, y),
                })  # fmt: skip
    return found


def _within(variants: Sequence[str], x: FloatArray, y: FloatArray) -> dict[str, Any]:
    """Correlation of what is left when each variant's mean is taken away; every variant costs a degree of freedom."""
    left_x, left_y = x.copy(), y.copy()
    for variant in set(variants):
        rows = np.array([name == variant for name in variants])
        left_x[rows] -= x[rows].mean()
        left_y[rows] -= y[rows].mean()
    return correlation(left_x, left_y, len(x) - len(set(variants)) + 1)


def correlation(x: FloatArray, y: FloatArray, effective: int) -> dict[str, Any]:
    """Spearman's, with an interval from Fisher's z with standard error sqrt((1 + r^2 / 2) / (n - 3)).

    Source: Bonett and Wright, Sample size requirements for estimating Pearson, Kendall and Spearman correlations,
    Psychometrika 65, 2000. `value` is None where there are fewer than `LEAST`, or nothing varies.
    """
    if effective < LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": len(x), "effective": effective, "value": None, "interval": None}
    r = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    z = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))
    half = normal_quantile(ALPHA) * math.sqrt((1 + r * r / 2) / (effective - 3))
    interval = [math.tanh(z - half), math.tanh(z + half)]
    return {"n": len(x), "effective": effective, "value": r, "interval": interval}


def _ranks(values: FloatArray) -> FloatArray:
    """From 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _dig(data: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    found: Any = data
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return dict(found) if isinstance(found, Mapping) and "value" in found else None


def _value(figure: Mapping[str, Any] | float | None) -> float | None:
    value = figure["value"] if isinstance(figure, Mapping) else figure
    return None if value is None else float(value)


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None
