"""Reliance: causal probes first, attention shares greyed as diagnostics, and what of it predicts success."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from so101_eval.report.data.reliance import LEAST, PROBES
from so101_eval.report.figures import svg

ROW, SEED_ROW = 21, 13
"""[px] A policy, and a further training seed of its variant."""
HEAD, AXIS, PLANE = 40, 24, 290
"""[px]"""
SHADES = ("g0", "g1", "g2")

Row = dict[str, Any]


def probes(data: dict[str, Any]) -> Markup:
    """Each probe of each policy, with its interval over episodes."""
    rows = [row for row in data["reliance"]["policies"] if any(row["probes"].values())]
    drawings = [
        _intervals(
            name,
            how,
            [(row, row["probes"][name]) for row in rows if row["probes"][name]],
            svg.colours_of(data),
        )
        for name, _, how in PROBES
    ]
    cells = [
        (row["policy"], name, _figure(row["probes"][name]), row["probes"][name]["frames"],
         row["probes"][name]["episodes"])
        for row in rows for name, *_ in PROBES if row["probes"][name]
    ]  # fmt: skip
    return svg.panels(drawings) + svg.table(
        ("policy", "probe", "value, 95 % interval", "frames", "episodes"), cells
    )


def by_phase(data: dict[str, Any]) -> Markup:
    """Reliance on the joint state, phase by phase."""
    rows = [row for row in data["reliance"]["policies"] if any(row["phases"].values())]
    phases = list(dict.fromkeys(phase for row in rows for phase in row["phases"]))
    drawings = [
        _intervals(
            f"reliance on state: {phase}", "0 follows the cameras, 1 the joint state",
            [(row, row["phases"][phase]) for row in rows if row["phases"].get(phase)], svg.colours_of(data),
        )
        for phase in phases
    ]  # fmt: skip
    cells = [(row["policy"], phase, _figure(row["phases"][phase])) for row in rows for phase in phases
             if row["phases"].get(phase)]  # fmt: skip
    return svg.panels(drawings) + svg.table(("policy", "phase", "reliance, 95 % interval"), cells)


def _intervals(name: str, how: str, rows: list[tuple[Row, Row]], colours: dict[str, str]) -> Markup:
    places, bottom = _places([row["variant"] for row, _ in rows])

    def draw(figure: Figure) -> None:
        axes = svg.row_axes(figure, bottom)
        _titled(figure, name, how)
        values = [row[key] for _, row in rows for key in ("low", "high", "value") if row[key] is not None]
        axes.set(
            xlim=(min(-0.01, *values), max(1.01, *values)), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1")
        )
        _names(axes, [row for row, _ in rows], places)
        for (of, row), y in zip(rows, places, strict=True):
            text = f"{of['policy']}: {_figure(row)}"
            if row["value"] is None:
                axes.text(0.02, y, "not measurable", color=svg.SOFT, va="center")
            elif row["low"] is None or row["high"] is None:
                svg.dot(axes, row["value"], y, colours[of["variant"]], text, size=7)
            else:
                svg.whisker(
                    axes, y, row["value"], (row["low"], row["high"]), colours[of["variant"]], text, size=7
                )

    return svg.drawn(svg.PANEL, HEAD + bottom + AXIS, f"{name}: {how}", draw)


def _titled(figure: Figure, name: str, *lines: str) -> None:
    """A name above, and what there is to say below."""
    svg.title(figure, name)
    figure.supxlabel("\n".join(lines), x=0.005, ha="left", fontsize=12, color=svg.SOFT)


def _places(variants: Sequence[str]) -> tuple[list[float], float]:
    """Middles of rows, and where the last one ends: the training seeds of a variant are close to each other."""
    y, before, places = -(ROW - SEED_ROW) / 2, None, list[float]()
    for variant in variants:
        y += SEED_ROW if variant == before else ROW
        places.append(y - SEED_ROW / 2)
        before = variant
    return places, y + (ROW - SEED_ROW) / 2


def _names(axes: Axes, rows: Sequence[Row], places: Sequence[float], most: int = svg.PANEL_NAME) -> None:
    """A variant's name in the middle of its rows, in `most` letters."""
    middles: dict[str, list[float]] = {}
    for row, y in zip(rows, places, strict=True):
        middles.setdefault(row["variant"], []).append(y)
    for variant, of in middles.items():
        svg.beside(axes, sum(of) / len(of), svg.shortened(variant, most))


