"""What can be in a `so101.yaml`, and nothing else can.

Strict, because nobody may have asked for it: every name and type is known, a port is a device of this machine, a
camera is one that is plugged in (no address on a network, no pipeline that OpenCV would run), an id is the name of a
calibration file and no path to one. There is no policy, no dataset, no folder and no program in it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import Plain, parse_yaml
from so101_robot.errors import ConfigError
from so101_robot.guard.narrow import require_limits
from so101_robot.joints import JOINTS

MOCK = "mock"

MOST_CAMERAS = 8

_PORT = re.compile(r"COM[0-9]{1,3}|/[\w./:+@=-]{1,250}")
_DEVICE = re.compile(r"/dev/[\w./:+@=-]{1,250}")
_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,63}", re.ASCII)
_CAMERA = re.compile(r"[A-Za-z0-9_][\w.-]{0,63}", re.ASCII)

_OF_EVERY_CAMERA = ("type", "width", "height", "fps", "color_mode", "warmup_s")
CAMERAS: Mapping[str, tuple[str, ...]] = {
    "opencv": (*_OF_EVERY_CAMERA, "index_or_path", "fourcc", "rotation"),
    "intelrealsense": (*_OF_EVERY_CAMERA, "serial_number_or_name", "use_depth", "rotation"),
    "zmq": (*_OF_EVERY_CAMERA, "server_address", "port", "camera_name", "timeout_ms"),
}
"""Type of camera -> its settings that can be given here; the values are held against LeRobot's configurations later."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Where the pictures of a `zmq` camera may come from: this machine (so101-mock)."""

LIMITS = ("joints", "slow_c", "stop_c", "state_age_s", "frame_age_s", "self_collision", "self_gap_m")
PLACE = ("table_m", "walls_m", "home")


@dataclass(frozen=True)
class Arm:
    """A follower or a leader."""

    port: str | None = None
    id: str | None = None
    """Names its calibration file."""


@dataclass(frozen=True)
class Place:
    """What is around the arm. Lengths in the base frame: origin under the base, x forward, y left, z up [m]."""

    table_m: float | None = None
    walls_m: Mapping[str, Sequence[float]] | None = None
    """x, y and z -> [lowest, highest] of the hand."""
    home: Sequence[float] | None = None
    """Where the arm parks: five angles [deg] and the gripper [percent]."""


@dataclass(frozen=True)
class Content:
    """A so101.yaml."""

    arm: Arm = Arm()
    leader: Arm | None = None
    """None: there is none."""
    cameras: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict[str, Mapping[str, Plain]])
    """Name -> LeRobot's settings."""
    limits: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    """As in the file of --robot.rig, without what is in `place`."""
    place: Place = Place()

    @property
    def own_limits(self) -> dict[str, Plain]:
        """Limits and place in the form of the file of --robot.rig; empty: none is given."""
        place = {"table_m": self.place.table_m, "workspace_m": self.place.walls_m}
        return {**self.limits, **{name: value for name, value in place.items() if value is not None}}


SECTIONS: tuple[str, ...] = ("arm", "leader", "cameras", "limits", "place")


def looks_like_one(content: Plain) -> bool:
    """Whether a file has only what a so101.yaml can have."""
    return isinstance(content, Mapping) and bool(content) and set(content) <= set(SECTIONS)


def parsed(text: str) -> Content:
    """A so101.yaml. Raises ConfigError: what was found, and what is possible."""
    try:
        content: Plain = parse_yaml(text, finite=False)  # every number is held against its bounds
    except ValueError as error:
        raise ConfigError(first_line(error)) from error
    given = _table("the file", {} if content is None else content, SECTIONS)
    limits = _table("limits", given.get("limits") or {}, LIMITS)
    place = _place(_table("place", given.get("place") or {}, PLACE))
    found = Content(
        arm=_arm("arm", given.get("arm")) or Arm(),
        leader=_arm("leader", given.get("leader")),
        cameras=_cameras(given.get("cameras") or {}),
        limits=limits,
        place=place,
    )
    if (
        found.arm.port is not None
        and found.leader is not None
        and found.arm.port == found.leader.port != MOCK
    ):
        raise ConfigError(f"arm and leader have one port, {found.arm.port}; expected one each")
    require_limits(found.own_limits)
    return found


def _arm(where: str, value: Plain) -> Arm | None:
    if value is None:
        return None
    given = _table(where, value, ("port", "id"))
    port, name = (_text(f"{where}: {key}", given[key]) if key in given else None for key in ("port", "id"))
    if port is not None:
        _require_port(where, port)
    if name is not None and not _ID.fullmatch(name):
        raise ConfigError(
            f"{where}: id = {shown(name)}; expected the name of a calibration file: letters, digits, _ - and ."
        )
    return Arm(port, name)


def _require_port(where: str, port: str) -> None:
    is_port = port == MOCK or _PORT.fullmatch(port)
    if not is_port or (port.startswith("/") and not _below_dev(port)):
        raise ConfigError(
            f"{where}: port = {shown(port)}; expected mock, or a serial port of this machine, best one below "
            "/dev/serial/by-id (so101-calibrate ports finds it)"
        )


def _below_dev(path: str) -> bool:
    """Whether it is a device, or a link to one."""
    return os.path.realpath(path).startswith("/dev/")


