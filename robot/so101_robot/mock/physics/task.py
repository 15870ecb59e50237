"""What became of a task on the mock arm, in words for the person who watched.

A package that brings scenes may also bring somebody who knows what is to be done in them: an entry point of the
group `so101.tasks` is a function that is given the `World` and returns a `TaskWatch`, or None for a scene that it does
not know.
"""

from importlib.metadata import entry_points
from typing import Any, Protocol

from so101_robot.mock.physics.world import World

TASK_GROUP = "so101.tasks"


class TaskWatch(Protocol):
    """Looks at a world while a policy drives, and changes nothing in it."""

    def look(self, time_s: float) -> None:
        """Once per tick; the first look is time zero."""
        ...

    def in_words(self) -> list[str]:
        """What became of it, a line for each thing."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for the run's summary."""
        ...


def task_watch(world: World) -> TaskWatch | None:
    """Somebody who knows the task of that world's scene; None where nobody does."""
    for point in entry_points(group=TASK_GROUP):
        if (watch := point.load()(world)) is not None:
            return watch
    return None
