"""Where boxes lie at the start: uniform over the pick area, or in a band along its border, apart from each other."""

import math
from collections.abc import Sequence

import numpy as np

from so101_eval.errors import LayoutError
from so101_eval.palletizing.scene.reset_data import PalletStart
from so101_eval.palletizing.scene.tasks import PAN_AXIS_M, PickArea, Task

TRIES = 50  # of a whole layout, and of a point for each box
PALLET_REACH_M = (0.115, 0.240)
"""[m] from the pan axis: where every slot can be reached at the height of the second layer."""


def lay_out_boxes(
    area: PickArea,
    count: int,
    rng: np.random.Generator,
    band_m: tuple[float, float] | None = None,
    band_boxes: int = 0,
) -> list[tuple[float, float]]:
    """Places (x, y) [m] for `count` boxes, uniform over the area, apart from each other.

    With `band_m`, the first `band_boxes` of them at that signed distance [m] from the area's border
    instead of anywhere inside. Raises `LayoutError` when there is no room.
    """
    inside = (-math.inf, 0.0)
    for _ in range(TRIES):
        placed: list[tuple[float, float]] = []
        for _ in range(TRIES * count):
            low_m, high_m = band_m if band_m and len(placed) < band_boxes else inside
            point = _point(area, max(high_m, 0.0), rng)
            if low_m <= area.beyond_m(*point) <= high_m and may_lie(area, point, placed):
                placed.append(point)
                if len(placed) == count:
                    return placed
    raise LayoutError(
        f"{count} boxes do not fit {area.separation_m * 1000:.0f} mm apart in the band {band_m} [m]"
    )


def slots_in_reach(task: Task, pallet: PalletStart) -> bool:
    """Whether the arm reaches every slot of the task on a pallet that lies there."""
    cos, sin = math.cos(pallet.yaw_rad), math.sin(pallet.yaw_rad)
    near_m, far_m = PALLET_REACH_M
    return all(
        near_m
        <= math.dist(
            (pallet.x_m + cos * slot.u_m - sin * slot.v_m, pallet.y_m + sin * slot.u_m + cos * slot.v_m),
            PAN_AXIS_M,
        )
        <= far_m
        for slot in task.slots
    )


def may_lie(area: PickArea, point: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """Whether a box there can be lifted, and is apart from the others."""
    radius_m = math.dist(point, PAN_AXIS_M)
    reachable = area.reach_m[0] <= radius_m <= area.reach_m[1] and point[1] >= area.least_y_m
    return reachable and all(math.dist(point, other) >= area.separation_m for other in others)


def _point(area: PickArea, around_m: float, rng: np.random.Generator) -> tuple[float, float]:
    """Uniform over the sector and `around_m` about it."""
    near_m, far_m = area.radius_m[0] - around_m, area.radius_m[1] + around_m
    radius_m = math.sqrt(rng.uniform(near_m**2, far_m**2))
    wider_rad = around_m / area.radius_m[0]
    azimuth_rad = rng.uniform(area.azimuth_rad[0] - wider_rad, area.azimuth_rad[1] + wider_rad)
    return (
        PAN_AXIS_M[0] + radius_m * math.cos(azimuth_rad),
        PAN_AXIS_M[1] + radius_m * math.sin(azimuth_rad),
    )
