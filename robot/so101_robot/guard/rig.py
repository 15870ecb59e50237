"""All limits of one rig, in one file that a person reads and edits.

The file is beside LeRobot's calibration of the arm (`my_arm.json` -> `my_arm.limits.yaml`), or is named with
`--robot.rig`. Whatever it does not say is at its default. `python -m so101_robot.guard.rig FILE` writes the defaults
with a comment on each, or checks a file that exists. What the limits do is in docs/reference/limits.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import Plain, parse_yaml, read_text
from so101_robot.errors import ConfigError
from so101_robot.joints import GRIPPER, JOINTS

SUFFIX = ".limits.yaml"

STALL_MA = 2700.0
"""[mA] of a servo that is held fast at 12 V. Source: STS3215 data sheet."""


@dataclass(frozen=True)
class JointRules:
    """What one joint may do; degrees, the gripper in percent."""

    lower: float | None = None
    """Narrower than the calibrated range; None: its end."""
    upper: float | None = None
    speed: float = 180.0
    """[1/s]"""
    acceleration: float = 5400.0
    """[1/s^2]"""
    step: float = 12.0
    """Of one command, however late it is."""
    zero_deg: float = 0.0
    """Where the joint's 0 is on the arm's model, whose zero is the middle of the joint's full range."""
    current_ma: float = 900.0
    """What may flow without end. 3.6 W in the winding end near 65 deg C."""
    load_percent: float = 70.0
    """Motor duty that may last without end; the servo calls 80 for 2 s an overload."""
    overload_s: float = 2.0
    """For how long a stall may last: 2700 mA, or all of the duty. Less takes longer, by its square."""


GRIPPER_RULES = JointRules(
    speed=300.0, acceleration=9000.0, step=20.0, current_ma=1100.0, load_percent=70.0, overload_s=15.0
)
"""The gripper presses for as long as it holds something; its servo's torque is cut to half by LeRobot."""

DEFAULT_JOINTS: Mapping[str, JointRules] = MappingProxyType(
    {joint: GRIPPER_RULES if i == GRIPPER else JointRules() for i, joint in enumerate(JOINTS)}
)


@dataclass(frozen=True)
class Rig:
    """All limits. Lengths are in the base frame: origin on the base's underside, x forward, y left, z up."""

    joints: Mapping[str, JointRules] = field(default_factory=lambda: DEFAULT_JOINTS)
    """One of each joint."""
    slow_c: float = 60.0
    """Above this the arm moves slower [deg C]."""
    stop_c: float = 66.0
    """Here it stops; at 70 the servo itself lets go."""
    state_age_s: float = 0.1
    frame_age_s: float = 0.5
    table_m: float | None = -0.02
    """Height under which no part of the arm may be commanded. The arm hangs about a centimetre lower than it is
    told to, and a calibration by hand is some degrees off."""
    workspace_m: tuple[tuple[float, float], ...] | None = None
    """The hand's box: lowest and highest x, y and z."""
    self_collision: bool = True
    self_gap_m: float = -0.01
    """Gap that the arm's parts keep; the boxes are coarse and may overlap a little: folded at rest by 9 mm."""

    def __post_init__(self) -> None:
        for joint, rules in self.joints.items():
            for item in fields(rules):
                _require(f"{joint}: {item.name}", getattr(rules, item.name), _RANGES[item.name])
            if rules.lower is not None and rules.upper is not None and rules.lower >= rules.upper:
                raise ConfigError(f"{joint}: lower = {rules.lower} is not below upper = {rules.upper}")
            if rules.current_ma >= STALL_MA:
                raise ConfigError(
                    f"{joint}: current_ma = {rules.current_ma}; expected at most {STALL_MA:.0f}"
                )
        for name, bounds in _RANGES.items():
            if hasattr(self, name):
                _require(name, getattr(self, name), bounds)
        if self.slow_c >= self.stop_c:
            raise ConfigError(f"temperature: slow_c = {self.slow_c} is not below stop_c = {self.stop_c}")
        for axis, span in zip("xyz", self.workspace_m or (), strict=False):
            for value in span:
                _require(f"workspace_m: {axis}", value, _ANY)
            if span[0] >= span[1]:
                raise ConfigError(f"workspace_m: {axis} = {list(span)}; the first is not below the second")


_ANY, _POSITIVE, _PERCENT = (-1e4, 1e4), (1e-6, 1e6), (1.0, 99.0)
_RANGES = {
    "lower": _ANY,
    "upper": _ANY,
    "speed": _POSITIVE,
    "acceleration": _POSITIVE,
    "step": _POSITIVE,
    "zero_deg": (-180.0, 180.0),
    "current_ma": _POSITIVE,
    "load_percent": _PERCENT,
    "overload_s": _POSITIVE,
    "slow_c": (0.0, 150.0),
    "stop_c": (0.0, 150.0),
    "state_age_s": _POSITIVE,
    "frame_age_s": _POSITIVE,
    "table_m": (-1.0, 1.0),
    "self_gap_m": (-0.1, 0.1),
}
"""Smallest and largest value of everything that is a number."""

_OPTIONAL = {"lower", "upper", "table_m"}


def _require(what: str, value: Plain, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if value is None and what.rsplit(" ", 1)[-1] in _OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"{what} = {shown(value)}; expected a number from {low:g} to {high:g}")


def beside(calibration: Path) -> Path:
    """Where the limits of the arm with that calibration file are looked for."""
    return calibration.with_name(calibration.stem + SUFFIX)


