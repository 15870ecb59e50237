"""Where somebody moves a box, or the pallet, while the arm works: drawn per seed."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from so101_eval.errors import LayoutError
from so101_eval.palletizing.scene.layout import may_lie, slots_in_reach
from so101_eval.palletizing.scene.reset_data import BoxStart, Moves, PalletStart
from so101_eval.palletizing.scene.scenarios import Knobs
from so101_eval.palletizing.scene.tasks import Task

NEAR_M = (0.060, 0.090)
"""How near the hand is when something is moved: a policy that plays chunks of a second has planned the grasp."""
DIRECTIONS = 64
"""Directions that are tried, in the order in which they were drawn. All levels of a scenario try the same ones."""

STAYS = (0.0, 0.0)

type Way = tuple[float, float]
"""(dx, dy) [m]"""


def draw_moves(
    task: Task, knobs: Knobs, boxes: Sequence[BoxStart], pallet: PalletStart, rng: np.random.Generator
) -> Moves | None:
    """What is moved, where to, and how near the hand is then; None: nothing.

    A box ends inside the pick area if any direction leads there (the small area is too narrow for the far levels),
    otherwise as near to it as can be; it can be lifted there, and is apart from the others. One for which there is no
    room stays where it is, and another is moved. A pallet ends where all its
    slots can be reached.

    Raises:
        LayoutError: there is no such direction.
    """
    if not knobs.box_moved_m and not knobs.pallet_moved_m:
        return None
    near_m = float(rng.uniform(*NEAR_M))
    directions_rad = rng.uniform(-math.pi, math.pi, DIRECTIONS).tolist()
    if knobs.pallet_moved_m:
        return Moves(near_m, pallet_m=_pallet_way(task, pallet, _ways(knobs.pallet_moved_m, directions_rad)))
    ways = _ways(knobs.box_moved_m, directions_rad)
    boxes_m = tuple(_box_way(task, boxes, i, ways) for i in range(len(boxes)))
    if all(way == STAYS for way in boxes_m):
        raise LayoutError(f"there is no room to move any box by {knobs.box_moved_m * 1000:.0f} mm")
    return Moves(near_m, boxes_m)


def _ways(length_m: float, directions_rad: Sequence[float]) -> list[Way]:
    return [(length_m * math.cos(turn), length_m * math.sin(turn)) for turn in directions_rad]


def _box_way(task: Task, boxes: Sequence[BoxStart], index: int, ways: Sequence[Way]) -> Way:
    box, area = boxes[index], task.pick_area
    others = [(other.x_m, other.y_m) for i, other in enumerate(boxes) if i != index]

    def beyond_m(way: Way) -> float:
        return max(area.beyond_m(box.x_m + way[0], box.y_m + way[1]), 0.0)

    possible = [way for way in ways if may_lie(area, (box.x_m + way[0], box.y_m + way[1]), others)]
    return min(possible, key=beyond_m, default=STAYS)  # the first of those that are equally good


def _pallet_way(task: Task, pallet: PalletStart, ways: Sequence[Way]) -> Way:
    for dx_m, dy_m in ways:
        if slots_in_reach(task, dataclasses.replace(pallet, x_m=pallet.x_m + dx_m, y_m=pallet.y_m + dy_m)):
            return dx_m, dy_m
    raise LayoutError(f"the pallet cannot be moved by {math.hypot(*ways[0]) * 1000:.0f} mm")
