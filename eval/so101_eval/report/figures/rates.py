"""Success of each variant: posteriors with letters in the main cell, and an interval with every training seed as a ring
in every cell."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from so101_eval.report.figures import svg

ROW, VARIANT_ROW, HEAD_ROW, AXIS = 62, 17, 27, 26
"""[px] A posterior, a variant in a scenario, a scenario's name, the axis below."""
HALF = 0.27
"""Rows: half of a violin's greatest width."""


def posteriors(data: dict[str, Any]) -> Markup:
    """How likely each success rate is, the rate and its interval, and letters: no difference was detected between those
    that share one."""
    letters = {row["variant"]: row["letters"] for row in data["letters"]["of"]}
    variants = [variant for variant in data["variants"] if variant["success"]]
    colours = svg.colours_of(data)
    peak = max((max(variant["success"]["posterior"]) for variant in variants), default=1.0)

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, len(variants))
        svg.percent_axis(axes)
        for row, variant in enumerate(variants):
            name, success, y = variant["name"], variant["success"], row + 0.68
            colour = colours[name]
            # the square root keeps the narrow ones from hiding the broad ones
            half = HALF * np.sqrt(np.array(success["posterior"]) / peak)
            rates, shown = np.linspace(0, 1, len(half)), half > 0.004
            axes.fill_between(rates, y - half, y + half, where=shown.tolist(), facecolor=(colour, 0.2),
                              edgecolor=(colour, 0.45), linewidth=1)  # fmt: skip
            svg.whisker(
                axes, y, success["rate"], success["interval"], colour, f"{name}: {interval_text(success)}"
            )
            svg.rings(axes, y, success["by_seed"], colour, name)
            head = axes.text(
                0, row + 0.22, svg.shortened(name, 26), weight="bold", fontsize=13.5, va="center"
            )
            svg.halo(head)
            svg.halo(
                axes.annotate(
                    counted(success), (1, 0.5), (8, 0), head, "offset points", color=svg.SOFT, va="center"
                )
            )
            axes.text(1, row + 0.22, letters[name], color=svg.SOFT, fontsize=16, fontstyle="italic", ha="right",
                      va="center", transform=axes.get_yaxis_transform())  # fmt: skip

    rows = [
        (variant["name"], counted(variant["success"]), interval_text(variant["success"]), letters[variant["name"]],
         ", ".join(f"{good}/{of}" for good, of in variant["success"]["by_seed"]))
        for variant in variants
    ]  # fmt: skip
    drawing = svg.both_widths(
        ROW * len(variants) + AXIS, f"Posterior of the success rate of {len(variants)} variants", draw
    )
    return drawing + svg.table(
        ("variant", "successes", "rate and 95 % interval", "letters", "by checkpoint"), rows
    )


def by_cell(data: dict[str, Any]) -> Markup:
    """Every scenario, every variant."""
    colours = svg.colours_of(data)
    rates = {(rate["cell"], rate["variant"]): rate for rate in data["rates"]}
    groups = [
        (cell["label"], [name for name in colours if (cell["label"], name) in rates])
        for cell in data["cells"]
    ]
    height = sum(HEAD_ROW + VARIANT_ROW * len(names) for _, names in groups)

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, height)
        svg.percent_axis(axes)
        y = 0.0
        for label, names in groups:
            svg.halo(axes.text(0, y + 16, label, weight="bold", fontsize=13.5, va="center"))
            y += HEAD_ROW
            for name in names:
                rate, middle = rates[label, name], y + VARIANT_ROW / 2
                text = f"{name}: {counted(rate)}, {interval_text(rate)}"
                svg.whisker(axes, middle, rate["rate"], rate["interval"], colours[name], text, size=8)
                svg.rings(axes, middle, rate["by_seed"], colours[name], name)
                if is_wide:
                    svg.beside(axes, middle, svg.shortened(name, svg.NAME), right=True)
                y += VARIANT_ROW

    rows = [(rate["cell"], rate["variant"], counted(rate), interval_text(rate)) for rate in data["rates"]]
    drawing = svg.both_widths(height + AXIS, "Success rate of every variant in every scenario", draw)
    words = svg.table(
        ("scenario", "what is different"),
        [(cell["label"], cell["says"]) for cell in data["cells"]],
        "The scenarios in words",
    )
    return drawing + svg.table(("scenario", "variant", "successes", "rate and 95 % interval"), rows) + words


def counted(rate: dict[str, Any]) -> str:
    """`31/40`, and of how many training seeds."""
    seeds = len(rate["by_seed"])
    return f"{rate['successes']}/{rate['episodes']}" + (f", {seeds} seeds" if seeds > 1 else "")


def interval_text(rate: dict[str, Any]) -> str:
    """Rate and interval in percent."""
    low, high = rate["interval"]
    return f"{rate['rate']:.0%}, {low:.0%} to {high:.0%}"
