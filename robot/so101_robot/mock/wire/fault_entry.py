"""One entry of a fault plan: what it says, checked word by word. The schema is told in `fault_plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from so101_policy.errors import shown
from so101_policy.files.plain_data import Plain
from so101_robot.bus.protocol import Instruction
from so101_robot.errors import ConfigError
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.fault_kinds import KINDS, Kind, Level, Options

LARGEST = 1e9
"""Of any number in a plan: 30 years in seconds, and far beyond what a register holds."""

MOST: Mapping[str, float] = {"bytes": 4096}
"""Of options that are made, not only compared: noise of a gigabyte would be waited for."""

_COMMON = ("fault", "at_s", "for_s", "every")
_FIELDS = {
    Level.REQUEST: ("servo", "instruction"),
    Level.REPLY: ("servo", "instruction"),
    Level.SERVO: ("servo",),
    Level.PORT: (),
    Level.CAMERA: ("camera",),
}


@dataclass(frozen=True)
class Fault:
    """One entry of a plan. `servos` None: not said; `code` None: any request; `camera` None: every camera."""

    kind: Kind
    at_us: tuple[int, ...] = ()
    for_us: int | None = None
    every: float | None = None
    servos: tuple[int, ...] | None = None
    all_servos: bool = False
    code: int | None = None
    camera: str | None = None
    options: Options | None = None

    @property
    def always(self) -> bool:
        return not self.at_us and self.every is None


def read_fault(entry: Plain, place: int) -> Fault:
    """One entry of the list, checked. Raises ConfigError that names the entry."""
    where = f"fault {place} of the plan"
    if not isinstance(entry, Mapping) or "fault" not in entry:
        raise ConfigError(f"{where} needs a field `fault`; faults: {', '.join(KINDS)}")
    data = entry
    name = data["fault"]
    if not isinstance(name, str) or name not in KINDS:
        raise ConfigError(f"{where}: there is no fault {shown(name)}; faults: {', '.join(KINDS)}")
    kind = KINDS[name]
    where = f"{where} ({name})"
    allowed = (*_COMMON, *_FIELDS[kind.level], *kind.options)
    if kind.level in (Level.PORT, Level.CAMERA):
        allowed = tuple(field for field in allowed if field != "every")
    for key in data:
        if key not in allowed:
            raise ConfigError(f"{where} has no field {shown(key)}; fields: {', '.join(allowed)}")
    every = _number(data["every"], f"{where}: every", 1.0) if "every" in data else None
    if every is not None and kind.level is Level.SERVO and "for_s" not in data:
        raise ConfigError(f"{where}: `every` needs `for_s`, how long it lasts each time")
    servos, all_servos = _servos(data.get("servo"), where)
    if kind.downstream and servos is None:
        raise ConfigError(f"{where} needs `servo`, the first one behind the break")
    times = _listed(data.get("at_s", []))
    camera = data.get("camera")
    if not (camera is None or isinstance(camera, str)):
        raise ConfigError(f"{where}: camera is a name, not {shown(camera)}")
    options = {
        key: _number(data.get(key, default), f"{where}: {key}", -LARGEST, MOST.get(key, LARGEST))
        for key, default in kind.options.items()
    }
    if kind.begin is not None:
        kind.begin(Servos((1,)), 0, options)  # a rehearsal: values that a register cannot hold show now
    return Fault(
        kind,
        at_us=tuple(sorted(_microseconds(time, f"{where}: at_s") for time in times)),
        for_us=_microseconds(data["for_s"], f"{where}: for_s") if "for_s" in data else None,
        every=every,
        servos=servos,
        all_servos=all_servos,
        code=_code(data["instruction"], where) if "instruction" in data else None,
        camera=camera,
        options=options,
    )


def _number(value: Plain, where: str, least: float = 0.0, most: float = LARGEST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigError(f"{where} is a number of at least {least:g}, not {shown(value)}")
    if value > most:
        raise ConfigError(f"{where} is a number of at most {most:g}, not {shown(value)}")
    return value


def _microseconds(value: Plain, where: str) -> int:
    return round(_number(value, where) * 1e6)


def _servos(value: Plain, where: str) -> tuple[tuple[int, ...] | None, bool]:
    """(ids or None, whether `all` was said)."""
    if value is None or value == "all":
        return None, value == "all"
    ids: list[int] = []
    for servo_id in _listed(value):
        if isinstance(servo_id, bool) or not isinstance(servo_id, int) or not 1 <= servo_id <= 253:
            raise ConfigError(
                f"{where}: servo is an id from 1 to 253, a list of ids or all, not {shown(servo_id)}"
            )
        ids.append(servo_id)
    return tuple(ids), False


def _listed(value: Plain) -> Sequence[Plain]:
    """A list as it is, and one value as a list of one."""
    return value if isinstance(value, list) else [value]


def _code(value: Plain, where: str) -> int:
    names = {instruction.name.lower(): int(instruction) for instruction in Instruction}
    if not isinstance(value, str) or value not in names:
        raise ConfigError(
            f"{where}: there is no instruction {shown(value)}; instructions: {', '.join(names)}"
        )
    return names[value]
