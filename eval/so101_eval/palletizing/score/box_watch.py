"""What happens to one box, tick by tick: milestones, and what goes wrong with it.

A `BoxWatch` is a small state machine over poses and touches. It does not know MuJoCo, so that whatever tracks
a real box could feed it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.reset_data import BoxStart, PalletStart
from so101_eval.palletizing.score.placement import Pose, inside_footprint
from so101_eval.palletizing.score.record import Event

STABLE_S = 2.0
"""[s] a box must stand unmoved after it was let go."""
STILL_M, STILL_RAD = 0.002, math.radians(2.0)
"""Movement below this is none: a box that is let go settles by 1 mm."""
SETTLE_S = 0.3  # [s] after the release, in which a box may still come to rest
REACH_M = 0.025  # [m] from the middle between the jaws to a box that they can close on
LIFT_M = 0.010  # [m] above where it lay
DROP_M = 0.010  # [m] of fall after the release
SLIP_M = 0.008  # [m] in the jaws, on the way
SHOVE_M = 0.010  # [m] that a box which nobody grasps is pushed
TOPPLE_RAD = math.radians(20.0)
DEBOUNCE = 2  # ticks for which the jaws must touch, or not touch, a box


class Hand(NamedTuple):
    """The gripper at one moment."""

    middle_m: NDArray[np.float64]
    """(3,) between the pads."""
    R_world_gripper: NDArray[np.float64]
    """(3, 3)"""
    jaw_rad: float


class BoxState(NamedTuple):
    """A box at one moment."""

    pose: Pose
    held: bool
    """Between both jaws."""
    fingers: bool
    """Touched by the arm."""
    supported: bool
    """Touches the bench, the pallet or another box: pressed on those it may move in the jaws."""


class _Rest(NamedTuple):
    """Where a box came to rest, and when."""

    pose: Pose
    time_s: float


@dataclass
class BoxWatch:
    """One box through an attempt."""

    index: int
    start: BoxStart
    pallet: PalletStart
    fits: Callable[[Pose], bool]
    """Whether a box that rests like this stands in some slot as it should."""

    def __post_init__(self) -> None:
        self.times: dict[str, float] = {}
        """Milestones passed once and for all."""
        self.events: list[Event] = []
        self.drops = 0
        self.held = False
        self.lifted = False
        self.over_pallet = False
        """While it is carried."""
        self.released_s: float | None = None
        """The last time the jaws let go of it after a lift."""
        self.unmoved_since_s: float | None = None
        """It has stood still and free since."""
        self._phase = "rest"
        self._touching = 0
        self._grip: NDArray[np.float64] | None = None
        self._release: Pose | None = None
        start = self.start
        self._lay = Pose((start.x_m, start.y_m, start.edge_m / 2), start.yaw_rad, 0.0)
        self._rest = _Rest(self._lay, 0.0)
        self._settled = True
        self._slipped = self._shoved = self._toppled = False

    @property
    def lying_m(self) -> tuple[float, float, float]:
        """Where it lies or last lay."""
        return self._lay.position_m

    def moved(self, pose: Pose) -> None:
        """Somebody else moved it, and it lies there at rest: that is no push of the arm's."""
        self._lay, self._rest = pose, self._rest._replace(pose=pose)

    def see(self, time_s: float, box: BoxState, hand: Hand, phase: str = "rest") -> None:
        """A moment later. `phase` is what the arm is about, for what befalls a box that nobody holds."""
        self._phase = phase
        between = float(np.linalg.norm(hand.middle_m - box.pose.position_m)) < REACH_M
        if between:
            self.times.setdefault("reached", time_s)
        self._hold(time_s, box, hand)
        if self.held:
            self._carry(time_s, box, hand)
        else:
            self._lie(time_s, box, between)

    def stable(self, time_s: float) -> bool:
        """Let go of, and unmoved for two seconds."""
        since_s = self.unmoved_since_s
        return self.released_s is not None and since_s is not None and time_s - since_s >= STABLE_S - 1e-6

    def _hold(self, time_s: float, box: BoxState, hand: Hand) -> None:
        """Enter and leave the jaws, after a debounce."""
        same = box.held == self.held
        self._touching = 0 if same else self._touching + 1
        if self._touching < DEBOUNCE:
            return
        self._touching = 0
        self.held = box.held
        if self.held:
            self.times.setdefault("grasped", time_s)
            self.unmoved_since_s, self._grip, self._release = None, None, None
            self._slipped = False
        else:
            self._let_go(time_s, box)

    def _carry(self, time_s: float, box: BoxState, hand: Hand) -> None:
        height_m = box.pose.position_m[2] - self.lying_m[2]
        if height_m > LIFT_M and not self.lifted:
            self.lifted = True
            self.times.setdefault("lifted", time_s)
        if not self.lifted:
            return
        self.over_pallet = inside_footprint(self.pallet, box.pose.position_m)
        if self.over_pallet:
            self.times.setdefault("over_pallet", time_s)
        if box.held:
            self._watch_grip(time_s, box, hand)

    def _watch_grip(self, time_s: float, box: BoxState, hand: Hand) -> None:
        in_hand = hand.R_world_gripper.T @ (np.array(box.pose.position_m) - hand.middle_m)
        # along the jaws' closing direction (x) a box moves when they open or the servos give: that is no slip
        if self._grip is None:
            self._grip = in_hand
        slid_m = float(np.linalg.norm((in_hand - self._grip)[1:]))
        if slid_m > SLIP_M and not self._slipped and not box.supported:
            self._slipped = True
            self._note(time_s, "slip", "carry", f"{slid_m * 1000:.0f} mm in the jaws")

    def _let_go(self, time_s: float, box: BoxState) -> None:
        if self.lifted:
            self.released_s = time_s
            if inside_footprint(self.pallet, box.pose.position_m):
                self.times.setdefault("released", time_s)
        elif box.pose.position_m[2] > self.lying_m[2] + STILL_M:
            self._note(time_s, "slip", "grasp", "lost before it was lifted")
        else:
            self._note(time_s, "missed_grasp", "grasp", "let go before it was lifted")
        self.lifted = self.over_pallet = False
        self._release, self._settled = box.pose, False
        self._rest = _Rest(box.pose, time_s)
        self._shoved = self._toppled = False

    def _lie(self, time_s: float, box: BoxState, between: bool) -> None:
        """Free: stands still, is pushed, comes to rest again, topples."""
        if between and self._release is None:
            self._lay = box.pose  # what moves it now is a try, and nobody running into it
        self._watch_pushes(time_s, box)
        if _moved(box.pose, self._rest.pose):
            self._rest = _Rest(box.pose, time_s)
            self._settled, self.unmoved_since_s = False, None
        elif not self._settled and time_s - self._rest.time_s >= SETTLE_S:
            self._come_to_rest(box)

    def _watch_pushes(self, time_s: float, box: BoxState) -> None:
        if self._release is not None:
            return  # it is being let go; `_judge_release` will tell
        pushed_m = math.dist(box.pose.position_m, self.lying_m)
        if pushed_m > SHOVE_M and not self._shoved:
            self._shoved = True
            self._note(time_s, "collision", self._phase, f"pushed by {pushed_m * 1000:.0f} mm")
        if box.pose.tilt_rad > TOPPLE_RAD and not self._toppled:
            self._toppled = True
            self._note(time_s, "topple", self._phase, _tilt(box.pose))

    def _come_to_rest(self, box: BoxState) -> None:
        self._settled, self._shoved = True, False
        self._lay, self.unmoved_since_s = box.pose, self._rest.time_s
        if self._release is not None and self.released_s is not None:
            self._judge_release(self.released_s, self._release, box.pose)
        self._release = None

    def _judge_release(self, time_s: float, before: Pose, after: Pose) -> None:
        fall_m = before.position_m[2] - after.position_m[2]
        if fall_m > DROP_M:
            self.drops += 1
            phase = "place" if inside_footprint(self.pallet, before.position_m) else "carry"
            self._note(time_s, "drop", phase, f"fell {fall_m * 1000:.0f} mm")
        elif after.tilt_rad > TOPPLE_RAD:
            self._toppled = True
            self._note(time_s, "topple", "place", _tilt(after))
        elif not self.fits(after):
            self._note(time_s, "misplace", "place", "let go where it does not belong")

    def _note(self, time_s: float, kind: str, phase: str, detail: str) -> None:
        self.events.append(Event(time_s, kind, phase, self.index, detail))


def _tilt(pose: Pose) -> str:
    return f"tilted by {math.degrees(pose.tilt_rad):.0f} degrees"


def _moved(now: Pose, before: Pose) -> bool:
    turn_rad = (now.yaw_rad - before.yaw_rad + math.pi) % (2 * math.pi) - math.pi
    return (
        math.dist(now.position_m, before.position_m) > STILL_M
        or abs(turn_rad) > STILL_RAD
        or abs(now.tilt_rad - before.tilt_rad) > STILL_RAD
    )
