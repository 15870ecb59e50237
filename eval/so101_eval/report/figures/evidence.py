"""Evidence as it came in, pair after pair: e-values on a log scale with the line that decides."""

import math
from typing import Any

from markupsafe import Markup

from so101_eval.report.figures.svg import (
    NAME,
    SIDE,
    Canvas,
    Scale,
    arm_numbers,
    both_widths,
    colour,
    dash,
    shortened,
    spread,
    table,
)

HEIGHT, TOP, BOTTOM = 300, 14, 40


def e_paths(data: dict[str, Any]) -> Markup:
    paths, limit = data["evidence"], math.log10(1 / data["alpha"])
    lowest = min([-1.0, *(value for path in paths for value in path["log10_e"])])
    highest = max([limit + 0.5, *(value for path in paths for value in path["log10_e"])])
    longest = max(path["scenes"] for path in paths)
    numbers = arm_numbers(data)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, HEIGHT, "e-value after each scene, log scale")
        x = Scale(0, longest, 46, width - (SIDE if width > 500 else 14))
        y = Scale(lowest, highest, HEIGHT - BOTTOM, TOP)
        _axes(canvas, x, y, limit, longest)
        ends = [y(path["log10_e"][-1]) for path in paths]
        for path, place in zip(paths, spread(ends, 15), strict=True):
            number = numbers[path["arm"]]
            line = [(x(0), y(0))] + [(x(i + 1), y(value)) for i, value in enumerate(path["log10_e"])]
            canvas.path(line, "curve", style=colour(number), stroke_dasharray=dash(number), title=path["arm"])
            if crossed := path["crossed_at"]:
                title = f"{path['arm']}: decided at scene {crossed} of {path['scenes']}"
                canvas.dot(
                    x(crossed), y(path["log10_e"][crossed - 1]), 5, "mark", style=colour(number), title=title
                )
            if width > 500:
                canvas.text(
                    x(path["scenes"]) + 8, place + 4, shortened(path["arm"], NAME), "k", style=colour(number)
                )
        return canvas

    rows = [
        (path["arm"], path["scenes"], f"{10 ** min(path['log10_e'][-1], 300):.3g}",
         path["crossed_at"] or "never") for path in paths
    ]  # fmt: skip
    return both_widths(draw) + table(("arm", "scenes", "e-value at the end", "decided at scene"), rows)


def _axes(canvas: Canvas, x: Scale, y: Scale, limit: float, longest: int) -> None:
    every = max(1, math.ceil((y.high - y.low) / 6))
    for power in range(math.ceil(y.low / every) * every, math.floor(y.high) + 1, every):
        canvas.line(x.left, y(power), x.right, y(power), "grid")
        text = f"{10**power:g}" if -3 <= power <= 4 else f"1e{power}"
        canvas.text(x.left - 6, y(power) + 4, text, "s", "end")
    canvas.line(x.left, y(limit), x.right, y(limit), "limit")
    canvas.text(x.left + 6, y(limit) - 6, f"e = {10**limit:.0f} decides", "s")
    for share in (0, 0.5, 1):
        canvas.text(x(share * longest), canvas.height - BOTTOM + 16, f"{share * longest:.0f}", "s", "middle")
    canvas.text((x.left + x.right) / 2, canvas.height - 6, "scenes met by both", "s", "middle")
