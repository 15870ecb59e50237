"""The last word on every action: limits, speed, health of the data -> an action that may be sent, or a stop.

What can be clamped is clamped and written down as an `Intervention`; what cannot be judged (NaN,
data too old, a servo that does not answer) or must not go on (a servo that is overloaded or hot) is a stop, and
the loop holds the arm. Steps are measured from the last command, not from the measured position: a joint that
lags under load would otherwise be held back by its own lag. The measured speed counts as well (`measured_speed.py`).

    is it a pose? -> is the data of now? -> budgets -> limits, speed, acceleration, step -> table, workspace, itself

The first four cut joint by joint; the last three shorten the step as a whole. Braking is never cut: a joint may
always stop within a tick, and the servos make it smooth.

`Guard.check` is deterministic and touches nothing but what it remembers of earlier ticks. Whatever comes in, an
action that comes out is finite, within the limits, and within one step of the last command; and if that was clear
of table, walls and the arm itself, so is the action. What the limits are is in docs/reference/limits.md.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_robot.errors import ConfigError, UnsafeActionError
from so101_robot.guard.collision import Geometry, Shortened
from so101_robot.guard.freshness import Freshness, Staleness
from so101_robot.guard.limits import GuardLimits, ages_of, motion_of
from so101_robot.guard.load_limits import LoadAllowance, LoadLimits
from so101_robot.guard.measured_speed import MeasuredSpeed
from so101_robot.guard.rig import Rig
from so101_robot.guard.rules import GuardRule
from so101_robot.joints import FULL_TURN_JOINT, FULL_TURN_STOP_DEG, GRIPPER, JOINTS
from so101_robot.motion.tolerances import OUTSIDE_RANGE_DEG

if TYPE_CHECKING:
    from so101_robot.state import ArmState

__all__ = ["Guard", "GuardLimits", "GuardRule", "Intervention", "Verdict"]

FIRST_TICK_S = 1 / 30
"""How long the first command after a reset is taken to last: the time of the one before is not known."""

FAR_OUT_DEG = 30.0
"""An action this far outside is nonsense, and not one step is driven towards it. Degrees, percent of the gripper."""

LONGEST_S = 1.0
"""A longer pause gives no more room than this."""

ACCELERATION_S = 1 / 30
"""Speed may rise by the acceleration limit within this time, above its mean over about as long. So the limit means
the same at every rate of ticks; steps between actions at 30 Hz that are played at 200 Hz do not meet it."""

ROUNDING = 1e-9
"""Of speeds times seconds [deg]."""

STATE_RULES = {
    Staleness.TOO_OLD: GuardRule.STATE_TOO_OLD,
    Staleness.FROM_THE_FUTURE: GuardRule.STATE_FROM_THE_FUTURE,
    Staleness.RUNS_BACKWARDS: GuardRule.STATE_RUNS_BACKWARDS,
    Staleness.STANDS_STILL: GuardRule.STATE_STANDS_STILL,
}
FRAME_RULES = {
    Staleness.TOO_OLD: GuardRule.FRAME_TOO_OLD,
    Staleness.FROM_THE_FUTURE: GuardRule.FRAME_FROM_THE_FUTURE,
    Staleness.RUNS_BACKWARDS: GuardRule.FRAME_RUNS_BACKWARDS,
    Staleness.STANDS_STILL: GuardRule.FRAME_STANDS_STILL,
}


class Intervention(NamedTuple):
    """One thing that the guard changed or refused."""

    rule: GuardRule
    joint: str | None
    """The joint, the shape or two, the camera, or None where none has to do with it."""
    asked: float
    """In the joint's unit; clearance [mm] of a shape, used percent of a budget, deg C, or seconds."""
    allowed: float


class Verdict(NamedTuple):
    """What may be sent."""

    action: NDArray[np.float64] | None
    """(6,) LeRobot units; None: stop, and hold the arm."""
    interventions: tuple[Intervention, ...]
    stop: str | None
    """Why, in words."""

    @property
    def ok(self) -> bool:
        """The action passed as it was asked."""
        return self.stop is None and not self.interventions


