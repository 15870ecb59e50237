"""Findings: what a check has looked at, and how a person or a program reads it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from so101_robot.errors import RobotError

if TYPE_CHECKING:
    from rich.table import Table

Level = Literal["ok", "warn", "stop"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    check: str
    """The name of the check."""
    subject: str
    """The servo, camera or input it is about."""
    found: str
    asked: str = ""
    possible: str = ""
    """What a person can do about it."""


class PreflightError(RobotError):
    """At least one finding says stop."""


def verdict(findings: Sequence[Finding]) -> Level:
    """The worst of all levels."""
    levels = {finding.level for finding in findings}
    return "stop" if "stop" in levels else "warn" if "warn" in levels else "ok"


def require(findings: Sequence[Finding]) -> None:
    """Raises PreflightError that names every finding that says stop."""
    lines = [in_words(finding) for finding in findings if finding.level == "stop"]
    if lines:
        raise PreflightError(
            "the pre-flight check says no, and the arm was not moved:\n  - " + "\n  - ".join(lines)
        )


def in_words(finding: Finding) -> str:
    """One finding in one line."""
    about = f"{finding.check}, {finding.subject}" if finding.subject else finding.check
    asked = f"; asked: {finding.asked}" if finding.asked else ""
    return f"{about}: {finding.found}{asked}" + (f" - {finding.possible}" if finding.possible else "")


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For a file or another program."""
    return {"verdict": verdict(findings), "findings": [finding._asdict() for finding in findings]}


def as_table(findings: Sequence[Finding]) -> "Table":
    """For a person, as `rich` prints it."""
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "warn": "yellow", "stop": "bold red"}
    table = Table(title=f"pre-flight: {verdict(findings)}", title_justify="left")
    for column in ("", "check", "what", "found", "asked", "possible"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        words = [escape(word) for word in finding[1:]]
        table.add_row(f"[{colours[finding.level]}]{finding.level}[/]", words[0], *words[1:])
    return table
