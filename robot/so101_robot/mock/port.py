"""Ways into the mock arm: in memory and in step with a clock, or through a pseudo-terminal in real time."""

from so101_robot.mock.lockstep import LockstepClock, LockstepLink, LockstepSerial
from so101_robot.mock.terminal import PtyServer, Transfer

__all__ = ["LockstepClock", "LockstepLink", "LockstepSerial", "PtyServer", "Transfer"]
