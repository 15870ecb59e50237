"""Where a box lay at the start and whether it was placed: the table from above, to scale, one panel per variant.

Up is away from the arm, left is the arm's left.
"""

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from so101_eval.report.figures import svg

MARGIN_MM = 8.0
HEAD, FOOT = 30, 46
"""[px]"""


def success_map(data: dict[str, Any]) -> Markup:
    """Of the strongest level that was played; its numbers are those of all levels."""
    strongest = data["maps"][-1]
    points = [point for variant in strongest["variants"] for point in variant["points"]] + strongest[
        "area_mm"
    ]
    view = [
        (min(point[axis] for point in points) - MARGIN_MM, max(point[axis] for point in points) + MARGIN_MM)
        for axis in (0, 1)
    ]
    height = HEAD + FOOT + svg.PANEL * (view[0][1] - view[0][0]) / (view[1][1] - view[1][0])
    colours = svg.colours_of(data)
    drawing = svg.panels(
        [
            svg.drawn(svg.PANEL, height, f"Where boxes lay that {variant['name']} placed, seen from above",
                      lambda figure, variant=variant: _panel(figure, variant, strongest["area_mm"],
                                                             colours[variant["name"]], view))
            for variant in strongest["variants"]
        ]
    )  # fmt: skip
    rows = [
        (variant["name"], found["level"], band["label"], f"{band['good']}/{band['boxes']}",
         f"{100 * band['interval'][0]:.0f} to {100 * band['interval'][1]:.0f} %")
        for found in data["maps"] for variant in found["variants"] for band in variant["bands"]
    ]  # fmt: skip
    return drawing + svg.table(("variant", "level", "the box lay", "placed", "95 % interval"), rows)


def _panel(
    figure: Figure,
    variant: dict[str, Any],
    area_mm: list[list[float]],
    colour: str,
    view: list[tuple[float, float]],
) -> None:
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.set_title(svg.shortened(variant["name"], 26))
    axes.set(xlim=view[1][::-1], ylim=view[0], aspect="equal", xticks=[], yticks=[])
    area = Polygon(
        [(y, x) for x, y in area_mm], facecolor=svg.LINE, edgecolor=svg.SOFT, linestyle=(0, (4, 3))
    )
    axes.add_patch(area)
    for placed, marker, size in ((1, "o", 6), (0, "x", 7)):
        at = [(y, x) for x, y, _, good in variant["points"] if good == placed]
        axes.plot([y for y, _ in at], [x for _, x in at], marker, color=colour, markersize=size,
                  alpha=0.7 if placed else 0.9, markeredgewidth=0 if placed else 1.4)  # fmt: skip
    left, low = view[1][1] - 3, view[0][0] + 3
    axes.plot((left, left - 20), (low, low), color=svg.STRONG, linewidth=2)
    axes.text(left, low + 2, "20 mm", va="bottom", color=svg.SOFT)
    inside = [band for band in variant["bands"] if band["label"] == "inside"]
    outside = [band for band in variant["bands"] if band["label"] != "inside"]
    axes.set_xlabel(f"inside {_share(inside)}\noutside {_share(outside)}", loc="left")


def _share(bands: list[dict[str, Any]]) -> str:
    boxes = sum(band["boxes"] for band in bands)
    return f"{sum(band['good'] for band in bands)} of {boxes} placed" if boxes else "no box"