def _cameras(value: Plain) -> dict[str, Mapping[str, Plain]]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"cameras: found {shown(value)}, expected names with settings, or nothing")
    if len(value) > MOST_CAMERAS:
        raise ConfigError(f"cameras: {len(value)} are given, expected at most {MOST_CAMERAS}")
    return {name: _camera(name, settings) for name, settings in value.items()}


def _camera(name: str, value: Plain) -> Mapping[str, Plain]:
    if not _CAMERA.fullmatch(str(name)):
        raise ConfigError(f"cameras: {shown(name)} is no name for a camera; expected one like front")
    where = f"cameras: {name}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: found {shown(value)}, expected a table with type, width, height and fps")
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in CAMERAS:
        raise ConfigError(f"{where}: type = {shown(kind)}; expected one of {', '.join(CAMERAS)}")
    given = _table(where, value, CAMERAS[kind])
    for key, setting in given.items():
        if not isinstance(setting, str | int | float):
            raise ConfigError(f"{where}: {key} = {shown(setting)}; expected a number or a word")
    if kind == "zmq" and given.get("server_address", LOOPBACK[0]) not in LOOPBACK:
        raise ConfigError(
            f"{where}: server_address = {shown(given['server_address'])}; expected this machine ("
            f"{', '.join(LOOPBACK)}); another one goes by --robot.cameras"
        )
    device = given.get("index_or_path")
    if isinstance(device, str) and not (_DEVICE.fullmatch(device) and _below_dev(device)):
        raise ConfigError(
            f"{where}: index_or_path = {shown(device)}; expected a number, or a video device below /dev; a file or an "
            "address goes by --robot.cameras"
        )
    return given


def _place(given: Mapping[str, Plain]) -> Place:
    home, walls, table = given.get("home"), given.get("walls_m"), given.get("table_m")
    if home is not None:
        if not isinstance(home, Sequence) or isinstance(home, str) or len(home) != len(JOINTS):
            raise ConfigError(
                f"place: home = {shown(home)}; expected a number for each of {', '.join(JOINTS)}"
            )
        home = [
            _number(f"place: home: {joint}", value, 360.0) for joint, value in zip(JOINTS, home, strict=True)
        ]
    if walls is not None:
        walls = _walls(_table("place: walls_m", walls, ("x", "y", "z")))
    return Place(None if table is None else _number("place: table_m", table, 1.0), walls, home)


def _walls(given: Mapping[str, Plain]) -> dict[str, Sequence[float]]:
    spans: dict[str, Sequence[float]] = {}
    for axis in ("x", "y", "z"):
        span = given.get(axis)
        if not isinstance(span, Sequence) or isinstance(span, str) or len(span) != 2:
            raise ConfigError(f"place: walls_m: {axis} = {shown(span)}; expected [lowest, highest] in metres")
        spans[axis] = [_number(f"place: walls_m: {axis}", value, 10.0) for value in span]
        if spans[axis][0] >= spans[axis][1]:
            raise ConfigError(f"place: walls_m: {axis} = {shown(span)}; the first is not below the second")
    return spans


def _number(what: str, value: Plain, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:  # NaN, too
        raise ConfigError(f"{what} = {shown(value)}; expected a number from {-most:g} to {most:g}")
    return float(value)


def _text(what: str, value: Plain) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{what} = {shown(value)}; expected text")
    return value


def _table(where: str, value: Plain, possible: Sequence[str]) -> Mapping[str, Plain]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: found {shown(value)}, expected a table with {', '.join(possible)}")
    unknown = [shown(key).strip("'\"") for key in value if key not in possible][:5]
    if unknown:
        raise ConfigError(
            f"{where}: {', '.join(unknown)} is not known; expected one of {', '.join(possible)}"
        )
    return value


HEAD = """\
# One SO-101 and its place, read by so101-run, -teleop, -bench and -calibrate in this folder and those below it.
# Flags win over it, then --config_path; --config_path=none leaves it out. It narrows the arm's limits, at most.
"""

_WORDS: Mapping[str, str] = {
    "arm": "The arm with the jaws. `id` names its calibration, as in LeRobot.",
    "leader": "The arm that a person moves; without it there is none.",
    "cameras": "LeRobot's cameras by name.",
    "limits": "Narrower than the arm's: joints (lower, upper, speed, step, current_ma ...), temperatures, ages.",
    "place": "Table and walls [m, base frame: x forward, y left, z up]; home: where the arm parks [deg, percent].",
}


def in_yaml(content: Content) -> str:
    """The file's text."""
    parts: list[str] = [HEAD]
    place = {"table_m": content.place.table_m, "walls_m": content.place.walls_m, "home": content.place.home}
    sections: dict[str, Mapping[str, Plain] | None] = {
        "arm": _given(vars(content.arm)),
        "leader": None if content.leader is None else _given(vars(content.leader)),
        "cameras": content.cameras,
        "limits": content.limits,
        "place": _given(place),
    }
    for name, rows in sections.items():
        if rows:
            parts.append(f"# {_WORDS[name]}\n{name}:\n" + "".join(map(_row, rows.items())))
    return "\n".join(parts)


def _row(item: tuple[str, Plain]) -> str:
    """One line of a section: the value in one piece, as people write it."""
    name, value = item
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6, sort_keys=False)
    return f"  {name}: {text.removesuffix(chr(10)).removesuffix('...').rstrip()}\n"


def _plain(value: Plain) -> Plain:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def _given(values: Mapping[str, Plain]) -> dict[str, Plain]:
    return {name: value for name, value in values.items() if value is not None}
