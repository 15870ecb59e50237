"""Time to success as curves, and what was done per hour or per hundred boxes."""

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
    round_step,
    shortened,
    spread,
    table,
)
from so101_eval.statistics import wilson

HEIGHT, TOP, BOTTOM = 300, 14, 40
BANDS = 3
"""Arms up to which curves have bands; more would be mud."""
ROW = 17


def success_curves(data: dict[str, Any]) -> Markup:
    """Share of episodes that succeeded by a time; with Wilson's band point by point where there are few arms."""
    arms = [arm for arm in data["arms"] if arm["times"]["episodes"]]
    limit, numbers = data["task"]["time_limit_s"], arm_numbers(data)
    step = round_step(limit)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, HEIGHT, "Share of episodes that succeeded by a time")
        x = Scale(0, limit, 46, width - (SIDE if width > 500 else 14))
        y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            canvas.line(x.left, y(share), x.right, y(share), "grid")
            canvas.text(x.left - 6, y(share) + 4, f"{100 * share:.0f} %", "s", "end")
        for tick in range(int(limit / step + 1e-9) + 1):
            canvas.text(x(tick * step), HEIGHT - BOTTOM + 16, f"{tick * step:g}", "s", "middle")
        canvas.text((x.left + x.right) / 2, HEIGHT - 6, "seconds from the start", "s", "middle")
        curves = [_curve(arm["times"], limit) for arm in arms]
        for arm, curve in zip(arms, curves, strict=True) if len(arms) <= BANDS else ():
            style = colour(numbers[arm["name"]])
            bands = [(t, wilson(n, arm["times"]["episodes"])) for t, n in curve]
            upper = [(x(t), y(band.high)) for t, band in bands]
            lower = [(x(t), y(band.low)) for t, band in reversed(bands)]
            canvas.path(upper + lower, "band", close=True, style=style)
        places = spread(
            [y(curve[-1][1] / arm["times"]["episodes"]) for arm, curve in zip(arms, curves, strict=True)], 15
        )
        for arm, curve, place in zip(arms, curves, places, strict=True):
            number, of = numbers[arm["name"]], arm["times"]["episodes"]
            canvas.path([(x(t), y(n / of)) for t, n in curve], "curve", style=colour(number),
                        stroke_dasharray=dash(number), title=arm["name"])  # fmt: skip
            if width > 500:
                canvas.text(x.right + 8, place + 4, shortened(arm["name"], NAME), "k", style=colour(number))
        return canvas

    rows = [
        (
            arm["name"],
            len(arm["times"]["seconds"]),
            arm["times"]["episodes"],
            _median(arm["times"]["median_s"]),
        )
        for arm in arms
    ]
    return both_widths(draw) + table(
        ("arm", "successes", "episodes", "median of successes [s], 95 % interval"), rows
    )


def _curve(times: dict[str, Any], limit: float) -> list[tuple[float, int]]:
    """Corners of the step curve: (seconds, successes by then)."""
    corners: list[tuple[float, int]] = [(0.0, 0)]
    for count, seconds in enumerate(times["seconds"], 1):
        corners += [(min(seconds, limit), count - 1), (min(seconds, limit), count)]
    return [*corners, (limit, len(times["seconds"]))]


def _median(median: list[float] | None) -> str:
    return "too few" if median is None else f"{median[0]:.1f}, {median[1]:.1f} to {median[2]:.1f}"


def throughput(data: dict[str, Any]) -> Markup:
    """Rates with exact intervals, an axis for each."""
    numbers = arm_numbers(data)
    names = list(dict.fromkeys(row["name"] for arm in data["arms"] for row in arm["throughput"]))
    groups = [
        (
            name,
            [(arm["name"], row) for arm in data["arms"] for row in arm["throughput"] if row["name"] == name],
        )
        for name in names
    ]
    height = sum(44 + ROW * len(rows) for _, rows in groups)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, height + 4, "Throughput and mishaps of every arm")
        y = 4.0
        for name, rows in groups:
            most = _round_up(max(row["value"][2] for _, row in rows))
            scale = Scale(0, most, 12, width - (SIDE if width > 500 else 20))
            canvas.text(12, y + 14, name, "b")
            for share in (0, 0.5, 1):
                canvas.line(
                    scale(share * most), y + 20, scale(share * most), y + 23 + ROW * len(rows), "grid"
                )
                canvas.text(scale(share * most), y + 36 + ROW * len(rows), f"{share * most:g}", "s", "middle")
            for index, (arm, row) in enumerate(rows):
                _rate_row(
                    canvas, scale, y + 22 + ROW * (index + 0.5), arm, row, colour(numbers[arm]), width > 500
                )
            y += 44 + ROW * len(rows)
        return canvas

    rows = [
        (name, arm, f"{row['value'][0]:.3g}, {row['value'][1]:.3g} to {row['value'][2]:.3g}", row["events"],
         row["episodes"]) for name, found in groups for arm, row in found
    ]  # fmt: skip
    return both_widths(draw) + table(("rate", "arm", "value, 95 % interval", "events", "episodes"), rows)


def _rate_row(
    canvas: Canvas, scale: Scale, y: float, arm: str, row: dict[str, Any], style: str, has_room: bool
) -> None:
    value, low, high = row["value"]
    title = f"{arm}: {value:.3g} ({low:.3g} to {high:.3g}), {row['events']} in {row['episodes']} episodes"
    canvas.interval(scale, y, (low, high), style)
    canvas.dot(scale(value), y, 4, "mark", style=style, title=title)
    if has_room:
        canvas.text(scale.right + 14, y + 4, shortened(arm, NAME), "s")


def _round_up(value: float) -> float:
    """To a round number."""
    scale = 1.0
    while scale < value:
        scale *= 10
    while scale / 10 >= value > 0:
        scale /= 10
    return next(
        (share * scale for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0) if share * scale >= value), scale
    )
