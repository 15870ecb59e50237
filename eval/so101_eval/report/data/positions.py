"""Success over where a box lay at the start: of the cells in which it may lie anywhere."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.palletizing.scene.draw import SUITES, draw
from so101_eval.palletizing.scene.tasks import PAN_AXIS_M, PickArea, is_own, load_task
from so101_eval.report.data.describe import judged
from so101_eval.report.data.table import Cell, Table
from so101_eval.statistics import wilson

ANYWHERE = "box-everywhere"
"""The scenario whose boxes are drawn evenly over an area larger than the demonstrated one."""
ARC_POINTS = 17
"""Of which an arc of the demonstrated area's border is made."""


def success_maps(table: Table) -> list[dict[str, Any]]:
    """A map for each cell of `ANYWHERE`, the mildest first: the demonstrated area, where each box lay, whether it was
    placed, and the share of boxes placed by how far outside the area they lay. Lengths in mm, in the table's frame: x
    away from the arm, y to its left."""
    cells = [
        cell
        for cell in table.cells
        if cell.scenario == ANYWHERE and cell.suite in SUITES and not is_own(cell.task)
    ]
    return [found for cell in cells if (found := _map(table, cell))["variants"]]


def _map(table: Table, cell: Cell) -> dict[str, Any]:
    area = load_task(cell.task).pick_area
    variants: list[dict[str, Any]] = []
    for variant in table.variants:
        points = _points(judged(table.episodes(variant, cell)), area)
        if points:
            variants.append({"name": variant.name, "points": points, "bands": _bands(points)})
    return {"level": cell.level, "area_mm": _border_mm(area), "variants": variants}


def _points(records: Sequence[EpisodeRecord], area: PickArea) -> list[list[float | int]]:
    """x, y, mm outside the area (negative inside), 1 for a good box and 0 for another."""
    points: list[list[float | int]] = []
    for record in records:
        reset = draw(record.task, record.scenario, record.level, record.seed, record.suite)
        present = [box for box in reset.boxes if box.present]
        for box, scored in zip(present, record.score["boxes"], strict=True):
            at = [round(1000 * value, 1) for value in (box.x_m, box.y_m, area.beyond_m(box.x_m, box.y_m))]
            points.append([*at, int(bool(scored["good"]))])
    return sorted(points)


def _bands(points: Sequence[Sequence[float | int]]) -> list[dict[str, Any]]:
    """Boxes placed inside the area, and in each 10 mm around it."""
    farthest = max(beyond for _, _, beyond, _ in points)
    edges = [-math.inf, *(10.0 * step for step in range(max(1, math.ceil(farthest / 10)) + 1))]
    rows: list[dict[str, Any]] = []
    for low, high in pairwise(edges):
        good = [placed for _, _, beyond, placed in points if low < beyond <= high]
        if good:
            label = "inside" if high == 0 else f"{low:g} to {high:g} mm outside"
            rows.append({"label": label, "good": sum(good), "boxes": len(good),
                         "interval": list(wilson(int(sum(good)), len(good)))})  # fmt: skip
    return rows


def _border_mm(area: PickArea) -> list[list[float]]:
    """Of the sector, once around."""
    (near_m, far_m), (first_rad, last_rad) = area.radius_m, area.azimuth_rad
    steps = [first_rad + (last_rad - first_rad) * step / (ARC_POINTS - 1) for step in range(ARC_POINTS)]
    around = [(near_m, angle) for angle in steps] + [(far_m, angle) for angle in reversed(steps)]
    x_m, y_m = PAN_AXIS_M[0], PAN_AXIS_M[1]
    return [
        [round(1000 * (x_m + radius * math.cos(angle)), 1), round(1000 * (y_m + radius * math.sin(angle)), 1)]
        for radius, angle in around
    ]
