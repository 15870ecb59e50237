"""The last word on every action: limits, speed, health of the data -> an action that may be sent, or a stop.

What can be clamped is clamped and written down as an `Intervention`; what cannot be judged (not a number,
data too old, a servo that does not answer) is a stop, and the loop holds the arm. Steps are measured from the
last command, not from the measured position: a joint that lags under load would otherwise be held back by its
own lag.

`Guard.check` is deterministic and touches nothing but its last command and its time. Whatever comes in, an
action that comes out is finite, within the limits, and within one step of the last command.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ConfigError, UnsafeActionError
from .joints import GRIPPER, JOINTS

if TYPE_CHECKING:
    from .arm import ArmState

FIRST_TICK_S = 1 / 30
"""How long the first command after a reset is taken to last: nobody knows when the one before was."""

LONGEST_S = 1.0
"""A longer pause gives no more room than this."""

OUTSIDE_DEG = 5.0
"""How far outside its calibrated range a joint may stand at the start: backlash, a careless range recording,
a bent stop. Farther out the calibration is another arm's, and moving the goal into the range would be a
leap."""


@dataclass(frozen=True)
class GuardLimits:
    """What the guard lets pass. A good ACT policy at 30 Hz meets none of these."""

    joint_speed_deg_s: float = 180.0
    """6 degrees a tick at 30 Hz. Demonstrated motion stays well below; the unloaded servo reaches about 270
    (46 rpm)."""

    gripper_speed_percent_s: float = 300.0
    """Open to closed in a third of a second, which is as fast as the servo can (a range of about 110
    degrees)."""

    joint_step_deg: float = 12.0
    """However late a tick is, a command goes no farther: the speed limit over two ticks at 30 Hz."""

    gripper_step_percent: float = 20.0
    """As `joint_step_deg`, for the gripper."""

    margin_deg: float = 0.0
    """Distance to the ends of the calibrated range. 0, because arms rest and demonstrations start at the
    ends."""

    max_state_age_s: float = 0.1
    """Three ticks at 30 Hz; a read that waits for a silent servo takes 0.02 s."""

    max_frame_age_s: float = 0.5
    """LeRobot's limit. A camera at 30 Hz is 0.03 to 0.1 s old by the time it is seen."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and (value > 0 or (value == 0 and item.name == "margin_deg"))):
                raise ConfigError(f"guard limit {item.name} = {value}; it has to be a number above 0")


