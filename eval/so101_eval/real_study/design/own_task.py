"""A task of one's own, from a small YAML: what is put where, in which stages, how exactly, and where it lies at first.

A study takes it over whole, so the file itself is not needed afterwards. Places are in the arm's base frame: x ahead of
the arm's foot, y to its left, in millimetres; the area is a ring about the pan axis, as the arm reaches it.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.materials import BOX_RGB
from so101_eval.palletizing.scene.tasks import (
    BOX_M,
    PALLET_PLACE_M,
    PAN_AXIS_M,
    TASKS,
    Pattern,
    PickArea,
    Slot,
    Task,
)
from so101_eval.real_study.design.tolerances import Tolerances
from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_policy.files.typed_data import typed

SUFFIXES = (".yaml", ".yml")
MOST_OBJECTS, MOST_STAGES = len(BOX_RGB), 9
"""The simulated scene of a rehearsal has colours for so many; stages are keys 1 to 9."""
REACH_MM = (80.0, 400.0)
"""From the pan axis: what the arm's hand reaches at all."""
SIZES_MM = (5.0, 200.0)
STAND_IN_M = 0.030
"""A rehearsal has cubes in place of the objects, at most so large."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Thing:
    """An object that is brought somewhere."""

    name: str
    size_mm: tuple[float, float]
    """Of its outline seen from above, along and across; of a round one its diameter, twice."""


@dataclass(frozen=True)
class Goal:
    """A place for an object."""

    x_mm: float
    y_mm: float
    turn_deg: float = 0.0


@dataclass(frozen=True)
class Area:
    """Where objects lie at the start."""

    radius_mm: tuple[float, float] = (155.0, 205.0)
    """From the pan axis, which is 39 mm ahead of the base frame's origin."""
    azimuth_deg: tuple[float, float] = (23.0, 46.0)
    """To the left."""
    apart_mm: float = 48.0
    """Between the middles of two objects, at least."""
    turned_deg: float = 180.0
    """How far objects are turned at most, off pointing away from the pan axis; 180: any way."""


@dataclass(frozen=True)
class OwnTask:
    """What a study needs to know of a task. Raises `ConfigError` for what cannot be."""

    name: str
    instruction: str
    objects: tuple[Thing, ...]
    slots: tuple[Goal, ...]
    stages: tuple[str, ...]
    """Of an object, in order; the last one is its success."""
    time_limit_s: float
    area: Area = field(default_factory=Area)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"name is {self.name!r}, expected small letters, digits and hyphens")
        if self.name in TASKS:
            raise ConfigError(f"name is {self.name!r}, which is a built-in task; choose another name")
        if not 1 <= len(self.objects) <= MOST_OBJECTS:
            raise ConfigError(f"there are {len(self.objects)} objects, expected 1 to {MOST_OBJECTS}")
        names = [thing.name for thing in self.objects]
        if len(set(names)) < len(names) or not all(
            0 < len(name) <= 40 and name.isprintable() for name in names
        ):
            raise ConfigError(f"objects {', '.join(names)}: expected different names of 1 to 40 letters")
        for thing in self.objects:
            if not all(SIZES_MM[0] <= size <= SIZES_MM[1] for size in thing.size_mm):
                raise ConfigError(
                    f"{thing.name}: size_mm is {list(thing.size_mm)}, expected {SIZES_MM[0]:g} to {SIZES_MM[1]:g} mm"
                )
        if len(self.slots) < len(self.objects):
            raise ConfigError(
                f"{len(self.slots)} slots for {len(self.objects)} objects: expected one for each, or more"
            )
        for number, slot in enumerate(self.slots):
            away_mm = 1000 * math.dist((slot.x_mm / 1000, slot.y_mm / 1000), PAN_AXIS_M)
            if not REACH_MM[0] <= away_mm <= REACH_MM[1]:
                raise ConfigError(
                    f"slots[{number}] is {away_mm:.0f} mm from the arm's pan axis, expected {REACH_MM[0]:g} to "
                    f"{REACH_MM[1]:g}: nearer or farther the hand does not get"
                )
        if not 1 <= len(self.stages) <= MOST_STAGES or len(set(self.stages)) < len(self.stages):
            raise ConfigError(
                f"there are {len(self.stages)} stages, expected 1 to {MOST_STAGES} of different names"
            )
        if not all(0 < len(stage) <= 40 and stage.isprintable() for stage in self.stages):
            raise ConfigError("stages: expected names of 1 to 40 letters")
        if not 1 <= self.time_limit_s <= 3600:
            raise ConfigError(f"time_limit_s is {self.time_limit_s:g}, expected 1 to 3600")
        self._check_area()

    def _check_area(self) -> None:
        (near, far), (right, left) = self.area.radius_mm, self.area.azimuth_deg
        if not REACH_MM[0] <= near < far <= REACH_MM[1]:
            raise ConfigError(
                f"area.radius_mm is {near:g} to {far:g}, expected a range within {REACH_MM[0]:g} to {REACH_MM[1]:g}"
            )
        if not -110 <= right < left <= 110:
            raise ConfigError(
                f"area.azimuth_deg is {right:g} to {left:g}, expected a range within -110 to 110"
            )
        if not 0 < self.area.turned_deg <= 180 or self.area.apart_mm < 0:
            raise ConfigError(
                f"area: turned_deg {self.area.turned_deg:g}, apart_mm {self.area.apart_mm:g}: expected up to 180, and "
                "0 or more"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the objects."""
        return tuple(thing.name for thing in self.objects)

    @property
    def task(self) -> Task:
        """As the scenes know tasks: cubes stand for the objects, slots are in the frame of a pallet at its place."""
        area = self.area
        near, far = (radius / 1000 for radius in area.radius_mm)
        right, left = (math.radians(angle) for angle in area.azimuth_deg)
        reach_m = (REACH_MM[0] / 1000, REACH_MM[1] / 1000)
        places = tuple(
            Slot(slot.x_mm / 1000 - PALLET_PLACE_M[0], slot.y_mm / 1000 - PALLET_PLACE_M[1], 0)
            for slot in self.slots
        )
        return Task(
            self.name,
            Pattern(1, 1),
            len(self.objects),
            self.time_limit_s,
            math.pi if area.turned_deg >= 180 else math.radians(area.turned_deg),
            area=PickArea((near, far), (right, left), area.apart_mm / 1000, reach_m, -math.inf),
            places=places,
            edges_m=tuple(
                min(STAND_IN_M, max(BOX_M / 2, min(thing.size_mm) / 1000)) for thing in self.objects
            ),
        )


def is_file(task: str) -> bool:
    """Whether `--task` means a file and not a built-in task."""
    return task.endswith(SUFFIXES)


def read_task(path: Path) -> tuple[OwnTask, Tolerances]:
    """A task's YAML. Raises `ConfigError` that names the file and the field."""
    if not path.is_file():
        raise ConfigError(f"--task={path}: there is no such file; built-in tasks are {', '.join(TASKS)}")
    try:
        data = typed(dict[str, Any], parse_yaml(read_text(path)))
        tolerances = typed(Tolerances, data.pop("tolerances", {}), "tolerances")
        return typed(OwnTask, data), tolerances
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: {first_line(problem)}") from problem
