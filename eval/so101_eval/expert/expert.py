"""A scripted arm that palletizes: the teacher of demonstrations, and proof that a task can be done.

It drives the robot as a policy does, one joint target a tick, and passes the same guard and the same wire. Only its
senses are better: where boxes, pallet and its own hand are it reads from the world, and it knows by how much the
servos' zeros are off. What is recorded of it holds only what is measured.

The recipe, box by box: go over the box with open jaws, a face towards the fixed jaw; down; close, which slides
the box onto the fixed pad; up; carry it over its slot; down, with a look from just above at how it hangs in
the jaws; let go; back off from the pad; up. A box that is not in the jaws after lifting, or is lost on the way,
is tried once more. When the box or the pallet was moved meanwhile, it goes there instead.

Every seed has its own pace, height and bow of the path (`Style`), so that demonstrations are not one motion.
"""

import itertools
import math
from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from so101_eval.episode.episode import Attempt, Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.expert.grips import Box, room_m, ways
from so101_eval.expert.ik import ROLL, Grasp, Vector, gripper_rad
from so101_eval.expert.mover import Motion, Mover, Style, azimuth_rad
from so101_eval.expert.tempo import Tempo
from so101_eval.palletizing.scene.draw import Reset, draw, stream
from so101_eval.palletizing.scene.happenings import pallet_now
from so101_eval.palletizing.scene.reset_data import PalletStart
from so101_eval.palletizing.scene.scenarios import NOMINAL
from so101_eval.palletizing.scene.tasks import LIFT_REACH_M, PALLET_M, PAN_AXIS_M, Slot, Task, load_task
from so101_eval.palletizing.score.placement import in_world
from so101_robot.arm.arm import SO101
from so101_robot.chunks.inference import Observation
from so101_robot.joints import GRIPPER
from so101_robot.mock.physics.world import World

CARRY_M, CARRY_HIGH_M = 0.062, 0.074
"""Height of the pads on the way: a box passes over one layer on the pallet, over two. Above this the arm can
hardly hold its fingers upright: wrist_flex ends."""

PICK_CLEARANCE_M = 0.006
"""From the fixed pad to the box when the fingers go down."""
PICK_OPEN_M = 0.009
"""From the moving jaw's pad to the box when the fingers go down."""

LOOK_M = 0.010
"""Height above the slot at which the arm stops and looks again."""
PRESS_M = 0.0005
"""The arm sets a box down by aiming this much too low, with less than its own weight. One that falls the last
millimetre scrapes along the fixed pad and turns by up to 10 degrees."""
TOUCH_TICKS = 6
"""How long the arm settles on what it sets down: longer, and it leans on it."""
RELEASE_RAD, RELEASE_M = 0.16, 0.0125
"""The jaws open by this to let go: an angle, and what it is between the pads."""
BACK_OFF_M = 0.0020
"""Fixed pad from the box before the fingers rise: friction would lift the box's edge."""

AIR_M, AIR_GAP_M, AIR_TICKS = 0.022, 0.012, 10
"""A grasp of air: how high above the right one, how far the jaws close, and for how long."""

TRIES = 2
MOVED_M = 0.004
"""A box or a pallet that is this far from where it was planned for was moved."""
MOST_CHASES = 3
"""So often the arm goes after a box that is moved before it closes its jaws."""
ALONG_M = 0.020
"""A box that is farther than this below the pads, on the way, is not between them."""
SPREAD_M = 0.045
"""Between the pads of jaws that shall hold nothing."""

ROOM_WANTED_M = 0.004
ROOM_COST_RAD_M = 400.0
"""A missing millimetre of room is worth 0.4 rad of wrist motion."""
TURN_TO_PICK = 0.3
"""Turning the empty wrist counts less than turning it with a box."""


class _Way(NamedTuple):
    """A grasp, the roll angle that it takes, and what speaks against it [rad]."""

    grasp: Grasp
    roll_rad: float
    cost_rad: float


