"""Colours of the dashboard, in a terminal and in its exported picture."""

from math import inf
from typing import TYPE_CHECKING

from rich.terminal_theme import TerminalTheme

from so101_robot.faults.fault import Mode
from so101_robot.faults.supervisor import FAULT_RULES
from so101_robot.message import Severity

if TYPE_CHECKING:
    from so101_robot.chunks.scheduler import Driver

ACCENT, QUIET, GOOD, WARN, BAD = "cyan", "grey50", "green", "yellow", "bold red"
SHARE_STYLES = {"latent": "grey62", "state": "yellow3", "environment": "orange3"}
CAMERA_STYLES = ("deep_sky_blue1", "medium_spring_green", "orchid1", "light_slate_blue")

THEME = TerminalTheme(
    (16, 20, 26),
    (208, 214, 222),
    [
        (40, 44, 52),
        (224, 108, 117),
        (130, 200, 130),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 192, 212),
        (208, 214, 222),
    ],
    [
        (92, 99, 112),
        (240, 120, 128),
        (152, 220, 152),
        (240, 208, 140),
        (120, 190, 250),
        (210, 140, 235),
        (110, 210, 228),
        (255, 255, 255),
    ],
)
"""Colours of the exported picture: calm on a dark ground."""


MODE_STYLES = {
    Mode.RUNNING: GOOD,
    Mode.DEGRADED: WARN,
    Mode.HOLDING: BAD,
    Mode.PARKING: WARN,
    Mode.RELEASED: QUIET,
}

MESSAGE_STYLES = {
    Severity.INFO: "",
    Severity.RECOVERED: GOOD,
    Severity.WARNING: WARN,
    Severity.ERROR: BAD,
}

PHASES = {"run": "running", "approach": "going to the first pose", "home": "going home", "over": "over"}


DRIVERS: "dict[Driver, str]" = {
    "human": "a person drives",
    "handover": "handover",
    "hold": "takeover: holding",
}
"""Where somebody else than the policy drives."""


def headline(phase: str, mode: Mode, driver: "Driver | None" = None) -> tuple[str, str]:
    """(words, style) of what the arm is doing: the mode, or the phase where the mode is nothing to speak of, or who
    drives."""
    if phase == "over":
        return PHASES[phase], QUIET
    if mode in (Mode.DEGRADED, Mode.HOLDING) or (mode is Mode.PARKING and phase == "run"):
        return mode, MODE_STYLES[mode]
    if phase == "run" and driver in DRIVERS:
        return DRIVERS[driver], WARN
    style = {"run": GOOD, "home": WARN}.get(phase, QUIET)
    return PHASES.get(phase, phase), style


def fault_style(fault: str, mode: Mode) -> str:
    """Of a fault, `fault: where`: red while the arm is held because of faults, yellow while the policy drives on or for
    one that never holds it."""
    rule = next((rule for name, rule in FAULT_RULES.items() if name == fault.partition(":")[0]), None)
    borne = rule is not None and rule.tolerate_s == inf
    return BAD if mode in (Mode.HOLDING, Mode.PARKING) and not borne else WARN
