"""Reliance: causal probes first, attention shares greyed as diagnostics, and what of it predicts success."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from so101_eval.report.data.reliance import LEAST, PROBES
from so101_eval.report.figures.svg import (
    NAME,
    PANEL,
    Canvas,
    Scale,
    arm_numbers,
    both_widths,
    colour,
    panels,
    shortened,
    table,
)

ROW, SEED_ROW = 21, 13
"""[px] A policy, and a further training seed of its arm."""
LABELS = 148
HEIGHT, LEFT, BOTTOM = 230, 46, 36


def probes(data: dict[str, Any]) -> Markup:
    """Each probe of each policy, with its interval over episodes."""
    rows = [row for row in data["reliance"]["policies"] if any(row["probes"].values())]
    numbers = arm_numbers(data)
    canvases = [
        _intervals(name, how, [(row, row["probes"][name]) for row in rows if row["probes"][name]], numbers)
        for name, _, how in PROBES
    ]
    cells = [
        (row["policy"], name, _figure(row["probes"][name]), row["probes"][name]["frames"],
         row["probes"][name]["episodes"])
        for row in rows for name, *_ in PROBES if row["probes"][name]
    ]  # fmt: skip
    header = ("policy", "probe", "value, 95 % interval", "frames", "episodes")
    return panels(canvases) + table(header, cells)


def by_phase(data: dict[str, Any]) -> Markup:
    """Reliance on the joint state, phase by phase."""
    rows = [row for row in data["reliance"]["policies"] if any(row["phases"].values())]
    numbers = arm_numbers(data)
    phases = list(dict.fromkeys(phase for row in rows for phase in row["phases"]))
    canvases = [
        _intervals(
            f"reliance on state: {phase}", "0 follows the cameras, 1 the joint state",
            [(row, row["phases"][phase]) for row in rows if row["phases"].get(phase)], numbers,
        )
        for phase in phases
    ]  # fmt: skip
    cells = [(row["policy"], phase, _figure(row["phases"][phase])) for row in rows for phase in phases
             if row["phases"].get(phase)]  # fmt: skip
    return panels(canvases) + table(("policy", "phase", "reliance, 95 % interval"), cells)


def _intervals(
    name: str, how: str, rows: list[tuple[dict[str, Any], dict[str, Any]]], numbers: dict[str, int]
) -> Canvas:
    places, bottom = _places([row["arm"] for row, _ in rows], 42)
    canvas = Canvas(PANEL, bottom + 24, f"{name}: {how}")
    values = [
        value for _, row in rows for value in (row["low"], row["high"], row["value"]) if value is not None
    ]
    scale = Scale(min([0.0, *values]), max([1.0, *values]), LABELS, PANEL - 14)
    canvas.text(0, 14, name, "b")
    canvas.text(0, 30, how, "s")
    for value in (0, 0.5, 1):
        canvas.line(scale(value), 38, scale(value), bottom, "grid")
        canvas.text(scale(value), bottom + 15, f"{value:g}", "s", "middle")
    _names(canvas, [row for row, _ in rows], places)
    for (of, row), y in zip(rows, places, strict=True):
        style = colour(numbers[of["arm"]])
        if row["value"] is None:
            canvas.text(scale(0) + 4, y + 4, "cannot be told", "s")
            continue
        if row["low"] is not None and row["high"] is not None:
            canvas.interval(scale, y, (row["low"], row["high"]), style)
        canvas.dot(scale(row["value"]), y, 3.5, "mark", style=style, title=f"{of['policy']}: {_figure(row)}")
    return canvas


def _places(arms: Sequence[str], top: float) -> tuple[list[float], float]:
    """Middles of rows, and where the last one ends: the training seeds of an arm are close to each other."""
    y, before, places = top - (ROW - SEED_ROW) / 2, None, list[float]()
    for arm in arms:
        y += SEED_ROW if arm == before else ROW
        places.append(y - SEED_ROW / 2)
        before = arm
    return places, y + (ROW - SEED_ROW) / 2


def _names(canvas: Canvas, rows: Sequence[dict[str, Any]], places: Sequence[float]) -> None:
    """An arm's name in the middle of its rows."""
    middles: dict[str, list[float]] = {}
    for row, y in zip(rows, places, strict=True):
        middles.setdefault(row["arm"], []).append(y)
    for arm, of in middles.items():
        canvas.text(0, sum(of) / len(of) + 4, shortened(arm, NAME), "s", title=arm)


