"""feetech-servo-sdk on a port that we opened: what LeRobot's own bus methods talk through.

Nothing of the control loop passes here; that goes through a `Link`.
"""

import contextlib
import termios
from collections.abc import Callable
from typing import Any

import scservo_sdk
from lerobot.motors.feetech.feetech import patch_setPacketTimeout

from so101_robot.bus.link import BAUD, Link

Opener = Callable[[], tuple[Any, Link]]
"""Opens a port: a pyserial-like handle for the SDK and a `Link` for ours."""


class SdkPort(scservo_sdk.PortHandler):
    """feetech-servo-sdk's port on a handle that we opened, for LeRobot's own methods.

    It mends three things on the way: input that is stale when a request goes out is discarded (the SDK only
    drains the output, so a late reply answers the next question), an interrupted call does not leave the port
    "in use" for ever, and a change of speed keeps the port open and ours.
    """

    setPacketTimeout = patch_setPacketTimeout  # LeRobot's: 50 ms per packet

    def __init__(self, port_name: str, opener: Opener) -> None:
        super().__init__(port_name)
        self.ser: Any = None
        self.link: Link | None = None
        self._opener = opener

    @property
    def is_using(self) -> bool:
        return False

    @is_using.setter
    def is_using(self, _: bool) -> None:
        """One thread owns the bus; there is nothing to keep."""

    def openPort(self) -> bool:  # noqa: N802
        self.ser, self.link = self._opener()
        self.is_open = True
        return self.setBaudRate(BAUD)

    def closePort(self) -> None:  # noqa: N802
        if self.link is not None:
            self.link.close()
            with contextlib.suppress(OSError, termios.error):
                self.ser.close()
        self.link = self.ser = None
        self.is_open = False

    def clearPort(self) -> None:  # noqa: N802
        self.ser.reset_input_buffer()

    def setBaudRate(self, baudrate: int) -> bool:  # noqa: N802
        self.baudrate = self.ser.baudrate = baudrate
        self.tx_time_per_byte = 10_000 / baudrate  # [ms]
        return True
