"""Pre-flight of the servos: pure functions of their registers, (6, 87) as `SO101Bus.read_registers` gives them."""

from so101_robot.bus import setup as startup
from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of
from so101_robot.joints import SERVO_IDS, named_servo
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.supply import wrong_supplies

WARM_C = 15
"""So far below the servo's own limit of temperature (70 degrees C) it is worth a word: a run that begins there
will not last long."""

SPREAD, BAD_SPREAD = 6, 10
"""Voltages along the bus that differ by more than this point to a thin or loose cable; more than that is a bad contact
[0.1 V, which is what register 62 counts]."""


def check_servos(rows: Registers) -> list[Finding]:
    """Six STS3215 with one firmware."""
    findings = [
        _stop("servos", index, found, kind="model") for index, found in startup.wrong_models(rows).items()
    ]
    if mixed := startup.mixed_firmware(rows):
        findings.append(
            Finding(Level.STOP, "servos", "", mixed, possible=startup.ONE_FIRMWARE, kind="firmware")
        )
    ids = ", ".join(str(servo_id) for servo_id in SERVO_IDS)
    found = f"six STS3215, firmware {startup.firmware_of(rows[0])}"
    return findings or [Finding(Level.OK, "servos", f"ids {ids}", found)]


def check_supply(rows: Registers) -> list[Finding]:
    """Voltages that suit the servos, within each one's own limits, and about equal along the bus."""
    wrong = wrong_supplies(rows)
    findings = [
        _stop("supply", w.index, w.found, f"{w.allowed_v[0]:g} to {w.allowed_v[1]:g} V", w.remedy, "supply")
        for w in wrong
    ]
    told = {w.index for w in wrong}
    volts = [value_of(row, "Present_Voltage") for row in rows]  # [0.1 V]
    for index, row in enumerate(rows):
        low, high = (value_of(row, f"{end}_Voltage_Limit") for end in ("Min", "Max"))
        if index not in told and not low <= volts[index] <= high:
            remedy = "use the supply that the servos are made for; a sagging one is too weak"
            asked = f"{low * VOLTAGE_UNIT_V:.1f} to {high * VOLTAGE_UNIT_V:.1f} V"
            found = f"{volts[index] * VOLTAGE_UNIT_V:.1f} V"
            findings.append(_stop("supply", index, found, asked, remedy, "supply"))
    lowest, highest = min(volts) * VOLTAGE_UNIT_V, max(volts) * VOLTAGE_UNIT_V
    if not findings and (spread := max(volts) - min(volts)) > SPREAD:
        level = Level.STOP if spread > BAD_SPREAD else Level.WARN
        weakest = named_servo(SERVO_IDS[volts.index(min(volts))])
        found = f"{lowest:.1f} V, while another servo has {highest:.1f} V"
        asked = f"a spread of {SPREAD * VOLTAGE_UNIT_V:.1f} V at most"
        remedy = "a bad contact in the cable to it: check cables and plugs up to there"
        findings.append(Finding(level, "supply", weakest, found, asked, remedy, kind="supply"))
    return findings or [Finding(Level.OK, "supply", "bus", f"{lowest:.1f} to {highest:.1f} V")]


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
            "keep the arm's room free, or set the borders farther in (docs/reference/limits.md)",
        )
    ]


def check_limits(refused: tuple[str, ...]) -> list[Finding]:
    """What a so101.yaml asked for and did not get: `SO101.limits_refused`."""
    how = "to widen a limit: the limits file beside the calibration, or name the file with --config_path"
    return [Finding(Level.WARN, "limits", "so101.yaml", words, possible=how) for words in refused] or [
        Finding(Level.OK, "limits", "", "nothing was asked for that is wider than the arm's own")
    ]


def _stop(check: str, index: int, found: str, asked: str = "", possible: str = "", kind: str = "") -> Finding:
    return Finding(Level.STOP, check, named_servo(SERVO_IDS[index]), found, asked, possible, kind=kind)
