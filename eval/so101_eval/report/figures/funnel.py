"""Where boxes are lost on their way: the share that passed each milestone, arm by arm."""

from typing import Any

from markupsafe import Markup

from so101_eval.report.figures.svg import PANEL, Canvas, Scale, arm_numbers, colour, panels, shortened, table

ROW, HEAD, LABELS = 27, 30, 92


def funnel(data: dict[str, Any]) -> Markup:
    numbers = arm_numbers(data)
    arms = [arm for arm in data["arms"] if arm["milestones"] and arm["milestones"][0]["boxes"]]
    reference = [row["share"] for row in data["arms"][0]["milestones"]]
    drawing = panels([_panel(arm, colour(numbers[arm["name"]]), reference) for arm in arms])
    rows = [
        (arm["name"], row["name"].replace("_", " "), f"{row['passed']}/{row['boxes']}",
         f"{row['share']:.0%}, {row['interval'][0]:.0%} to {row['interval'][1]:.0%}")
        for arm in arms for row in arm["milestones"]
    ]  # fmt: skip
    return drawing + table(("arm", "milestone", "boxes", "share, 95 % interval"), rows)


def _panel(arm: dict[str, Any], style: str, reference: list[float | None]) -> Canvas:
    rows = arm["milestones"]
    canvas = Canvas(PANEL, HEAD + ROW * len(rows) + 8, f"Milestones of {arm['name']}")
    scale = Scale(0, 1, LABELS, PANEL - 46)
    canvas.title(0, 16, shortened(arm["name"], 24), f"{rows[0]['boxes']} boxes")
    for index, (row, other) in enumerate(zip(rows, reference, strict=True)):
        y = HEAD + ROW * index
        low, high = row["interval"]
        title = (
            f"{row['name']}: {row['passed']} of {row['boxes']} boxes, 95 % interval {low:.0%} to {high:.0%}"
        )
        canvas.text(LABELS - 8, y + 15, row["name"].replace("_", " "), "s", "end")
        canvas.rect(scale(0), y + 2, scale(1) - scale(0), ROW - 8, "track", rx=3)
        canvas.rect(
            scale(0), y + 2, scale(row["share"]) - scale(0), ROW - 8, "bar", rx=3, style=style, title=title
        )
        canvas.line(scale(low), y + 2 + (ROW - 8) / 2, scale(high), y + 2 + (ROW - 8) / 2, "thin")
        if other is not None and not arm["is_baseline"]:
            canvas.line(scale(other), y, scale(other), y + ROW - 4, "reference")
        canvas.text(PANEL, y + 15, f"{100 * row['share']:.0f} %", "t", "end")
    return canvas
