"""A scripted arm that palletizes: the teacher of demonstrations, and proof that a task can be done.

It drives the robot as a policy does, one joint target a tick from the measured joint angles, and passes the
same guard and the same wire. Only its eyes are better: where boxes and pallet are it reads from the world.

The recipe, box by box: go over the box with open jaws, a face towards the fixed jaw; down; close, which slides
the box onto the fixed pad; up; carry it over its slot; look how it hangs in the jaws; down to where it almost
stands; look again; let go; back off from the pad; up. A box that is not in the jaws after lifting, or is lost
on the way, is tried once more.

Every seed has its own pace, height and bow of the path (`Style`), so that demonstrations are not one motion.
"""

import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from so101_robot.arm import SO101
from so101_robot.joints import GRIPPER
from so101_robot.mock.world import World

from so101_eval.attempt import Attempt, Bench, Observation
from so101_eval.palletizing.grips import Box, room_m, ways
from so101_eval.palletizing.ik import LEVER_M, PAN, PAN_AXIS_M, ROLL, ArmModel, Grasp, Vector, gripper_rad
from so101_eval.palletizing.motion import JointUnits, ServoLaw, Tracker, min_jerk, ticks_for
from so101_eval.palletizing.reset import Reset, draw, stream
from so101_eval.palletizing.tasks import PALLET_M, Slot, Task, load_task

PACE_RAD_S = 2.1
"""Fastest joint on a way through the air."""
LINE_M_S = 0.13
"""Fastest up or down."""
LEAST_S = 0.4
LEAST_LINE_S = 0.3
"""Even the shortest way takes this long."""

CARRY_M, CARRY_HIGH_M = 0.062, 0.074
"""Height of the pads on the way: a box passes over one layer on the pallet, over two. Above this the arm can
hardly hold its fingers upright: wrist_flex ends."""
LOWEST_M, LOWER_BY_M = 0.048, 0.004
"""Where it cannot at this height, it tries lower, down to where a held box clears those on the table."""

PICK_CLEARANCE_M = 0.006
"""From the fixed pad to the box when the fingers go down."""
PICK_OPEN_M = 0.009
"""From the moving jaw's pad to the box when the fingers go down."""
CLOSE_BEYOND_RAD = 0.30
"""The jaws are sent this far beyond contact, which makes them close with their full 50 % duty ..."""
CLOSE_TICKS = 12
"""... and are eased after this: the gripper's overload protection allows more than 25 % for two seconds."""
HOLD_DUTY = 0.22
"""Under the 25 % of the protection; some 8 N between the pads."""
STILL_GRIPPER_RAD = 0.004
"""Jaws that moved less than this since the last tick stand."""

RELEASE_RAD, RELEASE_M = 0.16, 0.0125
"""The jaws open by this to let go: an angle, and what it is between the pads."""
BACK_OFF_M = 0.0020
"""Fixed pad from the box before the fingers rise: friction would lift the box's edge."""
PRESS_M = 0.0005
"""The arm sets a box down by aiming this much too low, with less than its own weight. One that falls the last
millimetre scrapes along the fixed pad and turns by up to 10 degrees."""
LOOK_M = 0.010
"""Height above the slot at which the arm stops and looks again."""

ALONG_M = 0.020
"""A box that is farther than this below the pads, on the way, is not between them."""
TRIES = 2
SETTLE_TICKS, TOUCH_TICKS = 15, 6
SETTLED_RAD = np.radians([0.5, 0.3, 0.3, 0.3, 0.5])
"""Errors at which the arm has arrived: for pan and roll as much as the play of their gears lets them swing."""

ROOM_WANTED_M = 0.004
ROOM_COST_RAD_M = 400.0
"""A missing millimetre of room is worth 0.4 rad of wrist motion."""

JAW_RAD_PER_TICK = 0.12
"""The jaws' goal moves no faster; the guard allows 0.19."""

type Motion = Generator[Vector]
"""Reference angles (6,), one per tick."""


