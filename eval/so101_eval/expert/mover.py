"""Moving the arm with its fingers pointing down: over, straight, and standing still.

A `Motion` yields reference angles, one per tick; `Mover.goal` makes of each the goal that real servos need. The
mover knows the arm and nothing of boxes.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from so101_eval.expert.ik import LEVER_M, PAN, PAN_AXIS_M, ROLL, ArmModel, Grasp, Vector, gripper_rad
from so101_eval.expert.motion import JointUnits, ServoLaw, Tracker, min_jerk, ticks_for
from so101_robot.arm.arm import SO101
from so101_robot.joints import GRIPPER

PACE_RAD_S = 2.1
"""Fastest joint on a way through the air."""
LINE_M_S = 0.13
"""Fastest up or down."""
LEAST_S, LEAST_LINE_S = 0.4, 0.3
"""Even the shortest way takes this long."""

LOWEST_M, LOWER_BY_M = 0.048, 0.004
"""Where the arm cannot travel as high as asked it tries lower, down to where a held box clears those on the
table."""

CLOSE_BEYOND_RAD = 0.30
"""The jaws are sent this far beyond contact, which makes them close with their full 50 % duty ..."""
CLOSE_TICKS = 12
"""... and are eased after this: the gripper's overload protection allows more than 25 % for two seconds."""
HOLD_DUTY = 0.22
"""Under the 25 % of the protection; some 8 N between the pads."""
STILL_GRIPPER_RAD = 0.004
"""Jaws that moved less than this since the last tick stand."""
JAW_RAD_PER_TICK = 0.12
"""The jaws' goal moves no faster; the guard allows 0.19."""

PAST_M = (0.0, 0.015)
GRASPS_AIR = 0.15
"""Share of a person's attempts in which the first grasp goes wrong."""

SETTLE_TICKS = 15
SETTLED_RAD = np.radians([0.5, 0.3, 0.3, 0.3, 0.5])
"""Errors at which the arm has arrived: for pan and roll as much as the play of their gears lets them swing."""

type Motion = Generator[Vector]
"""Reference angles (6,), one per tick."""


@dataclass(frozen=True)
class Style:
    """How one seed moves."""

    pace: float = 1.0
    """Speeds against nominal."""
    higher_m: float = 0.0
    """Added to the height of the way."""
    bow_m: float = 0.0
    """The way bends outwards by this in the middle: rather inwards, where the arm can hold its fingers higher."""
    deeper_m: float = 0.0
    """The pads grasp a box this much above its middle, or below."""
    past_m: float = 0.0
    """It goes this far past the box, and back."""
    grasps_air: bool = False
    """It closes its jaws above the first box, and tries once more."""

    @staticmethod
    def draw(rng: np.random.Generator) -> "Style":
        """As scripts move."""
        return Style(
            pace=float(rng.uniform(0.85, 1.15)),
            higher_m=float(rng.uniform(-0.003, 0.003)),
            bow_m=float(rng.uniform(-0.016, 0.006)),
            deeper_m=float(rng.uniform(-0.0015, 0.0015)),
        )

    def by_hand(self, rng: np.random.Generator) -> "Style":
        """The same in the hands of a person."""
        past_m, grasps_air = float(rng.uniform(*PAST_M)), bool(rng.uniform() < GRASPS_AIR)
        return replace(self, past_m=past_m, grasps_air=grasps_air)


