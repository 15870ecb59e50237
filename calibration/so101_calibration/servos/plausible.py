"""Can this be an SO-101? What is wrong with servos, supply, a recorded motion or a calibration, and what to do.

Pure functions that return findings; whoever asks decides whether to refuse. The check of each finding is its kind, a
key of `KINDS`, and its level is STOP: it cannot be right.
"""

from collections.abc import Mapping

from so101_calibration.homing import LARGEST_OFFSET, Calibration, JointCalibration, Track
from so101_robot.bus.registers import MODEL_NUMBER, VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of
from so101_robot.joints import FULL_TURN_JOINT, JOINTS, SERVO_IDS
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.supply import wrong_supplies

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

ROLL_DEG = 60.0
"""How far the wrist must be rolled to show that its servo is the right one."""

OTHER_MOVED, MOVED_LITTLE = 0.5, 0.25
"""Shares of the nominal range: a swap is when another joint moved more than the first and the expected one less than
the second."""

STILL_DEG = 5.0
"""A joint that travelled less than this did not move."""

SPREAD_V = 1.0
"""More than this between two servos at rest is a bad contact."""

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
}


def of_servos(rows: Registers) -> list[Finding]:
    """Model, firmware and supply, from all registers (6, 87)."""
    return [*_models(rows), *_firmware(rows), *_supply(rows)]


def of_motion(expected: str, tracks: Mapping[str, Track]) -> list[Finding]:
    """Whether joint `expected`, and no other in its place, moved as far as it should have."""
    track = tracks[expected]
    if track.jumped:
        return [
            _wrong(
                "jump", expected, "moved a quarter turn between two readings", "move it again, more slowly"
            )
        ]
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
        return _span(expected, track.span_deg)
    if track.travel_deg >= ROLL_DEG:
        return []
    found = f"turned {track.travel_deg:.0f} deg; {ROLL_DEG:.0f} are needed"
    return [_wrong("small", expected, found, "roll it further, both ways")]


def of_calibration(calibration: Calibration) -> list[Finding]:
    """What is wrong with a calibration, of a file or of the servos."""
    missing = [joint for joint in JOINTS if joint not in calibration]
    extra = [joint for joint in calibration if joint not in JOINTS]
    if missing or extra:
        found = f"joints {', '.join(calibration) or 'none'}; an SO-101 has {', '.join(JOINTS)}"
        return [_wrong("ids", "", found)]
    return [finding for joint in JOINTS for finding in _joint(joint, calibration[joint])]


def _wrong(kind: str, subject: str, found: str, possible: str = "") -> Finding:
    return Finding(Level.STOP, kind, subject, found, possible=possible)


def _joint(name: str, joint: JointCalibration) -> list[Finding]:
    found: list[Finding] = []
    if joint.id != _id(name):
        found.append(_wrong("ids", name, f"has servo id {joint.id}; an SO-101 has {_id(name)} there"))
    if abs(joint.homing_offset) > LARGEST_OFFSET:
        text = (
            f"homing offset {joint.homing_offset} does not fit into 11 bits (+-{LARGEST_OFFSET}); LeRobot stops at it "
            "with 'Magnitude .. exceeds 2047'"
        )
        remedy = "calibrate again: a range that is measured first needs no such offset"
        found.append(_wrong("homing", name, text, remedy))
    if not 0 <= joint.range_min < joint.range_max <= 4095:
        text = (
            f"range {joint.range_min}..{joint.range_max} is not within 0..4095 in this order: it crosses the encoder's "
            "wrap"
        )
        remedy = "calibrate again, which homes the joint so that its range does not"
        found.append(_wrong("wrap", name, text, remedy))
    elif name != FULL_TURN_JOINT:
        found += _wrapped_or_span(name, joint)
    elif joint.span_deg < NOMINAL_DEG[name] * SMALLEST:
        found += _span(name, joint.span_deg)
    return found


def _wrapped_or_span(name: str, joint: JointCalibration) -> list[Finding]:
    """LeRobot records minimum and maximum of a reading that wraps as nearly the whole turn."""
    if joint.range_min < 100 and joint.range_max > 3995:
        text = (
            f"range {joint.range_min}..{joint.range_max} is a whole turn, which this joint cannot make: it crossed the "
            "encoder's wrap while it was recorded"
        )
        return [_wrong("wrap", name, text, "calibrate again")]
    return _span(name, joint.span_deg)


def _span(name: str, span_deg: float) -> list[Finding]:
    share, nominal = span_deg / NOMINAL_DEG[name], NOMINAL_DEG[name]
    found = f"covers {span_deg:.0f} deg of about {nominal:.0f}"
    if share < SMALLEST:
        return [_wrong("small", name, found, "move it to both of its stops, and hold it there for a moment")]
    if share > LARGEST:
        return [_wrong("large", name, found, "did its horn slip, or is that another joint's servo?")]
    return []


def _swapped(expected: str, other: str) -> Finding:
    found = f"was to be moved, but servo {_id(other)} moved"
    remedy = (
        f"if the right joint was moved, the ids of servos {_id(expected)} and {_id(other)} are swapped: repair them "
        "with `so101-calibrate ids`"
    )
    return _wrong("swap", expected, found, remedy)


def _models(rows: Registers) -> list[Finding]:
    models = [value_of(row, "Model_Number") for row in rows]
    return [
        _wrong("model", _named(index), f"model {model}, not an STS3215 ({MODEL_NUMBER})")
        for index, model in enumerate(models)
        if model != MODEL_NUMBER
    ]


def _firmware(rows: Registers) -> list[Finding]:
    versions = [
        f"{value_of(row, 'Firmware_Major_Version')}.{value_of(row, 'Firmware_Minor_Version')}" for row in rows
    ]
    if len(set(versions)) == 1:
        return []
    listed = ", ".join(f"{servo_id}: {v}" for servo_id, v in zip(SERVO_IDS, versions, strict=True))
    return [
        _wrong("firmware", "", f"different firmware ({listed})", "bring all to one with Feetech's software")
    ]


def _supply(rows: Registers) -> list[Finding]:
    volts = [value_of(row, "Present_Voltage") * VOLTAGE_UNIT_V for row in rows]
    found = [_wrong("supply", _named(w.index), w.found, w.remedy) for w in wrong_supplies(rows)]
    if not found and max(volts) - min(volts) > SPREAD_V:
        lowest = volts.index(min(volts))
        text = f"{min(volts):.1f} V, while another servo has {max(volts):.1f} V"
        found.append(_wrong("supply", _named(lowest), text, "a bad contact in the cable to it"))
    return found


def _id(joint: str) -> int:
    return SERVO_IDS[JOINTS.index(joint)]


def _named(index: int) -> str:
    return f"servo {SERVO_IDS[index]} ({JOINTS[index]})"
