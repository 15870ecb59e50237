"""The arm finds its own stops: one joint after the other, gently, in an order that keeps the hand up.

A joint goes slowly towards its stop under a low torque limit. It is at a stop where the motor pushes (duty and current)
and nothing moves any more; then it backs off and comes again, slower and with less torque. A stop is where it was the
first time: a cable or a spring gives way to the larger torque, and that joint is left to a person, like one whose range
comes out too small (something is stiff) or one that goes on and on (its stop is missing).

Where the joints are is known from the middle pose that a person has shown, to some 15 degrees; exactly, once both
ends of a joint are found. No pose is gone to in which the arm would be near the table by that.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import ServoError
from so101_calibration.homing import homing_for
from so101_calibration.servos.line import Line, Sample
from so101_robot.bus.calibration import DEG_PER_STEP
from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.setup import MULTI_TURN, Registers, value_of
from so101_robot.guard.height import Height
from so101_robot.guard.rig import Rig
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS, STEPS_PER_TURN
from so101_robot.preflight.calibration import NOMINAL_DEG, size

TORQUE_LIMIT = BY_NAME["Torque_Limit"]

RATE_HZ = 50.0
POSE_DEG_S, SEEK_DEG_S, AGAIN_DEG_S = 30.0, 30.0, 12.0
"""Speeds of the goal: on the way to a pose, towards a stop, and when it comes again."""

HOLD_PERMILLE = 600
"""Torque limit of the joints that hold: the stretched arm needs a third of it."""
SEEK_PERMILLE: Mapping[str, int] = dict(zip(JOINTS, (250, 450, 400, 250, 200, 200), strict=True))
"""Torque limit of the joint that seeks; the shoulder's lift and the elbow carry the arm."""
AGAIN_SHARE = 0.7
"""Of it, the second time."""

NEXT_DEG = 4.0
"""Between a joint that seeks and where it must not come: its goal is ahead of it by as much."""
LEAD_DEG = 14.0
"""So far ahead of a joint its goal may be: all of the torque limit is asked for from 10 degrees on."""
STILL_S, STILL_STEPS = 0.3, 3
"""A joint that moved no farther within this time stands still."""
PUSHES = 0.85
"""Share of the torque limit: from there on the motor pushes with what it is allowed to."""
STALL_MA = 2700.0
CURRENT_SHARE = 0.4
"""Of the current that a stalled motor has at this duty (2.7 A at all of it, STS3215 data sheet): a horn that slips or a
motor that is dead draws less."""

BACK_OFF_DEG = 6.0
SAME_DEG = 0.7
"""Both times a stop is within this."""
GIVES_WAY_DEG = 15.0
"""A joint that is not sought is this far from its goal: something pushes it, or it is stiff."""
BY_EYE_DEG = 20.0
"""How far from its middle a joint may have been in the middle pose."""
BEYOND_DEG = 30.0
"""A stop is sought this far beyond where the drawing has it, while the middle is known from a pose by eye; half of it
from a known end."""

CLEAR_M, UNSURE_M = 0.012, 0.045
"""Lowest part of the arm above the table: where the angles are exact, and while they are known by eye."""

LIFT = JOINTS.index("shoulder_lift")

BASE = np.array([0.0, 0.0, -60.0, 0.0, 0.0, 50.0])
"""Upper arm upright, forearm up and forwards: the hand is 0.25 m above the table."""


class Seek(NamedTuple):
    """One end of one joint, and where the others are meanwhile (joint -> degrees from its middle)."""

    joint: str
    end: int
    """-1: the lower one, 1: the upper one."""
    aside: Mapping[str, float]


FOLD = {"shoulder_lift": -94.0, "elbow_flex": 90.0, "wrist_flex": -60.0}

PLAN: tuple[Seek, ...] = (
    Seek("gripper", -1, {}),
    Seek("gripper", 1, {}),
    Seek("wrist_roll", -1, {}),
    Seek("wrist_roll", 1, {}),
    Seek("wrist_flex", -1, {}),
    Seek("wrist_flex", 1, {}),
    Seek("shoulder_pan", -1, {}),
    Seek("shoulder_pan", 1, {}),
    Seek("elbow_flex", -1, {}),
    Seek("shoulder_lift", -1, {"elbow_flex": 0.0}),
    Seek("elbow_flex", 1, {"shoulder_lift": -94.0, "elbow_flex": 0.0, "wrist_flex": -70.0}),
    Seek("shoulder_lift", 1, {"elbow_flex": -90.0, "wrist_flex": -80.0}),
)
"""The hand is up all the time: its own joints first, so that their angles are exact when it comes near the table."""


