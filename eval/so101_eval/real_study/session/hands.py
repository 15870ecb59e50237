"""A rehearsal's hands and eyes: they put boxes down in the simulated scene, and see what became of them.

The arm, the loop and the session are what they are on a real arm; only these know the simulation's truth.
"""

from typing import Protocol

from so101_eval.episode.episode import FPS
from so101_eval.palletizing.scene.draw import Reset
from so101_eval.palletizing.scene.scene import rearrange
from so101_eval.palletizing.scene.tasks import Task
from so101_eval.palletizing.score.score import Score, Scorer
from so101_eval.real_study.session.control import Control
from so101_robot.loop.tick import Observer, Tick
from so101_robot.message import Message
from so101_robot.mock.physics.world import World


class Hands(Protocol):
    """Whoever puts the boxes where a trial begins."""

    def place(self, reset: Reset) -> None:
        """Before the reset screen."""
        ...

    def watch(self, control: Control) -> list[Observer]:
        """Of the trial that comes."""
        ...


class People:
    """On a real arm the operator does it, by the outline on the screen."""

    def place(self, reset: Reset) -> None: ...

    def watch(self, control: Control) -> list[Observer]:
        return []


class Simulated:
    """In a rehearsal."""

    def __init__(self, world: World, task: Task) -> None:
        self._world, self._task = world, task
        self._reset: Reset | None = None
        self.seen: Watching | None = None
        """Of the last trial."""

    def place(self, reset: Reset) -> None:
        rearrange(self._world, reset)
        self._reset = reset

    def watch(self, control: Control) -> list[Observer]:
        assert self._reset is not None  # the boxes were put down
        self.seen = Watching(self._world, self._reset, self._task, control)
        return [self.seen]


class Watching:
    """Somebody who sees how the boxes stand, and stops a trial in which nothing can change any more."""

    name = "eyes"

    def __init__(self, world: World, reset: Reset, task: Task, control: Control) -> None:
        self._world, self._reset, self._task, self._control = world, reset, task, control
        self._scorer: Scorer | None = None
        self._ticks = 0
        self.score: Score | None = None

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run":
            return
        if self._scorer is None:
            self._scorer = Scorer(self._world, self._reset, self._task)
        self._scorer.observe(self._ticks / FPS)
        self._ticks += 1
        if self._scorer.done:
            self._control.stop("done")

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None:
        if self._scorer is not None:
            self.score = self._scorer.result()
