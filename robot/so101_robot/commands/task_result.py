"""What a run on the mock arm came to: whether the boxes were placed, not only how often the loop ticked."""

from typing import Any

from so101_policy.command_line.command_shell import say
from so101_robot.arm.arm import SO101
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.physics.task import TaskWatch, task_watch


class TaskResult:
    """Observer of the ticks on which the policy drives.

    Args:
        watch: knows the task; None where nobody does, and then there is nothing to tell.
        known: what the run's summary says beside its ticks; gets an entry `task` when the run is over.
    """

    name = "task"

    def __init__(self, watch: TaskWatch | None, known: dict[str, Any]) -> None:
        self._watch, self._known = watch, known
        self.lines: list[str] = []
        """What became of the task, when the run is over; empty: there is none, or nobody knows it."""
        self.good: bool | None = None
        """Whether it was done."""
        self._looked = False

    @classmethod
    def of(cls, robot: SO101, known: dict[str, Any]) -> "TaskResult":
        """Of a connected arm."""
        world = None if robot.mock is None else robot.mock.world
        return cls(None if world is None else task_watch(world), known)

    def on_tick(self, tick: Tick) -> None:
        if self._watch is not None and tick.phase == "run":
            self._watch.look(tick.time_s)
            self._looked = True

    def on_message(self, message: Message) -> None:
        """Says nothing."""

    def close(self) -> None:
        if self._watch is not None and self._looked:
            self._known["task"] = found = self._watch.as_dict()
            self.lines, self.good = self._watch.in_words(), found.get("success")

    def tell(self) -> None:
        """On the terminal."""
        for line in self.lines:
            say(line)
