"""What is known of the arm at one moment, and what the loop needs of an arm."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Health(NamedTuple):
    """What servos say about themselves; each (6,) float64, NaN where a servo did not answer."""

    velocity_steps_s: NDArray[np.float64]
    load_percent: NDArray[np.float64]
    """Motor duty; positive drives towards smaller counts (the register's sign)."""
    voltage_v: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    current_ma: NDArray[np.float64]
    moving: NDArray[np.float64]
    """1 while the servo moves."""


class ArmState(NamedTuple):
    """One read of the arm."""

    time_s: float
    """When it was asked for, on the arm's clock."""
    position: NDArray[np.float64]
    """(6,) LeRobot units; of a servo that did not answer the last that is known."""
    answered: NDArray[np.bool_]
    errors: NDArray[np.uint8]
    """(6,) error bits (`protocol.Errors`)."""
    health: Health | None
    """In every `health_every`-th state."""
    turned: NDArray[np.bool_] | None = None
    """(6,) servos that count beyond one turn, which their settings do not allow; None: not known."""


class Frame(NamedTuple):
    """One picture."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB. Shared, not copied: do not write to it."""
    captured_s: float
    """When it was captured or received, on the robot's clock."""
    sequence: int
    """Grows with every new picture of this source; equal numbers are the same picture."""
    renderer: str | None
    """What drew it, for pictures of the mock arm."""


class Arm(Protocol):
    """What the loop needs of an arm; `so101_robot.arm.arm.SO101` is one. Joint values are (6,) in LeRobot
    units."""

    @property
    def home(self) -> NDArray[np.float64]: ...

    def read(self) -> "ArmState": ...

    def frames(self) -> "dict[str, Frame]": ...

    def command(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Send goals; returns them as quantised."""
        ...

    def hold(self) -> NDArray[np.float64] | None:
        """Torque on, stay; returns the pose that is held, if that is known."""
        ...

    def release(self) -> dict[str, str | None]:
        """Torque off, joint by joint; returns what went wrong at each, or None."""
        ...
