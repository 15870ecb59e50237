"""A word for the person at the arm, with how serious it is."""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How serious a message is."""

    INFO = "info"
    RECOVERED = "recovered"
    """Something that was wrong is over."""
    WARNING = "warning"
    """Something is wrong, and the run goes on."""
    ERROR = "error"
    """The arm is held or the run ends because of it."""


class Message(NamedTuple):
    """What an observer is told in words."""

    text: str
    severity: Severity = Severity.INFO
