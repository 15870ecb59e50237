"""Can this be the calibration of this SO-101? Of the file, of the servos, and of where the joints are. Pure functions.

One judgement for the pre-flight of a run and for `so101-calibrate`. The kind of each finding is what
`so101-calibrate --allow` names.
"""

from collections.abc import Mapping
from pathlib import Path

from so101_robot.bus import calibration as calibrations
from so101_robot.bus.calibration import DEG_PER_STEP, LARGEST_OFFSET, Calibration, JointCalibration
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.setup import Registers, stored_calibration, value_of
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS, SERVO_IDS, STEPS_PER_TURN, named_servo
from so101_robot.motion.tolerances import OUTSIDE_RANGE_DEG
from so101_robot.preflight.findings import Finding, Level

CALIBRATION, SIZES = "calibration", "sizes"
"""Names of the two checks."""

NOMINAL_DEG: dict[str, float] = {
    "shoulder_pan": 220.0,
    "shoulder_lift": 200.0,
    "elbow_flex": 194.0,
    "wrist_flex": 190.0,
    "wrist_roll": 320.0,
    "gripper": 110.0,
}
"""Range of motion [deg] of the published URDF of the SO-101."""

SMALLEST, LARGEST = 0.75, 1.3
"""Shares of it that a built arm can have: printed stops differ; published calibrations are between 0.95 and 1.2."""

TRIGGER = 0.3
"""The smallest share of a leader's last joint: it ends in a trigger for a finger, not in jaws, and kits differ."""

FEW_STEPS = 100
"""This near to both ends of the encoder's turn a range is the whole turn."""

ANOTHER_ARM = (
    "move it by hand, with the arm switched off; if it cannot get there, its horn was moved, or this is another arm's "
    "calibration"
)
OTHER_STOPS = (
    "calibrate again; for an arm that is built with other stops: --allow={kind} (so101-calibrate), "
    '--preflight.skip="[sizes]" (so101-run)'
)


def check_calibration(file: Calibration | None, rows: Registers, source: Path | str) -> list[Finding]:
    """The calibration can be right, is the one in the servos, and every joint is within its range.

    Args:
        file: what the file (or the mock arm) says; None where there is none: the servos alone are judged.
        rows: the servos' registers, (6, 87).
        source: the file, for the words.
    """
    servos = calibrations.of(stored_calibration(rows))
    if file is not None and (strange := of_joints(file)):
        return strange
    findings = impossible(servos if file is None else file)
    if file is not None:
        different = calibrations.differences(file, servos)
        findings += [_stop("differs", "", text) for text in different]
        if different:
            findings += [finding for finding in impossible(servos) if finding not in findings]
    findings += _registers(rows)
    if not findings:  # an angle of a calibration that cannot be right means nothing
        findings += outside(servos if file is None else file, rows)
    return findings or [Finding(Level.OK, CALIBRATION, str(source), "it is the one in the servos")]


def check_sizes(file: Calibration | None, rows: Registers, leader: bool = False) -> list[Finding]:
    """The ranges are of a size that the joints of an SO-101 can have."""
    servos = calibrations.of(stored_calibration(rows))
    judged = servos if file is None or of_joints(file) else file
    findings = wrong_sizes(judged, leader)
    return findings or [Finding(Level.OK, SIZES, "joints", "each range is about as wide as an SO-101's")]


def of_joints(calibration: Mapping[str, object]) -> list[Finding]:
    """Whether it has the six joints of an SO-101."""
    if sorted(calibration) == sorted(JOINTS):
        return []
    return [_stop("ids", "", calibrations.not_these_joints(calibration))]


def impossible(calibration: Calibration) -> list[Finding]:
    """What no calibration can have, however the arm is built: of all six joints."""
    findings = [_stop("ids", "", text) for text in calibrations.wrong_ids(calibration)]
    for joint in JOINTS:
        row = calibration[joint]
        findings += [*_homing(joint, row), *_range(joint, row), *_drive_mode(joint, row)]
    return findings


def wrong_sizes(calibration: Calibration, leader: bool = False) -> list[Finding]:
    """Ranges that are wider or narrower than those of an SO-101."""
    return [finding for joint in JOINTS for finding in _size(joint, calibration[joint], leader)]


def size(joint: str, span_deg: float, leader: bool = False) -> tuple[str, str] | None:
    """The kind, `small` or `large`, and what was found, where a range of `span_deg` is not that of this joint."""
    share, nominal = span_deg / NOMINAL_DEG[joint], NOMINAL_DEG[joint]
    smallest = TRIGGER if leader and joint == JOINTS[GRIPPER] else SMALLEST
    if smallest <= share <= LARGEST:
        return None
    return "small" if share < smallest else "large", f"covers {span_deg:.0f} deg of about {nominal:.0f}"


