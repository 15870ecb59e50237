"""What an arm measures about itself: bus cycles, and tracking and play of each joint in a small slow motion.

The motion: all joints hold where they are, then one after the other goes `AMPLITUDE_DEG` up, down, and back, slower
than a tenth of its top speed, inside the calibrated range. It ends where it began, and at once, with the joints held,
when a servo reports an error, is silent, or a joint is more than `GIVE_UP_DEG` from its goal.
"""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_calibration.errors import CalibrateError, ServoError
from so101_calibration.servos.line import TORQUE, Line
from so101_robot.bus.calibration import DEG_PER_STEP, Calibration
from so101_robot.bus.protocol import Errors
from so101_robot.errors import RobotError
from so101_robot.joints import JOINTS, SERVO_IDS

AMPLITUDE_DEG = 3.0
SPEED_DEG_S = 15.0
RATE_HZ = 50.0
SETTLE_S = 0.4
"""At rest before a position is read."""
GIVE_UP_DEG = 8.0
MARGIN_DEG = 1.0
"""Kept from the ends of the range."""

CYCLES = 200


class Motion(NamedTuple):
    """How one joint followed."""

    joint: str
    tracking_deg: float
    """Largest distance between goal and position while moving: lag, play and droop together."""
    rest_deg: float
    """Largest distance between goal and position at rest."""
    backlash_deg: float
    """At one goal, coming from below and from above: the difference of the positions at rest. It is what play,
    friction and dead zone leave, as far as the encoder on the output shaft sees it."""


class Cycles(NamedTuple):
    """Time of a read of all servos and a write of their goals, without the write where torque is to stay off."""

    median_ms: float
    p99_ms: float
    lost: int
    """Reads that stayed incomplete after three tries."""
    reads: int


def bus_cycles(line: Line, count: int = CYCLES) -> Cycles:
    """Read position and health of all servos `count` times, as fast as it goes."""
    times: list[float] = []
    lost = 0
    for _ in range(count):
        start_s = line.clock.now_s()
        try:
            line.sample()
        except ServoError:
            lost += 1
        times.append((line.clock.now_s() - start_s) * 1e3)
    return Cycles(float(np.median(times)), float(np.percentile(times, 99)), lost, count)


def motions(line: Line, calibration: Calibration) -> list[Motion]:
    """Move every joint a little and see how it follows. The arm ends as it was: pose, and torque of each joint.

    Raises:
        CalibrateError: it gave up; the arm holds where it is if it was under torque, and is free if it was free.
    """
    mover = _Mover(line, calibration)
    try:
        return [mover.examine(index) for index in range(len(JOINTS))]
    finally:
        mover.restore()


class _Mover:
    def __init__(self, line: Line, calibration: Calibration) -> None:
        sample = line.sample()
        _stop_for_errors(sample.errors.tolist())
        self._line = line
        self._torque = sample.torque.tolist()
        rows = [calibration[joint] for joint in JOINTS]
        margin = MARGIN_DEG / DEG_PER_STEP
        self._lower = np.array([row.range_min + margin for row in rows])
        self._upper = np.array([row.range_max - margin for row in rows])
        self._start: NDArray[np.float64] = np.clip(sample.present, 0, 4095).astype(float)
        self._goal = self._start.copy()
        self._send()  # torque on, each joint where it is

    def examine(self, index: int) -> Motion:
        """Up, down and back with one joint."""
        amplitude = AMPLITUDE_DEG / DEG_PER_STEP
        inside = self._lower[index] + amplitude, self._upper[index] - amplitude
        center = float(np.clip(self._start[index], *inside))
        self._ramp(index, center)
        lags = [self._ramp(index, center + amplitude)]
        rests = [self._settle(index)]
        lags.append(self._ramp(index, center))
        from_above = self._settle(index)
        lags.append(self._ramp(index, center - amplitude))
        rests.append(self._settle(index))
        lags.append(self._ramp(index, center))
        from_below = self._settle(index)
        self._ramp(index, self._start[index])
        rests += [from_above, from_below]
        return Motion(
            JOINTS[index],
            max(lags) * DEG_PER_STEP,
            max(abs(rest) for rest in rests) * DEG_PER_STEP,
            abs(from_above - from_below) * DEG_PER_STEP,
        )

    def restore(self) -> None:
        """Torque as it was found. A silent servo does not keep the others from it."""
        for servo_id, torque in zip(SERVO_IDS, self._torque, strict=True):
            if not torque:
                with contextlib.suppress(
                    CalibrateError, RobotError
                ):  # what went wrong first is on its way up
                    self._line.write(servo_id, TORQUE, 0)

    def _ramp(self, index: int, target: float) -> float:
        """Go there slowly; returns the largest lag on the way [steps]."""
        clock, lag = self._line.clock, 0.0
        step = SPEED_DEG_S / RATE_HZ / DEG_PER_STEP
        due_s = clock.now_s()
        while self._goal[index] != target:
            self._goal[index] += np.clip(target - self._goal[index], -step, step)
            self._send()
            due_s += 1 / RATE_HZ
            clock.sleep_until(due_s)
            lag = max(lag, abs(self._error(index)))
        return lag

    def _settle(self, index: int) -> float:
        """Wait, then how far the joint rests above its goal [steps]: the mean of some reads."""
        clock = self._line.clock
        clock.sleep_until(clock.now_s() + SETTLE_S)
        return float(np.mean([self._error(index) for _ in range(5)]))

    def _error(self, index: int) -> float:
        sample = self._line.sample()
        _stop_for_errors(sample.errors.tolist())
        errors = sample.present - np.trunc(self._goal)
        far = np.abs(errors) * DEG_PER_STEP > GIVE_UP_DEG
        if far.any():
            self._goal = np.clip(sample.present, 0, 4095).astype(float)
            self._send()
            names = ", ".join(JOINTS[i] for i in np.flatnonzero(far))
            raise ServoError(
                f"{names} was more than {GIVE_UP_DEG:g} deg from its goal, so the motion was stopped - is something "
                "in the way, or the supply too weak?"
            )
        return float(errors[index])

    def _send(self) -> None:
        self._line.command([int(goal) for goal in self._goal])


def _stop_for_errors(errors: Sequence[int]) -> None:
    found = [f"{JOINTS[i]}: {Errors(byte).describe()}" for i, byte in enumerate(errors) if byte]
    if found:
        raise ServoError(f"a servo reports an error, so nothing is moved ({'; '.join(found)})")
