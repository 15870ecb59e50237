"""A scheduler for what is no policy: the scripted expert, a recording, an arm that stays.

A script is asked for a joint target once a tick, as a policy is for a chunk, and what it says passes the same loop.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned

type Script = Callable[[Observation], ArrayLike | None]
"""The joint target (6,) for this tick in LeRobot units; None when the work is done."""


class Scripted:
    """Plays a script tick by tick. When the script has finished, the arm stays where it was told to be last."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._last: NDArray[np.float64] | None = None
        self._problem: Exception | None = None
        self.finished = False
        """The script has said that the work is done."""

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        if self._problem is not None:
            raise self._problem  # a script that failed stays failed: half of its work may be undone
        if not self.finished:
            observation = observe()
            try:
                asked = self._script(observation)
            except Exception as problem:
                self._problem = problem
                raise
            self.finished = asked is None
            if asked is not None:
                self._last = np.array(asked, np.float64)
            elif self._last is None:
                self._last = observation.state
        return Planned(self._last, None, "chunk", 0, tick, 0.0)

    def wait(self) -> None:
        """A script goes by its own clock: while the arm is held it goes on."""

    def reset(self) -> None:
        """There is no plan to forget: the next target comes from the next observation."""

    def close(self) -> None: ...
