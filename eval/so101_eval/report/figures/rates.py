"""Success of each arm: posteriors with letters in the main cell, and an interval with every training seed as a dot in
every cell."""

from typing import Any

import numpy as np
from markupsafe import Markup

from so101_eval.report.figures.svg import (
    NAME,
    SIDE,
    Canvas,
    Scale,
    arm_numbers,
    both_widths,
    colour,
    percent_axis,
    shortened,
    table,
)

ROW, ARM_ROW = 62, 17
HALF = 17
"""[px] Half of a violin's greatest width."""


def posteriors(data: dict[str, Any]) -> Markup:
    letters = {row["arm"]: row["letters"] for row in data["letters"]["of"]}
    arms = [arm for arm in data["arms"] if arm["success"]]
    numbers = arm_numbers(data)
    peak = max((max(arm["success"]["posterior"]) for arm in arms), default=1.0)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, ROW * len(arms) + 26, f"Posterior of the success rate of {len(arms)} arms")
        scale = Scale(0, 1, 12, width - 20)
        percent_axis(canvas, scale, 4, ROW * len(arms) + 4)
        for row, arm in enumerate(arms):
            _violin(canvas, scale, row * ROW, arm, letters[arm["name"]], colour(numbers[arm["name"]]), peak)
        return canvas

    rows = [
        (arm["name"], counted(arm["success"]), interval_text(arm["success"]), letters[arm["name"]],
         ", ".join(f"{good}/{of}" for good, of in arm["success"]["by_seed"]))
        for arm in arms
    ]  # fmt: skip
    return both_widths(draw) + table(
        ("arm", "successes", "rate and 95 % interval", "letters", "by checkpoint"), rows
    )


def _violin(
    canvas: Canvas, scale: Scale, top: float, arm: dict[str, Any], letters: str, style: str, peak: float
) -> None:
    success, y = arm["success"], top + 41
    density = np.array(success["posterior"])
    half = HALF * np.sqrt(density / peak)  # the square root keeps the narrow ones from hiding the broad ones
    shown = np.flatnonzero(half > 0.25)
    rates = np.linspace(0, 1, len(density))
    upper = [(scale(float(rates[i])), y - float(half[i])) for i in shown]
    lower = [(scale(float(rates[i])), y + float(half[i])) for i in shown[::-1]]
    canvas.path(upper + lower, "violin", close=True, style=style)
    canvas.interval(scale, y, success["interval"], style)
    for good, of in success["by_seed"] if len(success["by_seed"]) > 1 else []:
        canvas.dot(scale(good / of), y, 3, "ring", style=style, title=f"one training seed: {good}/{of}")
    canvas.dot(
        scale(success["rate"]), y, 4.5, "mark", style=style, title=f"{arm['name']}: {interval_text(success)}"
    )
    canvas.title(12, top + 17, shortened(arm["name"], 26), counted(success))
    canvas.text(canvas.width - 20, top + 17, letters, "letters", "end")


def by_cell(data: dict[str, Any]) -> Markup:
    """Every scenario, every arm."""
    numbers = arm_numbers(data)
    labels = [cell["label"] for cell in data["cells"]]
    rates = {(rate["cell"], rate["arm"]): rate for rate in data["rates"]}
    groups = [
        (label, [arm["name"] for arm in data["arms"] if (label, arm["name"]) in rates]) for label in labels
    ]
    height = sum(27 + ARM_ROW * len(arms) for _, arms in groups)

    def draw(width: float) -> Canvas:
        canvas = Canvas(width, height + 26, "Success rate of every arm in every scenario")
        scale = Scale(0, 1, 12, width - (SIDE if width > 500 else 20))
        percent_axis(canvas, scale, 4, height + 4)
        y = 4.0
        for label, arms in groups:
            canvas.text(12, y + 18, label, "b halo")
            y += 27
            for arm in arms:
                _rate_row(
                    canvas, scale, y + ARM_ROW / 2, arm, rates[label, arm], colour(numbers[arm]), width > 500
                )
                y += ARM_ROW
        return canvas

    rows = [(rate["cell"], rate["arm"], counted(rate), interval_text(rate)) for rate in data["rates"]]
    return both_widths(draw) + table(("scenario", "arm", "successes", "rate and 95 % interval"), rows)


def _rate_row(
    canvas: Canvas, scale: Scale, y: float, arm: str, rate: dict[str, Any], style: str, has_room: bool
) -> None:
    canvas.interval(scale, y, rate["interval"], style)
    for good, of in rate["by_seed"] if len(rate["by_seed"]) > 1 else []:
        canvas.dot(
            scale(good / of), y, 2.6, "ring", style=style, title=f"{arm}, one training seed: {good}/{of}"
        )
    canvas.dot(
        scale(rate["rate"]), y, 4, "mark", style=style, title=f"{arm}: {counted(rate)}, {interval_text(rate)}"
    )
    if has_room:
        canvas.text(scale.right + 14, y + 4, shortened(arm, NAME), "s")


def counted(rate: dict[str, Any]) -> str:
    seeds = len(rate["by_seed"])
    return f"{rate['successes']}/{rate['episodes']}" + (f", {seeds} seeds" if seeds > 1 else "")


def interval_text(rate: dict[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{rate['rate']:.0%}, {low:.0%} to {high:.0%}"
