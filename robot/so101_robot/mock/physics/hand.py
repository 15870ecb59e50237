"""A simulated hand: it takes hold of joints and moves them, as a person does while `lerobot-calibrate` waits.

The hand is a spring and a damper with limited strength between a joint and a moving target, so everything
else keeps acting on the arm: gravity, friction, the table, and a servo that holds against it. It knows
joint angles, not encoders.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import ConfigError
from so101_robot.joints import FULL_TURN_JOINT, JOINTS
from so101_robot.mock.servo.servo import Bridge, Servos

STIFFNESS_NM_RAD = np.array((40.0, 40.0, 40.0, 15.0, 15.0, 15.0))
"""Per joint [N m/rad]: holds the stretched arm within a degree."""
DAMPING_NM_S_RAD = np.array((1.5, 1.5, 1.0, 0.25, 0.25, 0.25))
"""Per joint [N m s/rad]. Within the gears' play a wrist has 0.001 kg m2 of inertia; more damping than half of
that per physics step of 2 ms would shake it."""
STRENGTH_NM = 4.0
"""Overcomes gravity (0.5 N m) and friction with ease, and does not push the arm through the table."""
TICK_S = 0.001

CLEARANCE_RAD: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "shoulder_lift": ({}, {"elbow_flex": -1.6, "wrist_flex": -1.0}),
    "elbow_flex": ({}, {"shoulder_lift": -1.2, "wrist_flex": -0.5}),
}
"""Where other joints go while one visits its lower and its upper end, to keep clear of the table [rad]."""


class Move(NamedTuple):
    """Bring joints (by index) to angles [rad] within `duration_s`; the other held joints stay."""

    targets_rad: dict[int, float]
    duration_s: float


class Hand:
    """Moves joints of a plant by torque.

    Args:
        joint_rad: (6,) true joint angles [rad], kept up to date by the plant.
        torque_nm: (6,) external joint torque [N m], which the plant applies and the hand writes.
        range_rad: (6, 2) lower and upper end of every joint [rad].
        middle_rad: (6,) where calibration wants the joints when it asks for "the middle of the range" [rad].
    """

    def __init__(
        self,
        joint_rad: NDArray[np.float64],
        torque_nm: NDArray[np.float64],
        range_rad: NDArray[np.float64],
        middle_rad: NDArray[np.float64],
    ) -> None:
        self._joint_rad, self._torque_nm = joint_rad, torque_nm
        self.range_rad, self.middle_rad = range_rad, middle_rad
        self._moves: deque[Move] = deque()
        self._held = np.zeros(len(joint_rad), dtype=bool)
        self._start_rad = joint_rad.copy()
        self._goal_rad = joint_rad.copy()
        self._target_rad = joint_rad.copy()
        self._last_rad = joint_rad.copy()
        self._elapsed_s = 0.0
        self._duration_s = 0.0
        self.active = False

    @property
    def joint_rad(self) -> NDArray[np.float64]:
        """(6,) true angles of the joints [rad], as they are now: a view."""
        return self._joint_rad

    @property
    def busy(self) -> bool:
        """True until the last queued move has ended. A hand that only holds is not busy."""
        return bool(self._moves) or self._elapsed_s < self._duration_s

    def move(self, targets_rad: Mapping[str, float], duration_s: float = 1.0) -> None:
        """Queue a move of the named joints; they stay held afterwards, until `release`.

        Raises:
            ConfigError: a joint that the arm does not have.
        """
        unknown = [name for name in targets_rad if name not in JOINTS]
        if unknown:
            raise ConfigError(f"the hand cannot find joint {unknown[0]!r}; this arm has {', '.join(JOINTS)}")
        moves = {JOINTS.index(name): float(angle) for name, angle in targets_rad.items()}
        self._moves.append(Move(moves, max(duration_s, TICK_S)))
        if not self.active:
            self._last_rad[:] = self._joint_rad
        self.active = True

    def middle(self, duration_s: float = 1.5) -> None:
        """Queue a move of all joints to the middle that `lerobot-calibrate` asks for."""
        self.move(dict(zip(JOINTS, self.middle_rad.tolist(), strict=True)), duration_s)

    def sweep(self, joints: Iterable[str] = JOINTS, duration_s: float = 1.0) -> None:
        """Queue the ranges of motion: every joint but the one that turns freely, to both ends and back to
        the middle.

        The joints move one after the other, as LeRobot asks, and in a folded pose where the table is out of
        the way.
        """
        for name in joints:
            if name == FULL_TURN_JOINT:
                continue
            index = JOINTS.index(name)
            aside = CLEARANCE_RAD.get(name, ({}, {}))
            middle = {
                other: float(self.middle_rad[JOINTS.index(other)]) for other in (name, *aside[0], *aside[1])
            }
            for end_rad, pose in zip(self.range_rad[index].tolist(), aside, strict=True):
                self.move({name: end_rad, **pose}, duration_s)
                self.move(middle, duration_s)

    def release(self) -> None:
        """Let go of everything and forget what was queued."""
        self._moves.clear()
        self._held[:] = False
        self._torque_nm[:] = 0.0
        self._elapsed_s = self._duration_s = 0.0
        self.active = False

    def tick(self) -> None:
        """Push for one millisecond. Called before every plant tick while `active`."""
        if self._elapsed_s >= self._duration_s and self._moves:
            self._begin(self._moves.popleft())
        self._elapsed_s = min(self._elapsed_s + TICK_S, self._duration_s)
        fraction = self._elapsed_s / self._duration_s
        eased = fraction * fraction * (3.0 - 2.0 * fraction)  # starts and ends at rest
        target_rad = self._start_rad + eased * (self._goal_rad - self._start_rad)
        error_rate = (target_rad - self._target_rad) - (self._joint_rad - self._last_rad)
        self._target_rad = target_rad
        self._last_rad[:] = self._joint_rad
        pull = STIFFNESS_NM_RAD * (target_rad - self._joint_rad) + DAMPING_NM_S_RAD * error_rate / TICK_S
        self._torque_nm[:] = np.where(self._held, np.clip(pull, -STRENGTH_NM, STRENGTH_NM), 0.0)

    def _begin(self, move: Move) -> None:
        for index, angle in move.targets_rad.items():
            if not self._held[index]:  # taken where it is; a held joint goes on from its target
                self._target_rad[index] = self._joint_rad[index]
                self._held[index] = True
            self._goal_rad[index] = angle
        self._start_rad[:] = self._target_rad
        self._goal_rad[~self._held] = self._target_rad[~self._held]
        self._elapsed_s, self._duration_s = 0.0, move.duration_s


class CalibrationHelper:
    """The hand of `so101-mock --hand`: whenever torque is off it does what `lerobot-calibrate` asks of a
    person.

    Torque off: to the middle, and wait. Homing offsets written: sweep every range, then wait in the middle.
    Torque on: let go. It looks at registers and at the bridge, as a person looks at the screen and feels
    the arm.
    """

    REACTION_S = 0.3

    def __init__(self, hand: Hand, servos: Servos, bridge: NDArray[np.int8]) -> None:
        self._hand, self._servos, self._bridge = hand, servos, bridge
        self._free_since_s: float | None = None
        self._helping = False
        self._homing = self._homing_offsets()
        self._rehomed_s: float | None = None

    def watch(self, now_s: float) -> None:
        """Look at the arm; call it every few milliseconds of simulated time."""
        if not bool((self._bridge == Bridge.FREE).all()):
            self._free_since_s = None
            if self._helping:
                self._helping = False
                self._hand.release()
            return
        if self._free_since_s is None:
            self._free_since_s = now_s
        if not self._helping and now_s - self._free_since_s >= self.REACTION_S:
            self._helping = True
            self._hand.middle()
        homing = self._homing_offsets()
        if (
            homing != self._homing
        ):  # LeRobot zeroes the offsets, reads the positions, then writes the new ones
            self._homing, self._rehomed_s = homing, now_s
        elif self._rehomed_s is not None and now_s - self._rehomed_s >= self.REACTION_S and self._helping:
            self._rehomed_s = None
            self._hand.sweep()

    def _homing_offsets(self) -> tuple[int, ...]:
        return tuple(self._servos.get(index, "Homing_Offset") for index in range(len(JOINTS)))
