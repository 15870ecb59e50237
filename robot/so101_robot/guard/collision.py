"""What the arm must not touch: boxes about its links, against the table, the walls of a workspace and each other.

Each link is one or a few boxes, coarse and without the wrist camera. Three rules give clearances [m], negative
inside:

    table           height of a box's lowest corner above the table; from the upper arm outwards
    workspace       distance of the hand's corners (gripper and moving jaw) from the nearest wall, from inside
    self-collision  gap between boxes of links that are not neighbours (separating axes; Gottschalk, Lin and
                    Manocha 1996), or how deep they are in each other

`Geometry.shorten` cuts a step to its largest part that stays clear, by bisection along the straight line in joint
space. Where the arm is inside already, a step may not lead deeper: the way out is always open.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from so101_robot.guard.kinematics import (
    LINK_NAMES,
    LINKS,
    P_PARENT_LINK,
    R_PARENT_LINK,
    RAD_PER_UNIT,
    angles_of,
    link_poses,
    rotation_of,
)
from so101_robot.joints import GRIPPER


class Box(NamedTuple):
    """A box fixed to a link, in millimetres of the link's frame."""

    link: str
    name: str
    centre_mm: tuple[float, float, float]
    half_mm: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


BOXES = (
    Box("base", "base", (9.5, 0.0, 32.0), (39.5, 18.0, 32.0)),
    Box("shoulder", "shoulder", (-30.0, 0.0, -25.0), (19.0, 25.0, 38.0)),
    Box("upper_arm", "upper arm", (-62.0, -3.0, 18.2), (66.0, 14.0, 32.0)),
    Box("lower_arm", "forearm", (-66.0, 2.0, 18.2), (70.0, 13.0, 30.0)),
    Box("wrist", "wrist", (0.0, -28.0, 20.0), (16.0, 36.0, 30.0)),
    Box("gripper", "fixed finger's tip", (-9.4, 0.0, -98.4), (1.5, 5.0, 6.0)),
    Box("gripper", "fixed finger", (-14.2, 0.0, -84.5), (3.2, 6.8, 9.0)),
    Box("gripper", "fixed finger", (-21.5, 0.0, -57.0), (7.5, 9.5, 20.0)),
    Box("gripper", "fixed finger's tip", (-14.3, 0.0, -96.0), (1.8, 4.5, 7.0), (0.98229, 0.0, -0.18738, 0.0)),
    Box("gripper", "palm", (-2.0, 0.0, -22.0), (32.0, 20.0, 20.0)),
    Box("moving_jaw", "moving finger's tip", (-10.6, -76.0, 19.0), (1.7, 6.0, 5.0)),
    Box("moving_jaw", "moving finger", (-4.8, -63.0, 19.0), (4.8, 16.0, 6.6), (0.99691, 0.0, 0.0, -0.0785)),
    Box("moving_jaw", "moving finger", (-1.2, -28.0, 19.0), (6.4, 22.0, 9.5)),
)
"""Those of the mock arm's collision shapes (a test holds them equal), and one for the base."""

BISECTIONS = 8
"""Halvings: what is left of a step is exact to 1/256 of it, at most 0.05 deg."""

EXACT_M = 1e-9
"""Room for rounding when a step is compared with where it began."""

PARALLEL = 1e-6
"""Sine of the angle below which two edges span no axis."""

TABLE, WORKSPACE, SELF = "table", "workspace", "self-collision"


class Violation(NamedTuple):
    """A rule that a pose breaks."""

    rule: str
    """`table`, `workspace` or `self-collision`."""
    shape: str
    """Which box, or which two."""
    clearance_m: float
    """Below zero."""


class Shortened(NamedTuple):
    """What is left of a step."""

    joint: NDArray[np.float64]
    """(6,) where it may go, LeRobot units."""
    broken: tuple[tuple[Violation, float], ...]
    """What stood in the way, deepest first within each rule, with the clearance [m] where the step ends."""


