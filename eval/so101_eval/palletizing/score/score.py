"""The score of an attempt in the simulated scene: what happened, read from the world's truth.

`Scorer.observe` is called once per control tick and looks only; `result` may be asked at any time and
speaks of the attempt so far. Contacts are seen at the ticks: a bump between two looks that moves nothing
is missed. The schema (`record.Score`) is shared with the real arm.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import mujoco
import numpy as np

from so101_eval.palletizing.scene.reset_data import PalletStart, Reset
from so101_eval.palletizing.scene.tasks import SECONDS_PER_BOX, Task, load_task
from so101_eval.palletizing.score.box_watch import STABLE_S, BoxState, BoxWatch, Hand
from so101_eval.palletizing.score.contacts import COLLISION_N, Toucher, Touches
from so101_eval.palletizing.score.missed_grasp import JawWatch
from so101_eval.palletizing.score.placement import Placement, Pose, assign, measure
from so101_eval.palletizing.score.record import BoxScore, Event, Score
from so101_eval.palletizing.score.smoothness import Carries
from so101_robot.joints import JOINTS
from so101_robot.mock.physics.world import World

__all__ = ["BoxScore", "Event", "Score", "Scorer"]

MOVED_RAD = math.radians(5.0)
"""An arm whose joints have all stayed within this of the start has never moved: under its own weight it sags by 3
degrees."""
NEAR_M = 0.040  # [m] from a box, beside it: a missed grasp; farther away the jaws closed on nothing
PRESSES_APART_S = 0.5  # pressing on the bench is one collision until it has stopped for so long
PLACING_S = 1.0  # after the release, while the fingers leave the box
GRACE_S = STABLE_S + 0.5
"""[s] after the time limit until nothing can change: the last box must be let go in time and then stand."""


class Scorer:
    """Watches a `World` that was laid out with `reset`."""

    def __init__(self, world: World, reset: Reset, task: Task | None = None) -> None:
        """task: that the reset is of; None: the built-in one of that name."""
        self._world, self._data, self.reset = world, world.data, reset
        self._pallet = reset.pallet
        self.task = load_task(reset.task) if task is None else task
        model = world.model
        self._box_qpos = [model.joint(f"box/{i}").qposadr[0] for i in range(len(reset.boxes))]
        self._pads = [model.geom(name).id for name in ("fj_pad", "mj_pad")]
        self._gripper = model.body("gripper").id
        self._jaw_qpos = int(world.joint_qpos[JOINTS.index("gripper")])
        self._toucher = Toucher(world, len(reset.boxes))
        self.watches = [
            BoxWatch(i, box, reset.pallet, partial(self._fits, box.edge_m))
            for i, box in enumerate(reset.boxes)
            if box.present
        ]
        self._jaws = JawWatch()
        self._events: list[Event] = []
        self._collisions = 0
        self._last_press_s = -math.inf
        self._zero_s: float | None = None
        self._time_s = 0.0
        self._ticks = 0
        self._start_rad = self._data.qpos[world.joint_qpos].copy()
        self._strayed_rad = 0.0
        self._carries = Carries()
        self._progress: tuple[int, float] = (0, 0.0)
        self._aborted: Event | None = None

    # during the attempt

    def observe(self, time_s: float) -> None:
        """Look at the world. The first call sets time zero; call it before the first action."""
        if self._zero_s is None:
            self._zero_s = time_s
        if self._aborted is not None or (self._ticks and time_s - self._zero_s <= self._time_s):
            return
        self._time_s = time_s - self._zero_s
        if not self._sane():
            self.abort("nan", "the physics state is not a number")
            return
        hand = self._hand()
        touches = self._toucher.read()
        phase = self.phase
        for watch in self.watches:
            i = watch.index
            box = BoxState(self.pose(i), touches.held[i], touches.fingers[i], touches.supported[i])
            watch.see(self._time_s, box, hand, phase)
        self._watch_jaws(hand)
        self._watch_collisions(touches)
        self._carries.see(hand.middle_m, any(watch.held and watch.lifted for watch in self.watches))
        self._watch_progress()
        self._ticks += 1

    def box_moved(self, box: int) -> None:
        """Somebody else moved that box."""
        for watch in self.watches:
            if watch.index == box:
                watch.moved(self.pose(box))

    def pallet_moved(self, pallet: PalletStart) -> None:
        """The pallet is there now."""
        self._pallet = pallet
        for watch in self.watches:
            watch.pallet = pallet

    def abort(self, kind: str, detail: str = "") -> None:
        """The attempt ended otherwise: an action that is not a number (`nan`), a stop by the guard.

        `kind` is one of `record.FAILURES`; nothing is watched afterwards.
        """
        self._aborted = Event(self._time_s, kind, self.phase, None, detail)
        self._events.append(self._aborted)

    @property
    def phase(self) -> str:
        """What the arm is about; one of `record.PHASES`."""
        held = next((watch for watch in self.watches if watch.held), None)
        if held is not None:
            return ("place" if held.over_pallet else "carry") if held.lifted else "grasp"
        if any(self._time_s - (watch.released_s or -math.inf) < PLACING_S for watch in self.watches):
            return "place"
        if self._jaws.closed_at_m is not None:
            return "grasp"
        waiting = any(watch.released_s is None for watch in self.watches)
        return "approach" if waiting else "rest"

    @property
    def done(self) -> bool:
        """Nothing can change any more: all boxes stand as they should for two seconds, or time is up."""
        if self._aborted is not None or self._time_s >= self.task.time_limit_s + GRACE_S:
            return True
        if len(self.watches) < len(self.reset.boxes):
            return False  # a catch trial: whether it reaches for what is not there shows to the end
        if any(watch.held or not watch.stable(self._time_s) for watch in self.watches):
            return False
        return all(placement.good for _, placement in self._standing().values())

    # its parts

    def _sane(self) -> bool:
        return bool(np.all(np.isfinite(self._data.qpos))) and not self._data.warning.number[_BAD].any()

    def pose(self, box: int) -> Pose:
        """Where a box is now."""
        address = self._box_qpos[box]
        return Pose.of(self._data.qpos[address : address + 7])

    def _hand(self) -> Hand:
        data = self._data
        middle_m = (data.geom_xpos[self._pads[0]] + data.geom_xpos[self._pads[1]]) / 2
        return Hand(middle_m, data.xmat[self._gripper].reshape(3, 3).copy(), float(data.qpos[self._jaw_qpos]))

    def _watch_jaws(self, hand: Hand) -> None:
        held = any(watch.held for watch in self.watches)
        closed_at_m = self._jaws.see(hand, held)
        if closed_at_m is None:
            return
        waiting = [watch for watch in self.watches if not watch.stable(self._time_s)]
        near = min(waiting, key=lambda watch: math.dist(watch.lying_m[:2], closed_at_m[:2]), default=None)
        if near is not None and math.dist(near.lying_m[:2], closed_at_m[:2]) < NEAR_M:
            self._events.append(Event(self._time_s, "missed_grasp", "grasp", near.index))
        else:
            self._jaws.on_nothing += 1
            self._events.append(Event(self._time_s, "missed_grasp", "grasp", None, "closed far from any box"))

    def _watch_collisions(self, touches: Touches) -> None:
        if touches.press_n > COLLISION_N:
            if self._time_s - self._last_press_s > PRESSES_APART_S:
                self._collisions += 1
                detail = f"{touches.partner}: {touches.press_n:.0f} N"
                held = next((watch.index for watch in self.watches if watch.held), None)
                self._events.append(Event(self._time_s, "collision", self.phase, held, detail))
            self._last_press_s = self._time_s

    def _watch_progress(self) -> None:
        passed = sum(len(watch.times) for watch in self.watches)
        if passed > self._progress[0]:
            self._progress = passed, self._time_s
        strayed_rad = np.abs(self._data.qpos[self._world.joint_qpos] - self._start_rad).max()
        self._strayed_rad = max(self._strayed_rad, float(strayed_rad))

    def _fits(self, edge_m: float, pose: Pose) -> bool:
        """Whether a box stands in some slot as it should."""
        return any(measure(pose, edge_m, slot, self._pallet).good for slot in self.task.slots)

    def _standing(self) -> dict[int, tuple[int, Placement]]:
        """Box -> the slot that it counts for, and how it stands there."""
        boxes = [watch.index for watch in self.watches]
        table = [
            [
                measure(self.pose(i), self.reset.boxes[i].edge_m, slot, self._pallet)
                for slot in self.task.slots
            ]
            for i in boxes
        ]
        slots = assign(table)
        return {box: (slot, row[slot]) for box, slot, row in zip(boxes, slots, table, strict=True)}

    # afterwards

    def result(self) -> Score:
        """The score of the attempt so far."""
        standing = {} if self._aborted is not None and not self._sane() else self._standing()
        boxes = self._box_scores(standing)
        present = [box for box in boxes if box.milestones]
        unmeasured: dict[str, str] = {}
        catch = len(self.watches) < len(self.reset.boxes)
        all_good = all(box.good for box in present) and not any(watch.drops for watch in self.watches)
        last_s = max((watch.released_s or 0.0 for watch in self.watches), default=0.0)
        success = all_good and last_s <= self.task.time_limit_s and self._aborted is None
        good = sum(bool(box.good) for box in present)
        robot_s = last_s if success and not catch else min(self._time_s, self.task.time_limit_s)
        if catch:
            unmeasured["success"] = "a box was taken away (catch trial)"
        if not present:
            unmeasured["credit"] = "no box is there (catch trial)"
        if not good:
            unmeasured["seconds_per_box"] = "no box stands as it should"
        if robot_s <= 0:
            unmeasured["boxes_per_hour"] = "no time has passed"
        rate_hz = self._ticks / self._time_s if self._time_s > 0 else 0.0
        spectral, jerk = self._carries.smoothness(rate_hz)
        if spectral is None:
            unmeasured["sparc"] = unmeasured["ldlj"] = "no box was carried to its release"
        return Score(
            task=self.reset.task,
            suite=self.reset.suite,
            scenario=self.reset.scenario,
            level=self.reset.level,
            seed=self.reset.seed,
            backend="mujoco",
            success=None if catch else success,
            credit=float(np.mean([box.credit for box in present])) if present else None,
            boxes=boxes,
            drops=sum(watch.drops for watch in self.watches),
            collisions=self._collisions + sum(e.kind == "collision" for w in self.watches for e in w.events),
            empty_grasps=self._jaws.on_nothing,
            duration_s=self._time_s,
            robot_s=robot_s,
            seconds_per_box=robot_s / good if good else None,
            boxes_per_hour=3600.0 * good / robot_s if robot_s > 0 else None,
            sparc=spectral,
            ldlj=jerk,
            failure=None if success or catch else self._failure(boxes),
            events=self._all_events(),
            unmeasured=unmeasured,
        )

    def _box_scores(self, standing: dict[int, tuple[int, Placement]]) -> tuple[BoxScore, ...]:
        watches = {watch.index: watch for watch in self.watches}
        ends = sorted(watch.released_s for watch in self.watches if watch.released_s is not None)
        scores: list[BoxScore] = []
        for i in range(len(self.reset.boxes)):
            if i not in watches:
                scores.append(_unknown(i, "taken away (catch trial)"))
            elif i not in standing:
                scores.append(_unknown(i, "the physics state is not a number"))
            else:
                scores.append(self._box_score(watches[i], *standing[i], ends))
        return tuple(scores)

    def _box_score(self, watch: BoxWatch, slot: int, placed: Placement, ends: Sequence[float]) -> BoxScore:
        stable = watch.stable(self._time_s)
        times: dict[str, float | None] = {**dict.fromkeys(_PASSED), **watch.times}
        times["in_tolerance"] = watch.released_s if placed.good else None
        times["stable"] = watch.unmoved_since_s if stable and placed.good else None
        released_s = watch.released_s
        before_s = max((end for end in ends if end < (released_s or 0.0)), default=0.0)
        return BoxScore(
            box=watch.index, slot=slot, good=placed.good and stable and released_s is not None,
            milestones=times,
            du_mm=placed.du_mm, dv_mm=placed.dv_mm, error_mm=placed.error_mm, dz_mm=placed.dz_mm,
            yaw_deg=placed.yaw_deg, tilt_deg=placed.tilt_deg, overhang_mm=placed.overhang_mm,
            seconds=None if released_s is None else released_s - before_s,
            drops=watch.drops,
            unmeasured={"seconds": "never let go of after a lift"} if released_s is None else {},
        )  # fmt: skip

    def _all_events(self) -> tuple[Event, ...]:
        events = self._events + [event for watch in self.watches for event in watch.events]
        return tuple(sorted(events, key=lambda event: event.time_s))

    def _failure(self, boxes: Sequence[BoxScore]) -> Event:
        """The earliest event that was not made good again, else what can be said at the end."""
        if self._aborted is not None:
            return self._aborted
        if self._strayed_rad < MOVED_RAD:
            return Event(self._time_s, "never_moved", "approach")
        bad = {box.box for box in boxes if not box.good}
        events = [
            e for e in self._all_events() if e.box in bad or e.kind == "drop" or (bad and e.box is None)
        ]
        if events:
            return events[0]
        if any(watch.index in bad and watch.stable(self._time_s) for watch in self.watches):
            return Event(self._time_s, "misplace", "rest", None, "two boxes for one slot, or moved on")
        progressing = self._time_s - self._progress[1] < SECONDS_PER_BOX
        return Event(self._time_s, "timeout_progressing" if progressing else "timeout_stuck", self.phase)


_BAD = [
    int(kind)
    for kind in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
    )
]
"""MuJoCo resets a state that has blown up, and counts it here."""
_PASSED = ("reached", "grasped", "lifted", "over_pallet", "released")


def _unknown(box: int, reason: str) -> BoxScore:
    names = (
        *("slot", "good", "du_mm", "dv_mm", "error_mm", "dz_mm", "yaw_deg", "tilt_deg", "overhang_mm"),
        *("seconds", "drops"),
    )
    nothing: dict[str, Any] = dict.fromkeys(names)
    return BoxScore(box=box, milestones={}, unmeasured=dict.fromkeys(names, reason), **nothing)
