"""A soft start for actions that come from somebody else's loop: a leader arm, or a program that knows no approach.

Where the arm is and where it is asked to be may be far apart when such a loop begins. For a second, and then until the
arm has caught up, it goes no faster than on the way home; after that second the speed grows evenly, so that it catches
up with a leader that never rests.
"""

import numpy as np
from numpy.typing import NDArray

from so101_robot.motion.tolerances import AT_FIRST_POSE

SOFT_S = 1.0
"""At least so long [s]."""

SOFT_SPEED = 40.0
"""Of every joint meanwhile [deg/s, percent/s]: as fast as the way home."""

PAUSE_S = 1.0
"""After a longer pause between two actions the start is soft again: the leader may be anywhere by then [s]."""

TICK_S = 1 / 30
"""How long the first action is taken to last [s]."""


class SoftStart:
    """One arm's; begun anew by `begin` and by a pause.

    Args:
        near: the arm has caught up when no joint is farther than this from where it is asked to be [deg, percent].
    """

    def __init__(self, near: float = AT_FIRST_POSE) -> None:
        self._near = near
        self.begin()

    def begin(self) -> None:
        """The next action is the first."""
        self._begin_s: float | None = None
        self._now_s = 0.0
        self._over = False

    @property
    def over(self) -> bool:
        """The arm has caught up: actions pass as they are."""
        return self._over

    def follow(
        self, asked: NDArray[np.float64], last: NDArray[np.float64], now_s: float
    ) -> NDArray[np.float64]:
        """(6,) what of the way from the last command to the finite `asked` is for now."""
        if self._begin_s is not None and now_s - self._now_s > PAUSE_S:
            self.begin()
        elapsed_s = TICK_S if self._begin_s is None else max(now_s - self._now_s, 0.0)
        self._begin_s = now_s if self._begin_s is None else self._begin_s
        self._now_s = now_s
        seconds = (now_s - self._begin_s) / SOFT_S
        self._over = self._over or bool(seconds >= 1 and (np.abs(asked - last) <= self._near).all())
        if self._over:
            return asked
        reach = SOFT_SPEED * max(1.0, seconds) * elapsed_s
        return np.clip(asked, last - reach, last + reach)
