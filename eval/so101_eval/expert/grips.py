"""Which way to take a box and to set it down: four faces, seen from above.

A gripper over a box is three rectangles on the table: the box, the fixed finger behind the pad and the moving
jaw, which opens outwards. A way is good when the arm reaches it, when both fingers have room beside everything
else, and when the wrist turns little. The fixed finger is thin and stands still while the jaws open, so it
goes towards a neighbour; that comes out of the room that each finger needs.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.expert.ik import Grasp

Vector = NDArray[np.float64]

FIXED_FINGER_M = 0.0100
"""Thickness of the fixed finger behind its pad, at the height of a box's upper edge."""
MOVING_JAW_M = 0.0130
"""Thickness of the moving jaw behind its pad, with its slant when open."""
FINGER_HALF_WIDTH_M = 0.0070
FINGER_TIP_M = 0.0060
"""Fingers reach this far below the middle of the pads. Source of all four: shapes of the arm's data file."""


class Rectangle(NamedTuple):
    """On the table, from above."""

    x_m: float
    y_m: float
    yaw_rad: float
    half_m: tuple[float, float]

    def corners(self) -> Vector:
        """(4, 2)."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        a, b = self.half_m
        local = np.array([(a, b), (-a, b), (-a, -b), (a, -b)])
        return local @ np.array([(cos, sin), (-sin, cos)]) + (self.x_m, self.y_m)


class Box(NamedTuple):
    """A cube that lies on one of its faces."""

    centre_m: Vector
    """(3,) in the world."""
    yaw_rad: float
    """Of its vertical faces, up to quarter turns."""
    edge_m: float

    @property
    def top_m(self) -> float:
        return float(self.centre_m[2]) + self.edge_m / 2

    @property
    def outline(self) -> Rectangle:
        x_m, y_m, _ = self.centre_m.tolist()
        return Rectangle(x_m, y_m, self.yaw_rad, (self.edge_m / 2, self.edge_m / 2))


def separation_m(one: Rectangle, other: Rectangle) -> float:
    """Gap between two rectangles along the edge direction that shows most of it; negative where they overlap.

    A lower bound of their distance, and never positive when they touch (separating axes).
    """
    first, second = one.corners(), other.corners()
    gaps: list[float] = []
    for yaw_rad in (one.yaw_rad, one.yaw_rad + math.pi / 2, other.yaw_rad, other.yaw_rad + math.pi / 2):
        axis = np.array([math.cos(yaw_rad), math.sin(yaw_rad)])
        a, b = first @ axis, second @ axis
        gaps.append(float(max(a.min() - b.max(), b.min() - a.max())))
    return max(gaps)


def ways(box: Box) -> list[Grasp]:
    """The four grasps of a box, its middle between the pads and a face on the fixed one."""
    found: list[Grasp] = []
    for quarter in range(4):
        yaw_rad = math.remainder(box.yaw_rad + quarter * math.pi / 2, math.tau)
        found.append(Grasp(box.centre_m, yaw_rad).shifted(along_m=-box.edge_m / 2))
    return found


def fingers(grasp: Grasp, gap_m: float) -> tuple[Rectangle, Rectangle]:
    """The fixed finger and the moving jaw, pads `gap_m` apart."""
    return (
        _finger(grasp, -FIXED_FINGER_M / 2, FIXED_FINGER_M),
        _finger(grasp, gap_m + MOVING_JAW_M / 2, MOVING_JAW_M),
    )


def _finger(grasp: Grasp, along_m: float, thickness_m: float) -> Rectangle:
    x_m, y_m, _ = grasp.shifted(along_m).position_m.tolist()
    return Rectangle(x_m, y_m, grasp.yaw_rad, (thickness_m / 2, FINGER_HALF_WIDTH_M))


def room_m(grasp: Grasp, gap_m: float, others: Iterable[Box]) -> float:
    """Smallest gap between a finger and any of the `others` that are as high as the fingers reach down."""
    lowest_m = float(grasp.position_m[2]) - FINGER_TIP_M
    outlines = [box.outline for box in others if box.top_m > lowest_m]
    gaps_m = [separation_m(finger, outline) for finger in fingers(grasp, gap_m) for outline in outlines]
    return min(gaps_m, default=math.inf)
