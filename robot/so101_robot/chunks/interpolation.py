"""A policy that plans at a lower rate than the loop ticks: between its actions the arm follows the straight line.

The time between two actions is a *window* of `every` ticks. Action k is where the arm is to be at the end of
window k, and every tick of the window goes an equal part of the way there. So a policy trained on recordings
of 10 Hz moves an arm that is driven at 30 Hz as it was recorded, and a policy of 30 Hz can drive servos that
get a goal 180 times a second. The scheduler inside counts in windows; what comes out counts in ticks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import NOTHING, Planned, Scheduler
from so101_robot.errors import ConfigError

MOST_HZ = 200.0
"""The highest rate of the loop: six servos answer and are commanded in about 3 ms at 1 Mbaud."""

SAME_RATE = 1e-6
"""Two rates [Hz] that differ by less are the same."""


def ticks_per_action(policy_fps: float, loop_fps: float) -> int:
    """How many ticks of the loop one action of the policy lasts.

    Args:
        policy_fps: actions per second.
        loop_fps: ticks per second.

    Raises:
        ConfigError: the loop's rate is no whole multiple of the policy's.
    """
    every = round(loop_fps / policy_fps) if 0 < policy_fps <= loop_fps + SAME_RATE else 0
    if not every or abs(every * policy_fps - loop_fps) > SAME_RATE * every:
        raise ConfigError(
            f"a policy of {policy_fps:g} actions per second in a loop of {loop_fps:g} ticks per second: an action "
            f"has to last a whole number of ticks; possible are {_possible(policy_fps, loop_fps)}"
        )
    return every


def _possible(policy_fps: float, loop_fps: float) -> str:
    policies = ", ".join(f"{loop_fps / n:.4g}" for n in range(1, 7))
    if not 0 < policy_fps <= MOST_HZ:
        return f"policies of {policies}, ..."
    loops = ", ".join(f"{policy_fps * n:g}" for n in range(1, 1 + min(10, int(MOST_HZ / policy_fps))))
    return f"loops of {loops} (--fps), or policies of {policies}, ..."


@dataclass(frozen=True)
class _Line:
    """From one pose to the next, in equal parts."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    ticks: int

    def at(self, number: int) -> NDArray[np.float64]:
        """(6,) at the end of the line's tick `number`, from 0; the last is the end to the bit."""
        if number + 1 == self.ticks:
            return self.end
        return self.start + (number + 1) / self.ticks * (self.end - self.start)


class Interpolated:
    """A scheduler whose actions last `every` ticks each.

    Args:
        scheduler: at the policy's rate; its ticks are windows.
        every: ticks per action, from `ticks_per_action`.
        standing: (6,) where the arm has been told to be. The line starts there at the beginning, and after a
            tick without a step; otherwise it goes on from its own last point.
    """

    def __init__(self, scheduler: Scheduler, every: int, standing: Callable[[], NDArray[np.float64]]) -> None:
        self._scheduler, self._every, self._standing = scheduler, every, standing
        self._window = -1
        self._first = 0
        self._line: _Line | None = None
        self._command: NDArray[np.float64] | None = None
        self._planned = NOTHING
        self._planned_s = 0.0
        self._stood = True
        self._asked_on: dict[int, int] = {}

    @property
    def command(self) -> NDArray[np.float64]:
        """(6,) the line's newest point; with nothing planned it ends at the last action there was.

        Raises:
            ConfigError: asked before the first `next`.
        """
        if self._command is None:
            raise ConfigError("there is no command before the first tick")
        return self._command

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        """As `Scheduler.next`. An answer can only arrive on the first tick of a window that is seen."""
        window, step = divmod(tick, self._every)
        if begins := window != self._window:
            self._window, self._first = window, step
            self._begin(tick, now_s, observe)
        assert self._line is not None  # a window has begun
        self._command = self._line.at(step - self._first)
        planned = self._planned
        self._stood = planned.action is None
        return planned._replace(
            action=None if planned.action is None else self._command,
            end=planned.action if self._every > 1 else None,
            inference=planned.inference if begins else None,
            age_s=planned.age_s + (now_s - self._planned_s),
        )

    def wait(self) -> None:
        """The plan stands still until the next window, which starts where the arm stands then."""
        self._stood = True
        self._scheduler.wait()

    def reset(self) -> None:
        """As `Scheduler.reset`. What is left of the window is spent holding."""
        self._stood, self._planned = True, NOTHING
        self._scheduler.reset()

    def close(self) -> None:
        self._scheduler.close()

    def _begin(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> None:
        """Plan a window, and draw its line."""

        def observed() -> Observation:
            self._asked_on[self._window] = tick
            return observe()

        start = self._standing() if self._stood or self._command is None else self._command
        last = start if self._command is None else self._command
        ticks = self._every - self._first  # fewer where the loop missed the window's first
        self._line, self._planned, self._planned_s = _Line(start, last, ticks), NOTHING, now_s
        planned = self._scheduler.next(
            self._window, now_s, observed
        )  # if it raises, this window is spent holding
        self._planned = self._in_ticks(planned)
        if planned.action is not None:
            self._line = _Line(start, planned.action, ticks)

    def _in_ticks(self, planned: Planned) -> Planned:
        """`planned`, whose observations are counted in windows, with the ticks on which they were made."""
        answer = planned.inference
        if answer is not None:
            answer = answer._replace(observed_tick=self._asked_on[answer.observed_tick])
        if planned.action is None:
            return planned._replace(inference=answer)
        newest = planned.chunk_tick
        self._asked_on = {window: at for window, at in self._asked_on.items() if window >= newest}
        return planned._replace(inference=answer, chunk_tick=self._asked_on[newest])
