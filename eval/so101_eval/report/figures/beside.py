"""The arm beside its simulation, and the hand beside the box: rows of estimates with their intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure

from so101_eval.report.figures import svg
from so101_eval.statistics import Interval
from so101_eval.statistics.compare import points, span

ROW, FRAME = 40, 92
"""[px] A row, and what is around them."""


class Row(NamedTuple):
    """One estimate."""

    label: str
    numbers: str
    value: float
    ends: Sequence[float]
    colour: str
    filled: bool


def sim_to_real(data: dict[str, Any]) -> Markup:
    """Gaps, then differences with and without the simulation."""
    found = data["sim_to_real"]
    colours = svg.colours_of(data)
    rows = [
        Row(f"{gap['variant']}, {gap['cell']}: arm − simulation",
            f"{points(gap['gap'])} ({span(Interval(*gap['interval']))})", gap["gap"], gap["interval"],
            colours[gap["variant"]], False)
        for gap in found["gaps"]
    ]  # fmt: skip
    for row in found["differences"]:
        if "interval" not in row or row["what"] != "success":
            continue
        name = f"{row['variant']} − {data['variants'][0]['name']}"
        for label, value, ends in (
            (f"{name}: the arm alone", row["plain"], row["plain_interval"]),
            (f"{name}: with the simulation", row["estimate"], row["interval"]),
        ):
            numbers = f"{points(value)} ({span(Interval(*ends))})"
            rows.append(Row(label, numbers, value, ends, colours[row["variant"]], True))
    drawing = _rows(rows, 1.0, 100, "percentage points", "Arm and simulation on the same starts")
    gaps = [
        (g["variant"], g["cell"], g["starts"], _percent(g["real"]), _percent(g["simulated"]), points(g["gap"]),
         span(Interval(*g["interval"])), _percent(g["alike"]), _plain(g["correlation"]), _signed(g["credit_gap"]),
         g["by"])
        for g in found["gaps"]
    ]  # fmt: skip
    differences = [
        (d["variant"], d["what"], d["paired"], d["further"], points(d["plain"]), _span(d.get("plain_interval")),
         _points(d.get("estimate")), _span(d.get("interval")), points(d["simulated"]), _plain(d.get("lam")),
         _plain(d.get("correlation")), _times(d.get("worth")), d.get("why_not", ""))
        for d in found["differences"]
    ]  # fmt: skip
    starts = [
        (g["variant"], g["cell"], scene, _plain(real), _plain(simulated))
        for g in found["gaps"]
        for scene, real, simulated in g["rows"]
    ]
    return (
        drawing
        + svg.table(("variant", "scenario", "starts", "arm", "simulation", "gap [points]", "95 % interval", "alike",
                     "correlation", "gap in credit", "by"), gaps, "The gaps")
        + svg.table(("variant", "of", "starts on both", "further simulated", "arm alone", "95 % interval",
                     "with the simulation", "95 % interval", "simulation alone", "believed", "correlation",
                     "worth in starts", "why not"), differences, "The differences to the baseline")
        + svg.table(("variant", "scenario", "seed", "arm", "simulation"), starts, "Start by start")
    )  # fmt: skip


def hand(data: dict[str, Any]) -> Markup:
    """How far each variant's hand follows the box."""
    colours, asked_mm = svg.colours_of(data), data["hand"][0]["asked_mm"]
    rows = [
        Row(row["variant"], f"{row['follows_mm']:.0f} mm ({row['interval'][0]:.0f} to {row['interval'][1]:.0f})",
            row["follows_mm"], row["interval"], colours[row["variant"]], True)
        for row in data["hand"] if row["follows_mm"] is not None
    ]  # fmt: skip
    cells = [
        (row["variant"], row["trials"], row["closed"], _mm(row["off_mm"]), _mm(row["follows_mm"]),
         "" if row["interval"] is None else f"{row['interval'][0]:.1f} to {row['interval'][1]:.1f}", row["why_not"])
        for row in data["hand"]
    ]  # fmt: skip
    table = svg.table(
        ("variant", "trials", "the hand closed", "off the box, median [mm]", "follows [mm]", "95 % interval",
         "why not"),
        cells,
    )  # fmt: skip
    note = [f"{row['variant']}: {row['why_not']}." for row in data["hand"] if row["why_not"]]
    words = Markup("").join(Markup('<p class="note">{}</p>').format(text) for text in note)
    label = f"How far the hand follows a box that starts {asked_mm:.0f} mm elsewhere"
    return (_rows(rows, asked_mm, 1, "mm", label) if rows else Markup("")) + words + table


def _rows(rows: Sequence[Row], most: float, scale: float, unit: str, label: str) -> Markup:
    """From -most (or 0) to most and beyond, as far as the intervals go."""
    low = min([0.0, *(min(row.ends) for row in rows)])
    high = max([most if scale == 1 else 0.1, *(max(row.ends) for row in rows)])

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, len(rows))
        room = 0.04 * (high - low)
        axes.set_xlim(low - room, high + room)
        axes.axvline(0, color=svg.STRONG, linewidth=1.3)
        if scale == 1:
            axes.axvline(most, color=svg.SOFT, linewidth=1.3, linestyle=(0, (4, 3)))
        ticks = axes.get_xticks()
        ticks = [tick for tick in ticks if low - room <= tick <= high + room]
        axes.set_xticks(
            ticks, [f"{scale * tick:+.0f}" if scale != 1 and tick else f"{tick:.0f}" for tick in ticks]
        )
        axes.set_xlabel(unit)
        for number, row in enumerate(rows):
            if is_wide:
                svg.beside(axes, number + 0.5, row.label, colour=svg.INK)
                svg.beside(axes, number + 0.5, row.numbers, right=True)
            else:
                at = axes.get_yaxis_transform()
                svg.halo(axes.text(0, number + 0.2, svg.shortened(row.label, 42), va="center", transform=at))
            text = f"{row.label}: {row.numbers}"
            svg.whisker(
                axes, number + (0.5 if is_wide else 0.65), row.value, row.ends, row.colour, text, row.filled
            )

    return svg.both_widths(FRAME + ROW * len(rows), label, draw)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _points(value: float | None) -> str:
    return "" if value is None else points(value)


def _span(ends: Sequence[float] | None) -> str:
    return "" if ends is None else span(Interval(*ends))


def _times(worth: float | None) -> str:
    return "" if worth is None else f"{worth:.1f} times as many"


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
