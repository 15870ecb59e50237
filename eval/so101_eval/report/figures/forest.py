"""Paired differences to the baseline, scenario by scenario; filled where resolved after Holm."""

import math
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from so101_eval.report.figures import svg
from so101_eval.statistics import Interval
from so101_eval.statistics.compare import points, span

ROW, FRAME = 42, 86
"""[px] A scenario, and what is around them."""


def forest(data: dict[str, Any]) -> Markup:
    """A panel per variant; one alone has the width of the page."""
    colours = svg.colours_of(data)
    by_variant = {name: [found for found in data["contrasts"] if found["first"] == name] for name in colours}
    by_variant = {name: found for name, found in by_variant.items() if found}
    reach, baseline = _reach(data["contrasts"]), data["variants"][0]["name"]

    def draw(figure: Figure, is_wide: bool, name: str) -> None:
        _panel(figure, is_wide, name, baseline, by_variant[name], colours[name], reach)

    sizes = {
        name: (
            FRAME + ROW * len(found),
            f"{name} against {baseline}: paired difference in {len(found)} scenarios",
        )
        for name, found in by_variant.items()
    }
    if len(by_variant) == 1:
        ((name, size),) = sizes.items()
        drawing = svg.both_widths(*size, lambda figure, is_wide: draw(figure, is_wide, name))
    else:
        drawing = svg.panels(
            [
                svg.drawn(svg.PANEL, *size, lambda figure, name=name: draw(figure, False, name))
                for name, size in sizes.items()
            ]
        )
    cells = [
        (f["first"], f["label"], f["scenes"], points(f["difference"]), span(Interval(*f["interval"])),
         f"{f['p_value']:.2g}", f"{f['holm_p']:.2g}", f["verdict"], _size(f["detectable"]), f["method"])
        for f in data["contrasts"]
    ]  # fmt: skip
    header = ("variant", "scenario", "scenes", "difference [points]", "95 % interval", "p", "p (Holm)", "verdict",
              "detectable", "by")  # fmt: skip
    return drawing + svg.table(header, cells)


def _size(detectable: float | None) -> str:
    return "none" if detectable is None else points(detectable)


def _reach(contrasts: list[dict[str, Any]]) -> float:
    """Half the axis, in steps of a quarter: all intervals fit."""
    most = max((abs(end) for found in contrasts for end in found["interval"]), default=0.25)
    return min(1.0, max(0.25, math.ceil(4 * most - 1e-9) / 4))


def _panel(
    figure: Figure,
    is_wide: bool,
    name: str,
    baseline: str,
    rows: list[dict[str, Any]],
    colour: str,
    reach: float,
) -> None:
    """Beside each row its scenario and its numbers, or above it where there is no room."""
    axes = svg.row_axes(figure, len(rows))
    step = 0.25 if reach <= 0.75 else 0.5
    ticks = [step * index for index in range(-round(reach / step), round(reach / step) + 1)]
    axes.set_xlim(-1.01 * reach, 1.01 * reach)
    axes.set_xticks(ticks, [points(tick) for tick in ticks])
    axes.axvline(0, color=svg.STRONG, linewidth=1.3)
    svg.title(figure, f"{svg.shortened(name, 24)} − {svg.shortened(baseline, 14)}")
    axes.set_xlabel(f"← {svg.shortened(baseline, 14)} better · {svg.shortened(name, 22)} better →")
    for row, found in enumerate(rows):
        numbers = f"{points(found['difference'])} ({span(Interval(*found['interval']))})"
        if is_wide:
            svg.beside(axes, row + 0.5, found["label"], colour=svg.INK)
            svg.beside(axes, row + 0.5, numbers, right=True)
        else:
            at, label = axes.get_yaxis_transform(), svg.shortened(found["label"], 26)
            svg.halo(axes.text(0, row + 0.25, label, va="center", transform=at))
            svg.halo(axes.text(1, row + 0.25, numbers, va="center", ha="right", color=svg.SOFT, transform=at))
        text = (
            f"{found['label']}: {numbers}, n = {found['scenes']} scenes, p = {found['holm_p']:.2g} after Holm"
        )
        svg.whisker(axes, row + (0.5 if is_wide else 0.7), found["difference"], found["interval"], colour, text,
                found["verdict"] != "open", 10)  # fmt: skip
