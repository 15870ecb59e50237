"""What passes between the runner and the operator: a view of one screen that way, an action this way.

Nothing in a view names a policy, a path or an order. Both are plain data, so a console in another process can show the
one and send the other.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Screen = Literal["session", "reset", "countdown", "trial", "rig", "outcome", "block", "over"]


class Line(NamedTuple):
    """A finding of the rig check."""

    level: str
    """ok, warn or stop."""
    text: str


class Target(NamedTuple):
    """A box at the start."""

    box: int
    outline: tuple[tuple[float, float], ...]
    """Of its footprint in the front picture [shares of width and height]; empty: not known."""
    ok: bool | None
    """Within the tolerance; None: not measured."""
    words: str
    """ "4 mm left, 6 deg", or where it has to lie."""


@dataclass(frozen=True)
class View:
    """One screen."""

    screen: Screen
    text: str = ""
    """One sentence for the operator."""
    operator: str = ""
    block: int = 0
    """Of this one, from 1; 0: practice."""
    blocks: int = 0
    trial: int = 0
    """In the block, from 1."""
    trials: int = 0
    code: str = ""
    """Of the trial; new for each."""
    findings: tuple[Line, ...] = ()
    targets: tuple[Target, ...] = ()
    ready: bool = False
    """Start is possible."""
    can_override: bool = False
    """It would be, were a measured offset not too large."""
    running: bool = False
    """The policy's first action was sent: the timer runs."""
    held: bool = False
    limit_s: float = 0.0
    reasons: tuple[str, ...] = ()
    """Why a trial may be void."""
    suggested: str = ""
    """Reason or end that the machine's evidence speaks for."""
    boxes: int = 0
    objects: tuple[str, ...] = ()
    """Their names."""
    stages: tuple[str, ...] = ()
    """Their names, in order."""
    measured: str = ""
    """Of the trial before, after its verdict was stored."""
    question: str = ""
    """At the end of a block."""
    stop: bool = False
    """There are no more blocks."""
    can_undo: bool = False


Kind = Literal[
    "operator",
    "check",
    "start",
    "override",
    "stop",
    "danger",
    "hold",
    "open",
    "take",
    "give",
    "rig",
    "outcome",
    "undo",
    "block",
    "leave",
]
"""operator: {name}; rig: {reason or null}; outcome: {stages, success, why, note}; block: {guess, preference}."""


class Action(NamedTuple):
    """What the operator does."""

    kind: Kind
    data: dict[str, Any] = {}  # noqa: RUF012 - never written to