@dataclass(frozen=True)
class Style:
    """How one seed moves."""

    pace: float
    """Speeds against nominal."""
    higher_m: float
    """Added to the height of the way."""
    bow_m: float
    """The way bends outwards by this in the middle."""
    deeper_m: float
    """The pads grasp a box this much below or above its middle."""

    @staticmethod
    def draw(rng: np.random.Generator) -> "Style":
        return Style(
            pace=float(rng.uniform(0.85, 1.15)),
            higher_m=float(rng.uniform(-0.003, 0.003)),
            bow_m=float(rng.uniform(-0.012, 0.012)),
            deeper_m=float(rng.uniform(-0.0015, 0.0015)),
        )


class Expert:
    """Drives one attempt: call it once a tick until it returns None.

    Args:
        world: the world in which the arm stands, for its eyes.
        robot: connected; its calibration and gains are read, nothing is sent.
        reset: what was laid out: the task, the pallet's place, the seed.
    """

    def __init__(self, world: World, robot: SO101, reset: Reset) -> None:
        self._world, self._reset = world, reset
        self._task = load_task(reset.task)
        self._arm = ArmModel()
        self._units = JointUnits(robot.bus.scale)
        self._law = ServoLaw(robot.config.position_p_coefficient)
        self._tracker = Tracker(self._arm, self._law)
        self.style = Style.draw(stream(reset.suite, "expert", reset.seed))
        self._stands: dict[Slot, int] = {}
        self._waiting = [i for i, box in enumerate(reset.boxes) if box.present]
        self._measured_rad: Vector = np.zeros(GRIPPER + 1)
        self._here_rad = self._measured_rad
        self._jaws_rad = 0.0
        self._work = self._palletize()
        self.phase = "start"
        """What it is doing, for logs."""

    def __call__(self, observation: Observation) -> Vector | None:
        """The joint target (6,) for this tick in LeRobot units; None when the work is done."""
        self._measured_rad = self._units.to_rad(observation.state.position)
        if self.phase == "start":
            self._here_rad = self._measured_rad
            self._jaws_rad = float(self._here_rad[GRIPPER])
        reference_rad = next(self._work, None)
        if reference_rad is None:
            return None
        self._here_rad = reference_rad
        return self._units.to_joint(self._tracker.goal(reference_rad, self._measured_rad))

    # the work -----

    def _palletize(self) -> Motion:
        home_rad = self._here_rad
        for slot in self._task.slots:
            if self._waiting:
                yield from self._bring(self._next_box(), slot)
        self.phase = "home"
        self._jaws_rad = float(home_rad[GRIPPER])
        yield from self._through_joints(home_rad)

    def _bring(self, index: int, slot: Slot) -> Motion:
        self._waiting.remove(index)
        for _ in range(TRIES):
            pick, place = self._choose(index, slot)
            yield from self._grasp(index, pick)
            if self._holds(index):
                self.phase = "carry"
                yield from self._over(place)
            if self._holds(index):
                yield from self._set_down(index, slot, place)
                self._stands[slot] = index
                return
            yield from self._give_up()

    def _grasp(self, index: int, pick: Grasp) -> Motion:
        edge_m = self._edge_m(index)
        self.phase = "reach"
        self._jaws_rad = gripper_rad(edge_m + PICK_CLEARANCE_M + PICK_OPEN_M)
        beside = pick.shifted(along_m=-PICK_CLEARANCE_M)
        yield from self._over(beside)
        self.phase = "descend"
        yield from self._line(beside)
        yield from self._settle()
        self.phase = "close"
        yield from self._close(edge_m)
        self.phase = "lift"
        self._tracker.load_kg = self._mass_kg(index)
        yield from self._line(self._highest(self._here(), self._height_m()))

    def _set_down(self, index: int, slot: Slot, place: Grasp) -> Motion:
        self.phase = "lower"
        yield from self._line(self._to_stand(index, slot, place).shifted(up_m=LOOK_M))
        yield from self._settle()
        stand = self._to_stand(index, slot, place)
        yield from self._line(stand)
        yield from self._settle(TOUCH_TICKS)
        self.phase = "release"
        self._jaws_rad = float(self._measured_rad[GRIPPER]) + RELEASE_RAD
        yield from self._wait(6)
        self._tracker.load_kg = 0.0
        yield from self._line(stand.shifted(along_m=-BACK_OFF_M))
        self.phase = "retreat"
        yield from self._line(self._highest(self._here(), self._height_m()))

    def _give_up(self) -> Motion:
        """Open the jaws and rise, whatever is in them."""
        self.phase = "recover"
        self._tracker.load_kg = 0.0
        self._jaws_rad = gripper_rad(0.045)
        yield from self._line(self._highest(self._here(), self._height_m()))
        yield from self._wait(6)

    # how to move -----

    def _over(self, grasp: Grasp) -> Motion:
        """Through the air to above `grasp`, in cylinder coordinates about the pan axis.

        From a pose in which the fingers do not point down (home), through joint space.
        """
        goal = self._highest(grasp, self._height_m())
        goal_rad = self._arm.solve(goal).joint_rad
        start_rad = self._here_rad
        start = self._arm.grasp(start_rad)
        if not self._arm.solve(start, start_rad).reached:
            yield from self._through_joints(goal_rad)
            return
        turn_rad = (goal_rad[ROLL] - goal_rad[PAN]) - (start_rad[ROLL] - start_rad[PAN])
        ticks = self._ticks(goal_rad - start_rad)
        begin, end = _cylinder(start, start.yaw_rad), _cylinder(goal, start.yaw_rad + turn_rad)
        end[0] = begin[0] + math.remainder(end[0] - begin[0], math.tau)
        bow = np.array([0.0, self.style.bow_m * min(1.0, abs(end[0] - begin[0])), 0.0, 0.0])
        joint_rad = start_rad
        for tick in range(1, ticks + 1):
            s = min_jerk(tick / ticks)
            between = _from_cylinder(begin + s * (end - begin) + math.sin(math.pi * s) ** 2 * bow)
            joint_rad = self._arm.solve(between, joint_rad).joint_rad
            yield self._with_jaws(joint_rad)

    def _line(self, goal: Grasp) -> Motion:
        """Straight to `goal`."""
        start = self._here()
        way_m = goal.position_m - start.position_m
        turn_rad = math.remainder(goal.yaw_rad - start.yaw_rad, math.tau)
        length_m = float(np.linalg.norm(way_m)) + LEVER_M * abs(turn_rad)
        ticks = ticks_for(length_m, LINE_M_S * self.style.pace, LEAST_LINE_S)
        joint_rad = self._here_rad
        for tick in range(1, ticks + 1):
            s = min_jerk(tick / ticks)
            between = Grasp(start.position_m + s * way_m, start.yaw_rad + s * turn_rad)
            joint_rad = self._arm.solve(between, joint_rad).joint_rad
            yield self._with_jaws(joint_rad)

    def _through_joints(self, goal_rad: Vector) -> Motion:
        start_rad = self._here_rad
        ticks = self._ticks(goal_rad - start_rad)
        for tick in range(1, ticks + 1):
            yield self._with_jaws(start_rad + min_jerk(tick / ticks) * (goal_rad - start_rad))

    def _wait(self, ticks: int) -> Motion:
        for _ in range(ticks):
            yield self._with_jaws(self._here_rad)

    def _settle(self, most_ticks: int = SETTLE_TICKS) -> Motion:
        """Stand until the joints are where they should be, or for so long."""
        self._tracker.trims = True
        for tick in range(most_ticks):
            yield self._with_jaws(self._here_rad)
            off_rad = np.abs(self._here_rad - self._measured_rad)[:GRIPPER]
            if tick >= 2 and (off_rad < SETTLED_RAD).all():
                break
        self._tracker.trims = False

    def _close(self, edge_m: float) -> Motion:
        """Close until the jaws stand, then ease them to a duty that can be held for ever."""
        self._jaws_rad = gripper_rad(edge_m) - CLOSE_BEYOND_RAD
        for tick in range(CLOSE_TICKS):
            before_rad = self._measured_rad[GRIPPER]
            yield from self._wait(1)
            if tick > 5 and abs(self._measured_rad[GRIPPER] - before_rad) < STILL_GRIPPER_RAD:
                break
        self._jaws_rad = float(self._measured_rad[GRIPPER]) - self._law.squeeze_rad(HOLD_DUTY)
        yield from self._wait(3)

    def _with_jaws(self, joint_rad: Vector) -> Vector:
        """The reference with the jaws on their way to `_jaws_rad`."""
        now_rad = self._here_rad[GRIPPER]
        step_rad = min(max(self._jaws_rad - now_rad, -JAW_RAD_PER_TICK), JAW_RAD_PER_TICK)
        reference_rad = joint_rad.copy()
        reference_rad[GRIPPER] = now_rad + step_rad
        return reference_rad

    def _ticks(self, way_rad: Vector) -> int:
        return ticks_for(float(np.abs(way_rad[:GRIPPER]).max()), PACE_RAD_S * self.style.pace, LEAST_S)

    def _here(self) -> Grasp:
        """The grasp frame of the reference."""
        return self._arm.grasp(self._here_rad)

    # where to -----

    def _next_box(self) -> int:
        """The waiting box that is nearest to the pallet, about the pan axis."""
        return min(self._waiting, key=lambda i: _azimuth_rad(self._box(i).centre_m))

    def _choose(self, index: int, slot: Slot) -> tuple[Grasp, Grasp]:
        """How to take a box and how to set it down: reachable, with room for the fingers, the wrist turned
        little."""
        box = self._box(index)
        others = [self._box(i) for i in range(len(self._reset.boxes)) if i != index]
        in_slot = self._slot_box(slot, box.edge_m)
        neighbours = [
            self._slot_box(s, box.edge_m) for s in self._task.slots if s != slot and s.layer == slot.layer
        ]
        gap_m = box.edge_m + PICK_CLEARANCE_M + PICK_OPEN_M
        picks = [self._valued(way, PICK_CLEARANCE_M, gap_m, others) for way in ways(box)]
        gap_m = box.edge_m + RELEASE_M
        places = [self._valued(way, 0.0, gap_m, [*others, *neighbours]) for way in ways(in_slot)]
        roll_rad = self._here_rad[ROLL]

        def cost(pair: tuple[tuple[Grasp, float, float], tuple[Grasp, float, float]]) -> float:
            (_, pick_roll_rad, pick_cost), (_, place_roll_rad, place_cost) = pair
            turns_rad = 0.3 * abs(pick_roll_rad - roll_rad) + abs(place_roll_rad - pick_roll_rad)
            return pick_cost + place_cost + turns_rad

        (pick, _, _), (place, _, _) = min(itertools.product(picks, places), key=cost)
        return pick.shifted(up_m=self.style.deeper_m), place

    def _valued(
        self, way: Grasp, beside_m: float, gap_m: float, others: list[Box]
    ) -> tuple[Grasp, float, float]:
        """A grasp with its roll angle and what speaks against it [rad]; jaws `gap_m` apart, the fixed one
        `beside_m` from the box."""
        beside = way.shifted(along_m=-beside_m)
        room = room_m(beside, gap_m, others)
        cost = ROOM_COST_RAD_M * max(0.0, ROOM_WANTED_M - room)
        solutions = [self._arm.solve(grasp) for grasp in (beside, self._highest(beside, self._height_m()))]
        for found in solutions:
            cost += 0.0 if found.reached else 10.0 + 100.0 * found.off_m + 10.0 * found.off_rad
        return way, float(solutions[0].joint_rad[ROLL]), cost

    def _to_stand(self, index: int, slot: Slot, place: Grasp) -> Grasp:
        """Where the jaws have to be for the box in them to stand in its slot, from how it hangs there now."""
        now = self._arm.grasp(self._measured_rad)
        box = self._box(index)
        goal = self._slot_box(slot, box.edge_m)
        turn_rad = math.remainder(goal.yaw_rad - box.yaw_rad, math.pi / 2)
        cos, sin = math.cos(turn_rad), math.sin(turn_rad)
        dx_m, dy_m, dz_m = (box.centre_m - now.position_m).tolist()
        turned = np.array([cos * dx_m - sin * dy_m, sin * dx_m + cos * dy_m, dz_m + PRESS_M])
        return Grasp(goal.centre_m - turned, now.yaw_rad + turn_rad)

    def _height_m(self) -> float:
        layers = max(slot.layer for slot in self._task.slots)
        return (CARRY_HIGH_M if layers else CARRY_M) + self.style.higher_m

    def _highest(self, grasp: Grasp, height_m: float) -> Grasp:
        """Above `grasp`, as high as the arm reaches with its fingers down: at `height_m` if it can, not below
        `LOWEST_M`."""
        while height_m > LOWEST_M and not self._arm.solve(grasp.at_height(height_m)).reached:
            height_m -= LOWER_BY_M
        return grasp.at_height(max(height_m, LOWEST_M, float(grasp.position_m[2])))

    # eyes -----

    def _box(self, index: int) -> Box:
        body = self._world.data.body(f"box/{index}")
        R_world_box = body.xmat.reshape(3, 3)
        flat = int(np.abs(R_world_box[2]).argmin())  # the edge that lies flattest shows the yaw
        yaw_rad = math.atan2(R_world_box[1, flat], R_world_box[0, flat])
        return Box(body.xpos.copy(), yaw_rad, self._edge_m(index))

    def _edge_m(self, index: int) -> float:
        return self._reset.boxes[index].edge_m

    def _mass_kg(self, index: int) -> float:
        return self._reset.boxes[index].mass_kg

    def _slot_box(self, slot: Slot, edge_m: float) -> Box:
        """A box that stands in its slot."""
        pallet = self._reset.pallet
        cos, sin = math.cos(pallet.yaw_rad), math.sin(pallet.yaw_rad)
        x_m = pallet.x_m + cos * slot.u_m - sin * slot.v_m
        y_m = pallet.y_m + sin * slot.u_m + cos * slot.v_m
        below = self._stands.get(slot._replace(layer=slot.layer - 1))
        ground_m = PALLET_M[2] if below is None else self._box(below).top_m
        return Box(np.array([x_m, y_m, ground_m + edge_m / 2]), pallet.yaw_rad, edge_m)

    def _holds(self, index: int) -> bool:
        """Whether the box has come along, seen from its height on the way."""
        return bool(abs(self._box(index).centre_m[2] - self._here().position_m[2]) < ALONG_M)


