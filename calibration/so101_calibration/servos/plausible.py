"""Can this be an SO-101? What is wrong with servos, supply, a recorded motion or a calibration, and what to do.

Pure functions that return `Finding`s; whoever asks decides whether to refuse.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from so101_calibration.homing import LARGEST_OFFSET, Calibration, JointCalibration, Track
from so101_robot.bus.registers import MODEL_NUMBER
from so101_robot.bus.setup import Registers, value_of
from so101_robot.joints import FULL_TURN_JOINT, JOINTS, SERVO_IDS

NOMINAL_DEG: dict[str, float] = {
    "shoulder_pan": 220.0,
    "shoulder_lift": 200.0,
    "elbow_flex": 194.0,
    "wrist_flex": 190.0,
    "wrist_roll": 320.0,
    "gripper": 110.0,
}
"""Range of motion [deg] by the published URDF of the SO-101."""

SMALLEST, LARGEST = 0.75, 1.3
"""What built arms reach of it: printed stops differ, and people's published calibrations lie between 0.95 and 1.2."""

ROLL_DEG = 60.0
"""How far the wrist has to be rolled to show that its servo is the right one."""

MOVED, ASKED = 0.5, 0.25
"""Shares of the nominal range: another joint moved more than the first, the one asked for less than the second."""

STILL_DEG = 5.0

MINI_LIMIT = 90
"""Max_Voltage_Limit [0.1 V]: the 7.4 V servo leaves the factory with 80, the 12 V servo with 140."""
SUPPLY_V = {True: (4.5, 8.4), False: (9.0, 13.5)}
"""What a 7.4 V servo (True) and a 12 V servo work with [V]: Feetech's data sheets, with 10 % for the supply."""
SPREAD_V = 1.0
"""More than this between two servos at rest is a bad contact."""

KINDS = {
    "model": "a servo of another model",
    "firmware": "servos with different firmware",
    "supply": "a voltage that is not the servos'",
    "small": "a range that is too small",
    "large": "a range that is too large",
    "still": "a joint that never moved",
    "swap": "another joint moved than was asked for",
    "jump": "a joint that moved too fast to be followed",
    "wrap": "a range across the encoder's wrap at 0/4095",
    "homing": "a homing offset beyond its 11 bits",
    "ids": "servo ids that are not an SO-101's",
}


class Finding(NamedTuple):
    """Something that cannot be right."""

    kind: str
    """A key of `KINDS`."""
    text: str
    """What, why, and what to do."""


def of_servos(rows: Registers) -> list[Finding]:
    """Model, firmware and supply, from all registers (6, 87)."""
    return [*_models(rows), *_firmware(rows), *_supply(rows)]


def of_motion(asked: str, tracks: Mapping[str, Track]) -> list[Finding]:
    """Whether joint `asked`, and no other in its place, moved as far as it should have."""
    track = tracks[asked]
    if track.jumped:
        return [
            Finding("jump", f"{asked} moved a quarter turn between two readings - move it more slowly, again")
        ]
    others = {name: other.travel_deg / NOMINAL_DEG[name] for name, other in tracks.items() if name != asked}
    other, share = max(others.items(), key=lambda item: item[1])
    if track.travel_deg < ASKED * NOMINAL_DEG[asked] and share > MOVED:
        return [Finding("swap", _swap_text(asked, other))]
    if track.travel_deg < STILL_DEG:
        text = (
            f"{asked} never moved ({track.travel_deg:.1f} deg) - does its horn turn the joint, and is servo "
            f"{_id(asked)} the one in {asked}?"
        )
        return [Finding("still", text)]
    if asked == FULL_TURN_JOINT:
        turned = track.travel_deg
        wanted = f"{asked} turned {turned:.0f} deg; {ROLL_DEG:.0f} are needed"
        return [] if turned >= ROLL_DEG else [Finding("small", f"{wanted} - roll it further, both ways")]
    return _span(asked, track.span_deg)


def of_calibration(calibration: Calibration) -> list[Finding]:
    """What is wrong with a calibration as it stands in a file or in the servos."""
    missing = [joint for joint in JOINTS if joint not in calibration]
    extra = [joint for joint in calibration if joint not in JOINTS]
    if missing or extra:
        text = f"joints {', '.join(calibration) or 'none'}; an SO-101 has {', '.join(JOINTS)}"
        return [Finding("ids", text)]
    return [finding for joint in JOINTS for finding in _joint(joint, calibration[joint])]


