"""Time to success as curves, and what was done per hour or per hundred boxes."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from so101_eval.report.figures import svg
from so101_eval.statistics import wilson

HEIGHT, ROW, GROUP = 320, 17, 60
"""[px] Of the curves; a variant's rate; what a group of rates has around it."""
LEGEND = 19
"""[px] A line of the legend, below a narrow figure."""
BANDS = 3
"""Variants up to which curves have bands; more would be mud."""


def success_curves(data: dict[str, Any]) -> Markup:
    """Share of episodes that succeeded by a time; with Wilson's band point by point where there are few variants."""
    variants = [variant for variant in data["variants"] if variant["times"]["episodes"]]
    limit, colours, numbers = data["task"]["time_limit_s"], svg.colours_of(data), svg.number_of(data)

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.plane(figure)
        axes.set(xlim=(0, limit), ylim=(0, 1), xlabel="seconds from the start")
        axes.set_yticks(np.arange(5) / 4, [f"{percent} %" for percent in (0, 25, 50, 75, 100)])
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
        for variant in variants:
            name, times = variant["name"], variant["times"]
            seconds = [0.0, *(min(second, limit) for second in times["seconds"]), limit]
            counts = [*range(len(times["seconds"]) + 1), len(times["seconds"])]
            if len(variants) <= BANDS:
                bands = [wilson(count, times["episodes"]) for count in counts]
                axes.fill_between(seconds, [band.low for band in bands], [band.high for band in bands], step="post",
                                  facecolor=(colours[name], 0.11), linewidth=0)  # fmt: skip
            (line,) = axes.step(seconds, [count / times["episodes"] for count in counts], where="post",
                                color=colours[name], linestyle=svg.dash(numbers[name]), clip_on=False,
                                label=svg.shortened(name, svg.NAME))  # fmt: skip
            svg.tip(line, name)
        figure.legend(loc="outside right upper" if is_wide else "outside lower left")

    rows = [
        (variant["name"], len(variant["times"]["seconds"]), variant["times"]["episodes"],
         _median(variant["times"]["median_s"]))
        for variant in variants
    ]  # fmt: skip
    label = "Share of episodes that succeeded by a time"
    drawing = svg.both_widths(HEIGHT, label, draw, HEIGHT + LEGEND * len(variants))
    return drawing + svg.table(
        ("variant", "successes", "episodes", "median of successes [s], 95 % interval"), rows
    )


def _median(median: list[float] | None) -> str:
    return "too few" if median is None else f"{median[0]:.1f}, {median[1]:.1f} to {median[2]:.1f}"


def throughput(data: dict[str, Any]) -> Markup:
    """Rates with exact intervals, an axis for each."""
    colours = svg.colours_of(data)
    found = [(variant["name"], row) for variant in data["variants"] for row in variant["throughput"]]
    groups = {
        name: [(variant, row) for variant, row in found if row["name"] == name]
        for name in dict.fromkeys(row["name"] for _, row in found)
    }

    def draw(figure: Figure, is_wide: bool) -> None:
        sizes = [len(rows) for rows in groups.values()]
        for axes, (name, rows) in zip(
            figure.subplots(len(groups), 1, height_ratios=sizes, squeeze=False).flat,
            groups.items(),
            strict=True,
        ):
            axes.set(title=name, ylim=(len(rows), 0), yticks=[])
            axes.set_xlim(0, 1.03 * max(row["value"][2] for _, row in rows))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            for index, (variant, row) in enumerate(rows):
                value, *ends = row["value"]
                text = f"{variant}: {_rate(row)}, {row['events']} in {row['episodes']} episodes"
                svg.whisker(axes, index + 0.5, value, ends, colours[variant], text, size=8)
                if is_wide:
                    svg.beside(axes, index + 0.5, svg.shortened(variant, svg.NAME), right=True)

    rows = [
        (name, variant, _rate(row), row["events"], row["episodes"])
        for name, group in groups.items()
        for variant, row in group
    ]
    height = sum(GROUP + ROW * len(rows) for rows in groups.values())
    drawing = svg.both_widths(height, "Throughput and mishaps of every variant", draw)
    return drawing + svg.table(("rate", "variant", "value, 95 % interval", "events", "episodes"), rows)


def _rate(row: dict[str, Any]) -> str:
    value, low, high = row["value"]
    return f"{value:.3g}, {low:.3g} to {high:.3g}"
