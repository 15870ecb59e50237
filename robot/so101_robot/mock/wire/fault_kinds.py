"""The kinds of fault that a `FaultPlan` can name, each with its options and what it does to bytes or servos.

Levels: `REQUEST` faults keep a request from the servos; `REPLY` faults bend the bytes that come back; `SERVO`
faults act on what a servo measures or remembers, so that its own protections do the rest; `PORT` and `CAMERA`
faults are only dates, carried out by whoever serves the port and the cameras. The kinds are those that users
of these arms report.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from so101_robot.bus.protocol import checksum
from so101_robot.bus.registers import BAUD_RATES
from so101_robot.errors import ConfigError
from so101_robot.mock.servo.servo import Servos

Options = Mapping[str, float]


class Level(Enum):
    """What a fault acts on."""

    REQUEST = "request"
    REPLY = "reply"
    SERVO = "servo"
    PORT = "port"
    CAMERA = "camera"


class Answer(NamedTuple):
    """A reply before the adapter: whose it is, when its first byte leaves, its bytes."""

    servo_id: int
    start_us: int
    data: bytes


class Hit(NamedTuple):
    """What a reply fault needs to know: the place of the answer that it hits, and about the transaction."""

    place: int
    options: Options
    request: bytes
    now_us: int
    byte_us: int
    uniform: Callable[[], float]


class Strain(NamedTuple):
    """What a servo fault does to the measurements of a servo; strains of several faults add up."""

    volts: float = 0.0
    celsius: float = 0.0
    amps: float = 0.0
    encoder: bool = False
    overload: bool = False

    def __add__(self, other: object) -> "Strain":
        assert isinstance(other, Strain)
        return Strain(
            self.volts + other.volts,
            self.celsius + other.celsius,
            self.amps + other.amps,
            self.encoder or other.encoder,
            self.overload or other.overload,
        )


Bend = Callable[[list[Answer], Hit], list[Answer]]
Undo = Callable[[], None]


@dataclass(frozen=True)
class Kind:
    """One kind of fault. At most one of `bend`, `strain` and `begin` is set, by level."""

    name: str
    level: Level
    story: str
    options: Options = field(default_factory=dict[str, float])
    bend: Bend | None = None
    strain: Callable[[Options], Strain] | None = None
    begin: Callable[[Servos, int, Options], Undo | None] | None = None
    downstream: bool = False
    """Acts on every servo from the first one named to the end of the cable."""


def _swap(change: Callable[[bytes, Hit], bytes]) -> Bend:
    """A fault that changes the bytes of the answer it hits."""

    def bend(answers: list[Answer], hit: Hit) -> list[Answer]:
        answer = answers[hit.place]
        bent = answer._replace(data=change(answer.data, hit))
        return [*answers[: hit.place], bent, *answers[hit.place + 1 :]]

    return bend


def _with_byte(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes((value,)) + data[place + 1 :] if place < len(data) else data


def _with_checksum(data: bytes) -> bytes:
    return data[:-1] + bytes((checksum(data[2:-1]),))


def _flip(data: bytes, hit: Hit) -> bytes:
    """One bit behind LEN, so that the frame keeps its length: error byte, params or checksum."""
    place = 4 + int(hit.uniform() * (len(data) - 4)) if len(data) > 4 else 0
    return _with_byte(data, place, data[place] ^ 1 << int(hit.uniform() * 8)) if data else data


def _truncate(data: bytes, hit: Hit) -> bytes:
    return data[: max(len(data) - int(hit.options["bytes"]), 0)]


def _noise(data: bytes, hit: Hit) -> bytes:
    """Zeros and FFs, as a floating line gives them when the direction turns."""
    return bytes(255 * (hit.uniform() < 0.5) for _ in range(int(hit.options["bytes"]))) + data


def _steal(data: bytes, hit: Hit) -> bytes:
    return bytes(byte for byte in data if hit.uniform() >= hit.options["share"])


def _garble(data: bytes, hit: Hit) -> bytes:
    """Overlapping frames: some bytes pulled low here and there, some lost to framing errors."""
    return bytes(byte & int(hit.uniform() * 256) for byte in data if hit.uniform() >= 0.1)


def _silence_one(answers: list[Answer], hit: Hit) -> list[Answer]:
    return answers[: hit.place] + answers[hit.place + 1 :]


def _shuffle(answers: list[Answer], hit: Hit) -> list[Answer]:
    """Each frame in its neighbour's slot."""
    del hit
    starts = [answer.start_us for answer in answers]
    turned = answers[1:] + answers[:1]
    return [answer._replace(start_us=start) for answer, start in zip(turned, starts, strict=True)]