def _joint(name: str, joint: JointCalibration) -> list[Finding]:
    found: list[Finding] = []
    if joint.id != _id(name):
        found.append(Finding("ids", f"{name} has servo id {joint.id}; an SO-101 has {_id(name)} there"))
    if abs(joint.homing_offset) > LARGEST_OFFSET:
        text = (
            f"{name}: homing offset {joint.homing_offset} does not fit into 11 bits (+-{LARGEST_OFFSET}); LeRobot "
            "stops at it with 'Magnitude .. exceeds 2047' - calibrate again: a range that is measured first needs "
            "no such offset"
        )
        found.append(Finding("homing", text))
    if not 0 <= joint.range_min < joint.range_max <= 4095:
        text = (
            f"{name}: range {joint.range_min}..{joint.range_max} is not within 0..4095 in this order: it crosses "
            "the encoder's wrap - calibrate again, which homes the joint so that its range does not"
        )
        found.append(Finding("wrap", text))
    elif name != FULL_TURN_JOINT:
        found += _wrapped_or_span(name, joint)
    elif joint.span_deg < NOMINAL_DEG[name] * SMALLEST:
        found += _span(name, joint.span_deg)
    return found


def _wrapped_or_span(name: str, joint: JointCalibration) -> list[Finding]:
    """LeRobot records minimum and maximum of a reading that wraps as nearly the whole turn."""
    if joint.range_min < 100 and joint.range_max > 3995:
        text = (
            f"{name}: range {joint.range_min}..{joint.range_max} is a whole turn, which this joint cannot make: it "
            "crossed the encoder's wrap while it was recorded - calibrate again"
        )
        return [Finding("wrap", text)]
    return _span(name, joint.span_deg)


def _span(name: str, span_deg: float) -> list[Finding]:
    share, nominal = span_deg / NOMINAL_DEG[name], NOMINAL_DEG[name]
    found = f"{name} covers {span_deg:.0f} deg of about {nominal:.0f}"
    if share < SMALLEST:
        return [Finding("small", f"{found} - move it to both of its stops, and hold it there for a moment")]
    if share > LARGEST:
        return [Finding("large", f"{found} - did its horn slip, or is that another joint's servo?")]
    return []


def _swap_text(asked: str, other: str) -> str:
    return (
        f"{asked} was to be moved, but servo {_id(other)} moved - if the right joint was moved, the ids of "
        f"servos {_id(asked)} and {_id(other)} are swapped: repair them with `so101-calibrate ids`"
    )


def _models(rows: Registers) -> list[Finding]:
    models = [value_of(row, "Model_Number") for row in rows]
    return [
        Finding(
            "model", f"servo {SERVO_IDS[i]} ({JOINTS[i]}) is model {model}, not an STS3215 ({MODEL_NUMBER})"
        )
        for i, model in enumerate(models)
        if model != MODEL_NUMBER
    ]


def _firmware(rows: Registers) -> list[Finding]:
    versions = [
        f"{value_of(row, 'Firmware_Major_Version')}.{value_of(row, 'Firmware_Minor_Version')}" for row in rows
    ]
    if len(set(versions)) == 1:
        return []
    listed = ", ".join(f"{servo_id}: {v}" for servo_id, v in zip(SERVO_IDS, versions, strict=True))
    return [Finding("firmware", f"different firmware ({listed}) - bring all to one with Feetech's software")]


def _supply(rows: Registers) -> list[Finding]:
    volts = [value_of(row, "Present_Voltage") / 10 for row in rows]
    found = [finding for i, row in enumerate(rows) for finding in _servo_supply(i, row, volts[i])]
    if not found and max(volts) - min(volts) > SPREAD_V:
        lowest = volts.index(min(volts))
        text = (
            f"servo {SERVO_IDS[lowest]} ({JOINTS[lowest]}) has {min(volts):.1f} V, another {max(volts):.1f} V - "
            "a bad contact in the cable to it"
        )
        found.append(Finding("supply", text))
    return found


def _servo_supply(index: int, row: Registers, volts: float) -> Sequence[Finding]:
    small = value_of(row, "Max_Voltage_Limit") < MINI_LIMIT
    lowest, highest = SUPPLY_V[small]
    if lowest <= volts <= highest:
        return []
    kind = "7.4 V" if small else "12 V"
    why = "unplug it now: it damages the servo" if volts > highest else "the joint will be weak and let go"
    text = (
        f"servo {SERVO_IDS[index]} ({JOINTS[index]}) is a {kind} servo ({lowest:g} to {highest:g} V) and gets "
        f"{volts:.1f} V - wrong or failing supply; {why}"
    )
    return [Finding("supply", text)]


def _id(joint: str) -> int:
    return SERVO_IDS[JOINTS.index(joint)]