def _azimuth_rad(point_m: Vector) -> float:
    return math.atan2(point_m[1] - PAN_AXIS_M[1], point_m[0] - PAN_AXIS_M[0])


def _cylinder(grasp: Grasp, yaw_rad: float) -> Vector:
    """(4,) azimuth, radius, height of a grasp about the pan axis, and a yaw that may go past half a turn."""
    radius_m = math.dist(grasp.position_m[:2], PAN_AXIS_M)
    return np.array([_azimuth_rad(grasp.position_m), radius_m, grasp.position_m[2], yaw_rad])


def _from_cylinder(cylinder: Vector) -> Grasp:
    azimuth_rad, radius_m, height_m, yaw_rad = cylinder.tolist()
    x_m, y_m = radius_m * math.cos(azimuth_rad), radius_m * math.sin(azimuth_rad)
    return Grasp(np.array([PAN_AXIS_M[0] + x_m, PAN_AXIS_M[1] + y_m, height_m]), yaw_rad)


def run_expert(
    task: Task | str, scenario: str = "nominal", level: int = 0, seed: int = 0, bench: Bench | None = None
) -> Attempt:
    """One attempt of the expert; on `bench` if there is one for the task already.

    Raises `ConfigError` and `LayoutError` as `reset.draw`.
    """
    reset = draw(task, scenario, level, seed)
    if bench is not None:
        return bench.attempt(reset, lambda b: Expert(b.world, b.robot, reset))
    with Bench(task) as own:
        return run_expert(task, scenario, level, seed, own)
