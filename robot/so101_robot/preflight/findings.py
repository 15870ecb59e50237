"""The findings of a pre-flight: the noun of all checks, the title of its table, and what a "stop" does."""

from collections.abc import Sequence

from rich.table import Table

from so101_policy import findings as noun
from so101_policy.findings import Finding, Level, as_json, in_words, verdict
from so101_robot.errors import RobotError

__all__ = ["Finding", "Level", "PreflightError", "as_json", "as_table", "in_words", "require", "verdict"]


class PreflightError(RobotError):
    """At least one finding says stop."""


def require(findings: Sequence[Finding]) -> None:
    """Raises PreflightError that names every finding that says stop."""
    # `==`, not `is`: a check from another package may give its level as a plain "stop", and that must stop, too
    lines = [in_words(finding) for finding in findings if finding.level == Level.STOP]
    if lines:
        raise PreflightError(
            "the pre-flight check says no, and the arm was not moved:\n  - " + "\n  - ".join(lines)
        )


def as_table(findings: Sequence[Finding]) -> Table:
    """For a person, as `rich` prints it."""
    return noun.as_table(findings, "pre-flight")
