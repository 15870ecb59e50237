"""Where an episode begins, and whether the follower is disturbed in it: what a recording asks of the leader's drive."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from so101_robot.guard.guard import Guard
from so101_robot.guard.height import Height, clear_way
from so101_robot.joints import GRIPPER
from so101_robot.leader.disturbance import Disturbance
from so101_robot.leader.source import LeaderSource
from so101_robot.message import Message, Severity

ABOVE_TABLE_M = 0.06
"""The lowest part of arm and hand is at least so high at a random start, and on the way there and back [m]."""

INSIDE_ENDS_DEG = 10.0
"""A random start is so far inside the guard's range."""

MOST_PAN_DEG = 70.0
"""Of it, to either side: what a camera in front sees of the table."""

TRIES = 2000
"""Poses that are drawn; one in a dozen is clear."""


class Stage:
    """For one recording.

    Args:
        source: drives.
        guard: the follower's.
        tell: what the person should know.
        disturbance: the source's; None: no episode is disturbed.
        disturb: share of the episodes that are.
        random_start: every episode starts from a random safe pose.
        seed: of the random starts.
    """

    def __init__(
        self,
        source: LeaderSource,
        guard: Guard,
        tell: Callable[[Message], None],
        *,
        disturbance: Disturbance | None = None,
        disturb: float = 0.0,
        random_start: bool = False,
        seed: int = 0,
    ) -> None:
        self._source, self._guard, self._tell = source, guard, tell
        self._disturbance, self._disturb = disturbance, disturb
        self._rng = np.random.default_rng((seed, 18)) if random_start else None
        self._height = Height(guard.rig)

    @property
    def ready(self) -> bool:
        """The follower has caught up with the leader."""
        return self._source.caught_up

    @property
    def may_set_out(self) -> bool:
        """The way to a random start may begin here; where it may not, the person is told why."""
        if self._rng is None or (high_m := self._height.m(self._stands())) >= ABOVE_TABLE_M:
            return True
        words = (
            f"not yet: for a random start, first lift the leader, to {1e3 * ABOVE_TABLE_M:.0f} mm above the table or "
            f"more (the lowest part is at {1e3 * high_m:.0f})"
        )
        self._tell(Message(words, Severity.WARNING))
        return False

    def set_out(self) -> bool:
        """Lead the follower to where the next episode begins; False: it begins where the arm is."""
        if self._rng is None:
            return False
        stands = self._stands()
        way = clear_way(self._rng, stands, self._draw, self._clear, TRIES)
        if way is None:
            self._tell(Message("no random start was found that is clear of the table", Severity.WARNING))
            return False
        self._source.lead_to(stands + way)
        return True

    @property
    def under_way(self) -> bool:
        """The follower is still led there."""
        return self._source.led

    @property
    def arrived(self) -> bool:
        """It is there, and nothing came between."""
        return self._source.arrived

    def give_up(self) -> None:
        """No way to a start any more: the follower goes back to the leader."""
        self._source.reset()

    def begin(self, number: int) -> str:
        """Episode `number` (from 0) begins; returns what a person should know of it, or nothing."""
        if self._disturbance is None or not is_disturbed(number, self._disturb):
            return ""
        self._disturbance.begin()
        return "DISTURBED: the follower wobbles on purpose"

    def end(self) -> None:
        """The episode is over."""
        if self._disturbance is not None:
            self._disturbance.end()

    def _stands(self) -> NDArray[np.float64]:
        last = self._guard.last_command
        assert last is not None  # the loop has read the arm
        return last

    def _draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        lower, upper = self._guard.lower + INSIDE_ENDS_DEG, self._guard.upper - INSIDE_ENDS_DEG
        lower[0], upper[0] = max(lower[0], -MOST_PAN_DEG), min(upper[0], MOST_PAN_DEG)
        pose = rng.uniform(np.minimum(lower, upper), upper)
        pose[GRIPPER] = self._stands()[GRIPPER]
        return pose

    def _clear(self, pose: NDArray[np.float64]) -> bool:
        return self._height.m(pose) >= ABOVE_TABLE_M and not self._guard.objections(pose)


def is_disturbed(number: int, share: float) -> bool:
    """Whether episode `number` (from 0) is one of the `share` that are: every second one of 0.5, and so on."""
    return math.floor((number + 1) * share + 1e-9) > math.floor(number * share + 1e-9)


def in_words(share: float) -> str:
    """For a person, before it begins."""
    which = "every episode" if share >= 1 else f"{100 * share:.0f} % of the episodes"
    return (
        f"in {which} the follower WOBBLES on purpose, slowly and a few degrees; not near the table, and not while the "
        "jaws move or hold something. Lead as if it did not: what you ask for is what is recorded"
    )
