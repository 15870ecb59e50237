"""Where boxes stand against where they should: pure geometry in the pallet's frame.

Boxes are interchangeable and square: any box may fill any slot, and a quarter turn is no error.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_eval.palletizing.scene.reset_data import PalletStart
from so101_eval.palletizing.scene.tasks import PALLET_M, POSITION_TOLERANCE_MM, YAW_TOLERANCE_DEG, Slot

HEIGHT_TOLERANCE_MM = 8.0
"""Of a box's underside against its layer: boxes of 20 to 30 mm stand on each other, 25 mm is a layer."""
UPRIGHT_DEG = 10.0
"""A box that stands on something that is not level: a finger's width under one edge is 20 degrees."""
INSIDE_MM = 0.5
"""Overhang below this is inside: the physics' contacts give way by 0.1 mm."""


class Pose(NamedTuple):
    """A box in the world."""

    position_m: tuple[float, float, float]
    yaw_rad: float
    tilt_rad: float
    """Between the box's own up and the world's."""

    @staticmethod
    def of(qpos: ArrayLike) -> "Pose":
        """From a free joint's seven numbers."""
        x, y, z, qw, qx, qy, qz = np.asarray(qpos, dtype=float).tolist()
        up = min(max(1 - 2 * (qx * qx + qy * qy), -1.0), 1.0)
        yaw_rad = math.atan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))
        return Pose((x, y, z), yaw_rad, math.acos(up))


class Placement(NamedTuple):
    """A box against a slot."""

    du_mm: float
    dv_mm: float
    dz_mm: float
    """Of the underside."""
    yaw_deg: float
    """-45 to 45."""
    tilt_deg: float
    overhang_mm: float
    """How far the farthest corner is beyond the pallet's edge; 0 inside."""

    @property
    def error_mm(self) -> float:
        """In the plane of the deck."""
        return math.hypot(self.du_mm, self.dv_mm)

    @property
    def good(self) -> bool:
        """In the slot, within every tolerance, upright, and nowhere over the pallet's edge."""
        return (
            self.error_mm <= POSITION_TOLERANCE_MM
            and abs(self.dz_mm) <= HEIGHT_TOLERANCE_MM
            and abs(self.yaw_deg) <= YAW_TOLERANCE_DEG
            and self.tilt_deg <= UPRIGHT_DEG
            and self.overhang_mm <= INSIDE_MM
        )


def on_pallet(pallet: PalletStart, point_m: Sequence[float]) -> tuple[float, float]:
    """(u, v) [m] of a point of the world in the pallet's frame."""
    dx, dy = point_m[0] - pallet.x_m, point_m[1] - pallet.y_m
    cos, sin = math.cos(pallet.yaw_rad), math.sin(pallet.yaw_rad)
    return cos * dx + sin * dy, -sin * dx + cos * dy


def in_world(pallet: PalletStart, u_m: float, v_m: float) -> tuple[float, float]:
    """(x, y) [m] of a point on the pallet: the inverse of `on_pallet`."""
    cos, sin = math.cos(pallet.yaw_rad), math.sin(pallet.yaw_rad)
    return pallet.x_m + cos * u_m - sin * v_m, pallet.y_m + sin * u_m + cos * v_m


def inside_footprint(pallet: PalletStart, point_m: Sequence[float]) -> bool:
    """Whether a point is above the pallet."""
    u_m, v_m = on_pallet(pallet, point_m)
    return abs(u_m) <= PALLET_M[0] / 2 and abs(v_m) <= PALLET_M[1] / 2


def footprint(pose: Pose, edge_m: float) -> NDArray[np.float64]:
    """Corners (4, 2) [m] of a box as seen from above, in order."""
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    square = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * (edge_m / 2)
    return square @ np.array([(cos, sin), (-sin, cos)]) + pose.position_m[:2]


def measure(pose: Pose, edge_m: float, slot: Slot, pallet: PalletStart) -> Placement:
    """How a box stands against a slot."""
    u_m, v_m = on_pallet(pallet, pose.position_m)
    beyond_m = [
        max(abs(cu) - PALLET_M[0] / 2, abs(cv) - PALLET_M[1] / 2, 0.0)
        for cu, cv in (on_pallet(pallet, corner) for corner in footprint(pose, edge_m).tolist())
    ]
    bottom_m = pose.position_m[2] - edge_m / 2 - PALLET_M[2]
    yaw_deg = math.degrees(pose.yaw_rad - pallet.yaw_rad)
    return Placement(
        du_mm=(u_m - slot.u_m) * 1000,
        dv_mm=(v_m - slot.v_m) * 1000,
        dz_mm=(bottom_m - slot.bottom_m) * 1000,
        yaw_deg=(yaw_deg + 45.0) % 90.0 - 45.0,
        tilt_deg=math.degrees(pose.tilt_rad),
        overhang_mm=max(beyond_m) * 1000,
    )


def assign(placements: Sequence[Sequence[Placement]]) -> list[int]:
    """Which slot each box counts for: as many good ones as possible, then the shortest way in all.

    `placements[box][slot]`; as many slots as boxes or more. Exact, by dynamic programming over sets of slots.
    """
    costs = [[_cost(placement) for placement in row] for row in placements]

    @cache
    def best(box: int, taken: int) -> tuple[float, tuple[int, ...]]:
        if box == len(costs):
            return 0.0, ()
        options: list[tuple[float, tuple[int, ...]]] = []
        for slot, cost in enumerate(costs[box]):
            if not taken >> slot & 1:
                rest, chosen = best(box + 1, taken | 1 << slot)
                options.append((cost + rest, (slot, *chosen)))
        return min(options)

    return list(best(0, 0)[1])


def _cost(placement: Placement) -> float:
    distance_mm = math.hypot(placement.error_mm, placement.dz_mm)
    return distance_mm + (0.0 if placement.good else 1e5)
