"""The report of the self-test: findings with what was measured, for people and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from so101_calibration.servos.terminal import Operator
from so101_robot.joints import JOINTS
from so101_robot.preflight.findings import Finding, Level, verdict

WORDS = {Level.OK: "pass", Level.WARN: "warn", Level.STOP: "fail"}
"""The self-test's words for the level of a finding."""

PER_JOINT = ("voltage", "temperature", "tracking", "rest", "backlash")
"""What is measured at every joint."""


def graded(check: str, value: float, unit: str, warn: float, fail: float, what: str) -> Finding:
    """A measurement that is worse the larger its value: WARN above `warn`, STOP above `fail`, all three in `unit`."""
    level = Level.STOP if value > fail else Level.WARN if value > warn else Level.OK
    return Finding(level, check, "", f"{what} {value:.2f} {unit}", value=round(value, 4), unit=unit)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs: `{"verdict": "pass|warn|fail", "items": [{"name", "verdict", "text", "value", "unit"}, ..]}`."""
    items = [
        {
            "name": finding.check,
            "verdict": WORDS[finding.level],
            "text": finding.text,
            "value": finding.value,
            "unit": finding.unit,
        }
        for finding in findings
    ]
    return {"verdict": WORDS[verdict(findings)], "items": items}


def show(findings: Sequence[Finding], operator: Operator) -> None:
    """For people: a table of what was measured at each joint, then the rest, what is wrong last."""
    joints = Table(box=None, pad_edge=False)
    joints.add_column("joint")
    for column in PER_JOINT:
        joints.add_column(column, justify="right")
    by_check = {finding.check: finding for finding in findings}
    for joint in JOINTS:
        joints.add_row(joint, *(_cell(by_check.get(f"{joint} {column}")) for column in PER_JOINT))
    rest = Table(box=None, pad_edge=False, show_header=False)
    cells = {f"{joint} {column}" for joint in JOINTS for column in PER_JOINT}
    for level in Level:
        for finding in findings:
            if finding.level is level and (finding.check not in cells or level is not Level.OK):
                word = WORDS[level].upper() if level is Level.STOP else WORDS[level]
                rest.add_row(word, finding.check, finding.text)
    if any(check in cells for check in by_check):
        operator.say(joints)
    operator.say(rest)
    operator.say(f"Self-test: {WORDS[verdict(findings)]}")


def _cell(finding: Finding | None) -> str:
    if finding is None or finding.value is None:
        return "-"
    mark = "" if finding.level is Level.OK else " !"
    digits = ".2f" if finding.unit == "deg" else ".4g"
    return f"{finding.value:{digits}} {finding.unit}{mark}"
