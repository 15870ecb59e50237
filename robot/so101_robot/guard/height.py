"""How high the arm is above the table, and poses that are safely above it."""

from collections.abc import Callable
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.guard.collision import Geometry
from so101_robot.guard.rig import Rig
from so101_robot.joints import JOINTS

BELOW_TABLE_M = 0.02
"""So far below the table the guard's plane is (`Rig.table_m` is -0.02 for a table at the height of the base) [m]."""

WAY_STEPS = 12
"""Poses that are looked at on a straight way."""


class Height:
    """Of the lowest part of upper arm, forearm and hand.

    Args:
        rig: has the guard's plane, and where the joints' zeros are.
    """

    def __init__(self, rig: Rig) -> None:
        table_m = 0.0 if rig.table_m is None else rig.table_m + BELOW_TABLE_M
        self._geometry = Geometry(table_m, None, None, [rig.joints[joint].zero_deg for joint in JOINTS])

    def m(self, pose: ArrayLike) -> float:
        """Above the table [m], at a pose (6,) in LeRobot units; below zero: in it."""
        return float(self._geometry.clearances_m(pose).min(initial=inf))


def clear_way(
    rng: np.random.Generator,
    start: NDArray[np.float64],
    draw: Callable[[np.random.Generator], NDArray[np.float64]],
    clear: Callable[[NDArray[np.float64]], bool],
    tries: int | None = None,
) -> NDArray[np.float64] | None:
    """(6,) the way from `start` to the first pose drawn to which the straight way in joint space is clear, in whatever
    unit `start` has; None: there was none in `tries`."""
    shares = np.linspace(0.0, 1.0, WAY_STEPS + 1)[1:]
    while tries is None or tries > 0:
        tries = None if tries is None else tries - 1
        way = draw(rng) - start
        if all(clear(start + part * way) for part in shares):
            return way
    return None
