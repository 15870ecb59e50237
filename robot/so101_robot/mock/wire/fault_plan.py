"""A plan of faults: which, when, on whom. The same plan, seed and traffic give the same faults.

A plan is YAML:

    seed: 7                      # of everything that is drawn; 0 if absent
    faults:
      - fault: corrupt_reply     # a name of `fault_kinds.KINDS`
        every: 200               # on average every 200th transaction, drawn
      - fault: silent_servo
        servo: 3                 # an id, a list of ids, or `all`
        at_s: [2.0, 5.5]         # at these times, exactly
        for_s: 0.3               # and this long
      - fault: lost_request
        instruction: sync_write  # only requests of this kind
        every: 100
      - fault: truncated_reply
        at_s: 8.0
        bytes: 5                 # an option of this kind of fault
      - fault: camera_dark
        camera: wrist
        at_s: 10.0

When: `at_s`, `every`, or both; with neither, always. Without `for_s` a request or reply fault hits one
transaction (for `at_s` the first that it can hit at or after that time), any other fault stays until the end.
Port and camera faults have no `every`; on servo faults it needs `for_s`.

On whom: without `servo` a reply fault hits one of the replies, drawn, and a servo fault all servos. Times
count from the start of the arm's clock. `example_faults.yaml` beside this file shows the rest.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import Plain, parse_yaml, read_text
from so101_robot.errors import ConfigError
from so101_robot.mock.servo.servo import Servos
from so101_robot.mock.wire.fault_entry import Fault, read_fault
from so101_robot.mock.wire.fault_kinds import Answer, Hit, Level, Strain, Undo

EXAMPLE = Path(__file__).with_name("example_faults.yaml")

LOG_SIZE = 10_000
"""Events that `FaultPlan.log` keeps."""


class Event(NamedTuple):
    """A fault that happened. `transaction` and `servo_id` are None where they do not apply."""

    time_us: int
    fault: str
    transaction: int | None
    servo_id: int | None


class PortEvent(NamedTuple):
    """Something that is the matter with the port: `unplug` or `stall`. `end_us` None: for ever."""

    kind: str
    begin_us: int
    end_us: int | None


class CameraState(NamedTuple):
    """`ok`, `stall`, `freeze` or `dark`, and since when."""

    kind: str
    since_us: int


class FaultPlan:
    """Faults and what has become of them so far. `log` holds the latest events."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self.faults = list(faults)
        self.seed = seed
        self.log: deque[Event] = deque(maxlen=LOG_SIZE)
        self.reset()

    @classmethod
    def from_yaml(cls, source: str | Path, seed: int | None = None) -> "FaultPlan":
        """A plan from a file (a Path, or a str that ends in .yaml or .yml) or from YAML text.

        `seed` overrides the plan's.

        Raises ConfigError for a file that cannot be read, for text that is not such a plan, and for names
        that do not exist.
        """
        if not (isinstance(source, Path) or source.strip().endswith((".yaml", ".yml"))):
            return cls._from_text(source, seed)
        try:
            return cls._from_text(read_text(Path(source)), seed)
        except OSError as error:
            raise ConfigError(f"cannot read the fault plan {source}: {first_line(error)}") from None
        except ValueError as error:  # also a ConfigError, which does not know the file
            raise ConfigError(f"{source}: {first_line(error)}") from None

    @classmethod
    def _from_text(cls, text: str, seed: int | None) -> "FaultPlan":
        try:
            plan: Any = parse_yaml(text, finite=False)  # each number is held against its bounds below
        except ValueError as error:
            raise ConfigError(f"the fault plan cannot be read: {first_line(error)}") from None
        return cls._from_data(plan, seed)

    @classmethod
    def _from_data(cls, plan: Plain, seed: int | None) -> "FaultPlan":
        if not isinstance(plan, Mapping):
            raise ConfigError("a fault plan has the fields seed and faults")
        unknown = [shown(key).strip("'\"") for key in plan if key not in ("seed", "faults")][:5]
        if unknown:
            raise ConfigError(f"a fault plan has no field {', '.join(unknown)}; fields: seed, faults")
        entries = plan.get("faults") or []
        own_seed = plan.get("seed", 0)
        if not isinstance(entries, list) or not isinstance(own_seed, int):
            raise ConfigError("in a fault plan, faults is a list and seed a whole number")
        faults = [read_fault(entry, place) for place, entry in enumerate(entries, start=1)]
        return cls(faults, own_seed if seed is None else seed)

    def reset(self) -> None:
        """Start over: as if nothing had happened yet. Servos keep what was done to them."""
        self.log.clear()
        self._until_us = [0] * len(self.faults)  # end of what a draw of `every` began
        self._done: set[tuple[int, int]] = set()  # (fault, time) that had their one transaction
        self._acting: dict[int, list[Undo]] = {}  # servo faults in force
        self._strained: set[int] = set()
        self._ids: tuple[int, ...] = ()  # before any fault changed one

    def add(self, entry: Mapping[str, Any]) -> None:
        """One more fault, with the fields of an entry of a plan; `at_s` counts from the start as there.

        Raises ConfigError as `from_yaml` does.
        """
        self.faults.append(read_fault(entry, len(self.faults) + 1))
        self._until_us.append(0)

    @property
    def acts_on_servos(self) -> bool:
        """True if `advance` has anything to do."""
        return any(fault.kind.level is Level.SERVO for fault in self.faults)

    def state(self) -> bytes:
        """What has become of the faults so far, as bytes."""
        return repr((self.seed, self._until_us, sorted(self._done), sorted(self._acting))).encode()

    # --- servos

    def advance(self, servos: Servos, now_us: int, number: int | None = None) -> None:
        """Begin and end servo faults as of `now_us`; `number` is the transaction, if it is one that asks."""
        changed = False
        self._ids = self._ids or servos.ids
        for place, fault in enumerate(self.faults):
            if fault.kind.level is not Level.SERVO:
                continue
            active = self._in_force(place, fault, now_us, number)
            if active == (place in self._acting):
                continue
            changed = True
            if active:
                self._acting[place] = self._begin(fault, servos, now_us, number)
            else:
                for undo in self._acting.pop(place):
                    undo()
        if changed:
            self._impose(servos)

    def _in_force(self, place: int, fault: Fault, now_us: int, number: int | None) -> bool:
        if fault.every is not None and number is not None and self._draws(place, number, fault.every):
            self._until_us[place] = now_us + (fault.for_us or 0)
        return fault.always or now_us < self._until_us[place] or _window(fault, now_us) is not None

    def _begin(self, fault: Fault, servos: Servos, now_us: int, number: int | None) -> list[Undo]:
        undo: list[Undo] = []
        for index in self._indices(fault):
            self.log.append(Event(now_us, fault.kind.name, number, self._ids[index]))
            if fault.kind.begin is not None:
                done = fault.kind.begin(servos, index, fault.options or {})
                if done is not None:
                    undo.append(done)
        return undo

    def _impose(self, servos: Servos) -> None:
        """Let every servo measure the sum of what the faults in force do to it."""
        strains: dict[int, Strain] = {index: Strain() for index in self._strained}
        for place in self._acting:
            fault = self.faults[place]
            if fault.kind.strain is not None:
                for index in self._indices(fault):
                    strains[index] = strains.get(index, Strain()) + fault.kind.strain(fault.options or {})
        for index, strain in strains.items():
            servos.disturb(index, strain.volts, strain.celsius, strain.amps)
            servos.encoder_fault(index, strain.encoder)
            servos.force_overload(index, strain.overload)
        self._strained = set(strains)

    def _indices(self, fault: Fault) -> list[int]:
        """The servos that a servo fault acts on."""
        ids = enumerate(self._ids)
        if fault.servos is None:
            return [index for index, _ in ids]
        if fault.kind.downstream:
            return [index for index, servo_id in ids if servo_id >= min(fault.servos)]
        return [index for index, servo_id in ids if servo_id in fault.servos]

    # --- bytes

    def loses_request(self, code: int, servo_id: int, number: int, now_us: int) -> bool:
        """True if transaction `number` never reaches the servos."""
        for place, fault in enumerate(self.faults):
            if fault.kind.level is Level.REQUEST and fault.code in (None, code):
                wanted = fault.servos is None or servo_id in fault.servos
                if wanted and self._hits(place, fault, number, now_us):
                    self.log.append(Event(now_us, fault.kind.name, number, servo_id))
                    return True
        return False

    def bend(
        self, answers: list[Answer], request: bytes, code: int, number: int, now_us: int, byte_us: int
    ) -> list[Answer]:
        """What becomes of the answers of transaction `number`; faults act in the order of the plan."""
        for place, fault in enumerate(self.faults):
            if fault.kind.bend is None or fault.code not in (None, code):
                continue
            targets = [a.servo_id for a in answers if fault.servos is None or a.servo_id in fault.servos]
            if not targets or not self._hits(place, fault, number, now_us):
                continue
            uniform = self._uniform(place, number)
            if fault.servos is None and not fault.all_servos:
                targets = [targets[int(uniform() * len(targets))]]
            for servo_id in targets:
                spot = next((k for k, a in enumerate(answers) if a.servo_id == servo_id), None)
                if spot is not None and answers[spot].data:
                    hit = Hit(spot, fault.options or {}, request, now_us, byte_us, uniform)
                    answers = fault.kind.bend(answers, hit)
                    self.log.append(Event(now_us, fault.kind.name, number, servo_id))
        return answers

    def _hits(self, place: int, fault: Fault, number: int, now_us: int) -> bool:
        """Whether a request or reply fault hits this transaction."""
        if fault.for_us is not None:
            return self._in_force(place, fault, now_us, number)
        if fault.always or (fault.every is not None and self._draws(place, number, fault.every)):
            return True
        for at_us in fault.at_us:
            if now_us >= at_us and (place, at_us) not in self._done:
                self._done.add((place, at_us))
                return True
        return False

    # --- port and cameras

    def port_events(self, now_us: int) -> tuple[PortEvent, ...]:
        """What is the matter with the port at `now_us`, in the order of the plan."""
        return tuple(
            PortEvent(fault.kind.name, begin_us, None if fault.for_us is None else begin_us + fault.for_us)
            for fault in self.faults
            if fault.kind.level is Level.PORT and (begin_us := _window(fault, now_us)) is not None
        )

    def camera_state(self, name: str, now_us: int) -> CameraState:
        """What is the matter with camera `name` at `now_us`; the last fault of the plan that applies wins."""
        state = CameraState("ok", 0)
        for fault in self.faults:
            if fault.kind.level is Level.CAMERA and fault.camera in (None, name):
                begin_us = _window(fault, now_us)
                if begin_us is not None:
                    state = CameraState(fault.kind.name.removeprefix("camera_"), begin_us)
        return state

    # --- chance

    def _draws(self, place: int, number: int, every: float) -> bool:
        return self._uniform(place, number, "when")() * every < 1.0

    def _uniform(self, place: int, number: int, purpose: str = "what") -> Callable[[], float]:
        """Numbers from [0, 1) that depend on nothing but seed, fault and transaction."""
        count = 0

        def draw() -> float:
            nonlocal count
            count += 1
            key = f"{self.seed} {place} {number} {purpose} {count}".encode()
            return int.from_bytes(blake2b(key, digest_size=6).digest(), "little") / 2**48

        return draw


def _window(fault: Fault, now_us: int) -> int | None:
    """When the window began that holds `now_us`, None outside of all."""
    if fault.always:
        return 0
    for at_us in fault.at_us:
        if at_us <= now_us and (fault.for_us is None or now_us < at_us + fault.for_us):
            return at_us
    return None