class Guard:
    """Judges actions, one a tick.

    Args:
        limits: those that were given as flags.
        lower, upper: (6,) ends of the calibrated ranges in LeRobot units, degrees and gripper percent.
        rig: the limits of the rig's file; by default the defaults.
        measures: false: the arm is imagined, and where it is says nothing about how fast it is.

    Raises:
        ConfigError: the range that is left within margin and rig is empty.
    """

    def __init__(
        self,
        limits: GuardLimits,
        lower: ArrayLike,
        upper: ArrayLike,
        rig: Rig | None = None,
        *,
        measures: bool = True,
    ) -> None:
        self.limits = limits
        self.rig = rig = Rig() if rig is None else rig
        rules = [rig.joints[joint] for joint in JOINTS]
        margin = np.array([0.0 if i == GRIPPER else limits.margin_deg for i in range(len(JOINTS))])
        self._ends = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        stop = [_stop_of(joint) for joint in JOINTS]
        self.lower = np.maximum(
            self._ends[0] + margin,
            [-s if r.lower is None else r.lower for r, s in zip(rules, stop, strict=True)],
        )
        self.upper = np.minimum(
            self._ends[1] - margin,
            [s if r.upper is None else r.upper for r, s in zip(rules, stop, strict=True)],
        )
        if not (self.lower < self.upper).all():  # also when a limit is NaN
            raise ConfigError(
                f"the limits leave no room to move: {self.lower.tolist()} to {self.upper.tolist()}"
            )
        self._motion = motion_of(limits, rig)
        self._ages = ages_of(limits, rig)
        self._state_fresh = Freshness(self._ages.state_s)
        self._frames_fresh: dict[str, Freshness] = {}
        self._load_limits = LoadLimits(rig)
        self._measured, self._measures = MeasuredSpeed(), measures
        workspace_m = None if rig.workspace_m is None else np.transpose(rig.workspace_m)
        gap_m = rig.self_gap_m if rig.self_collision else None
        self._geometry = Geometry(rig.table_m, workspace_m, gap_m, [r.zero_deg for r in rules])
        self._parking = False
        self._last: NDArray[np.float64] | None = None
        self._last_s: float | None = None
        self._velocity: NDArray[np.float64] = np.zeros(len(JOINTS))

    @property
    def last_command(self) -> NDArray[np.float64] | None:
        """(6,) what passed last, or where the arm was at the last `reset`; None before."""
        return None if self._last is None else self._last.copy()

    def reset(self, position: ArrayLike) -> None:
        """Take `position` (6,) as the last command, at rest: before the first action, and after every hold.

        Parking ends; what the servos have had to bear so far still counts.

        Raises:
            UnsafeActionError: it is not a pose of this arm, so no first step from it would be safe. Nothing
                passes until a reset succeeds.
        """
        self._last, self._parking = None, False
        pose = np.asarray(position, np.float64)
        if pose.shape != self.lower.shape or not np.isfinite(pose).all():
            raise UnsafeActionError(
                f"cannot start from {pose.tolist()}; expected one number for each of {', '.join(JOINTS)}"
            )
        lower, upper = self._ends
        inside = np.clip(pose, lower, upper)
        for i in np.flatnonzero(np.abs(pose - inside) > OUTSIDE_RANGE_DEG):
            raise UnsafeActionError(
                f"{JOINTS[i]} is at {pose[i]:.1f}, outside its calibrated range of {lower[i]:.1f} "
                f"to {upper[i]:.1f} - move it by hand into its range, or calibrate the arm again"
            )
        self._last, self._last_s = inside, None
        self._velocity = np.zeros(len(JOINTS))

    def park(self, position: ArrayLike) -> None:
        """`reset` for the way home: servos that are overloaded or hot slow it down and do not stop it, since an
        arm that is stopped away from home falls when it is released. Ends with the next `reset`.

        Raises:
            UnsafeActionError: as `reset`.
        """
        self.reset(position)
        self._parking = True

    def objections(self, pose: ArrayLike) -> list[str]:
        """Why the arm may not be led to `pose` (6,), in words: to be asked about a home, before anything moves."""
        joint = np.asarray(pose, np.float64)
        found = [
            f"{JOINTS[i]} at {joint[i]:.1f} is not within {self.lower[i]:.1f} to {self.upper[i]:.1f}"
            for i in np.flatnonzero((joint < self.lower) | (joint > self.upper))
        ]
        return found + [
            f"{broken.shape}: {-1e3 * broken.clearance_m:.0f} mm too far ({broken.rule})"
            for broken in self._geometry.violations(joint)
        ]

    def far_out(self, action: ArrayLike) -> tuple[str, float, float] | None:
        """The joint of an action (6,) that is asked for farthest out of range, its value and by how much, where that
        is so far that nothing of the action may be driven; None: it is not, or is no pose, which `check` says."""
        asked, fault = _as_pose(action, self.lower.shape)
        if fault is not None or asked is None:
            return None
        outside = np.maximum(self.lower - asked, asked - self.upper)
        worst = int(np.argmax(outside))
        if outside[worst] < FAR_OUT_DEG:
            return None
        return JOINTS[worst], float(asked[worst]), float(outside[worst])

    def check(
        self,
        action: ArrayLike,
        state: "ArmState",
        frame_ages_s: Mapping[str, float],
        now_s: float,
        looked_s: float | None = None,
    ) -> Verdict:
        """Judge one action.

        Args:
            action: (6,) in LeRobot units.
            state: the newest one.
            frame_ages_s: age of each camera's newest frame [s].
            now_s: on the clock of `state.time_s`.
            looked_s: when the frames were that old: a read that takes long makes it later than `now_s`; None: `now_s`.

        Returns:
            The action that may be sent, clamped where needed, or a stop.
        """
        asked, fault = _as_pose(action, self.lower.shape)
        position: list[float] = state.position.tolist()
        known = all(map(math.isfinite, position))
        # also when there is a fault: it remembers time stamps
        stale = self._stale(state, known, frame_ages_s, now_s, now_s if looked_s is None else looked_s)
        if self._measures and known:
            self._measured.see(state.time_s, position)
        allowance = self._load_limits.judge(state)
        if self._parking and allowance.stop:
            allowance = allowance._replace(stop=False)
        reason = fault or stale or (_intervention(allowance) if allowance.stop else None)
        if reason is not None or asked is None or self._last is None:
            reason = reason or Intervention(GuardRule.NO_START, None, math.nan, math.nan)
            return Verdict(None, (reason,), _in_words(reason))
        elapsed_s = FIRST_TICK_S if self._last_s is None else min(max(now_s - self._last_s, 0.0), LONGEST_S)
        clamped, interventions = self._clamped(asked, self._last, elapsed_s, allowance)
        shortened = self._geometry.shorten(self._last, clamped)
        self._remember(shortened.joint, elapsed_s, now_s)
        return Verdict(shortened.joint.copy(), (*interventions, *_shortenings(shortened)), None)

    def _clamped(
        self,
        asked: NDArray[np.float64],
        last: NDArray[np.float64],
        elapsed_s: float,
        allowance: LoadAllowance,
    ) -> tuple[NDArray[np.float64], list[Intervention]]:
        """Joint by joint: position, speed, acceleration and step."""
        # a joint that is outside its limits may stay where it is, and come back
        inside = np.minimum(np.maximum(asked, np.minimum(self.lower, last)), np.maximum(self.upper, last))
        limit = self._motion.speed * allowance.speed
        speed_up, speed_down, pulled = limit, limit, None
        if not self._measured.is_calm(limit.tolist(), last.tolist()):
            speed_up, speed_down = self._measured.allowed(limit, last, self._velocity)
            pulled = self._measured.pulled_back(self._motion.speed, last, self._motion.step)
        faster = self._motion.acceleration * max(elapsed_s, ACCELERATION_S)
        up = (np.maximum(self._velocity, 0.0) + faster) * elapsed_s
        down = (np.maximum(-self._velocity, 0.0) + faster) * elapsed_s
        by_speed_up = by_speed_down = speed_up * elapsed_s
        reach_up = reach_down = np.minimum(by_speed_up, self._motion.step)
        if speed_down is not speed_up:
            by_speed_down = speed_down * elapsed_s
            reach_down = np.minimum(by_speed_down, self._motion.step)
        lowest, highest = last - np.minimum(reach_down, down), last + np.minimum(reach_up, up)
        # from one pose that is inside towards another, so inside
        passed = np.minimum(np.maximum(inside, lowest), highest)
        if pulled is not None:
            # unless the policy has pulled it back further itself
            back = (pulled - last) * (passed - pulled) > 0
            by_speed_up, by_speed_down = (
                np.where(pulled != last, 0.0, x) for x in (by_speed_up, by_speed_down)
            )
            passed = np.where(pulled == last, passed, np.where(back, passed, pulled))
        if passed.tolist() == asked.tolist():  # a third of the time that arrays take
            return passed, []
        found: list[Intervention] = []
        for i, joint in enumerate(JOINTS):
            if inside[i] != asked[i]:
                found.append(Intervention(GuardRule.LIMIT, joint, float(asked[i]), float(inside[i])))
            if passed[i] != inside[i]:
                by_speed, by_acceleration = (
                    (by_speed_up, up) if inside[i] > last[i] else (by_speed_down, down)
                )
                rule = _tightest(by_speed[i], self._motion.step[i], by_acceleration[i])
                found.append(Intervention(rule, joint, float(inside[i]), float(passed[i])))
        if allowance.speed < 1.0 and any(change.rule is GuardRule.SPEED for change in found):
            found.append(_intervention(allowance))
        return passed, found

    def _remember(self, passed: NDArray[np.float64], elapsed_s: float, now_s: float) -> None:
        assert self._last is not None  # or nothing would have passed
        if elapsed_s > 0:
            speed = (passed - self._last) / elapsed_s
            self._velocity += min(1.0, elapsed_s / ACCELERATION_S) * (speed - self._velocity)
        self._last, self._last_s = passed, now_s

    def _stale(
        self, state: "ArmState", known: bool, frame_ages_s: Mapping[str, float], now_s: float, looked_s: float
    ) -> Intervention | None:
        """The first reason not to trust what is known about arm and scene; `known`: all positions are finite."""
        reasons: list[Intervention] = []
        if not known or not all(state.answered.tolist()):
            silent = ~np.asarray(state.answered, np.bool_) | ~np.isfinite(state.position)
            joint = JOINTS[int(np.argmax(silent))]
            reasons.append(Intervention(GuardRule.SERVO_SILENT, joint, math.nan, math.nan))
        if found := self._state_fresh.judge(now_s - state.time_s, now_s):
            reasons.append(Intervention(STATE_RULES[found.why], None, found.found, found.allowed))
        for name, age_s in frame_ages_s.items():
            fresh = self._frames_fresh.get(name)
            if fresh is None:
                fresh = self._frames_fresh[name] = Freshness(self._ages.frame_s)
            if found := fresh.judge(age_s, looked_s):
                reasons.append(Intervention(FRAME_RULES[found.why], name, found.found, found.allowed))
        return reasons[0] if reasons else None