class Intervention(NamedTuple):
    """One thing that the guard changed or refused."""

    rule: str
    """`limit`, `speed` or `step` for a clamp; the reason of a stop otherwise."""
    joint: str | None
    """The joint, the camera, or None where neither has to do with it."""
    asked: float
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
        limits: speeds, steps and ages.
        lower, upper: (6,) ends of the calibrated ranges in LeRobot units, degrees and gripper percent.

    Raises:
        ConfigError: the range that is left within the margin is empty.
    """

    def __init__(self, limits: GuardLimits, lower: ArrayLike, upper: ArrayLike) -> None:
        margin = _per_joint(limits.margin_deg, 0.0)
        self.limits = limits
        self.lower = np.asarray(lower, np.float64) + margin
        self.upper = np.asarray(upper, np.float64) - margin
        if not (self.lower < self.upper).all():  # also when a limit is not a number
            raise ConfigError(f"no room to move within limits {self.lower.tolist()} to {self.upper.tolist()}")
        self._speed = _per_joint(limits.joint_speed_deg_s, limits.gripper_speed_percent_s)
        self._step = _per_joint(limits.joint_step_deg, limits.gripper_step_percent)
        self._last: NDArray[np.float64] | None = None
        self._last_s: float | None = None

    @property
    def last_command(self) -> NDArray[np.float64] | None:
        """(6,) what passed last, or where the arm was at the last `reset`; None before."""
        return None if self._last is None else self._last.copy()

    def reset(self, position: ArrayLike) -> None:
        """Take `position` (6,) as the last command: before the first action, and after every hold.

        Raises:
            UnsafeActionError: it is not a pose of this arm, so no first step from it would be safe. Nothing
                passes until a reset succeeds.
        """
        self._last = None
        pose = np.asarray(position, np.float64)
        if pose.shape != self.lower.shape or not np.isfinite(pose).all():
            raise UnsafeActionError(
                f"cannot start from {pose.tolist()}; needed is one number for each of {', '.join(JOINTS)}"
            )
        inside = np.clip(pose, self.lower, self.upper)
        for i in np.flatnonzero(np.abs(pose - inside) > OUTSIDE_DEG + self.limits.margin_deg):
            raise UnsafeActionError(
                f"{JOINTS[i]} stands at {pose[i]:.1f}, outside its calibrated range of {self.lower[i]:.1f} "
                f"to {self.upper[i]:.1f} - move it by hand into its range, or calibrate the arm again"
            )
        self._last = inside
        self._last_s = None

    def check(
        self, action: ArrayLike, state: "ArmState", frame_ages_s: Mapping[str, float], now_s: float
    ) -> Verdict:
        """Judge one action.

        Args:
            action: (6,) in LeRobot units.
            state: the newest one.
            frame_ages_s: age of each camera's newest frame [s].
            now_s: on the clock of `state.time_s`.

        Returns:
            The action that may be sent, clamped where needed, or a stop.
        """
        asked, fault = _as_pose(action, self.lower.shape)
        fault = fault or self._stale(state, frame_ages_s, now_s)
        if fault is not None or asked is None or self._last is None:
            reason = fault or Intervention(
                "the guard was not told where the arm is (reset)", None, math.nan, math.nan
            )
            return Verdict(None, (reason,), _in_words(reason))
        passed, interventions = self._clamped(asked, self._last, self._elapsed_s(now_s))
        self._last, self._last_s = passed, now_s
        return Verdict(passed.copy(), interventions, None)

    def _elapsed_s(self, now_s: float) -> float:
        return FIRST_TICK_S if self._last_s is None else min(max(now_s - self._last_s, 0.0), LONGEST_S)

    def _clamped(
        self, asked: NDArray[np.float64], last: NDArray[np.float64], elapsed_s: float
    ) -> tuple[NDArray[np.float64], tuple[Intervention, ...]]:
        inside = np.clip(asked, self.lower, self.upper)
        by_speed = self._speed * elapsed_s
        reach = np.minimum(by_speed, self._step)
        passed = np.clip(inside, last - reach, last + reach)  # between two poses that are inside, so inside
        if (passed == asked).all():
            return passed, ()
        found: list[Intervention] = []
        for i, joint in enumerate(JOINTS):
            if inside[i] != asked[i]:
                found.append(Intervention("limit", joint, float(asked[i]), float(inside[i])))
            if passed[i] != inside[i]:
                rule = "speed" if by_speed[i] <= self._step[i] else "step"
                found.append(Intervention(rule, joint, float(inside[i]), float(passed[i])))
        return passed, tuple(found)

    def _stale(
        self, state: "ArmState", frame_ages_s: Mapping[str, float], now_s: float
    ) -> Intervention | None:
        """The first reason not to trust what is known about arm and scene."""
        for i in np.flatnonzero(~np.asarray(state.answered, np.bool_) | ~np.isfinite(state.position)):
            return Intervention("servo does not answer", JOINTS[i], math.nan, math.nan)
        age_s = now_s - state.time_s
        # written so that an age that is not a number, or lies in the future, is stale
        if not abs(age_s) <= self.limits.max_state_age_s:
            return Intervention("state too old", None, age_s, self.limits.max_state_age_s)
        for name, frame_age_s in frame_ages_s.items():
            if not abs(frame_age_s) <= self.limits.max_frame_age_s:
                return Intervention("frame too old", name, frame_age_s, self.limits.max_frame_age_s)
        return None


def _as_pose(
    action: ArrayLike, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64] | None, Intervention | None]:
    """The action as numbers, or what is wrong with it."""
    try:
        pose = np.array(action, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None, Intervention("action is not made of numbers", None, math.nan, math.nan)
    if pose.shape != shape:
        return None, Intervention("wrong number of joints", None, float(pose.size), float(shape[0]))
    for i in np.flatnonzero(~np.isfinite(pose)):
        return None, Intervention("action is not finite", JOINTS[i], float(pose[i]), math.nan)
    return pose, None


def _in_words(reason: Intervention) -> str:
    where = f": {reason.joint}" if reason.joint else ""
    found = "" if math.isnan(reason.asked) and math.isnan(reason.allowed) else f" ({reason.asked:.3g}"
    allowed = "" if math.isnan(reason.allowed) else f", allowed {reason.allowed:.3g}"
    return f"{reason.rule}{where}{found}{allowed}{')' if found else ''}"


def _per_joint(degrees: float, percent: float) -> NDArray[np.float64]:
    return np.array([percent if i == GRIPPER else degrees for i in range(len(JOINTS))])
