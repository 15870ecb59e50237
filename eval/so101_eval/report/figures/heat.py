"""Paired differences to the baseline as colours: scenario x arm, and scenario x severity for each arm."""

from typing import Any

from markupsafe import Markup

from so101_eval.report.figures.svg import PANEL, Canvas, arm_numbers, both_widths, colour, panels, shortened
from so101_eval.statistics.compare import points

ROW, HEAD, LABELS = 34, 52, 122
_OF = ("kind", "task", "suite", "scenario")
STRONGEST = 0.5
"""Difference from which on colours do not get stronger."""


def glance(data: dict[str, Any]) -> Markup:
    """A row per scenario, a column per arm."""
    by_arm, shown = _by_arm(data), _shown(data)
    return both_widths(lambda width: _matrix(width, by_arm, arm_numbers(data), shown))


def severities(data: dict[str, Any]) -> Markup:
    """Of each arm a row per scenario, a column per severity."""
    numbers, shown = arm_numbers(data), _shown(data)
    return panels(
        [
            _panel(name, found, colour(numbers[name]), shown.get(name, set()))
            for name, found in _by_arm(data).items()
        ]
    )


def _by_arm(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Comparisons with the baseline of the arms that have any, in their order."""
    by_arm = {name: [one for one in data["contrasts"] if one["first"] == name] for name in arm_numbers(data)}
    return {name: found for name, found in by_arm.items() if found}


def _shown(data: dict[str, Any]) -> dict[str, set[Any]]:
    """Arm -> scenarios and levels of which pairs of episodes are shown."""
    pairs = [pair["first"] for pair in data["choices"]["pairs"]]
    return {pair["arm"]: {(one["scenario"], one["level"]) for one in pairs} for pair in pairs[:1]}


def has_severities(data: dict[str, Any]) -> bool:
    """Whether a scenario was evaluated at several severities."""
    rows = {(*(cell[part] for part in _OF), cell["level"]) for cell in data["cells"]}
    return len({row[:-1] for row in rows}) < len(rows)


def _matrix(
    width: float, by_arm: dict[str, list[dict[str, Any]]], numbers: dict[str, int], shown: dict[str, set[Any]]
) -> Canvas:
    """Names of arms stand upright where columns are narrow."""
    labels = list(dict.fromkeys(contrast["label"] for found in by_arm.values() for contrast in found))
    is_wide = width > 500
    left, head = (170, 46) if is_wide else (126, 172)
    column = min(110.0, (width - left) / len(by_arm))
    canvas = Canvas(width, head + ROW * len(labels) + 4, "Differences to the baseline by scenario and arm")
    for row, label in enumerate(labels):
        text = shortened(label, 26 if is_wide else 19)
        canvas.text(left - 8, head + ROW * (row + 0.5) + 4, text, "s", "end", title=label)
    for index, (name, found) in enumerate(by_arm.items()):
        x, style = left + column * index, colour(numbers[name])
        if is_wide:
            for line, words in enumerate(reversed(_broken(name, 15))):
                canvas.text(x + column / 2, head - 9 - 14 * line, words, "k", "middle", style=style)
        else:
            turned = f"rotate(-90 {x + column / 2 + 4:.1f} {head - 6})"
            canvas.text(x + column / 2 + 4, head - 6, shortened(name, 24), "k", style=style, transform=turned)
        for contrast in found:
            top = head + ROW * labels.index(contrast["label"])
            _cell(canvas, x, top, column, contrast, shown.get(name, set()))
    return canvas


def _broken(name: str, most: int) -> list[str]:
    """In two lines at a hyphen where it is long."""
    if len(name) <= most:
        return [name]
    breaks = [index + 1 for index, letter in enumerate(name) if letter in "-_. "]
    at = min(breaks, key=lambda index: abs(2 * index - len(name)), default=len(name))
    return [shortened(part, most) for part in (name[:at], name[at:]) if part]


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
