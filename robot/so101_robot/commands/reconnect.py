"""The arm that was unplugged, found again, also under another device name.

`find_same_arm(calibration)` looks at the serial ports of this machine, asks which servos are there and reads
their calibration (homing offset, smallest and largest position, from the servos' own memory). The same arm is
the one that has all six ids with the calibration that is expected; any other is told apart by what differs.
Nothing is written to a servo.

`Reconnector` is that for a run: made while all is well, called now and then after a PortError. The arm holds by
itself meanwhile, since USB does not feed the servos, so a look may take its time: 0.3 s a port at most with nobody
there (six servos, two pings each, and opening). The watchdog is informed before, so that it does not take the wait for
a hang, and after, if the arm has another device name.

Ports of other USB adapters than the arm's are not touched: a printer, say, should not get bytes that are meant
for servos. Adapters are told apart by their serial numbers; those that have none by the USB port, so that one that was
there all the time is not taken for the one that was pulled out. An arm on a port that is not on USB is looked for at
that port only.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from serial.tools import list_ports as usb

from so101_robot.bus import link
from so101_robot.bus.identity import Calibrated, Identity
from so101_robot.bus.port_lock import open_locked
from so101_robot.bus.small_bus import SmallBus
from so101_robot.errors import PortError
from so101_robot.joints import JOINTS, SERVO_IDS, named_servo

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101
    from so101_robot.watchdog.client import Watchdog

LOOK_S = 15.0
"""What the watchdog is asked to wait for a look at all ports: fifty of them."""

PING_S = 0.02
"""How long a servo may take to answer a ping; adapters keep bytes for 16 ms at most."""

PortVerdict = Literal["same arm", "another arm", "no arm", "not to be opened"]


class Adapter(NamedTuple):
    """What USB says about a serial adapter: numbers of maker and product, and the serial number if it has
    one."""

    vid: int
    pid: int
    serial_number: str | None

    def fits(self, other: "Adapter | None") -> bool:
        """It may be the same one: same product, and serial numbers that do not contradict."""
        if other is None or (self.vid, self.pid) != (other.vid, other.pid):
            return False
        return None in (self.serial_number, other.serial_number) or self.serial_number == other.serial_number


class Candidate(NamedTuple):
    """One port and what is there."""

    port: str
    verdict: PortVerdict
    differences: tuple[str, ...]
    """What is not as expected, one sentence a joint; or why the port could not be opened."""


class Search(NamedTuple):
    """What a look at all ports found."""

    port: str | None
    """Where the same arm is; None: nowhere, or at two ports at once."""
    candidates: tuple[Candidate, ...]

    def describe(self) -> str:
        """For a person: where the arm is, or what was found in its place."""
        if self.port is not None:
            return f"the arm is at {self.port}"
        same = [candidate.port for candidate in self.candidates if candidate.verdict == "same arm"]
        if same:
            return f"two arms with one calibration answer, at {' and '.join(same)}; unplug the other one"
        if not self.candidates:
            return "the arm is not there: no serial port of its kind was found - is the USB cable in?"
        found = [
            f"{candidate.port}: {candidate.verdict} ({'; '.join(candidate.differences)})"
            for candidate in self.candidates
        ]
        return "the arm was not found again:\n  " + "\n  ".join(found)


class Reconnector:
    """Brings a run's arm back; what `loop.ControlLoop` takes as `reconnect`.

    Args:
        robot: connected.
        watchdog: of the run, if it has one.
    """

    def __init__(self, robot: "SO101", watchdog: "Watchdog | None" = None) -> None:
        self._robot, self._watchdog = robot, watchdog
        self._adapter = adapter_of(robot.bus.port)
        self._others = frozenset[str]()
        if self._adapter is not None and self._adapter.serial_number is None:
            self._others = other_places(robot.bus.port, self._adapter)

    def __call__(self) -> bool:
        """Look once. Raises PortError that says what was found in the arm's place."""
        robot = self._robot
        if robot.mock is not None:  # in memory: no ports to look at, and its link outlives the cable
            return not robot.mock.unplugged
        if self._watchdog is not None:
            self._watchdog.pause(LOOK_S)
        before = robot.bus.port
        robot.leave_port()
        search = find_same_arm(robot.calibration, self._ports(before))
        if search.port is None:
            raise PortError(search.describe())
        robot.use_port(search.port)
        if search.port != before and self._watchdog is not None:
            self._watchdog.port_is(search.port)
        return True

    def _ports(self, before: str) -> list[str]:
        if self._adapter is None:
            return [before]
        ports = candidate_ports(before, self._adapter)
        places = {os.path.realpath(info.device): _place(info) for info in usb.comports()}
        return [port for port in ports if places.get(os.path.realpath(port)) not in self._others]


