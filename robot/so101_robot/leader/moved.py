"""Whether a person has begun to move the leader: far enough, for long enough, from where it had come to rest.

A bump of the table shakes it and lets it swing back; a hand takes it away and keeps it there. After a person has given
back, the leader is put down somewhere, so nothing counts before it has come to rest again.
"""

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import GRIPPER

AT_REST_DEG = 1.5
"""A joint that stays within this of where it was is at rest; an encoder's noise is a tenth of it."""

REST_S = 2.0
"""So long it has to be at rest before a motion counts."""


class MotionWatch:
    """Follows one leader while the policy drives.

    Args:
        moved_deg: farther than this a joint has to be from where it rested; the trigger does not count.
        moved_s: for so long without a break.
    """

    def __init__(self, moved_deg: float, moved_s: float) -> None:
        self._moved_deg, self._moved_s = moved_deg, moved_s
        self.forget()

    def forget(self) -> None:
        """It has to come to rest first."""
        self._rest: NDArray[np.float64] | None = None
        self._still: NDArray[np.float64] | None = None
        self._still_since_s = 0.0
        self._away_since_s: float | None = None

    def see(self, position: NDArray[np.float64], now_s: float) -> bool:
        """Whether it is being moved by now, the leader being at `position` (6,)."""
        body = np.array(position[:GRIPPER])
        if self._still is None or np.abs(body - self._still).max() > AT_REST_DEG:
            self._still, self._still_since_s = body, now_s
        if self._rest is not None and np.abs(body - self._rest).max() > self._moved_deg:
            self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
            return now_s - self._away_since_s >= self._moved_s
        self._away_since_s = None
        if now_s - self._still_since_s >= REST_S:
            self._rest = self._still
        return False
