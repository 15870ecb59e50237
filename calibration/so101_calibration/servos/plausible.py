"""Can a recorded motion be that of an SO-101's joint? And what a person may accept all the same.

Servos and calibrations are judged in `so101_robot.preflight`, for `so101-run` too. Pure functions that return findings;
whoever asks decides whether to refuse. The level of each is STOP: it cannot be right.
"""

from collections.abc import Mapping

from so101_calibration.homing import Track
from so101_robot.bus.calibration import Calibration
from so101_robot.bus.setup import Registers
from so101_robot.joints import FULL_TURN_JOINT, JOINTS, SERVO_IDS
from so101_robot.preflight import calibration as judged
from so101_robot.preflight.calibration import NOMINAL_DEG
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.servos import check_servos, check_supply

ROLL_DEG = 60.0
"""How far the wrist must be rolled to show that its servo is the right one."""

OTHER_MOVED, MOVED_LITTLE = 0.5, 0.25
"""Shares of the nominal range: a swap is when another joint moved more than the first and the expected one less than
the second."""

STILL_DEG = 5.0
"""A joint that travelled less than this did not move."""

AT_A_STOP = 0.15
"""Share of the gripper's range within which it is at one of its stops."""

KINDS = {
    "model": "a servo of another model",
    "firmware": "servos with different firmware",
    "supply": "a voltage that does not suit the servos",
    "small": "a range that is too small",
    "large": "a range that is too large",
    "still": "a joint that never moved",
    "swap": "another joint moved than the expected one",
    "jump": "a joint that moved too fast to be followed",
    "wrap": "a range across the encoder's wrap at 0/4095",
    "homing": "a homing offset beyond its 11 bits",
    "ids": "servo ids that are not an SO-101's",
    "drive_mode": "a drive_mode that is neither 0 nor 1",
}


def of_servos(rows: Registers) -> list[Finding]:
    """Model, firmware and supply, from all registers (6, 87)."""
    found = [*check_servos(rows), *check_supply(rows)]
    return [finding for finding in found if finding.level is Level.STOP]


def of_calibration(calibration: Calibration, leader: bool = False) -> list[Finding]:
    """What is wrong with a calibration, of a file or of the servos."""
    if strange := judged.of_joints(calibration):
        return strange
    found = [*judged.impossible(calibration), *judged.wrong_sizes(calibration, leader)]
    return [finding for finding in found if finding.level is Level.STOP]


def of_motion(expected: str, tracks: Mapping[str, Track], leader: bool = False) -> list[Finding]:
    """Whether joint `expected`, and no other in its place, moved as far as it should have."""
    track = tracks[expected]
    if track.jumped:
        found = "moved a quarter turn between two readings"
        return [_wrong("jump", expected, found, "move it again, more slowly")]
    others = {
        name: other.travel_deg / NOMINAL_DEG[name] for name, other in tracks.items() if name != expected
    }
    other, share = max(others.items(), key=lambda item: item[1])
    if track.travel_deg < MOVED_LITTLE * NOMINAL_DEG[expected] and share > OTHER_MOVED:
        return [_swapped(expected, other)]
    if track.travel_deg < STILL_DEG:
        remedy = f"does its horn turn the joint, and is servo {_id(expected)} the one in {expected}?"
        return [_wrong("still", expected, f"never moved ({track.travel_deg:.1f} deg)", remedy)]
    if expected != FULL_TURN_JOINT:
        return _span(expected, track.span_deg, leader)
    if track.travel_deg >= ROLL_DEG:
        return []
    found = f"turned {track.travel_deg:.0f} deg; {ROLL_DEG:.0f} are needed"
    return [_wrong("small", expected, found, "roll it further, both ways")]


def closed_at(share: float) -> int | None:
    """The drive_mode of a gripper that is closed at this share of the way from its lower to its upper stop: 0 at the
    lower one, as LeRobot has it, 1 at the upper one, None in between."""
    if share <= AT_A_STOP:
        return 0
    return 1 if share >= 1 - AT_A_STOP else None


def _span(name: str, span_deg: float, leader: bool) -> list[Finding]:
    wrong = judged.size(name, span_deg, leader)
    if wrong is None:
        return []
    kind, found = wrong
    remedies = {
        "small": "move it to both of its stops, and hold it there for a moment",
        "large": "did its horn slip, or is that another joint's servo?",
    }
    return [_wrong(kind, name, found, remedies[kind])]


def _swapped(expected: str, other: str) -> Finding:
    found = f"was to be moved, but servo {_id(other)} moved"
    remedy = (
        f"if the right joint was moved, the ids of servos {_id(expected)} and {_id(other)} are swapped: repair them "
        "with `so101-calibrate ids`"
    )
    return _wrong("swap", expected, found, remedy)


def _wrong(kind: str, subject: str, found: str, possible: str = "") -> Finding:
    return Finding(Level.STOP, "motion", subject, found, possible=possible, kind=kind)


def _id(joint: str) -> int:
    return SERVO_IDS[JOINTS.index(joint)]
