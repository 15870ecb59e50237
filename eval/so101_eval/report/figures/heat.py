"""Paired differences to the baseline as colours: scenario x variant, and scenario x severity for each variant."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from so101_eval.report.figures import svg
from so101_eval.statistics.compare import points

ROW, COLUMN = 34, 110
"""[px]"""
_OF = ("kind", "task", "suite", "scenario")
STRONGEST = 0.5
"""Difference from which on colours do not get stronger."""
RESOLVED, OPEN = 0.7, 0.16
"""Strongest colour of what is resolved, and of what may be chance."""

Contrast = dict[str, Any]
Linked = set[tuple[str, int]]
"""Scenarios and levels of which pairs of episodes are shown."""


def glance(data: dict[str, Any]) -> Markup:
    """A row per scenario, a column per variant."""
    by_variant, linked, colours = _by_variant(data), _linked(data), svg.colours_of(data)
    labels = list(dict.fromkeys(one["label"] for found in by_variant.values() for one in found))

    def draw(figure: Figure, is_wide: bool) -> None:
        most = max(len(by_variant), (820 if is_wide else 200) / COLUMN)
        names = [textwrap.fill(name, 15, max_lines=2, placeholder="…") if is_wide else svg.shortened(name, 24)
                 for name in by_variant]  # fmt: skip
        axes = _grid(figure, [svg.shortened(label, 26 if is_wide else 19) for label in labels], names, most)
        size = 13 if is_wide else min(13, 84 / len(by_variant))
        axes.tick_params("x", labelrotation=0 if is_wide else 90)
        for text, name in zip(axes.get_xticklabels(), by_variant, strict=True):
            text.set(color=colours[name], weight="bold")
        for column, (name, found) in enumerate(by_variant.items()):
            for one in found:
                _cell(axes, column, labels.index(one["label"]), one, linked.get(name, set()), size)

    height = 50 + ROW * len(labels)
    label = "Differences to the baseline by scenario and variant"
    return svg.both_widths(height, label, draw, height + 130)


def severities(data: dict[str, Any]) -> Markup:
    """Of each variant a row per scenario, a column per severity."""
    linked, colours = _linked(data), svg.colours_of(data)
    drawings: list[Markup] = []
    for name, found in _by_variant(data).items():
        rows = list(dict.fromkeys(_row_name(one) for one in found))
        draw = _severity_panel(name, found, rows, colours[name], linked.get(name, set()))
        drawings.append(
            svg.drawn(svg.PANEL, 62 + ROW * len(rows), f"{name}: difference by scenario and severity", draw)
        )
    return svg.panels(drawings)


def _severity_panel(
    name: str, found: Sequence[Contrast], rows: list[str], colour: str, linked: Linked
) -> Callable[[Figure], None]:
    levels = sorted({one["cell"]["level"] for one in found})

    def draw(figure: Figure) -> None:
        columns = [f"level {level}" for level in levels]
        axes = _grid(figure, [svg.shortened(row, 19) for row in rows], columns, max(3, len(levels)))
        svg.title(figure, svg.shortened(name, 26), colour)
        for column in range(len(levels)):
            for row in range(len(rows)):
                axes.add_patch(_box(column, row, svg.LINE, 0.3))
        for one in found:
            _cell(axes, levels.index(one["cell"]["level"]), rows.index(_row_name(one)), one, linked)

    return draw


def _by_variant(data: dict[str, Any]) -> dict[str, list[Contrast]]:
    """Comparisons with the baseline of the variants that have any, in their order."""
    names = [variant["name"] for variant in data["variants"]]
    by_variant = {name: [one for one in data["contrasts"] if one["first"] == name] for name in names}
    return {name: found for name, found in by_variant.items() if found}


def _linked(data: dict[str, Any]) -> dict[str, Linked]:
    pairs = [pair["first"] for pair in data["choices"]["pairs"]]
    return {pair["variant"]: {(one["scenario"], one["level"]) for one in pairs} for pair in pairs[:1]}


def has_severities(data: dict[str, Any]) -> bool:
    """Whether a scenario was evaluated at several severities."""
    rows = {(*(cell[part] for part in _OF), cell["level"]) for cell in data["cells"]}
    return len({row[:-1] for row in rows}) < len(rows)


def _row_name(contrast: Contrast) -> str:
    return contrast["label"].replace(f":{contrast['cell']['level']}", "")


def _grid(figure: Figure, rows: Sequence[str], columns: Sequence[str], width: float) -> Axes:
    """`width` columns have room, so that few do not get broad."""
    axes = svg.row_axes(figure, len(rows))
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.set_xlim(0, width)
    axes.set_xticks([column + 0.5 for column in range(len(columns))], columns)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
    return axes


def _box(
    column: float, row: float, colour: str, strength: float, edge: str = "none", width: float = 1
) -> Rectangle:
    return Rectangle((column + 0.01, row + 0.04), 0.98, 0.92, facecolor=(colour, strength), edgecolor=edge,
                     linewidth=width)  # fmt: skip


def _cell(axes: Axes, column: int, row: int, contrast: Contrast, linked: Linked, size: float = 13) -> None:
    difference, resolved = contrast["difference"], contrast["verdict"] != "open"
    strength = min(1.0, abs(difference) / STRONGEST) * (RESOLVED if resolved else OPEN)
    colour = svg.css("plus" if difference > 0 else "minus")
    box = _box(column, row, colour, strength, svg.INK if resolved else svg.LINE, 1.6 if resolved else 1)
    svg.tip(axes.add_patch(box), f"{contrast['label']}: {points(difference)} points, n = {contrast['scenes']}, "
        + ("resolved after Holm" if resolved else "not resolved"))  # fmt: skip
    number = axes.text(column + 0.5, row + 0.35, points(difference), ha="center", va="center", fontsize=size,
                       weight="bold" if resolved else "normal")  # fmt: skip
    axes.text(
        column + 0.5,
        row + 0.74,
        f"n {contrast['scenes']}",
        ha="center",
        va="center",
        fontsize=0.85 * size,
        alpha=0.75,
    )
    key = (contrast["cell"]["scenario"], contrast["cell"]["level"])
    if key in linked:
        box.set_url(f"#pairs-{key[0]}-{key[1]}")
        number.set_url(f"#pairs-{key[0]}-{key[1]}")