class Found(NamedTuple):
    """What the arm found."""

    ends: dict[str, tuple[int, int]]
    """Joint -> its ends, in the unrolled raw counts of the middle pose."""
    by_hand: dict[str, str]
    """Joint -> why a person has to do it."""


class _StuckError(ServoError):
    """A joint does not follow, so nothing more is sought."""


def settings_for(middles: Mapping[str, int], rows: Registers) -> list[dict[str, int]]:
    """What the servos are set to meanwhile, in order: the middle pose reads 2047, and no range crosses 0/4095.

    Args:
        middles: joint -> its unrolled raw count in the middle pose.
        rows: (6, 87) the servos' registers.
    """
    return [
        {
            "Operating_Mode": 0,
            "Phase": value_of(row, "Phase") & ~MULTI_TURN,
            "Homing_Offset": homing_for(middles[joint] % STEPS_PER_TURN),
            "Min_Position_Limit": 0,
            "Max_Position_Limit": STEPS_PER_TURN - 1,
            "P_Coefficient": 16,
            "I_Coefficient": 0,
            "D_Coefficient": 32,
            "Acceleration": 0,
            "Goal_Velocity": 0,
            "Torque_Limit": HOLD_PERMILLE,
        }
        for joint, row in zip(JOINTS, rows, strict=True)
    ]


