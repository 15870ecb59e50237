"""Servos that come back get the settings that they have lost, before they are commanded.

A servo that was silent may have rebooted: its torque is off and its registers are at their defaults. One whose
readings leap may count turns. Both are checked on the tick on which they answer; what differs from the
start is written.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import BusError
from so101_robot.faults.fault import Symptom
from so101_robot.joints import JOINTS, SERVO_IDS, named_servo

if TYPE_CHECKING:
    from so101_robot.state import Arm, ArmState

AGAIN_S = 0.2
"""How often a servo whose readings go on leaping is checked."""


@runtime_checkable
class Restorable(Protocol):
    """An arm whose servos can be given their settings again; `so101_robot.arm.arm.SO101` is one."""

    def restore(self, joint: int) -> bool:
        """Returns whether the servo had lost anything. Raises BusError, PortError."""
        ...


class ServoRestorer:
    """Remembers who was silent and restores who comes back."""

    def __init__(self, arm: "Arm | Restorable") -> None:
        self._arm = arm if isinstance(arm, Restorable) else None
        self._away = np.zeros(len(JOINTS), np.bool_)
        self._looked_s = -np.inf

    def all_silent(self) -> None:
        """Everybody may have rebooted."""
        self._away[:] = True

    def see(self, state: "ArmState", leaping: NDArray[np.bool_]) -> list[Symptom]:
        """Look after the servos of a new reading.

        Args:
            state: the reading.
            leaping: (6,) joints whose position is impossible.

        Returns:
            The servos that had lost something, and those that could not be checked.

        Raises:
            PortError: the port is gone.
        """
        answered = np.asarray(state.answered, np.bool_)
        back = answered & self._away
        self._away = (self._away | ~answered) & ~back
        due = state.time_s - self._looked_s >= AGAIN_S
        if leaping.any() and due:
            self._looked_s = state.time_s
        symptoms: list[Symptom] = []
        for joint in np.flatnonzero(back | (leaping & due)).tolist():
            symptoms += self._restore(joint)
        return symptoms

    def _restore(self, joint: int) -> list[Symptom]:
        if self._arm is None:
            return []
        who = named_servo(SERVO_IDS[joint])
        try:
            lost = self._arm.restore(joint)
        except BusError as problem:
            self._away[joint] = True  # again when it answers next
            return [Symptom("servo rebooted", JOINTS[joint], f"{who} cannot be checked: {problem}")]
        if not lost:
            return []
        return [Symptom("servo rebooted", JOINTS[joint], f"{who} had rebooted; its settings were restored")]
