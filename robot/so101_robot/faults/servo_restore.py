"""Servos that come back get what they have lost, before anything is asked of them.

A servo that was silent may have rebooted: its torque is off and registers stand at their defaults. One whose
readings leap may count turns. Both are looked into on the tick on which they answer; what differs from the
start is written.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import BusError
from so101_robot.faults.fault import Sight
from so101_robot.joints import JOINTS, SERVO_IDS

if TYPE_CHECKING:
    from so101_robot.state import ArmState

AGAIN_S = 0.2
"""How often a servo whose readings go on leaping is looked into."""


@runtime_checkable
class Restorable(Protocol):
    """An arm whose servos can be given their settings again; `so101_robot.arm.arm.SO101` is one."""

    def restore(self, joint: int) -> bool:
        """Returns whether the servo had lost anything. Raises BusError, PortError."""
        ...


class Mender:
    """Remembers who was silent and restores who comes back."""

    def __init__(self, arm: object) -> None:
        self._arm = arm if isinstance(arm, Restorable) else None
        self._away = np.zeros(len(JOINTS), np.bool_)
        self._looked_s = -np.inf

    def nobody_answered(self) -> None:
        """Everybody may have rebooted."""
        self._away[:] = True

    def see(self, state: "ArmState", leaping: NDArray[np.bool_]) -> list[Sight]:
        """Look after the servos of a new reading.

        Args:
            state: the reading.
            leaping: (6,) joints whose position cannot be.

        Returns:
            The servos that had lost something, and those that could not be looked into.

        Raises:
            PortError: the port is gone.
        """
        answered = np.asarray(state.answered, np.bool_)
        back = answered & self._away
        self._away = (self._away | ~answered) & ~back
        due = state.time_s - self._looked_s >= AGAIN_S
        if leaping.any() and due:
            self._looked_s = state.time_s
        sights: list[Sight] = []
        for joint in np.flatnonzero(back | (leaping & due)).tolist():
            sights += self._restore(joint)
        return sights

    def _restore(self, joint: int) -> list[Sight]:
        if self._arm is None:
            return []
        who = f"servo {SERVO_IDS[joint]} ({JOINTS[joint]})"
        try:
            lost = self._arm.restore(joint)
        except BusError as problem:
            self._away[joint] = True  # again when it answers next
            return [Sight("servo rebooted", JOINTS[joint], f"{who} cannot be looked into: {problem}")]
        if not lost:
            return []
        return [Sight("servo rebooted", JOINTS[joint], f"{who} had rebooted; its settings were restored")]