class StopFinder:
    """Drives one arm. The servos have the `settings_for` it.

    Args:
        line: to the servos.
        middles: joint -> its unrolled raw count in the middle pose, where the arm still is about.
        tell: what it does.
    """

    def __init__(
        self, line: Line, middles: Mapping[str, int], tell: Callable[[str], None] = lambda words: None
    ) -> None:
        self._line, self._tell = line, tell
        self._height = Height(Rig())
        sample = line.sample()
        self._present: NDArray[np.float64] = sample.present.astype(np.float64)
        self._goal = self._present.copy()
        offsets = [homing_for(middles[joint] % STEPS_PER_TURN) for joint in JOINTS]
        self._middles = np.array([middles[joint] for joint in JOINTS])
        self._zero: NDArray[np.float64] = np.array(
            [
                (middle - offset) % STEPS_PER_TURN
                for middle, offset in zip(self._middles, offsets, strict=True)
            ],
            np.float64,
        )
        self._shift = self._middles - self._zero
        self._known: dict[str, dict[int, float]] = {joint: {} for joint in JOINTS}
        self._moving: int | None = None
        self._limits = [HOLD_PERMILLE] * len(JOINTS)
        self.by_hand: dict[str, str] = {}

    def hold(self) -> None:
        """Torque on, each joint where it is: the motion is over, or has not begun."""
        self._present = self._line.sample().present.astype(np.float64)
        self._goal = np.clip(self._present, 0, STEPS_PER_TURN - 1)
        self._send()

    def find(self) -> Found:
        """Seek every stop of `PLAN`, and fold the arm. Raises ServoError: servos are silent or report errors."""
        try:
            self._pose({})
            for seek in PLAN:
                if seek.joint not in self.by_hand:
                    self._seek(seek)
            self._fold()
        except _StuckError as problem:
            self.hold()
            for joint in JOINTS:
                if len(self._known[joint]) < len((-1, 1)):
                    self.by_hand.setdefault(joint, str(problem))
        for index, joint in enumerate(JOINTS):
            self._limit(index, HOLD_PERMILLE)
            if len(self._known[joint]) < len((-1, 1)):
                self.by_hand.setdefault(joint, "it was not sought")
            if joint not in self.by_hand and (wrong := size(joint, self._span_deg(joint))):
                self.by_hand[joint] = (
                    f"{wrong[1]} - something is stiff or in its way, or it is built differently"
                )
        ends = {
            joint: (self._raw(joint, -1), self._raw(joint, 1))
            for joint in JOINTS
            if joint not in self.by_hand
        }
        return Found(ends, self.by_hand)

    # one stop -----

    def _seek(self, seek: Seek) -> None:
        index = JOINTS.index(seek.joint)
        try:
            self._pose(seek.aside)
            first = self._press(index, seek.end, SEEK_DEG_S, SEEK_PERMILLE[seek.joint])
            self._go(index, first - seek.end * BACK_OFF_DEG / DEG_PER_STEP, AGAIN_DEG_S)
            again = self._press(index, seek.end, AGAIN_DEG_S, round(AGAIN_SHARE * SEEK_PERMILLE[seek.joint]))
            apart_deg = abs(again - first) * DEG_PER_STEP
            if apart_deg > SAME_DEG:
                raise _NotFoundError(
                    f"its stop gave way: it was {apart_deg:.1f} deg apart with less torque - a cable?"
                )
            self._learn(index, seek.end, again)
            which = "upper" if seek.end > 0 else "lower"
            self._tell(f"  {seek.joint}: {which} stop, found twice, {apart_deg:.1f} deg apart")
        except _NotFoundError as problem:
            self._tell(f"  {seek.joint}: {problem}")
            self.by_hand[seek.joint] = str(problem)
            self._goal[index] = self._present[index]
        self._limit(index, HOLD_PERMILLE)
        self._go(index, self._steps(index, seek.aside.get(seek.joint, BASE[index])), POSE_DEG_S)

    def _press(self, index: int, end: int, speed_deg_s: float, limit: int) -> float:
        """Go towards the end until it is reached; returns where that is [steps]. Raises _NotFoundError."""
        self._limit(index, limit)
        last = self._last_steps(index, end)
        lead = LEAD_DEG / DEG_PER_STEP
        step = speed_deg_s / RATE_HZ / DEG_PER_STEP
        seen: list[float] = []
        self._moving = index
        while True:
            ahead = end * (self._goal[index] - self._present[index])
            if ahead < lead:
                goal = self._goal[index] + end * step
                if end * (goal - last) > lead:
                    raise _NotFoundError(
                        f"no stop within {abs(self._degrees(index, last)):.0f} deg of its middle"
                    )
                if not self._is_clear(index, self._present[index] + end * NEXT_DEG / DEG_PER_STEP):
                    raise _NotFoundError("no stop was found before the arm would come near the table")
                self._goal[index] = goal
            sample = self._tick()
            seen.append(float(sample.present[index]))
            window = seen[-round(STILL_S * RATE_HZ) :]
            still = len(window) == round(STILL_S * RATE_HZ) and np.ptp(window) <= STILL_STEPS
            if not still or ahead < lead / 2 or sample.load_percent[index] == 0:
                continue
            if abs(sample.load_percent[index]) * 10 < PUSHES * limit:
                continue
            if abs(sample.current_ma[index]) < CURRENT_SHARE * STALL_MA * limit / 1000:
                raise _NotFoundError(
                    "it stands still and its motor draws no current - is the motor or its horn loose?"
                )
            self._goal[index] = seen[-1]  # press no longer than needed
            self._tick()
            return float(np.mean(window))

    def _last_steps(self, index: int, end: int) -> float:
        """Where a stop has to have come."""
        joint = JOINTS[index]
        nominal = NOMINAL_DEG[joint] / DEG_PER_STEP
        other = self._known[joint].get(-end)
        beyond = BEYOND_DEG / DEG_PER_STEP
        at = (
            self._zero[index] + end * (nominal / 2 + beyond)
            if other is None
            else other + end * (nominal + beyond / 2)
        )
        return float(np.clip(at, 0, STEPS_PER_TURN - 1))

    def _learn(self, index: int, end: int, found: float) -> None:
        """Where the middle is, of an end; of both, exactly. The roll's zero is the pose that was shown.

        Raises _NotFoundError: the end is not where it can be.
        """
        joint = JOINTS[index]
        other = self._known[joint].get(-end)
        half = NOMINAL_DEG[joint] / DEG_PER_STEP / 2
        middle = found - end * half if other is None else (found + other) / 2
        off_deg = abs(middle - self._zero[index]) * DEG_PER_STEP
        if joint != FULL_TURN_JOINT:
            if off_deg > BY_EYE_DEG:
                raise _NotFoundError(
                    f"its stop is {off_deg:.0f} deg from where it should be - something is in its way or stiff, or its "
                    "middle was not the middle"
                )
            self._zero[index] = middle
        self._known[joint][end] = found

    # poses -----

    def _pose(self, aside: Mapping[str, float]) -> None:
        """Every joint to `BASE` or aside. The upper arm is upright before the others move, or leaves that last."""
        wanted = BASE.copy()
        for joint, degrees in aside.items():
            wanted[JOINTS.index(joint)] = degrees
        stands = abs(self._degrees(LIFT, self._goal[LIFT]))
        lift_first = abs(wanted[LIFT]) < stands
        for index in sorted(range(len(JOINTS)), key=lambda i: (i == LIFT) != lift_first):
            self._go(index, self._steps(index, wanted[index]), POSE_DEG_S)

    def _fold(self) -> None:
        """Where it falls nowhere when it is released: elbow and hand up first, then back, then down onto it."""
        self._pose({})
        for joint, degrees in (("wrist_flex", FOLD["wrist_flex"]), ("elbow_flex", 0.0), *FOLD.items()):
            index = JOINTS.index(joint)
            self._go(index, self._steps(index, degrees), POSE_DEG_S)

    def _go(self, index: int, target: float, speed_deg_s: float) -> None:
        """One joint to a place [steps], and it has to get there. Raises _StuckError."""
        target = float(np.clip(target, 0, STEPS_PER_TURN - 1))
        step = speed_deg_s / RATE_HZ / DEG_PER_STEP
        self._moving = None
        while self._goal[index] != target:
            goal = self._goal[index] + float(np.clip(target - self._goal[index], -step, step))
            if not self._is_clear(index, goal):
                raise _StuckError(f"the way of {JOINTS[index]} would lead near the table")
            self._goal[index] = goal
            self._tick()

    def _is_clear(self, index: int, goal: float) -> bool:
        """With this joint at `goal` [steps] the arm is above the table, or no lower than it is planned now."""
        before, after = self._pose_deg(self._goal), self._pose_deg(self._goal)
        after[index] = self._degrees(index, goal)
        exact = all(len(self._known[joint]) > 1 for joint in ("elbow_flex", "wrist_flex"))
        least = CLEAR_M if exact else UNSURE_M
        return self._height.m(after) >= min(least, self._height.m(before))

    # one tick -----

    def _tick(self) -> Sample:
        self._send()
        clock = self._line.clock
        clock.sleep_until(clock.now_s() + 1 / RATE_HZ)
        sample = self._line.sample()
        self._present = sample.present.astype(np.float64)
        _stop_for_errors(sample.errors.tolist())
        off = np.abs(self._goal - self._present) * DEG_PER_STEP
        for i in np.flatnonzero(off > GIVES_WAY_DEG).tolist():
            if i != self._moving:
                raise _StuckError(f"{JOINTS[i]} does not follow: it is {off[i]:.0f} deg from its goal")
        return sample

    def _send(self) -> None:
        self._line.command([int(np.clip(round(goal), 0, STEPS_PER_TURN - 1)) for goal in self._goal])

    def _limit(self, index: int, permille: int) -> None:
        if self._limits[index] != permille:
            self._line.write(index + 1, TORQUE_LIMIT, permille)
            self._limits[index] = permille

    # steps and degrees -----

    def _steps(self, index: int, degrees: float) -> float:
        if index == GRIPPER:
            degrees = (degrees / 100 - 0.5) * NOMINAL_DEG[JOINTS[GRIPPER]]
        return float(self._zero[index] + degrees / DEG_PER_STEP)

    def _degrees(self, index: int, steps: float) -> float:
        return float((steps - self._zero[index]) * DEG_PER_STEP)

    def _pose_deg(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        pose = (steps - self._zero) * DEG_PER_STEP
        pose[GRIPPER] = 50.0
        return pose

    def _span_deg(self, joint: str) -> float:
        return (self._known[joint][1] - self._known[joint][-1]) * DEG_PER_STEP

    def _raw(self, joint: str, end: int) -> int:
        return round(self._known[joint][end] + self._shift[JOINTS.index(joint)])


class _NotFoundError(ServoError):
    """This joint has to be done by hand; the message says why."""


def _stop_for_errors(errors: Sequence[int]) -> None:
    found = [f"{JOINTS[i]}: {Errors(byte).describe()}" for i, byte in enumerate(errors) if byte]
    if found:
        raise ServoError(f"a servo reports an error, so the arm stops ({'; '.join(found)})")
