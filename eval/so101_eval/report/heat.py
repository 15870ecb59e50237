"""Scenario x severity: each cell is the paired difference to the baseline, with its n."""

from typing import Any

from markupsafe import Markup

from so101_eval.compare import points
from so101_eval.report.svg import PANEL, Canvas, arm_numbers, colour, panels, shortened

ROW, HEAD, LABELS = 34, 52, 122
STRONGEST = 0.5
"""Difference from which on colours do not get stronger."""


def heat(data: dict[str, Any]) -> Markup:
    numbers = arm_numbers(data)
    shown = {tuple(pair["first"][key] for key in ("scenario", "level")) for pair in data["choices"]["pairs"]}
    rival = next((pair["first"]["arm"] for pair in data["choices"]["pairs"]), None)
    canvases: list[Canvas] = []
    for name, number in numbers.items():
        found = [contrast for contrast in data["contrasts"] if contrast["first"] == name]
        if found:
            canvases.append(_panel(name, found, colour(number), shown if name == rival else set()))
    return panels(canvases)


def _panel(name: str, found: list[dict[str, Any]], style: str, shown: set[Any]) -> Canvas:
    scenarios = list(dict.fromkeys(_row_name(contrast) for contrast in found))
    levels = sorted({contrast["cell"]["level"] for contrast in found})
    canvas = Canvas(PANEL, HEAD + ROW * len(scenarios) + 4, f"{name}: difference by scenario and severity")
    canvas.text(0, 16, shortened(name, 26), "b", style=style)
    width = min(74.0, (PANEL - LABELS) / len(levels))
    for column, level in enumerate(levels):
        canvas.text(LABELS + width * (column + 0.5), HEAD - 10, f"level {level}", "s", "middle")
    for row, scenario in enumerate(scenarios):
        canvas.text(LABELS - 8, HEAD + ROW * row + ROW / 2 + 3, shortened(scenario, 19), "s", "end")
        for column in range(len(levels)):
            canvas.rect(
                LABELS + width * column + 1, HEAD + ROW * row + 1, width - 2, ROW - 2, "nothing", rx=3
            )
    for contrast in found:
        x = LABELS + width * levels.index(contrast["cell"]["level"])
        _cell(canvas, x, HEAD + ROW * scenarios.index(_row_name(contrast)), width, contrast, shown)
    return canvas


def _row_name(contrast: dict[str, Any]) -> str:
    return contrast["label"].replace(f":{contrast['cell']['level']}", "")


def _cell(
    canvas: Canvas, x: float, y: float, width: float, contrast: dict[str, Any], shown: set[Any]
) -> None:
    difference, resolved = contrast["difference"], contrast["verdict"] != "open"
    strength = round(100 * min(1.0, abs(difference) / STRONGEST) * 0.75)
    name = "--plus" if difference > 0 else "--minus"
    style = f"fill:color-mix(in oklab,var({name}) {strength}%,var(--card))"
    title = f"{contrast['label']}: {points(difference)} points, n = {contrast['scenes']}, " + (
        "resolved after Holm" if resolved else "not resolved"
    )
    key = (contrast["cell"]["scenario"], contrast["cell"]["level"])
    if linked := key in shown:
        canvas.open_link(f"#pairs-{key[0]}-{key[1]}")
    canvas.rect(
        x + 1,
        y + 1,
        width - 2,
        ROW - 2,
        "cell resolved" if resolved else "cell",
        rx=3,
        style=style,
        title=title,
    )
    canvas.text(x + width / 2, y + 15, points(difference), "b" if resolved else "t", "middle")
    canvas.text(x + width / 2, y + 28, f"n {contrast['scenes']}", "n", "middle")
    if linked:
        canvas.close_link()