def _figure(row: Row) -> str:
    if row["value"] is None:
        return "not measurable"
    interval = "no interval" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
    return f"{row['value']:.2f}, {interval}"


def attention(data: dict[str, Any]) -> Markup:
    """Where decoders look, in grey: the loss of some variants moves these numbers by itself."""
    rows = [row for row in data["reliance"]["policies"] if row["episodes_with_shares"]]
    names = list(rows[0]["shares"]) if rows else []
    places, bottom = _places([row["variant"] for row in rows])

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, bottom)
        axes.grid(visible=False)
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0 %", "25 %", "50 %", "75 %", "100 %"))
        _names(axes, rows, places, svg.NAME if is_wide else svg.PANEL_NAME)
        for row, y in zip(rows, places, strict=True):
            left = 0.0
            for shade, (name, share) in zip(SHADES, row["shares"].items(), strict=True):
                (bar,) = axes.barh(y, share or 0.0, SEED_ROW - 2, left, color=svg.css(shade))
                svg.tip(bar, f"{row['policy']}: {name} {_share(row, name)}")
                left += share or 0.0
            if uniform := row["uniform"]["share of state"]:
                half = SEED_ROW / 2 + 1
                axes.plot((uniform, uniform), (y - half, y + half), color=svg.INK, linewidth=2)
        patches = [Patch(color=svg.css(shade), label=name) for shade, name in zip(SHADES, names, strict=True)]
        figure.legend(handles=patches, loc="outside upper left", ncols=3 if is_wide else 1)

    cells = [
        (row["policy"], *(_share(row, name) for name in names), row["episodes_with_shares"]) for row in rows
    ]
    label = "Attention shares of state, vision and latent: a diagnostic"
    drawing = svg.both_widths(26 + bottom + AXIS, label, draw, 66 + bottom + AXIS)
    return drawing + svg.table(("policy", *(f"{name} (if uniform)" for name in names), "episodes"), cells)


def _share(row: Row, name: str) -> str:
    return f"{row['shares'][name] or 0:.1%} ({row['uniform'][name] or 0:.1%})"


def predictors(data: dict[str, Any]) -> Markup:
    """Success against each figure of a checkpoint, a dot a checkpoint."""
    found = data["reliance"]["predictors"]
    cells = [
        (f["name"], f["group"], f["target"], f["all"]["n"], _correlation(f["all"]), _correlation(f["within"]))
        for f in found
    ]
    header = ("figure", "what it is", "success in", "checkpoints", "rank correlation, 95 % interval",
              "within variants")  # fmt: skip
    planes = [_plane(one, svg.colours_of(data)) for one in found if one["target"] == "nominal"]
    return svg.panels(planes) + svg.table(header, cells)


def _plane(found: Row, colours: dict[str, str]) -> Markup:
    def draw(figure: Figure) -> None:
        axes = svg.plane(figure)
        name = found["name"] + (" (diagnostic)" if found["group"] == "shares" else "")
        _titled(
            figure,
            name,
            f"all: {_correlation(found['all'])}",
            f"within variants: {_correlation(found['within'])}",
        )
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks((0, 0.5, 1), ("0 %", "50 %", "100 %"))
        axes.locator_params("x", nbins=4)
        axes.margins(x=0.08)
        for variant, value, success in found["points"]:
            text = f"{variant}: {found['name']} {value:.2f}, success {success:.0%}"
            svg.dot(axes, value, success, colours[variant], text, found["group"] == "probes")

    return svg.drawn(svg.PANEL, PLANE, f"Success against {found['name']}", draw)


def _correlation(found: Row) -> str:
    if found["value"] is None:
        few = found["effective"] < LEAST
        return f"n = {found['n']}, too few to tell" if few else f"n = {found['n']}, nothing varies"
    low, high = found["interval"]
    return f"{found['value']:+.2f} ({low:+.2f} to {high:+.2f}), n = {found['n']}"
