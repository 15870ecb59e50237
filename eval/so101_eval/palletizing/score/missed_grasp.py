"""Jaws that closed on nothing: the sign of a missed grasp, and of a policy that does not look."""

import math

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.score.box_watch import Hand

LOW_M = 0.040  # [m] height of the fingertips' middle below which closing jaws are meant to grasp
CLOSING_RAD = 0.10  # the jaws have closed when they are this far from their widest
RISE_M = 0.030  # [m] above where the jaws closed: whatever is not in them was missed


class JawWatch:
    """Notices jaws that closed low down, and then rose with nothing in them."""

    def __init__(self) -> None:
        self.on_nothing = 0
        self.closed_at_m: NDArray[np.float64] | None = None
        self._widest_rad = -math.inf
        self._narrowest_rad = math.inf

    def see(self, hand: Hand, holding: bool) -> NDArray[np.float64] | None:
        """Where the jaws had closed (3,) [m], at the moment when that has turned out to be on nothing."""
        missed = None
        if holding:
            self.closed_at_m = None
            self._widest_rad = hand.jaw_rad
            return None
        if hand.jaw_rad > self._narrowest_rad + CLOSING_RAD / 2:  # opening again
            missed, self.closed_at_m = self.closed_at_m, None
            self._widest_rad, self._narrowest_rad = hand.jaw_rad, math.inf
        self._widest_rad = max(self._widest_rad, hand.jaw_rad)
        if self.closed_at_m is None:
            if hand.jaw_rad < self._widest_rad - CLOSING_RAD and hand.middle_m[2] < LOW_M:
                self.closed_at_m = hand.middle_m.copy()
                self._narrowest_rad = hand.jaw_rad
        else:
            self._narrowest_rad = min(self._narrowest_rad, hand.jaw_rad)
            if hand.middle_m[2] > self.closed_at_m[2] + RISE_M:
                missed, self.closed_at_m = self.closed_at_m, None
                self._widest_rad = hand.jaw_rad
        return missed
