"""What a so101.yaml means for a command: flags that nobody gave.

Flags win, then the configuration file of `--config_path`, then what the nearest so101.yaml says. A so101.yaml that
`--config_path` names takes the place of the nearest one, and may widen limits. The simulated arm is another arm than
the one of a file: with `--robot.port=mock` a file about a real one is left out, and the other way round.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from so101_policy.files.plain_data import Plain, parse_yaml, read_text
from so101_robot.errors import ConfigError
from so101_robot.so101_yaml.content import MOCK, Content, looks_like_one, parsed
from so101_robot.so101_yaml.find import nearest, read, shown

CONFIG = "--config_path"
OFF = "none"
"""`--config_path=none`: no so101.yaml is read."""

PORT = "--robot.port"
WIDEN = "--robot.own_limits_widen"

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "arm": (PORT, "--robot.id"),
    "leader": ("--teleop.port", "--teleop.id"),
    "cameras": ("--robot.cameras",),
    "limits": ("--robot.own_limits",),
    "place": ("--robot.home",),
}
"""Section of a so101.yaml -> the flags that it stands for. Table and walls are limits."""

OF_AN_ARM = ("arm", "cameras", "limits", "place")
"""Sections for a command that drives the arm."""
OF_BOTH_ARMS = ("leader", *OF_AN_ARM)
"""For one that a leader drives."""
OF_A_REPLAY = ("limits",)
"""A recording says the rest."""


class Filled(NamedTuple):
    """A command's flags with what a so101.yaml says."""

    flags: dict[str, str]
    said: str
    """Which file was used, or left out, in a line; empty: there is none."""


def filled(flags: Mapping[str, str], sections: Sequence[str], start: Path | None = None) -> Filled:
    """The flags of a command with those of the so101.yaml that counts.

    Args:
        flags: flag -> value, as somebody gave them.
        sections: what the command has use for, of `SECTIONS`.
        start: where the search begins; None: the current folder.

    Raises:
        ConfigError: the file that counts cannot be read, or has what cannot be in it.
    """
    given = dict(flags)
    named = given.get(CONFIG, "")
    if named == OFF:
        del given[CONFIG]
        return Filled(given, "")
    settings = _settings_of(named) if named else {}
    is_named = looks_like_one(settings)
    if is_named:
        del given[CONFIG]
    path = Path(named) if is_named else nearest(start)
    if path is None:
        return Filled(given, "")
    try:
        content = parsed(read(path, is_named))
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from error
    known = {} if is_named else _flags_in(settings)
    port, own = given.get(PORT, known.get(PORT)), content.arm.port
    if port is not None and (port == MOCK) != (own == MOCK) and (port == MOCK or own is not None):
        return Filled(given, f"{shown(path)} is left out: it is about {own or 'a real arm'}, not {port}")
    more = {
        flag: value
        for section in sections
        for flag, value in _meant(section, content).items()
        if flag not in given and flag not in known
    }
    if is_named and "--robot.own_limits" in more:
        more[WIDEN] = "true"
    used = [section for section in sections if any(flag in more for flag in SECTIONS[section])]
    said = f"{shown(path)}: {', '.join(used) or 'nothing of it is needed'}"
    return Filled({**given, **more}, said)


def filled_arguments(
    arguments: Sequence[str], port: str | None, section: str, start: Path | None = None
) -> tuple[list[str], str]:
    """The same for a command that takes port and id alone (so101-calibrate): its arguments, and the line.

    Args:
        arguments: as somebody gave them.
        port: of `--robot.port` among them; None: none was given, and then alone something is filled in.
        section: "arm" or "leader".
    """
    rest = [argument for argument in arguments if argument != f"{CONFIG}={OFF}"]
    if len(rest) < len(arguments) or port is not None:
        return rest, ""
    found = filled({}, [section], start)
    own, name = SECTIONS[section]
    values = {PORT: found.flags.get(own), "--robot.id": found.flags.get(name)}
    if values[PORT] is None:
        return rest, ""
    known = {argument.partition("=")[0] for argument in rest}
    more = [f"{flag}={value}" for flag, value in values.items() if value is not None and flag not in known]
    return [*rest, *more], found.said


def _meant(section: str, content: Content) -> dict[str, str]:
    """Flag -> value, of what a section says."""
    match section:
        case "arm" | "leader":
            arm = content.arm if section == "arm" else content.leader
            values = (None, None) if arm is None else (arm.port, arm.id)
        case "cameras":
            values = (json.dumps(content.cameras) if content.cameras else None,)
        case "limits":
            # twice: YAML is to read a text
            values = (json.dumps(json.dumps(content.own_limits)) if content.own_limits else None,)
        case _:
            values = (None if content.place.home is None else json.dumps(list(content.place.home)),)
    return {flag: value for flag, value in zip(SECTIONS[section], values, strict=True) if value is not None}


def _settings_of(path: str) -> Plain:
    """What a file of `--config_path` has; nothing of one that cannot be read, which its reader says better."""
    try:
        return parse_yaml(read_text(Path(path)), finite=False)
    except (OSError, ValueError):
        return {}


def _flags_in(settings: Plain) -> dict[str, str]:
    """Which of the flags a configuration file has, and their values as text."""
    known: dict[str, str] = {}
    for flag in (flag for flags in SECTIONS.values() for flag in flags):
        group, _, name = flag.removeprefix("--").partition(".")
        part = settings.get(group) if isinstance(settings, Mapping) else None
        if isinstance(part, Mapping) and part.get(name) is not None:
            known[flag] = str(part[name])
    return known
