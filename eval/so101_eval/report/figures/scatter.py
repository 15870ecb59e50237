"""Where boxes ended on the pallet, to scale, in millimetres; one pallet per arm. u is up and v to the left."""

from typing import Any

from markupsafe import Markup

from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, POSITION_TOLERANCE_MM
from so101_eval.report.figures.svg import PANEL, Canvas, arm_numbers, colour, panels, shortened, table

MARGIN_MM = 22.0
"""Shown around the pallet."""
HEAD, FOOT = 30, 42


def scatter(data: dict[str, Any]) -> Markup:
    numbers = arm_numbers(data)
    arms = [arm for arm in data["arms"] if arm["success"]]
    drawing = panels([_panel(arm, data["task"]["slots_mm"], colour(numbers[arm["name"]])) for arm in arms])
    rows = [
        (arm["name"], arm["placement"]["good"], _span(arm["placement"]["median_mm"]),
         _mm(arm["placement"]["p95_mm"]), len(arm["placement"]["points"]) - arm["placement"]["good"],
         arm["placement"]["away"], arm["placement"]["unmeasured"])
        for arm in arms
    ]  # fmt: skip
    header = ("arm", "good boxes", "median error [mm], 95 % interval", "95th percentile [mm]", "others on the plan",
              "farther away", "not measured")  # fmt: skip
    return drawing + table(header, rows)


def _panel(arm: dict[str, Any], slots: list[list[float]], style: str) -> Canvas:
    u_mm, v_mm, _ = (1000 * edge for edge in PALLET_M)
    scale = PANEL / (v_mm + 2 * MARGIN_MM)
    height = (u_mm + 2 * MARGIN_MM) * scale
    placement = arm["placement"]
    canvas = Canvas(PANEL, HEAD + height + FOOT, f"Where {arm['name']} put boxes, seen from above")
    middle_x, middle_y = PANEL / 2, HEAD + height / 2

    def at(u: float, v: float) -> tuple[float, float]:
        return middle_x - v * scale, middle_y - u * scale

    def square(u: float, v: float, du: float, dv: float) -> dict[str, float]:
        x, y = at(u + du / 2, v + dv / 2)
        return {"x": x, "y": y, "width": dv * scale, "height": du * scale}

    canvas.text(0, 16, shortened(arm["name"], 26), "b")
    canvas.rect(**square(0, 0, u_mm, v_mm), cls="pallet", rx=3)
    for u, v in dict.fromkeys((slot[0], slot[1]) for slot in slots):
        canvas.rect(**square(u, v, 1000 * BOX_M, 1000 * BOX_M), cls="slot")
        canvas.dot(*at(u, v), POSITION_TOLERANCE_MM * scale, "tolerance")
    outside = placement["away"]
    for u, v, good, _ in placement["points"]:
        x, y = at(u, v)
        if abs(u) > u_mm / 2 + MARGIN_MM or abs(v) > v_mm / 2 + MARGIN_MM:
            outside += 1
        elif good:
            canvas.dot(x, y, 2.6, "spot", style=style)
        else:
            canvas.add("path", d=f"M{x - 3:.1f} {y - 3:.1f}l6 6m-6 0l6 -6", cls="cross", style=style)
    bar = 20 * scale
    canvas.line(PANEL - bar, HEAD + height + 8, PANEL, HEAD + height + 8, "zero")
    canvas.text(PANEL, HEAD + height + 23, "20 mm", "s", "end")
    error = f"median {_span(placement['median_mm'])} mm" if placement["median_mm"] else "median: too few"
    canvas.text(0, HEAD + height + 14, f"{placement['good']} good boxes, {error}", "s")
    canvas.text(0, HEAD + height + 31, f"{outside} beyond this picture", "s")
    return canvas


def _span(median: list[float] | None) -> str:
    return "too few" if median is None else f"{median[0]:.1f} ({median[1]:.1f} to {median[2]:.1f})"


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
