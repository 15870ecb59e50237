"""One of LeRobot's commands, unchanged but for one number: it waits 3 s longer for a servo than its 50 ms.

python tests/support/patient_lerobot.py lerobot-record --flag=value ...     for a machine that does five other things
"""

import sys
from importlib import import_module
from typing import Any

from lerobot.motors.feetech import feetech

ORIGINAL = feetech.patch_setPacketTimeout


def wait_longer(port_handler: Any, packet_length: int) -> None:
    ORIGINAL(port_handler, packet_length)
    port_handler.packet_timeout += 3000.0


if __name__ == "__main__":
    feetech.patch_setPacketTimeout = wait_longer
    name = sys.argv.pop(1)
    import_module(f"lerobot.scripts.{name.replace('-', '_')}").main()
