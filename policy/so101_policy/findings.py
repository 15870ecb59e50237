"""Findings: what a check has looked at, how bad it is, and how a person or a program reads it.

One noun for all checks: of a dataset, of a run before it starts, of servos and calibrations, of cameras that drift.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table


class Level(StrEnum):
    """How bad a finding is, in rising order."""

    OK = "ok"
    WARN = "warn"
    """It may go on; a person should know."""
    STOP = "stop"
    """It must not go on."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    check: str
    """The name of the check."""
    subject: str
    """The servo, joint, camera, file or input it is about; empty where the check says it all."""
    found: str
    asked: str = ""
    """What was expected; the name is a key in stored findings."""
    possible: str = ""
    """What a person can do about it."""
    value: float | None = None
    """What was measured, in `unit`."""
    unit: str = ""
    kind: str = ""
    """What sort of trouble it is, where a person may accept one sort and not the others (`so101-calibrate --allow`)."""

    @property
    def text(self) -> str:
        """All but the name of the check, in one line: subject, found, expected, what to do."""
        about = f"{self.subject}: " if self.subject else ""
        expected = f"; expected: {self.asked}" if self.asked else ""
        return f"{about}{self.found}{expected}" + (f" - {self.possible}" if self.possible else "")


def verdict(findings: Sequence[Finding]) -> Level:
    """The worst of all levels; OK for no finding."""
    levels = (Level(finding.level) for finding in findings)
    return max(levels, key=list(Level).index, default=Level.OK)


def in_words(finding: Finding) -> str:
    """One finding in one line."""
    return f"{finding.check}{', ' if finding.subject else ': '}{finding.text}"


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """For a file or another program: `{"verdict", "findings": [{"level", "check", "subject", "found", "asked",
    "possible"}, ..]}`."""
    keys = ("level", "check", "subject", "found", "asked", "possible")
    rows = [{key: getattr(finding, key) for key in keys} for finding in findings]
    return {"verdict": verdict(findings), "findings": rows}


def as_table(findings: Sequence[Finding], title: str) -> Table:
    """For a person, as `rich` prints it."""
    colours = {Level.OK: "green", Level.WARN: "yellow", Level.STOP: "bold red"}
    table = Table(title=f"{escape(title)}: {verdict(findings)}", title_justify="left")
    for column in ("", "check", "what", "found", "expected", "fix"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        words = (finding.check, finding.subject, finding.found, finding.asked, finding.possible)
        table.add_row(f"[{colours[finding.level]}]{finding.level}[/]", *map(escape, words))
    return table