def _figure(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "cannot be told"
    interval = "no interval" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
    return f"{row['value']:.2f}, {interval}"


def attention(data: dict[str, Any]) -> Markup:
    """Where decoders look, in grey: the loss of some arms moves these numbers by itself."""
    rows = [row for row in data["reliance"]["policies"] if row["episodes_with_shares"]]

    places, bottom = _places([row["arm"] for row in rows], 4)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, bottom + 24, "Attention shares of state, vision and latent: a diagnostic")
        scale = Scale(0, 1, LABELS, width - 14)
        _names(canvas, rows, places)
        for row, y in zip(rows, places, strict=True):
            top, at = y - SEED_ROW / 2, 0.0
            for tone, (name, share) in enumerate(row["shares"].items()):
                share = share or 0.0
                title = f"{row['policy']}: {name} {share:.1%}, if uniform {row['uniform'][name] or 0:.1%}"
                left, right = scale(at), scale(at + share)
                canvas.rect(left, top + 1, right - left, SEED_ROW - 2, f"grey{tone}", title=title)
                at += share
            if uniform := row["uniform"]["share of state"]:
                canvas.line(scale(uniform), top - 1, scale(uniform), top + SEED_ROW + 1, "reference")
        for value in (0, 0.25, 0.5, 0.75, 1):
            canvas.text(scale(value), bottom + 16, f"{100 * value:.0f} %", "s", "middle")
        return canvas

    cells = [
        (row["policy"], *(_share(row, name) for name in row["shares"]), row["episodes_with_shares"])
        for row in rows
    ]  # fmt: skip
    names = list(rows[0]["shares"]) if rows else []
    return both_widths(draw) + table(
        ("policy", *(f"{name} (if uniform)" for name in names), "episodes"), cells
    )


def _share(row: dict[str, Any], name: str) -> str:
    return f"{row['shares'][name] or 0:.1%} ({row['uniform'][name] or 0:.1%})"


def predictors(data: dict[str, Any]) -> Markup:
    """Success against each figure of a checkpoint, a dot a checkpoint."""
    numbers = arm_numbers(data)
    found = data["reliance"]["predictors"]
    cells = [
        (f["name"], f["group"], f["target"], f["all"]["n"], _correlation(f["all"]), _correlation(f["within"]))
        for f in found
    ]
    header = (
        "figure",
        "what it is",
        "success in",
        "checkpoints",
        "rank correlation, 95 % interval",
        "within arms",
    )
    return panels([_plane(one, numbers) for one in found if one["target"] == "nominal"]) + table(
        header, cells
    )


def _plane(found: dict[str, Any], numbers: dict[str, int]) -> Canvas:
    canvas = Canvas(PANEL, 66 + HEIGHT, f"Success against {found['name']}")
    values = [point[1] for point in found["points"]]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05
    x, y = Scale(low - margin, high + margin, LEFT, PANEL - 8), Scale(0, 1, 58 + HEIGHT - BOTTOM, 66)
    is_diagnostic = found["group"] != "probes"
    canvas.text(0, 14, found["name"] + (" (diagnostic)" if found["group"] == "shares" else ""), "b")
    canvas.text(0, 31, f"all: {_correlation(found['all'])}", "s")
    canvas.text(0, 47, f"within arms: {_correlation(found['within'])}", "s")
    for share in (0.0, 0.5, 1.0):
        canvas.line(x.left, y(share), x.right, y(share), "grid")
        canvas.text(LEFT - 6, y(share) + 4, f"{100 * share:.0f} %", "s", "end")
    for value in (low, high) if high > low else (low,):
        canvas.text(x(value), y.left + 16, f"{value:.2f}", "s", "middle")
    canvas.text((x.left + x.right) / 2, y.left + 32, found["name"], "s", "middle")
    for arm, value, success in found["points"]:
        style = colour(numbers[arm])
        canvas.dot(x(value), y(success), 4.5, "hollow" if is_diagnostic else "mark", style=style,
                   title=f"{arm}: {found['name']} {value:.2f}, success {success:.0%}")  # fmt: skip
    return canvas


def _correlation(found: dict[str, Any]) -> str:
    if found["value"] is None:
        few = found["effective"] < LEAST
        return f"n = {found['n']}, too few to tell" if few else f"n = {found['n']}, nothing varies"
    low, high = found["interval"]
    return f"{found['value']:+.2f} ({low:+.2f} to {high:+.2f}), n = {found['n']}"
