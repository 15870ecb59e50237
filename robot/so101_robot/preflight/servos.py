"""Pre-flight of the servos: pure functions of their registers, (6, 87) as `SO101Bus.read_registers` gives them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from so101_robot.bus import setup as startup
from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of
from so101_robot.joints import JOINTS, SERVO_IDS, STEPS_PER_TURN, named_servo
from so101_robot.motion.tolerances import OUTSIDE_RANGE_DEG
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.supply import wrong_supplies

if TYPE_CHECKING:
    from lerobot.motors import MotorCalibration

WARM_C = 15
"""So far below the servo's own limit of temperature (70 degrees C) it is worth a word: a run that begins there
will not last long."""

SPREAD_V = 0.6
"""Voltages along the bus that differ by more than this point to a thin or loose cable. Register 62 counts in 0.1 V."""


def check_servos(rows: Registers) -> list[Finding]:
    """Six STS3215 with one firmware."""
    startup.check_identity(rows)
    version = f"{value_of(rows[0], 'Firmware_Major_Version')}.{value_of(rows[0], 'Firmware_Minor_Version')}"
    ids = ", ".join(str(servo_id) for servo_id in SERVO_IDS)
    return [Finding(Level.OK, "servos", f"ids {ids}", f"six STS3215, firmware {version}")]


def check_supply(rows: Registers) -> list[Finding]:
    """Voltages that suit the servos, within each one's own limits, and about equal along the bus."""
    wrong = wrong_supplies(rows)
    findings = [
        _stop("supply", w.index, w.found, f"{w.allowed_v[0]:g} to {w.allowed_v[1]:g} V", w.remedy)
        for w in wrong
    ]
    told = {w.index for w in wrong}
    volts = [value_of(row, "Present_Voltage") * VOLTAGE_UNIT_V for row in rows]
    for index, row in enumerate(rows):
        low, high = (value_of(row, f"{end}_Voltage_Limit") * VOLTAGE_UNIT_V for end in ("Min", "Max"))
        if index not in told and not low <= volts[index] <= high:
            remedy = "use the supply that the servos are made for; a sagging one is too weak"
            findings.append(
                _stop("supply", index, f"{volts[index]:.1f} V", f"{low:.1f} to {high:.1f} V", remedy)
            )
    seen = f"{min(volts):.1f} to {max(volts):.1f} V"
    if max(volts) - min(volts) > SPREAD_V:
        lowest = named_servo(SERVO_IDS[volts.index(min(volts))])
        remedy = f"check the cables and plugs up to {lowest}"
        findings.append(
            Finding(Level.WARN, "supply", "bus", seen, f"a spread of {SPREAD_V} V at most", remedy)
        )
    return findings or [Finding(Level.OK, "supply", "bus", seen)]


def check_heat(rows: Registers) -> list[Finding]:
    """Temperatures below each servo's own limit."""
    findings: list[Finding] = []
    heat = [value_of(row, "Present_Temperature") for row in rows]
    for index, row in enumerate(rows):
        limit = value_of(row, "Max_Temperature_Limit")
        if heat[index] >= limit:
            findings.append(_stop("heat", index, f"{heat[index]} C", f"below {limit} C", "let it cool down"))
        elif heat[index] >= limit - WARM_C:
            found, asked = f"{heat[index]} C", f"below {limit - WARM_C} C"
            findings.append(
                Finding(Level.WARN, "heat", named_servo(SERVO_IDS[index]), found, asked, "let it cool down")
            )
    return findings or [Finding(Level.OK, "heat", "servos", f"{min(heat)} to {max(heat)} C")]


def check_errors(rows: Registers) -> list[Finding]:
    """No servo reports an error."""
    wrong = [(i, Errors(value_of(row, "Status"))) for i, row in enumerate(rows) if value_of(row, "Status")]
    remedy = "free the joint, check the supply, then switch the arm off and on"
    findings = [_stop("errors", index, error.describe(), "no error", remedy) for index, error in wrong]
    return findings or [Finding(Level.OK, "errors", "servos", "no error")]


def check_settings(rows: Registers) -> list[Finding]:
    """Nothing that somebody left behind slows a servo down."""
    slow = [
        (named_servo(servo_id), value_of(row, "Goal_Velocity"))
        for servo_id, row in zip(SERVO_IDS, rows, strict=True)
        if value_of(row, "Goal_Velocity")
    ]
    remedy = "switch the arm off and on; a program that was interrupted left it there"
    findings = [
        Finding(Level.WARN, "settings", servo, f"its speed is limited to {speed}", "no limit (0)", remedy)
        for servo, speed in slow
    ]
    return findings or [Finding(Level.OK, "settings", "servos", "no speed limit")]


def check_calibration(
    expected: "Mapping[str, MotorCalibration]", rows: Registers, source: Path | str
) -> list[Finding]:
    """The calibration is the one in the servos, and every joint is within its range."""
    startup.check_calibration(expected, rows, source, "calibrate again, or choose the file of this arm")
    findings: list[Finding] = []
    for index, joint in enumerate(JOINTS):
        low, high = expected[joint].range_min, expected[joint].range_max
        present = value_of(rows[index], "Present_Position")
        outside_deg = max(low - present, present - high) * 360 / STEPS_PER_TURN
        if outside_deg > OUTSIDE_RANGE_DEG:
            remedy = "move it by hand, with the arm switched off; if it cannot get there, calibrate again"
            found = f"it is at {present}, {outside_deg:.0f} degrees outside its range"
            findings.append(_stop("calibration", index, found, f"{low} to {high} steps", remedy))
    return findings or [Finding(Level.OK, "calibration", str(source), "it is the one in the servos")]


def check_geometry(model: str) -> list[Finding]:
    """The guard knows the links of an SO-101 only; `model` is the arm's."""
    if model == "so101":
        return [Finding(Level.OK, "geometry", model, "the guard's links are this arm's")]
    return [
        Finding(
            Level.WARN,
            "geometry",
            model,
            "table, walls and self-collision are judged with the links of an SO-101",
            "an SO-101",
            "keep the arm's room free, or set the borders farther in (docs/limits.md)",
        )
    ]


def _stop(check: str, index: int, found: str, asked: str, possible: str) -> Finding:
    return Finding(Level.STOP, check, named_servo(SERVO_IDS[index]), found, asked, possible)
