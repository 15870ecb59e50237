"""Where boxes are lost on their way: the share that passed each milestone, variant by variant."""

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from so101_eval.report.figures import svg

ROW, HEAD = 27, 34
"""[px]"""


def funnel(data: dict[str, Any]) -> Markup:
    """A panel per variant, with marks where the baseline is."""
    colours = svg.colours_of(data)
    variants = [each for each in data["variants"] if each["milestones"] and each["milestones"][0]["boxes"]]
    reference = [row["share"] for row in data["variants"][0]["milestones"]]

    def draw(figure: Figure, variant: dict[str, Any]) -> None:
        name, rows = variant["name"], variant["milestones"]
        axes = svg.row_axes(figure, len(rows))
        axes.set(xlim=(0, 1), xticks=[])
        axes.set_title(f"{svg.shortened(name, 24)}, {rows[0]['boxes']} boxes")
        axes.barh([row + 0.45 for row in range(len(rows))], 1, 0.7, color=(svg.LINE, 0.55))
        for y, (row, other) in enumerate(zip(rows, reference, strict=True)):
            low, high = row["interval"]
            (bar,) = axes.barh(y + 0.45, row["share"], 0.7, color=(colours[name], 0.55))
            svg.tip(
                bar,
                f"{row['name']}: {row['passed']} of {row['boxes']} boxes, 95 % interval {low:.0%} to {high:.0%}",
            )
            axes.plot((low, high), (y + 0.45, y + 0.45), color=(svg.INK, 0.65), linewidth=1.4)
            if other is not None and not variant["is_baseline"]:
                axes.plot((other, other), (y + 0.02, y + 0.88), color=svg.INK, linewidth=2, clip_on=False)
            svg.beside(axes, y + 0.45, row["name"].replace("_", " "))
            svg.beside(axes, y + 0.45, f"{100 * row['share']:.0f} %", right=True, colour=svg.INK)

    drawing = svg.panels(
        [
            svg.drawn(svg.PANEL, HEAD + ROW * len(each["milestones"]), f"Milestones of {each['name']}",
                  lambda figure, each=each: draw(figure, each))
            for each in variants
        ]
    )  # fmt: skip
    rows = [
        (each["name"], row["name"].replace("_", " "), f"{row['passed']}/{row['boxes']}",
         f"{row['share']:.0%}, {row['interval'][0]:.0%} to {row['interval'][1]:.0%}")
        for each in variants for row in each["milestones"]
    ]  # fmt: skip
    return drawing + svg.table(("variant", "milestone", "boxes", "share, 95 % interval"), rows)