class Expert:
    """The script of one attempt: call it once a tick until it returns None.

    Args:
        world: the world in which the arm stands, for its eyes.
        robot: connected; its calibration and gains are read, nothing is sent.
        reset: what was laid out: the task, the pallet's place, the seed.
        by_hand: as a person would do it with a leader arm: with pauses, at an uneven speed, past the box and back,
            idle before and after, and with a grasp of air now and then.
    """

    def __init__(self, world: World, robot: SO101, reset: Reset, by_hand: bool = False) -> None:
        self._world, self._reset = world, reset
        self._slots = load_task(reset.task).slots
        self.style = Style.draw(stream("expert", reset.seed))
        self._tempo: Tempo | None = None
        if by_hand:
            self.style = self.style.by_hand(stream("by hand", reset.seed))
            self._tempo = Tempo(stream("tempo", reset.seed))
        self.mover = Mover(robot, self.style, reset.zero_error_rad)
        self._stands: dict[Slot, int] = {}
        self._waiting = [i for i, box in enumerate(reset.boxes) if box.present]
        self._work = self._palletize()
        self.phase = "start"
        """What it is doing, for logs."""

    def __call__(self, observation: Observation) -> Vector | None:
        """The joint target (6,) for this tick in LeRobot units; None when the work is done."""
        self.mover.sense(self._world.data.qpos[self._world.joint_qpos])
        reference_rad = next(self._work, None) if self._tempo is None else self._tempo(self._work)
        return None if reference_rad is None else self.mover.goal(reference_rad)

    # the work

    def _palletize(self) -> Motion:
        self.mover.start()
        home_rad = self.mover.here_rad
        for slot in self._slots:
            if self._waiting:
                yield from self._bring(self._next_box(), slot)
        self.phase = "home"
        self.mover.jaws_rad = float(home_rad[GRIPPER])
        yield from self.mover.through_joints(home_rad)

    def _bring(self, index: int, slot: Slot) -> Motion:
        self._waiting.remove(index)
        for _ in range(TRIES):
            place = yield from self._grasp(index, slot)
            if self._holds(index):
                yield from self._carry(index, slot, place)
            if self._holds(index):
                yield from self._set_down(index, slot)
                self._stands[slot] = index
                return
            yield from self._give_up()

    def _grasp(self, index: int, slot: Slot) -> Generator[Vector, None, Grasp]:
        """Take the box, wherever it is moved before the jaws close; returns how it is to be set down."""
        box, mover = self._reset.boxes[index], self.mover
        chases = 0
        while True:
            seen_m = self._box(index).centre_m
            pick, place = self._choose(index, slot)
            beside = pick.shifted(along_m=-PICK_CLEARANCE_M, up_m=self.style.deeper_m)
            self.phase = "reach"
            yield from self._over(beside, gripper_rad(box.edge_m + PICK_CLEARANCE_M + PICK_OPEN_M))
            if chases < MOST_CHASES and self._was_moved(index, seen_m):
                chases += 1
                continue
            self.phase = "descend"
            if self.style.grasps_air and not self._stands:
                self.style = replace(self.style, grasps_air=False)
                yield from self._grasp_air(beside)
                continue
            yield from mover.line(beside)
            yield from mover.settle()
            if chases == MOST_CHASES or not self._was_moved(index, seen_m):
                break
            chases += 1
            yield from mover.line(self._above(mover.here()))
        self.phase = "close"
        yield from mover.close(box.edge_m)
        self.phase = "lift"
        mover.tracker.load_kg = box.mass_kg
        yield from mover.line(self._above(mover.here()))
        return place

    def _was_moved(self, index: int, seen_m: Vector) -> bool:
        """The box lies elsewhere now, where the arm can take it."""
        now_m = self._box(index).centre_m
        near_m, far_m = LIFT_REACH_M
        return math.dist(now_m, seen_m) > MOVED_M and near_m <= math.dist(now_m[:2], PAN_AXIS_M) <= far_m

    def _over(self, beside: Grasp, jaws_rad: float) -> Motion:
        """Above the box; past it and back, where that is the style."""
        above, past_m = self._above(beside), self.style.past_m
        if past_m:
            way_m = above.position_m - self.mover.here().position_m
            way_m[2] = 0.0
            way_m *= past_m / max(float(np.linalg.norm(way_m)), past_m)
            yield from self.mover.over(Grasp(above.position_m + way_m, above.yaw_rad), jaws_rad)
        yield from self.mover.over(above, jaws_rad)

    def _grasp_air(self, beside: Grasp) -> Motion:
        """Close above the box, and open again."""
        yield from self.mover.line(beside.shifted(up_m=AIR_M))
        self.phase = "close"
        jaws_rad = float(self.mover.measured_rad[GRIPPER])
        self.mover.jaws_rad = gripper_rad(AIR_GAP_M)
        yield from self.mover.wait(AIR_TICKS)
        self.mover.jaws_rad = jaws_rad
        yield from self.mover.wait(AIR_TICKS)
        yield from self.mover.line(self._above(self.mover.here()))

    def _carry(self, index: int, slot: Slot, place: Grasp) -> Motion:
        """Over the slot, also when the pallet is moved on the way."""
        self.phase = "carry"
        pallet = self._pallet
        yield from self.mover.over(self._above(place))
        if self._pallet != pallet and self._holds(index):
            way_m = (self._pallet.x_m - pallet.x_m, self._pallet.y_m - pallet.y_m, 0.0)
            yield from self.mover.over(self._above(Grasp(place.position_m + way_m, place.yaw_rad)))

    def _set_down(self, index: int, slot: Slot) -> Motion:
        mover = self.mover
        self.phase = "lower"
        yield from mover.line(self._to_stand(index, slot).shifted(up_m=LOOK_M))
        yield from mover.settle()
        stand = self._to_stand(index, slot)
        yield from mover.line(stand)
        yield from mover.settle(TOUCH_TICKS)
        self.phase = "release"
        yield from mover.open(RELEASE_RAD)
        mover.tracker.load_kg = 0.0
        yield from mover.line(stand.shifted(along_m=-BACK_OFF_M))
        self.phase = "retreat"
        yield from mover.line(self._above(mover.here()))

    def _give_up(self) -> Motion:
        """Open the jaws and rise, whatever is in them."""
        self.phase = "recover"
        self.mover.tracker.load_kg = 0.0
        self.mover.jaws_rad = gripper_rad(SPREAD_M)
        yield from self.mover.line(self._above(self.mover.here()))
        yield from self.mover.wait(6)

    # what to do

    def _next_box(self) -> int:
        """The waiting box that is nearest to the pallet, about the pan axis."""
        return min(self._waiting, key=lambda i: azimuth_rad(self._box(i).centre_m))

    def _choose(self, index: int, slot: Slot) -> tuple[Grasp, Grasp]:
        """How to take a box and how to set it down: reachable, with room for the fingers, the wrist turned
        little."""
        box, layer = self._box(index), [s for s in self._slots if s.layer == slot.layer and s != slot]
        others = [self._box(i) for i in range(len(self._reset.boxes)) if i != index]
        neighbours = [self._in_slot(s, box.edge_m) for s in layer]  # also of boxes that are still to come
        gap_m = box.edge_m + PICK_CLEARANCE_M + PICK_OPEN_M
        picks = [self._judge(way, PICK_CLEARANCE_M, gap_m, others) for way in ways(box)]
        gap_m = box.edge_m + RELEASE_M
        in_slot = ways(self._in_slot(slot, box.edge_m))
        places = [self._judge(way, 0.0, gap_m, [*others, *neighbours]) for way in in_slot]
        now_rad = float(self.mover.here_rad[ROLL])

        def cost_rad(pair: tuple[_Way, _Way]) -> float:
            pick, place = pair
            to_pick_rad, to_place_rad = abs(pick.roll_rad - now_rad), abs(place.roll_rad - pick.roll_rad)
            return pick.cost_rad + place.cost_rad + TURN_TO_PICK * to_pick_rad + to_place_rad

        pick, place = min(itertools.product(picks, places), key=cost_rad)
        return pick.grasp, place.grasp

    def _judge(self, way: Grasp, beside_m: float, gap_m: float, others: list[Box]) -> _Way:
        """A way to grasp, jaws `gap_m` apart, the fixed one `beside_m` from the box."""
        beside = way.shifted(along_m=-beside_m)
        cost_rad = ROOM_COST_RAD_M * max(0.0, ROOM_WANTED_M - room_m(beside, gap_m, others))
        low, high = (self.mover.arm.solve(grasp) for grasp in (beside, self._above(beside)))
        for found in (low, high):
            cost_rad += 0.0 if found.reached else 10.0 + 100.0 * found.off_m + 10.0 * found.off_rad
        return _Way(way, float(low.joint_rad[ROLL]), cost_rad)

    def _to_stand(self, index: int, slot: Slot) -> Grasp:
        """Where the jaws have to be for the box in them to stand in its slot, from how it hangs there now."""
        now, box = self.mover.arm.grasp(self.mover.measured_rad), self._box(index)
        goal = self._in_slot(slot, box.edge_m)
        turn_rad = math.remainder(goal.yaw_rad - box.yaw_rad, math.pi / 2)
        cos, sin = math.cos(turn_rad), math.sin(turn_rad)
        dx_m, dy_m, dz_m = (box.centre_m - now.position_m).tolist()
        turned_m = np.array([cos * dx_m - sin * dy_m, sin * dx_m + cos * dy_m, dz_m + PRESS_M])
        return Grasp(goal.centre_m - turned_m, now.yaw_rad + turn_rad)

    def _above(self, grasp: Grasp) -> Grasp:
        """Where the arm travels."""
        height_m = CARRY_HIGH_M if any(slot.layer for slot in self._slots) else CARRY_M
        return self.mover.highest(grasp, height_m + self.style.higher_m)

    # eyes

    def _box(self, index: int) -> Box:
        body = self._world.data.body(f"box/{index}")
        R_world_box = body.xmat.reshape(3, 3)
        flat = int(np.abs(R_world_box[2]).argmin())  # the edge that lies flattest shows the yaw
        yaw_rad = math.atan2(R_world_box[1, flat], R_world_box[0, flat])
        return Box(body.xpos.copy(), yaw_rad, self._reset.boxes[index].edge_m)

    def _in_slot(self, slot: Slot, edge_m: float) -> Box:
        """A box that stands in its slot, on what stands below."""
        below = self._stands.get(slot._replace(layer=slot.layer - 1))
        ground_m = PALLET_M[2] if below is None else self._box(below).top_m
        pallet = self._pallet
        x_m, y_m = in_world(pallet, slot.u_m, slot.v_m)
        return Box(np.array([x_m, y_m, ground_m + edge_m / 2]), pallet.yaw_rad, edge_m)

    @property
    def _pallet(self) -> PalletStart:
        return pallet_now(self._world, self._reset)

    def _holds(self, index: int) -> bool:
        """Whether the box has come along, seen from its height on the way."""
        return bool(abs(self._box(index).centre_m[2] - self.mover.here().position_m[2]) < ALONG_M)


def run_expert(
    task: Task | str, scenario: str = NOMINAL, level: int = 0, seed: int = 0, stage: Stage | None = None
) -> Attempt:
    """One attempt of the expert; on `stage` if there is one for the task already.

    Raises `ConfigError` and `LayoutError` as `draw.draw`.
    """
    reset = draw(task, scenario, level, seed)
    if stage is not None:
        return stage.attempt(reset, lambda stage: Scripted(Expert(stage.world, stage.robot, reset)))
    with Stage(task) as own:
        return run_expert(task, scenario, level, seed, own)