def _echo(answers: list[Answer], hit: Hit) -> list[Answer]:
    start_us = hit.now_us - len(hit.request) * hit.byte_us
    return [Answer(hit.request[2], start_us, hit.request), *answers]


def _delay(answers: list[Answer], hit: Hit) -> list[Answer]:
    late_us = round(hit.options["delay_ms"] * 1000)
    return [answer._replace(start_us=answer.start_us + late_us) for answer in answers]


def _reboot(servos: Servos, index: int, options: Options) -> None:
    servos.reboot(index, int(options["silent_ms"]))


def _with_register(name: str, value_of: Callable[[Options], int]) -> Callable[[Servos, int, Options], Undo]:
    """A servo with another value in a register while the fault lasts."""

    def begin(servos: Servos, index: int, options: Options) -> Undo:
        before = servos.get(index, name)
        servos.set(index, name, value_of(options))
        return lambda: servos.set(index, name, before)

    return begin


def _baud_code(options: Options) -> int:
    baud = int(options["baud"])
    if baud not in BAUD_RATES:
        raise ConfigError(
            f"wrong_baud: no servo has {baud} baud; possible: {', '.join(map(str, BAUD_RATES))}"
        )
    return BAUD_RATES.index(baud)


def _multi_turn(servos: Servos, index: int, options: Options) -> Undo:
    before = servos.get(index, "Phase")
    servos.set(index, "Phase", before | 0x10)
    servos.add_turns(index, int(options["turns"]))
    return lambda: servos.set(index, "Phase", before)