def positions_deg(calibration: Calibration, rows: Registers) -> dict[str, float]:
    """Where each joint is by `calibration` [deg from the middle], whatever offset the servos have."""
    servos = stored_calibration(rows)
    found: dict[str, float] = {}
    for name, row in zip(JOINTS, rows, strict=True):
        present, mode = value_of(row, "Present_Position"), value_of(row, "Operating_Mode")
        raw = calibrations.raw_of(present, servos[name].homing_offset, mode)
        found[name] = calibrations.angle_deg(calibration[name], raw)
    return found


def outside(calibration: Calibration, rows: Registers) -> list[Finding]:
    """Every joint that is where, by `calibration`, it cannot be."""
    findings: list[Finding] = []
    for name, position_deg in positions_deg(calibration, rows).items():
        row = calibration[name]
        beyond_deg = abs(position_deg) - row.span_deg / 2
        if beyond_deg > OUTSIDE_RANGE_DEG:
            steps = round(position_deg / DEG_PER_STEP + row.middle)
            found = f"it is at {steps}, {beyond_deg:.0f} deg outside its range"
            asked = f"{row.range_min} to {row.range_max} steps"
            findings.append(
                Finding(
                    Level.STOP,
                    CALIBRATION,
                    named_servo(SERVO_IDS[JOINTS.index(name)]),
                    found,
                    asked,
                    ANOTHER_ARM,
                    beyond_deg,
                    "deg",
                    "outside",
                )
            )
    return findings


def _homing(joint: str, row: JointCalibration) -> list[Finding]:
    if abs(row.homing_offset) <= LARGEST_OFFSET:
        return []
    found = (
        f"homing offset {row.homing_offset} does not fit into 11 bits (+-{LARGEST_OFFSET}); LeRobot stops at it with "
        "'Magnitude .. exceeds 2047'"
    )
    remedy = "calibrate again: a range that is measured first needs no such offset"
    return [_stop("homing", joint, found, remedy)]


def _range(joint: str, row: JointCalibration) -> list[Finding]:
    if wrong := calibrations.not_in_order(joint, row):
        return [_stop("wrap", "", wrong, "calibrate again, which homes the joint so that its range does not")]
    whole_turn = row.range_min < FEW_STEPS and row.range_max >= STEPS_PER_TURN - FEW_STEPS
    if joint == FULL_TURN_JOINT or not whole_turn:
        return []
    found = (
        f"range {row.range_min}..{row.range_max} is a whole turn, which this joint cannot make: it crossed the "
        "encoder's wrap while it was recorded"
    )
    return [_stop("wrap", joint, found, "calibrate again")]


def _drive_mode(joint: str, row: JointCalibration) -> list[Finding]:
    if row.drive_mode not in (0, 1):
        found = f"drive_mode {row.drive_mode}"
        return [_stop("drive_mode", joint, f"{found}; expected 0, or 1 for a joint that is mounted mirrored")]
    if row.drive_mode and joint != JOINTS[GRIPPER]:
        found = "drive_mode 1 has no effect in degrees, and turns the sign around in LeRobot's -100..100"
        remedy = "set it to 0, unless a program in -100..100 needs it"
        return [Finding(Level.WARN, CALIBRATION, joint, found, "0", remedy, kind="drive_mode")]
    return []


def _size(joint: str, row: JointCalibration, leader: bool) -> list[Finding]:
    if calibrations.not_in_order(joint, row) or (joint != FULL_TURN_JOINT and _range(joint, row)):
        return []  # told already
    wrong = size(joint, row.span_deg, leader)
    if wrong is None or (joint == FULL_TURN_JOINT and wrong[0] == "large"):  # LeRobot gives it the whole turn
        return []
    kind, found = wrong
    return [Finding(Level.STOP, SIZES, joint, found, possible=OTHER_STOPS.format(kind=kind), kind=kind)]


def _registers(rows: Registers) -> list[Finding]:
    """Offsets that the servo and LeRobot read differently: bits above the sign."""
    address = BY_NAME["Homing_Offset"].address
    words = [int(row[address]) | int(row[address + 1]) << 8 for row in rows]
    return [
        _stop(
            "homing",
            joint,
            f"Homing_Offset holds {word:#06x}, more than 11 bits and a sign",
            "calibrate again",
        )
        for joint, word in zip(JOINTS, words, strict=True)
        if word > 0x0FFF
    ]


def _stop(kind: str, subject: str, found: str, possible: str = "") -> Finding:
    return Finding(Level.STOP, CALIBRATION, subject, found, possible=possible, kind=kind)
