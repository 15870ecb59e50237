"""What is to be built: patterns of slots on a pallet, and named tasks with a time limit.

Everything here is data in the pallet's frame: origin in the middle of its deck, u and v along its edges
(x and y of the world while the pallet is not turned), w up from the deck. Placing happens in the order of
the slots:
layer by layer, and in a layer the farthest from the pick side first, so that no box is carried across one
that stands already.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from so101_eval.errors import ConfigError

BOX_M = 0.025
"""[m] edge of a box. 20 to 30 mm are held flat by the jaws, and 25 mm is what people print."""

BOX_KG, BOX_FRICTION = 0.020, 0.8
"""A printed 25 mm cube, half filled; plastic on wood and on a painted table."""

PITCH_U_M, PITCH_V_M = 0.032, 0.038
"""[m] between slot centres. The jaws open along v: the outer finger needs 13 mm beside a neighbour."""

PALLET_M = (0.084, 0.092, 0.010)
"""[m] deck along u and v, and height: a 2x2 layer with a margin of 13.5 and 14.5 mm."""

PALLET_PLACE_M = (0.185, -0.115)
"""[m] the pallet's middle in the world, across the pan axis from the pick area."""

PAN_AXIS_M = (0.0388353, 0.0)
"""[m] where the arm turns about: reach and azimuth are counted from here."""

POSITION_TOLERANCE_MM = 15.0
"""A box this far from its slot still stands on the pallet and clear of its neighbour's slot. The servos' play
alone (0.87 deg, 4.6 mm at 0.3 m for one joint) forbids to promise much less."""

YAW_TOLERANCE_DEG = 10.0
"""A 25 mm box turned by this covers 29 mm: less than the pitch, so that a layer still closes."""

SECONDS_PER_BOX = 15.0
"""[s] twice what a careful scripted arm takes for one box, which leaves time for one more try at each."""


class Slot(NamedTuple):
    """A place for a box: centre (u, v) [m] in the pallet's frame, and the layer, 0 on the deck."""

    u_m: float
    v_m: float
    layer: int

    @property
    def bottom_m(self) -> float:
        """Height [m] of the box's underside above the deck."""
        return self.layer * BOX_M


@dataclass(frozen=True)
class Pattern:
    """A grid of slots, `columns` along u and `rows` along v, in `layers`."""

    columns: int
    rows: int
    layers: int = 1

    @property
    def name(self) -> str:
        grid = f"{self.columns}x{self.rows}"
        return grid if self.layers == 1 else f"{grid}x{self.layers}"

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """In the order of placing."""
        cells = [
            ((column - (self.columns - 1) / 2) * PITCH_U_M, (row - (self.rows - 1) / 2) * PITCH_V_M)
            for column in range(self.columns)
            for row in range(self.rows)
        ]
        cells.sort(key=_azimuth_rad)
        return tuple(Slot(u, v, layer) for layer in range(self.layers) for u, v in cells)


def _azimuth_rad(cell_m: tuple[float, float]) -> float:
    """Of a slot about the pan axis, with the pallet in its place; the pick side is positive."""
    x, y = PALLET_PLACE_M[0] + cell_m[0] - PAN_AXIS_M[0], PALLET_PLACE_M[1] + cell_m[1] - PAN_AXIS_M[1]
    return math.atan2(y, x)


LIFT_REACH_M = (0.110, 0.240)
"""[m] from the pan axis: where a box can be lifted over its neighbours (0.09 to 0.24 m at 60 mm height)."""
PICK_SIDE_M = 0.010
"""[m] boxes stay on their side of the table: y above this."""


class PickArea(NamedTuple):
    """A sector about the pan axis in which boxes lie at the start: the demonstrated area."""

    radius_m: tuple[float, float]
    azimuth_rad: tuple[float, float]
    separation_m: float
    """Between box centres, at least: room for an open jaw at any yaw."""
    reach_m: tuple[float, float] = LIFT_REACH_M
    """From the pan axis: scenarios of the start go beyond the sector, never beyond this."""
    least_y_m: float = PICK_SIDE_M

    def beyond_m(self, x_m: float, y_m: float) -> float:
        """How far a point is outside the sector's border; negative inside."""
        dx, dy = x_m - PAN_AXIS_M[0], y_m - PAN_AXIS_M[1]
        radius_m, azimuth_rad = math.hypot(dx, dy), math.atan2(dy, dx)
        near_m, far_m = self.radius_m[0] - radius_m, radius_m - self.radius_m[1]
        sides_m = [
            (self.azimuth_rad[0] - azimuth_rad) * radius_m,
            (azimuth_rad - self.azimuth_rad[1]) * radius_m,
        ]
        return max(near_m, far_m, *sides_m)


