"""Evidence as it came in, pair after pair: e-values on a log scale with the line that decides."""

import math
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from so101_eval.report.figures import svg

HEIGHT, LEGEND = 320, 19


def e_paths(data: dict[str, Any]) -> Markup:
    """A line a variant. Paths are logarithms to base 10, since an e-value can be beyond what a float holds."""
    paths, limit = data["evidence"], math.log10(1 / data["alpha"])
    values = [value for path in paths for value in path["log10_e"]]
    colours, numbers = svg.colours_of(data), svg.number_of(data)

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.plane(figure)
        axes.set(xlabel="scenes met by both", xlim=(0, max(path["scenes"] for path in paths)))
        axes.set_ylim(min(-1.0, *values), max(limit + 0.5, *values))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda power, _: _power(round(power))))
        axes.axhline(limit, color=svg.INK, linewidth=1.2, linestyle=(0, (5, 4)))
        words = f"e = {10**limit:.0f} decides"
        svg.halo(axes.annotate(words, (0, limit), (6, 5), textcoords="offset points", color=svg.SOFT))
        for path in paths:
            name, crossed = path["variant"], path["crossed_at"]
            (line,) = axes.plot(range(path["scenes"] + 1), [0.0, *path["log10_e"]], color=colours[name],
                                linestyle=svg.dash(numbers[name]), label=svg.shortened(name, svg.NAME))  # fmt: skip
            svg.tip(line, name)
            if crossed:
                text = f"{name}: decided at scene {crossed} of {path['scenes']}"
                svg.dot(axes, crossed, path["log10_e"][crossed - 1], colours[name], text, size=10)
        figure.legend(loc="outside right upper" if is_wide else "outside lower left")

    rows = [
        (
            path["variant"],
            path["scenes"],
            f"{10 ** min(path['log10_e'][-1], 300):.3g}",
            path["crossed_at"] or "never",
        )
        for path in paths
    ]
    drawing = svg.both_widths(
        HEIGHT, "e-value after each scene, log scale", draw, HEIGHT + LEGEND * len(paths)
    )
    return drawing + svg.table(("variant", "scenes", "e-value at the end", "decided at scene"), rows)


def _power(power: int) -> str:
    return f"{10.0**power:g}" if -3 <= power <= 4 else f"1e{power}"
