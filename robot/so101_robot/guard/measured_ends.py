"""Where the stops of wrist_roll are on this arm, as `so101-calibrate` measured them: `<robot id>.ends.yaml`.

LeRobot's file has the whole turn as the range of that joint, on every arm, so the stops are kept beside it. They are
angles from the joint's zero, and hold only for the calibration that they were measured with: its homing offset is in
the file, and under another one they are not used.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import parse_yaml, read_text
from so101_robot.errors import ConfigError
from so101_robot.guard.rig import Rig
from so101_robot.joints import FULL_TURN_JOINT

logger = logging.getLogger(__name__)

SUFFIX = ".ends.yaml"

_HEAD = f"""\
# The stops of {FULL_TURN_JOINT}, measured by `so101-calibrate servos` [deg from its zero]. LeRobot's file has the whole
# turn. They hold for the calibration with this homing offset; `lower` and `upper` in the limits file come before them.
"""


class MeasuredEnds(NamedTuple):
    """The stops of one joint."""

    homing_offset: int
    """Of the calibration that they were measured with [steps]."""
    lower_deg: float
    upper_deg: float


def beside(calibration: Path) -> Path:
    """Where the stops of the arm with that calibration file are kept."""
    return calibration.with_name(calibration.stem + SUFFIX)


def in_yaml(ends: MeasuredEnds) -> str:
    """The file's text."""
    fields = f"homing_offset: {ends.homing_offset}, lower_deg: {ends.lower_deg:.2f}, upper_deg: {ends.upper_deg:.2f}"
    return f"{_HEAD}{FULL_TURN_JOINT}: {{{fields}}}\n"


def load(path: Path) -> MeasuredEnds | None:
    """What was measured; None if there is no file. Raises ConfigError that says what is wrong with it."""
    try:
        content: Any = parse_yaml(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {first_line(error)}") from error
    row: Any = content.get(FULL_TURN_JOINT) if isinstance(content, dict) else None
    if not isinstance(row, dict) or set(row) != set(MeasuredEnds._fields):
        fields = ", ".join(MeasuredEnds._fields)
        raise ConfigError(f"{path}: expected {FULL_TURN_JOINT} with {fields}, found {shown(content)}")
    bounds = {"homing_offset": (-4095, 4095), "lower_deg": (-180, 0), "upper_deg": (0, 180)}
    for name, (low, high) in bounds.items():
        value = row[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            what = f"{FULL_TURN_JOINT}: {name} = {shown(value)}"
            raise ConfigError(f"{path}: {what}; expected a number from {low} to {high}")
    if not isinstance(row["homing_offset"], int):
        raise ConfigError(f"{path}: homing_offset = {shown(row['homing_offset'])}; expected a whole number")
    return MeasuredEnds(**row)


def applied(rig: Rig, calibration: Path, homing_offset: int) -> Rig:
    """The limits with the measured stops of the arm, where the limits file does not say its own.

    Args:
        rig: the limits.
        calibration: the arm's calibration file.
        homing_offset: of wrist_roll, in that calibration.

    Raises:
        ConfigError: the file of the stops is wrong.
    """
    path = beside(calibration)
    ends = load(path)
    if ends is None:
        return rig
    if ends.homing_offset != homing_offset:
        logger.warning("%s is not used: it was measured with another calibration; calibrate again.", path)
        return rig
    rules = rig.joints[FULL_TURN_JOINT]
    given = replace(
        rules,
        lower=ends.lower_deg if rules.lower is None else rules.lower,
        upper=ends.upper_deg if rules.upper is None else rules.upper,
    )
    return replace(rig, joints={**rig.joints, FULL_TURN_JOINT: given})