class Geometry:
    """The three rules for one rig.

    Args:
        table_m: height below which nothing of the arm may go [m, base frame]; None: no table.
        workspace_m: lowest and highest corner of the box that the hand has to stay in, (2, 3) [m, base frame];
            infinities where it is open, None: no box.
        self_gap_m: gap that links keep between each other [m]; below zero they may seem to overlap by as much, as
            coarse boxes do; None: not judged.
        zero_deg: see `kinematics.angles_of`.
    """

    def __init__(
        self,
        table_m: float | None,
        workspace_m: ArrayLike | None,
        self_gap_m: float | None,
        zero_deg: ArrayLike = 0.0,
    ) -> None:
        self._zero_deg = np.broadcast_to(np.asarray(zero_deg, np.float64), len(LINKS) - 1)
        above = [] if table_m is None else _indices(*LINK_NAMES[2:])
        within = [] if workspace_m is None else _indices("gripper", "moving_jaw")
        apart = [] if self_gap_m is None else _pairs()
        self.names = (
            *((TABLE, BOXES[i].name) for i in above),
            *((WORKSPACE, BOXES[i].name) for i in within),
            *((SELF, f"{BOXES[i].name} and {BOXES[k].name}") for i, k in apart),
        )
        """Rule and shape of every clearance."""
        self._rules = _Rules(
            np.array(above, np.int64),
            np.array(within, np.int64),
            np.array(apart, np.int64).reshape(-1, 2),
            0.0 if table_m is None else float(table_m),
            np.array([[-np.inf] * 3, [np.inf] * 3] if workspace_m is None else workspace_m, np.float64),
            0.0 if self_gap_m is None else float(self_gap_m),
        )
        if self.names:  # compiled, or fetched from numba's cache, now and not in the first tick
            self.shorten(np.zeros(len(LINKS) - 1), np.full(len(LINKS) - 1, 1.0))

    def clearances_m(self, joint: ArrayLike) -> NDArray[np.float64]:
        """How clear every shape is at joint values (6,) [m], in the order of `names`. A self-collision that is far
        off is given as the gap between bounding spheres, which is less."""
        clear = np.empty(len(self.names))
        _clearances(angles_of(joint, self._zero_deg), _ARM, self._rules, clear)
        return clear

    def violations(self, joint: ArrayLike) -> list[Violation]:
        """What is broken at joint values (6,), deepest first."""
        clear = self.clearances_m(joint) if self.names else np.empty(0)
        order = [int(i) for i in np.argsort(clear) if clear[i] < 0]
        return [Violation(*self.names[i], float(clear[i])) for i in order]

    def shorten(self, last: NDArray[np.float64], asked: NDArray[np.float64]) -> Shortened:
        """The largest part of the step from `last` to `asked`, (6,) LeRobot units, that is clear.

        The five arm joints are cut by one factor, so the arm stays on its line; then the jaws by their own: they may
        still close when the arm cannot go on.
        """
        if not self.names:
            return Shortened(asked, ())
        start = angles_of(last, self._zero_deg)
        way = (asked - last) * RAD_PER_UNIT
        at_asked = np.empty(len(self.names))
        arm, jaw, floor = _largest(start, way, _ARM, self._rules, at_asked)
        if arm == 1.0 and jaw == 1.0:
            return Shortened(asked, ())
        part = np.full(len(asked), arm)
        part[GRIPPER] = jaw
        reached = last + part * (asked - last)
        return Shortened(reached, self._broken(floor, at_asked, self.clearances_m(reached)))

    def _broken(self, floor: Any, at_asked: Any, at_reached: Any) -> tuple[tuple[Violation, float], ...]:
        """The deepest of each rule."""
        deeper = np.flatnonzero(at_asked < floor)
        worst: dict[str, int] = {}
        for i in sorted(deeper.tolist(), key=lambda i: at_asked[i]):
            worst.setdefault(self.names[i][0], i)
        return tuple(
            (Violation(*self.names[i], float(at_asked[i])), float(at_reached[i])) for i in worst.values()
        )


def _indices(*links: str) -> list[int]:
    return [i for i, box in enumerate(BOXES) if box.link in links]


def _pairs() -> list[tuple[int, int]]:
    """Boxes of links that have another link between them."""
    of = [LINK_NAMES.index(box.link) for box in BOXES]
    return [(i, k) for i in range(len(BOXES)) for k in range(i, len(BOXES)) if of[k] - of[i] >= 2]


# compiled -----


class _Arm(NamedTuple):
    """Links and their boxes, as arrays."""

    P_parent_link: Any
    R_parent_link: Any
    link: Any
    """(n,) of each box."""
    centre: Any
    """(n, 3) [m], in the link's frame."""
    turn: Any
    """(n, 3, 3) R_link_box."""
    half: Any
    """(n, 3) [m]"""


class _Rules(NamedTuple):
    """What is judged: indices of boxes, and the limits [m]."""

    above: Any
    within: Any
    apart: Any
    """(pairs, 2)"""
    table_m: float
    walls_m: Any
    gap_m: float


_ARM = _Arm(
    P_PARENT_LINK,
    R_PARENT_LINK,
    np.array([LINK_NAMES.index(box.link) for box in BOXES], np.int64),
    np.array([box.centre_mm for box in BOXES]) / 1000,
    np.array([rotation_of(box.quat_wxyz) for box in BOXES]),
    np.array([box.half_mm for box in BOXES]) / 1000,
)