class Mover:
    """Makes motions of a connected robot; sends nothing itself.

    Every motion starts where the reference is when it begins, so motions are run one after the other.

    Args:
        robot: connected; its calibration and gains are read.
        style: how it moves.
        zero_error_rad: (6,) how much more than the truth each encoder reads; () for none.
    """

    def __init__(self, robot: SO101, style: Style, zero_error_rad: Sequence[float] = ()) -> None:
        self.arm = ArmModel()
        self.style = style
        self.measured_rad: Vector = np.zeros(GRIPPER + 1)
        """(6,) where the joints are on this tick."""
        self.here_rad: Vector = self.measured_rad
        """(6,) the reference of the last tick."""
        self.jaws_rad = 0.0
        """Where the jaws are going, beside whatever the arm does."""
        self._units = JointUnits(robot.bus.scale)
        self._zero_error_rad = np.zeros(GRIPPER + 1)
        if zero_error_rad:
            self._zero_error_rad[:] = zero_error_rad
        self._law = ServoLaw(robot.config.position_p_coefficient)
        self.tracker = Tracker(self.arm, self._law)

    # tick by tick

    def sense(self, joint_rad: Vector) -> None:
        """Where the joints are now (6,) [rad]. Before each step of a motion."""
        self.measured_rad = joint_rad.copy()

    def start(self) -> None:
        """Take the measured pose as the reference."""
        self.here_rad = self.measured_rad
        self.jaws_rad = float(self.here_rad[GRIPPER])

    def goal(self, reference_rad: Vector) -> Vector:
        """The joint target (6,) in LeRobot units for a motion's step."""
        self.here_rad = reference_rad
        goal_rad = self.tracker.goal(reference_rad, self.measured_rad)
        return self._units.to_joint(goal_rad + self._zero_error_rad)

    def here(self) -> Grasp:
        """The grasp frame of the reference."""
        return self.arm.grasp(self.here_rad)

    def highest(self, grasp: Grasp, height_m: float) -> Grasp:
        """Above `grasp`, as high as the arm reaches with its fingers down: at `height_m` if it can, not below
        `LOWEST_M`."""
        while height_m > LOWEST_M and not self.arm.solve(grasp.at_height(height_m)).reached:
            height_m -= LOWER_BY_M
        return grasp.at_height(max(height_m, LOWEST_M, float(grasp.position_m[2])))

    # motions

    def over(self, goal: Grasp, jaws_rad: float | None = None) -> Motion:
        """Through the air to `goal`, in cylinder coordinates about the pan axis; from a pose in which the fingers
        do not point down (home), through joint space.

        Half way the jaws change to `jaws_rad`: away from what was just set down.
        """
        goal_rad = self.arm.solve(goal).joint_rad
        start_rad = self.here_rad
        start = self.arm.grasp(start_rad)
        if not self.arm.solve(start, start_rad).reached:
            self.jaws_rad = self.jaws_rad if jaws_rad is None else jaws_rad
            yield from self.through_joints(goal_rad)
            return
        turn_rad = (goal_rad[ROLL] - goal_rad[PAN]) - (start_rad[ROLL] - start_rad[PAN])
        ticks = self._ticks(goal_rad - start_rad)
        begin, end = _cylinder(start, start.yaw_rad), _cylinder(goal, start.yaw_rad + turn_rad)
        end[0] = begin[0] + math.remainder(end[0] - begin[0], math.tau)
        bow = np.array([0.0, self.style.bow_m * min(1.0, abs(end[0] - begin[0])), 0.0, 0.0])
        joint_rad = start_rad
        for tick in range(1, ticks + 1):
            s = min_jerk(tick / ticks)
            if jaws_rad is not None and s > 0.5:
                self.jaws_rad = jaws_rad
            between = _from_cylinder(begin + s * (end - begin) + math.sin(math.pi * s) ** 2 * bow)
            joint_rad = self.arm.solve(between, joint_rad).joint_rad
            yield self._with_jaws(joint_rad)

    def line(self, goal: Grasp) -> Motion:
        """Straight to `goal`."""
        start = self.here()
        way_m = goal.position_m - start.position_m
        turn_rad = math.remainder(goal.yaw_rad - start.yaw_rad, math.tau)
        length_m = float(np.linalg.norm(way_m)) + LEVER_M * abs(turn_rad)
        ticks = ticks_for(length_m, LINE_M_S * self.style.pace, LEAST_LINE_S)
        joint_rad = self.here_rad
        for tick in range(1, ticks + 1):
            s = min_jerk(tick / ticks)
            between = Grasp(start.position_m + s * way_m, start.yaw_rad + s * turn_rad)
            joint_rad = self.arm.solve(between, joint_rad).joint_rad
            yield self._with_jaws(joint_rad)

    def through_joints(self, goal_rad: Vector) -> Motion:
        """Every joint straight to its angle; the gripper's goal is `jaws_rad`."""
        start_rad = self.here_rad
        ticks = self._ticks(goal_rad - start_rad)
        for tick in range(1, ticks + 1):
            yield self._with_jaws(start_rad + min_jerk(tick / ticks) * (goal_rad - start_rad))

    def wait(self, ticks: int) -> Motion:
        """Stand."""
        for _ in range(ticks):
            yield self._with_jaws(self.here_rad)

    def settle(self, most_ticks: int = SETTLE_TICKS) -> Motion:
        """Stand until the joints are where they should be, or for so long."""
        self.tracker.trims = True
        for tick in range(most_ticks):
            yield self._with_jaws(self.here_rad)
            off_rad = np.abs(self.here_rad - self.measured_rad)[:GRIPPER]
            if tick >= 2 and (off_rad < SETTLED_RAD).all():
                break
        self.tracker.trims = False

    def close(self, width_m: float) -> Motion:
        """Close on something so wide until the jaws stand, then ease them to a duty that can be held for ever."""
        self.jaws_rad = gripper_rad(width_m) - CLOSE_BEYOND_RAD
        for tick in range(CLOSE_TICKS):
            before_rad = self.measured_rad[GRIPPER]
            yield from self.wait(1)
            if tick > 5 and abs(self.measured_rad[GRIPPER] - before_rad) < STILL_GRIPPER_RAD:
                break
        self.jaws_rad = float(self.measured_rad[GRIPPER]) - self._law.squeeze_rad(HOLD_DUTY)
        yield from self.wait(3)

    def open(self, by_rad: float) -> Motion:
        """Open from where the jaws are."""
        self.jaws_rad = float(self.measured_rad[GRIPPER]) + by_rad
        yield from self.wait(math.ceil(by_rad / JAW_RAD_PER_TICK) + 4)

    def _with_jaws(self, joint_rad: Vector) -> Vector:
        """The reference with the jaws on their way to `jaws_rad`."""
        now_rad = self.here_rad[GRIPPER]
        step_rad = min(max(self.jaws_rad - now_rad, -JAW_RAD_PER_TICK), JAW_RAD_PER_TICK)
        reference_rad = joint_rad.copy()
        reference_rad[GRIPPER] = now_rad + step_rad
        return reference_rad

    def _ticks(self, way_rad: Vector) -> int:
        return ticks_for(float(np.abs(way_rad[:GRIPPER]).max()), PACE_RAD_S * self.style.pace, LEAST_S)


def azimuth_rad(point_m: Vector) -> float:
    """Of a point about the pan axis."""
    return math.atan2(point_m[1] - PAN_AXIS_M[1], point_m[0] - PAN_AXIS_M[0])


def _cylinder(grasp: Grasp, yaw_rad: float) -> Vector:
    """(4,) azimuth, radius, height of a grasp about the pan axis, and a yaw that may go past half a turn."""
    radius_m = math.dist(grasp.position_m[:2], PAN_AXIS_M)
    return np.array([azimuth_rad(grasp.position_m), radius_m, grasp.position_m[2], yaw_rad])


def _from_cylinder(cylinder: Vector) -> Grasp:
    around_rad, radius_m, height_m, yaw_rad = cylinder.tolist()
    x_m, y_m = radius_m * math.cos(around_rad), radius_m * math.sin(around_rad)
    return Grasp(np.array([PAN_AXIS_M[0] + x_m, PAN_AXIS_M[1] + y_m, height_m]), yaw_rad)