def find_same_arm(
    expected: Mapping[str, Calibrated],
    ports: Iterable[str] | None = None,
    *,
    first: str | None = None,
    adapter: Adapter | None = None,
) -> Search:
    """Look for the arm with this calibration. Never raises for a port that cannot be used.

    Args:
        expected: LeRobot's calibration, joint by joint.
        ports: where to look; by default `candidate_ports(first, adapter)`.
        first: the port where the arm was.
        adapter: what `adapter_of` said about it when it was there; None: any adapter may be tried.
    """
    found: list[Candidate] = []
    for port in candidate_ports(first, adapter) if ports is None else ports:
        found.append(look_at(port, expected))
    same = [candidate.port for candidate in found if candidate.verdict == "same arm"]
    return Search(same[0] if len(same) == 1 else None, tuple(found))


def look_at(port: str, expected: Mapping[str, Calibrated]) -> Candidate:
    """What is at one port. Opens it for this program alone, reads, and closes it."""
    try:
        handle, serial_link = open_locked(port)
    except PortError as error:
        return Candidate(port, "not to be opened", (str(error),))
    try:
        return _judge(port, SmallBus(serial_link), expected)
    except PortError as error:
        return Candidate(port, "not to be opened", (str(error),))
    finally:
        serial_link.close()
        with contextlib.suppress(Exception):  # pyserial raises what it likes for a port that went away
            handle.close()


def candidate_ports(first: str | None = None, adapter: Adapter | None = None) -> list[str]:
    """The ports at which the arm may be, each device once, by its stable name where it has one.

    Args:
        first: comes first if it exists, whatever it is: the arm was there.
        adapter: only ports of such an adapter, besides.
    """
    known = {info.device: _adapter(info.vid, info.pid, info.serial_number) for info in usb.comports()}
    listed = [*link.list_ports(), *known]
    fitting = [port for port in listed if adapter is None or adapter.fits(known.get(os.path.realpath(port)))]
    ports = [first, *fitting] if first is not None and os.path.exists(first) else fitting
    once: dict[str, str] = {}
    for port in ports:
        once.setdefault(os.path.realpath(port), port)
    return list(once.values())


def adapter_of(port: str) -> Adapter | None:
    """What USB says about the adapter behind a port; None for ports that are not on USB, or not there."""
    device = os.path.realpath(port)
    for info in usb.comports():
        if os.path.realpath(info.device) == device:
            return _adapter(info.vid, info.pid, info.serial_number)
    return None


def other_places(port: str, adapter: Adapter) -> frozenset[str]:
    """Where on USB other adapters are that look like the one behind `port`. Without serial numbers that is all that
    tells them apart: one that was there before is not the one that was pulled out."""
    device = os.path.realpath(port)
    return frozenset(
        place
        for info in usb.comports()
        if os.path.realpath(info.device) != device
        and adapter.fits(_adapter(info.vid, info.pid, info.serial_number))
        and (place := _place(info))
    )


def _place(info: object) -> str:
    """The USB port, as bus and numbers of hub ports (`1-1.2`); empty where it is not known."""
    return getattr(info, "location", None) or ""


def _adapter(vid: int | None, pid: int | None, serial_number: str | None) -> Adapter | None:
    return None if vid is None or pid is None else Adapter(vid, pid, serial_number or None)


def _judge(port: str, bus: SmallBus, expected: Mapping[str, Calibrated]) -> Candidate:
    answering = [servo_id for servo_id in SERVO_IDS if bus.ping(servo_id, PING_S)]
    if not answering:
        return Candidate(port, "no arm", ("no servo answers - is the arm's power supply on?",))
    silent = [servo_id for servo_id in SERVO_IDS if servo_id not in answering]
    differences = [f"{named_servo(i)} does not answer" for i in silent]
    for servo_id in answering:
        joint = JOINTS[SERVO_IDS.index(servo_id)]
        identity = bus.identity(servo_id)
        if identity is None:
            differences.append(f"{named_servo(servo_id)} answers only now and then")
        elif joint in expected:
            wanted = Identity.of(expected[joint])
            differences += [f"{joint}: {difference}" for difference in identity.differences(wanted)]
        else:
            differences.append(f"nothing is known of {joint}; the calibration has {', '.join(expected)}")
    return Candidate(port, "another arm" if differences else "same arm", tuple(differences))