@njit(cache=True)
def _clearances(joint_rad: Any, arm: Any, rules: Any, clear: Any) -> None:
    """Every clearance [m] into `clear`: table, workspace, self-collision."""
    n_links, n = len(arm.P_parent_link), len(arm.link)
    p_link, R_link = np.empty((n_links, 3)), np.empty((n_links, 3, 3))
    link_poses(joint_rad, arm.P_parent_link, arm.R_parent_link, p_link, R_link)
    p, R = np.empty((n, 3)), np.empty((n, 3, 3))
    for box in range(n):
        link = arm.link[box]
        for i in range(3):
            p[box, i] = p_link[link, i]
            for k in range(3):
                p[box, i] += R_link[link, i, k] * arm.centre[box, k]
                R[box, i, k] = 0.0
                for m in range(3):
                    R[box, i, k] += R_link[link, i, m] * arm.turn[box, m, k]
    at = 0
    for box in rules.above:
        clear[at] = p[box, 2] - _reach(R[box], arm.half[box], 2) - rules.table_m
        at += 1
    for box in rules.within:
        clear[at] = np.inf
        for i in range(3):
            reach = _reach(R[box], arm.half[box], i)
            clear[at] = min(clear[at], p[box, i] - reach - rules.walls_m[0, i])
            clear[at] = min(clear[at], rules.walls_m[1, i] - p[box, i] - reach)
        at += 1
    for pair in range(len(rules.apart)):
        a, b = rules.apart[pair]
        clear[at] = _gap(p[a], R[a], arm.half[a], p[b], R[b], arm.half[b]) - rules.gap_m
        at += 1


@njit(cache=True)
def _reach(R: Any, half: Any, axis: int) -> float:
    """How far a box reaches from its centre along an axis of the base."""
    return abs(R[axis, 0]) * half[0] + abs(R[axis, 1]) * half[1] + abs(R[axis, 2]) * half[2]


@njit(cache=True)
def _gap(p_a: Any, R_a: Any, half_a: Any, p_b: Any, R_b: Any, half_b: Any) -> float:
    """Gap between two boxes [m]: by their bounding spheres where those are apart, else the widest over the
    separating axes, below zero the depth of the overlap."""
    apart = p_b - p_a
    spheres = (
        math.sqrt(_dot(apart, apart)) - math.sqrt(_dot(half_a, half_a)) - math.sqrt(_dot(half_b, half_b))
    )
    if spheres > 0.0:
        return spheres
    widest = -np.inf
    axis = np.empty(3)
    for i in range(4):  # three axes of either box and none, so that the faces have their turn
        for k in range(4):
            if i < 3 and k < 3:
                for m in range(3):
                    after, last = (m + 1) % 3, (m + 2) % 3
                    axis[m] = R_a[after, i] * R_b[last, k] - R_a[last, i] * R_b[after, k]
            elif i < 3:
                axis[:] = R_a[:, i]
            elif k < 3:
                axis[:] = R_b[:, k]
            else:
                continue
            length = math.sqrt(_dot(axis, axis))
            if length < PARALLEL:  # the faces' axes say it all
                continue
            between = abs(_dot(axis, apart))
            for m in range(3):
                between -= half_a[m] * abs(_dot(axis, R_a[:, m])) + half_b[m] * abs(_dot(axis, R_b[:, m]))
            widest = max(widest, between / length)
    return widest


@njit(cache=True)
def _dot(a: Any, b: Any) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True)
def _may_be(joint_rad: Any, arm: Any, rules: Any, floor: Any, clear: Any) -> bool:
    """No clearance is under its floor; they are left in `clear`."""
    _clearances(joint_rad, arm, rules, clear)
    return (clear >= floor).all()  # what is not a number is under every floor


@njit(cache=True)
def _largest(start: Any, way: Any, arm: Any, rules: Any, at_end: Any) -> tuple[float, float, Any]:
    """The parts of the way [rad] that the arm and then its jaws may go, and the floor; clearances of the whole way."""
    at_start = np.empty_like(at_end)
    _clearances(start, arm, rules, at_start)
    floor = _floor(at_start, rules)
    if _may_be(start + way, arm, rules, floor, at_end):
        return 1.0, 1.0, floor
    arm_only, jaw_only = way.copy(), np.zeros_like(way)
    arm_only[GRIPPER], jaw_only[GRIPPER] = 0.0, way[GRIPPER]
    arm_part = _part(start, arm_only, arm, rules, floor)
    return arm_part, _part(start + arm_part * arm_only, jaw_only, arm, rules, floor), floor


@njit(cache=True)
def _floor(at_start: Any, rules: Any) -> Any:
    """How deep each shape may be after a step that begins with these clearances: clear; under the table or outside of
    the walls no deeper than what is deepest there now; and two shapes in each other no deeper than they are."""
    floor = np.minimum(at_start, 0.0)
    first = 0
    for count in (len(rules.above), len(rules.within)):
        if count > 0:
            floor[first : first + count] = floor[first : first + count].min()
        first += count
    return floor - EXACT_M


@njit(cache=True)
def _part(start: Any, way: Any, arm: Any, rules: Any, floor: Any) -> float:
    """How much of a way [rad] may be gone, by bisection."""
    clear = np.empty_like(floor)
    if _may_be(start + way, arm, rules, floor, clear):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _may_be(start + middle * way, arm, rules, floor, clear):
            low = middle
        else:
            high = middle
    return low