def _stop_of(joint: str) -> float:
    """How far the joint can turn to either side, whatever its calibrated range is: LeRobot stores the whole turn for
    one that has printed stops."""
    return FULL_TURN_STOP_DEG if joint == FULL_TURN_JOINT else math.inf


def _tightest(speed: float, step: float, acceleration: float) -> GuardRule:
    """The rule that cut a joint."""
    if speed <= min(step, acceleration + ROUNDING):
        return GuardRule.SPEED
    return GuardRule.STEP if step <= acceleration else GuardRule.ACCELERATION


def _intervention(allowance: LoadAllowance) -> Intervention:
    return Intervention(allowance.cause, allowance.joint, allowance.found, allowance.allowed)


def _shortenings(shortened: Shortened) -> list[Intervention]:
    return [
        Intervention(broken.rule, broken.shape, 1e3 * broken.clearance_m, 1e3 * left_m)
        for broken, left_m in shortened.broken
    ]


def _as_pose(
    action: ArrayLike, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, Intervention | None]:
    """The action as numbers, or what is wrong with it."""
    try:
        pose = np.array(action, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None, Intervention(GuardRule.NOT_NUMBERS, None, math.nan, math.nan)
    if pose.shape != shape:
        return None, Intervention(GuardRule.WRONG_SIZE, None, float(pose.size), float(shape[0]))
    if not all(map(math.isfinite, pose.tolist())):
        i = int(np.argmin(np.isfinite(pose)))
        return None, Intervention(GuardRule.NOT_FINITE, JOINTS[i], float(pose[i]), math.nan)
    return pose, None


def _in_words(reason: Intervention) -> str:
    where = f": {reason.joint}" if reason.joint else ""
    found = "" if math.isnan(reason.asked) and math.isnan(reason.allowed) else f" ({reason.asked:.3g}"
    allowed = "" if math.isnan(reason.allowed) else f", allowed {reason.allowed:.3g}"
    return f"{reason.rule}{where}{found}{allowed}{')' if found else ''}"
