"""The one judgement of servos and calibration, for `so101-run` before it moves and for `so101-calibrate`.

What one of them calls wrong the other does not call right, and both say it in the same words. Each check is a function
without arguments, so that a trouble in one hides no other.
"""

from collections.abc import Callable
from pathlib import Path

from so101_robot.bus.calibration import Calibration
from so101_robot.bus.setup import Registers
from so101_robot.preflight import calibration, servos, settings
from so101_robot.preflight.findings import Finding

Check = Callable[[], list[Finding]]


def servo_judgements(
    rows: Registers,
    file: Calibration | None,
    source: Path | str,
    at_start: Registers | None = None,
    *,
    leader: bool = False,
) -> dict[str, Check]:
    """The checks of what servos and file say, by name, in the order in which they are told.

    Args:
        rows: the servos' registers, (6, 87), all from one reading.
        file: the calibration that shall hold for them; None where there is none.
        source: its file, for the words.
        at_start: the registers as they were before connecting wrote its settings; by default `rows`.
        leader: the arm is moved by hand: no setting of its motors matters, and it has a trigger for a gripper.
    """
    found = rows if at_start is None else at_start
    checks = {
        "servos": lambda: servos.check_servos(rows),
        "supply": lambda: servos.check_supply(rows),
        "heat": lambda: servos.check_heat(rows),
        "errors": lambda: servos.check_errors(rows),
        "settings": lambda: settings.check_settings(found),
        "calibration": lambda: calibration.check_calibration(file, rows, source),
        "sizes": lambda: calibration.check_sizes(file, rows, leader),
    }
    if leader:
        del checks["settings"]
    return checks