def find(calibration: Path | None, asked: Path | None = None) -> tuple[Rig, Path | None]:
    """The rig's limits and the file that they are from; None: the defaults.

    Raises:
        ConfigError: the file that was asked for does not exist, or a file is wrong.
    """
    if asked is not None:
        return load(asked), asked
    path = None if calibration is None else beside(calibration)
    return (load(path), path) if path is not None and path.exists() else (Rig(), None)


def load(path: Path) -> Rig:
    """The limits in a file. Raises `ConfigError` that says what is wrong with it, and what is possible."""
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no file {path}; `python -m so101_robot.guard.rig {path}` writes one to start from"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {first_line(error)}") from error
    try:
        content: Any = parse_yaml(text, finite=False)  # each number is held against its bounds below
    except ValueError as error:
        raise ConfigError(f"{path}: {first_line(error)}") from error
    try:
        return of_content({} if content is None else content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def save(rig: Rig, path: Path) -> None:
    """Write the limits with a comment on each. Raises `ConfigError` if the file cannot be written."""
    try:
        path.write_text(in_yaml(rig), "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {first_line(error)}") from error


def of_content(content: Plain) -> Rig:
    """The limits that a file's content says; what it does not say is at its default. Raises ConfigError."""
    names = [item.name for item in fields(Rig)]
    given = dict(_mapping("the file", content, names))
    if "joints" in given:
        rows = _mapping("joints", given["joints"], JOINTS)
        given["joints"] = {
            joint: DEFAULT_JOINTS[joint] if rows.get(joint) is None else _rules(joint, rows[joint])
            for joint in JOINTS
        }
    if given.get("workspace_m") is not None:
        given["workspace_m"] = _box(given["workspace_m"])
    if not isinstance(given.get("self_collision", True), bool):
        raise ConfigError(f"self_collision = {shown(given['self_collision'])}; expected true or false")
    return Rig(**given)


def _rules(joint: str, row: Plain) -> JointRules:
    names = [item.name for item in fields(JointRules)]
    given = _mapping(joint, row, names)
    return JointRules(**{**vars(DEFAULT_JOINTS[joint]), **given})


def _box(value: Plain) -> tuple[tuple[float, float], ...]:
    spans = _mapping("workspace_m", value, "xyz")
    for axis in "xyz":
        span = spans.get(axis)
        if not isinstance(span, list) or len(span) != 2:
            raise ConfigError(f"workspace_m: {axis} = {shown(span)}; expected [lowest, highest] in metres")
    return tuple((spans[axis][0], spans[axis][1]) for axis in "xyz")


def _mapping(where: str, value: Plain, possible: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: found {shown(value)}, expected a table with {', '.join(possible)}")
    unknown = [shown(key).strip("'\"") for key in value if key not in possible][:5]
    if unknown:
        raise ConfigError(
            f"{where}: {', '.join(unknown)} is not known; expected one of {', '.join(possible)}"
        )
    return value


def in_yaml(rig: Rig) -> str:
    """The file, with a comment on each limit."""
    width = max(map(len, JOINTS)) + 1
    rows = "\n".join(
        f"  {joint + ':':{width}} {{{', '.join(f'{key}: {_plain(v)}' for key, v in vars(rules).items())}}}"
        for joint, rules in rig.joints.items()
    )
    box = "null"
    if rig.workspace_m is not None:
        spans = zip("xyz", rig.workspace_m, strict=True)
        box = "{" + ", ".join(f"{axis}: [{_plain(a)}, {_plain(b)}]" for axis, (a, b) in spans) + "}"
    return _TEMPLATE.format(
        joints=rows, box=box, **{name: _plain(getattr(rig, name)) for name in _PLAIN_FIELDS}
    )


def _plain(value: float | None) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(float(value))


_PLAIN_FIELDS = [item.name for item in fields(Rig) if item.name not in ("joints", "workspace_m")]

_TEMPLATE = """\
# Limits of one SO-101. What is left out is at its default; docs/reference/limits.md says what each one does.

# Degrees from the middle of the calibrated range, the gripper in percent.
#   lower, upper   narrower than the calibrated range; null: its ends
#   speed, acceleration, step   of what is commanded: a second, a second squared, one command
#   zero_deg       where the joint's 0 is on the arm's model (for table, workspace, self-collision)
#   current_ma, load_percent    may last without end
#   overload_s     how long a stall may last (2700 mA, full duty); less takes longer, by its square
joints:
{joints}

# Above slow_c [deg C] a servo slows the arm down, at stop_c it stops it; at 70 the servo lets go by itself.
slow_c: {slow_c}
stop_c: {stop_c}

# How old joint positions and pictures may be [s].
state_age_s: {state_age_s}
frame_age_s: {frame_age_s}

# Metres in the base frame: origin under the base, x forward, y left, z up.
# Height under which no part of the arm may be commanded (null: no table). It hangs about 0.01 lower than commanded.
table_m: {table_m}
# Box in which gripper and moving jaw stay: {{x: [from, to], y: [from, to], z: [from, to]}}, or null.
workspace_m: {box}

# Whether the arm is kept from touching itself, and the gap of its (coarse) boxes: below zero they may overlap.
self_collision: {self_collision}
self_gap_m: {self_gap_m}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the defaults, or check a file that exists; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(
            "python -m so101_robot.guard.rig FILE: write the default limits to FILE, or check FILE if it exists"
        )
        return 0 if arguments in (["-h"], ["--help"]) else 2
    path = Path(arguments[0])
    try:
        if path.exists():
            load(path)
            print(f"{path} is fine")
        else:
            save(Rig(), path)
            print(f"{path} has the default limits")
    except ConfigError as error:
        print(f"so101_robot.guard.rig: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