_REQUEST, _REPLY, _SERVO = Level.REQUEST, Level.REPLY, Level.SERVO

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("lost_request", _REQUEST, "the request never arrives, as a goal write that nobody notices"),
        Kind("corrupt_request", _REQUEST, "a bit of the request flips; the checksum lets nobody act on it"),
        Kind("silent_servo", _REPLY, "one reply is missing and leaves a hole", bend=_silence_one),
        Kind("silent_bus", _REPLY, "nobody's reply arrives", bend=lambda answers, hit: []),
        Kind("corrupt_reply", _REPLY, "one bit flips in errors, params or checksum", bend=_swap(_flip)),
        Kind(
            "corrupt_header",
            _REPLY,
            "FE FF instead of FF FF",
            bend=_swap(lambda data, hit: _with_byte(data, 0, 0xFE)),
        ),
        Kind("truncated_reply", _REPLY, "the last `bytes` are missing", {"bytes": 3}, bend=_swap(_truncate)),
        Kind(
            "wrong_length",
            _REPLY,
            "LEN reads `length`",
            {"length": 0xF0},
            bend=_swap(lambda data, hit: _with_byte(data, 3, int(hit.options["length"]) & 0xFF)),
        ),
        Kind("noise", _REPLY, "`bytes` of 00 and FF before a reply", {"bytes": 2}, bend=_swap(_noise)),
        Kind(
            "bad_error_byte",
            _REPLY,
            "bit 7 of the error byte is set, checksum sound",
            bend=_swap(lambda data, hit: _with_checksum(_with_byte(data, 4, data[4] | 0x80))),
        ),
        Kind(
            "bad_id",
            _REPLY,
            "the reply's id is FE, checksum sound",
            bend=_swap(lambda data, hit: _with_checksum(_with_byte(data, 2, 0xFE))),
        ),
        Kind("out_of_order", _REPLY, "replies in each other's slots", bend=_shuffle),
        Kind("duplicate_reply", _REPLY, "one reply comes twice", bend=_swap(lambda data, hit: data * 2)),
        Kind("id_collision", _REPLY, "another servo talks over one reply", bend=_swap(_garble)),
        Kind("echo", _REPLY, "the adapter returns the request before the replies", bend=_echo),
        Kind("late_reply", _REPLY, "all replies come `delay_ms` late", {"delay_ms": 80}, bend=_delay),
        Kind(
            "stolen_bytes",
            _REPLY,
            "another process reads a `share` of the bytes",
            {"share": 0.5},
            bend=_swap(_steal),
        ),
        Kind("overload", _SERVO, "the overload protection holds", strain=lambda o: Strain(overload=True)),
        Kind(
            "overcurrent",
            _SERVO,
            "`amps` more than there are; after its time the servo lets go",
            {"amps": 4.0},
            strain=lambda o: Strain(amps=o["amps"]),
        ),
        Kind(
            "overheat",
            _SERVO,
            "`celsius` hotter than it is",
            {"celsius": 60.0},
            strain=lambda o: Strain(celsius=o["celsius"]),
        ),
        Kind(
            "sag",
            _SERVO,
            "`volts` less; much less stops the processor",
            {"volts": 9.0},
            strain=lambda o: Strain(volts=-o["volts"]),
        ),
        Kind(
            "overvoltage", _SERVO, "`volts` more", {"volts": 4.0}, strain=lambda o: Strain(volts=o["volts"])
        ),
        Kind(
            "no_power",
            _SERVO,
            "no supply: limp and silent, boots when it is back",
            strain=lambda o: Strain(volts=-100.0),
        ),
        Kind(
            "cable_break",
            _SERVO,
            "the named servo and all with higher ids lose supply and data",
            strain=lambda o: Strain(volts=-100.0),
            downstream=True,
        ),
        Kind(
            "encoder_fault",
            _SERVO,
            "the encoder fails; the position freezes",
            strain=lambda o: Strain(encoder=True),
        ),
        Kind(
            "reboot",
            _SERVO,
            "silent for `silent_ms`, then boots with torque off",
            {"silent_ms": 300},
            begin=_reboot,
        ),
        Kind(
            "multi_turn",
            _SERVO,
            "multi-turn feedback on and the counter `turns` off",
            {"turns": 1},
            begin=_multi_turn,
        ),
        Kind(
            "wrong_model",
            _SERVO,
            "another `model` number",
            {"model": 2825},
            begin=_with_register("Model_Number", lambda o: int(o["model"])),
        ),
        Kind(
            "wrong_firmware",
            _SERVO,
            "another `minor` firmware version",
            {"minor": 9},
            begin=_with_register("Firmware_Minor_Version", lambda o: int(o["minor"])),
        ),
        Kind(
            "wrong_baud",
            _SERVO,
            "listens at another `baud`",
            {"baud": 500_000},
            begin=_with_register("Baud_Rate", _baud_code),
        ),
        Kind(
            "wrong_id",
            _SERVO,
            "has another `id`, perhaps a neighbour's",
            {"id": 1},
            begin=_with_register("ID", lambda o: int(o["id"])),
        ),
        Kind("unplug", Level.PORT, "the USB plug is out; the port goes away and may come back"),
        Kind("stall", Level.PORT, "the adapter delivers nothing, then everything"),
        Kind("camera_stall", Level.CAMERA, "no new frames"),
        Kind("camera_freeze", Level.CAMERA, "new frames with the old picture"),
        Kind("camera_dark", Level.CAMERA, "black frames"),
    )
}
