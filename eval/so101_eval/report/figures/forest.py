"""Paired differences to the baseline, scenario by scenario; filled where resolved after Holm."""

import math
from typing import Any

from markupsafe import Markup

from so101_eval.report.figures.svg import (
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
from so101_eval.statistics import Interval
from so101_eval.statistics.compare import points, span

ROW, STACKED = 30, 42
HEAD = 30


def forest(data: dict[str, Any]) -> Markup:
    numbers = arm_numbers(data)
    by_arm = {name: [found for found in data["contrasts"] if found["first"] == name] for name in numbers}
    by_arm = {name: found for name, found in by_arm.items() if found}
    reach = _reach(data["contrasts"])
    baseline = data["arms"][0]["name"]
    if len(by_arm) == 1:
        ((name, rows),) = by_arm.items()
        drawing = both_widths(lambda width: _panel(width, name, baseline, rows, colour(numbers[name]), reach))
    else:
        drawing = panels(
            [
                _panel(PANEL, name, baseline, rows, colour(numbers[name]), reach)
                for name, rows in by_arm.items()
            ]
        )
    cells = [
        (f["first"], f["label"], f["scenes"], points(f["difference"]), span(Interval(*f["interval"])),
         f"{f['p_value']:.2g}", f"{f['holm_p']:.2g}", f["verdict"], _size(f["detectable"]), f["method"])
        for f in data["contrasts"]
    ]  # fmt: skip
    header = ("arm", "scenario", "scenes", "difference [points]", "95 % interval", "p", "p (Holm)", "verdict",
              "detectable", "by")  # fmt: skip
    return drawing + table(header, cells)


def _size(detectable: float | None) -> str:
    return "none" if detectable is None else points(detectable)


def _reach(contrasts: list[dict[str, Any]]) -> float:
    """Half the axis, in steps of a quarter: all intervals fit."""
    most = max((abs(end) for found in contrasts for end in found["interval"]), default=0.25)
    return min(1.0, max(0.25, math.ceil(4 * most - 1e-9) / 4))


def _ticks(reach: float) -> list[float]:
    """Round numbers, 0 among them."""
    step = 0.25 if reach <= 0.75 else 0.5
    count = round(reach / step)
    return [step * index for index in range(-count, count + 1)]


def _panel(
    width: float, name: str, baseline: str, rows: list[dict[str, Any]], style: str, reach: float
) -> Canvas:
    is_wide = width > 500
    step = ROW if is_wide else STACKED
    bottom = HEAD + step * len(rows)
    canvas = Canvas(
        width, bottom + 40, f"{name} against {baseline}: paired difference in {len(rows)} scenarios"
    )
    scale = Scale(-reach, reach, 190, width - 150) if is_wide else Scale(-reach, reach, 14, width - 14)
    canvas.text(0 if is_wide else 14, 16, f"{shortened(name, 24)} − {shortened(baseline, 14)}", "b")
    for value in _ticks(reach):
        canvas.line(scale(value), HEAD, scale(value), bottom, "zero" if value == 0 else "grid")
        canvas.text(scale(value), bottom + 15, points(value), "s", "middle")
    canvas.text(scale(0), bottom + 32, f"← {shortened(baseline, 14)} better · {shortened(name, 22)} better →",
                "s", "middle")  # fmt: skip
    for index, found in enumerate(rows):
        top = HEAD + index * step
        numbers = f"{points(found['difference'])} ({span(Interval(*found['interval']))})"
        if is_wide:
            y = top + step / 2
            canvas.text(0, y + 4, f"{found['label']}", "t")
            canvas.text(width, y + 4, numbers, "s", "end")
        else:
            y = top + 29
            canvas.text(14, top + 15, found["label"], "t halo")
            canvas.text(width - 14, top + 15, numbers, "s halo", "end")
        canvas.interval(scale, y, found["interval"], style)
        resolved = found["verdict"] != "open"
        title = (
            f"{found['label']}: {numbers}, n = {found['scenes']} scenes, p = {found['holm_p']:.2g} after Holm"
        )
        canvas.dot(
            scale(found["difference"]), y, 5.5, "mark" if resolved else "hollow", style=style, title=title
        )
    return canvas
