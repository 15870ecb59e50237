"""Where boxes ended on the pallet, to scale, in millimetres; one pallet per variant. u is up and v to the left."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, POSITION_TOLERANCE_MM
from so101_eval.report.figures import svg

AROUND_SLOT_MM = 20.0
"""Always shown around slots; at most the whole pallet is."""
HEAD, FOOT = 30, 46
"""[px]"""
BOX_MM, U_MM, V_MM = 1000 * BOX_M, 1000 * PALLET_M[0], 1000 * PALLET_M[1]


class View(NamedTuple):
    """What is shown of the pallet's plane [mm]: the same for all variants."""

    u: tuple[float, float]
    v: tuple[float, float]

    def holds(self, u: float, v: float) -> bool:
        return self.u[0] <= u <= self.u[1] and self.v[0] <= v <= self.v[1]


def scatter(data: dict[str, Any]) -> Markup:
    """Drawn as near as all slots, and all boxes that ended on the pallet, can be seen."""
    colours = svg.colours_of(data)
    variants = [variant for variant in data["variants"] if variant["success"]]
    slots = list(dict.fromkeys((slot[0], slot[1]) for slot in data["task"]["slots_mm"]))
    view = _view(slots, [point for variant in variants for point in variant["placement"]["points"]])
    height = HEAD + FOOT + svg.PANEL * (view.u[1] - view.u[0]) / (view.v[1] - view.v[0])
    drawing = svg.panels(
        [
            svg.drawn(svg.PANEL, height, f"Where {variant['name']} put boxes, seen from above",
                  lambda figure, variant=variant: _panel(figure, variant, slots, colours[variant["name"]], view))
            for variant in variants
        ]
    )  # fmt: skip
    rows = [
        (variant["name"], placement["good"], _span(placement["median_mm"]), _mm(placement["p95_mm"]),
         len(placement["points"]) - placement["good"], placement["away"], placement["unmeasured"])
        for variant in variants for placement in (variant["placement"],)
    ]  # fmt: skip
    header = ("variant", "good boxes", "median error [mm], 95 % interval", "95th percentile [mm]",
              "others on the plan", "farther away", "not measured")  # fmt: skip
    return drawing + svg.table(header, rows)


def _view(slots: Sequence[tuple[float, float]], points: Sequence[Sequence[float]]) -> View:
    on_pallet = [point for point in points if abs(point[0]) <= U_MM / 2 and abs(point[1]) <= V_MM / 2]
    sides: list[tuple[float, float]] = []
    for axis in (0, 1):
        ends = [slot[axis] + margin for slot in slots for margin in (-AROUND_SLOT_MM, AROUND_SLOT_MM)]
        ends += [point[axis] + margin for point in on_pallet for margin in (-3.0, 3.0)]
        sides.append((min(ends), max(ends)))
    return View(*sides)


def _panel(
    figure: Figure, variant: dict[str, Any], slots: Sequence[tuple[float, float]], colour: str, view: View
) -> None:
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.set_title(svg.shortened(variant["name"], 26))
    axes.set(xlim=view.v[::-1], ylim=view.u, aspect="equal", xticks=[], yticks=[])
    axes.add_patch(
        Rectangle(
            (-V_MM / 2, -U_MM / 2), V_MM, U_MM, facecolor=svg.css("wood"), edgecolor=svg.css("wood-edge")
        )
    )
    for u, v in slots:
        corner = (v - BOX_MM / 2, u - BOX_MM / 2)
        axes.add_patch(Rectangle(corner, BOX_MM, BOX_MM, facecolor="none", edgecolor=(svg.SOFT, 0.8)))
        axes.add_patch(Circle((v, u), POSITION_TOLERANCE_MM, facecolor="none", edgecolor=(svg.SOFT, 0.8),
                              linestyle=(0, (3, 3))))  # fmt: skip
    placement = variant["placement"]
    shown = [point for point in placement["points"] if view.holds(point[0], point[1])]
    for marker, size, kind in (("o", 6, True), ("x", 7, False)):
        of_kind = [(v, u) for u, v, good, _ in shown if good == kind]
        axes.plot([v for v, _ in of_kind], [u for _, u in of_kind], marker, color=colour, markersize=size,
                  alpha=0.6 if kind else 0.9, markeredgewidth=0 if kind else 1.4)  # fmt: skip
    left, low = min(view.v[1], V_MM / 2) - 3, max(view.u[0], -U_MM / 2) + 2
    axes.plot((left, left - 10), (low, low), color=svg.STRONG, linewidth=2)
    axes.text(left, low + 1, "10 mm", va="bottom", color=svg.SOFT)
    error = f"median {_span(placement['median_mm'])} mm" if placement["median_mm"] else "median: too few"
    outside = placement["away"] + len(placement["points"]) - len(shown)
    axes.set_xlabel(f"{placement['good']} good boxes, {error}\n{outside} beyond this picture", loc="left")


def _span(median: list[float] | None) -> str:
    return "too few" if median is None else f"{median[0]:.1f} ({median[1]:.1f} to {median[2]:.1f})"


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
