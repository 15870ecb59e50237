"""The settings of servos: what somebody left in their registers, and what that does to an arm. Pure functions.

A value passes when an arm can work with it, whoever wrote it: Feetech's factory, LeRobot or this project. A setting
that connecting writes anyway (`bus.setup.settings`) never stops a run; that it was wrong is worth a word all the same,
since other programs find it like that.
"""

from typing import NamedTuple

from so101_robot.bus.setup import MULTI_TURN, Gains, Registers, settings, value_of
from so101_robot.joints import SERVO_IDS, named_servo
from so101_robot.preflight.findings import Finding, Level

SET_BY_A_RUN = "connecting with so101-run sets it; other programs find it as it is"

POWER = "switch the arm off and on; a program that was interrupted left it there"
EEPROM = "set it with Feetech's software, or with the program that changed it"


class Rule(NamedTuple):
    """The values of one register that an arm can work with."""

    register: str
    lowest: int
    highest: int
    level: Level
    why: str
    """What other values do."""
    remedy: str = EEPROM


# A factory's value and LeRobot's are within each rule (docs/reference/registers.md). Of two rules the stricter level
# comes first.
RULES = (
    Rule("Operating_Mode", 0, 0, Level.WARN, "only mode 0 follows positions"),
    Rule("Response_Status_Level", 1, 1, Level.STOP, "it does not acknowledge what is written"),
    Rule("Angular_Resolution", 0, 1, Level.STOP, "it multiplies every goal"),
    Rule("Max_Torque_Limit", 100, 1000, Level.STOP, "in 0.1 %: the joint cannot carry itself"),
    Rule("Max_Torque_Limit", 400, 1000, Level.WARN, "in 0.1 %: the joint is weak"),
    Rule("Torque_Limit", 100, 1000, Level.STOP, "in 0.1 %: the joint cannot carry itself", POWER),
    Rule("Torque_Limit", 400, 1000, Level.WARN, "in 0.1 %: the joint is weak", POWER),
    Rule("P_Coefficient", 4, 64, Level.WARN, "it does not pull to its goal, or shakes"),
    Rule("I_Coefficient", 0, 32, Level.WARN, "it overshoots its goal"),
    Rule("D_Coefficient", 0, 128, Level.WARN, "it shakes"),
    Rule("Minimum_Startup_Force", 0, 100, Level.WARN, "in 0.1 %: it shakes at rest"),
    Rule("CW_Dead_Zone", 0, 20, Level.WARN, "in steps: it rests that far from its goal"),
    Rule("CCW_Dead_Zone", 0, 20, Level.WARN, "in steps: it rests that far from its goal"),
    Rule("Goal_Velocity", 0, 0, Level.WARN, "its speed is limited", POWER),
    Rule("Max_Temperature_Limit", 45, 80, Level.WARN, "in deg C: it stops working while cool, or burns"),
    Rule("Max_Voltage_Limit", 60, 160, Level.WARN, "in 0.1 V: it reports errors at its own supply, or none"),
    Rule("Min_Voltage_Limit", 0, 110, Level.WARN, "in 0.1 V: it reports errors at its own supply"),
    Rule("Protection_Current", 50, 511, Level.WARN, "in 6.5 mA: it trips at once, or is not protected"),
    Rule(
        "Over_Current_Protection_Time", 1, 254, Level.WARN, "0: it is not protected against too much current"
    ),
    Rule("Overload_Torque", 20, 100, Level.WARN, "in %: it gives up under its own weight, or never does"),
    Rule("Protection_Time", 5, 254, Level.WARN, "in 10 ms: it gives up at the first push"),
    Rule("Protective_Torque", 0, 60, Level.WARN, "in %: an overload is no relief"),
)

PROTECTIONS = 0x2C
"""Bits of Unloading_Condition: heat, current and overload cut the torque. The factory's value."""

DIRECTIONS = 0x81
"""Bits of Phase that turn motor and encoder around; the factory leaves both at 0."""

_USUAL_GAINS = Gains(16, 0, 32)
"""Which registers connecting writes does not depend on the values."""


def check_settings(rows: Registers) -> list[Finding]:
    """Of all servos, whose registers are (6, 87)."""
    findings = [finding for index, row in enumerate(rows) for finding in _of_servo(index, row)]
    return findings or [Finding(Level.OK, "settings", "servos", "as an SO-101 needs them; no speed limit")]


def _of_servo(index: int, row: Registers) -> list[Finding]:
    set_by_a_run = {setting.register.name for setting in settings(index, row, _USUAL_GAINS)}
    findings: list[Finding] = []
    told: set[str] = set()
    for rule in RULES:
        value = value_of(row, rule.register)
        if rule.register in told or rule.lowest <= value <= rule.highest:
            continue
        told.add(rule.register)
        found, asked = f"{rule.register} is {value}: {rule.why}", _span(rule.lowest, rule.highest)
        if rule.register in set_by_a_run:
            findings.append(_finding(Level.WARN, index, found, asked, SET_BY_A_RUN))
        else:
            findings.append(_finding(rule.level, index, found, asked, rule.remedy))
    return [*findings, *_bits(index, row)]


def _bits(index: int, row: Registers) -> list[Finding]:
    """The registers whose bits count one by one."""
    findings: list[Finding] = []
    phase, unloading = value_of(row, "Phase"), value_of(row, "Unloading_Condition")
    if phase & MULTI_TURN:
        found = f"Phase is {phase}: its positions count beyond one turn"
        findings.append(_finding(Level.WARN, index, found, f"bit {MULTI_TURN} not set", SET_BY_A_RUN))
    if phase & DIRECTIONS:
        found = f"Phase is {phase}: motor or encoder is turned around"
        findings.append(_finding(Level.WARN, index, found, f"none of bits {DIRECTIONS} set", EEPROM))
    if unloading & PROTECTIONS != PROTECTIONS:
        found = f"Unloading_Condition is {unloading}: heat, current or overload does not make it let go"
        findings.append(_finding(Level.WARN, index, found, f"bits {PROTECTIONS} set", EEPROM))
    return findings


def _span(lowest: int, highest: int) -> str:
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _finding(level: Level, index: int, found: str, asked: str, remedy: str) -> Finding:
    return Finding(level, "settings", named_servo(SERVO_IDS[index]), found, asked, remedy, kind="settings")