PICK_AREA = PickArea((0.135, 0.225), (0.25, 0.95), 0.048)
WIDE_PICK_AREA = PickArea((0.125, 0.218), (0.20, 1.50), 0.046)
"""For more boxes than four: as much of the table as the arm reaches from above."""
SMALL_PICK_AREA = PickArea((0.155, 0.205), (0.40, 0.80), 0.048)
"""The middle of the pick area, about half as wide and as deep: 50 by 72 mm."""
WIDE_FROM_BOXES = 5


@dataclass(frozen=True)
class Task:
    """Bring `boxes` boxes from the pick area into the first slots of `pattern` within the time limit."""

    name: str
    pattern: Pattern
    boxes: int
    time_limit_s: float
    yaw_span_rad: float = math.pi
    """How far boxes lie turned at the start [rad]: any way at all, or at most this much off the direction from the
    arm's pan axis."""
    small_area: bool = False
    """The boxes start in the middle of the pick area."""
    area: PickArea | None = None
    """Where boxes lie at the start, if it is none of this file."""
    places: tuple[Slot, ...] = ()
    """Slots that are no grid."""
    edges_m: tuple[float, ...] = ()
    """Of each box, if they are not `BOX_M`."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where the boxes go, in the order of placing."""
        return (self.places or self.pattern.slots)[: self.boxes]

    def edge_m(self, box: int) -> float:
        """Of that box [m]."""
        return self.edges_m[box] if self.edges_m else BOX_M

    @property
    def instruction(self) -> str:
        """The task in words, for recordings and for policies that read."""
        boxes = "the box" if self.boxes == 1 else f"the {self.boxes} boxes"
        return f"Put {boxes} into the marked slots of the pallet."

    @property
    def pick_area(self) -> PickArea:
        if self.area is not None:
            return self.area
        if self.small_area:
            return SMALL_PICK_AREA
        return WIDE_PICK_AREA if self.boxes >= WIDE_FROM_BOXES else PICK_AREA


STRAIGHT_RAD = math.radians(20.0)
"""Of the tasks whose boxes lie about straight: one way to grasp is always the obvious one, so a small policy learns
from few demonstrations."""


def _task(
    name: str,
    columns: int,
    rows: int,
    layers: int = 1,
    boxes: int | None = None,
    yaw_span_rad: float = math.pi,
    small_area: bool = False,
) -> Task:
    pattern = Pattern(columns, rows, layers)
    count = len(pattern.slots) if boxes is None else boxes
    return Task(name, pattern, count, SECONDS_PER_BOX * count, yaw_span_rad, small_area)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("palletize-1", 1, 1),
        _task("palletize-1-straight", 1, 1, yaw_span_rad=STRAIGHT_RAD),
        _task("palletize-1-small", 1, 1, yaw_span_rad=STRAIGHT_RAD, small_area=True),
        _task("palletize-2", 1, 2),
        _task("palletize-2-along", 2, 1),
        _task("palletize-3", 2, 2, boxes=3),
        _task("palletize-4", 2, 2),
        _task("palletize-4-layers", 1, 2, 2),
        _task("palletize-5", 2, 2, 2, boxes=5),
        _task("palletize-6", 2, 2, 2, boxes=6),
        _task("palletize-7", 2, 2, 2, boxes=7),
        _task("palletize-8", 2, 2, 2),
    )
}


def load_task(name: str) -> Task:
    """The task of that name. Raises `ConfigError` that lists those that exist."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; available: {', '.join(TASKS)}")
    return TASKS[name]


OWN = "own:"
"""In records, before the name of a task that a study on a real arm brought along (`real_study.design.own_task`)."""


def is_own(name: str) -> bool:
    """Whether a record's task is none of `TASKS`, and no mistake either."""
    return name.startswith(OWN)
