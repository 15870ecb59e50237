"""`so101-calibrate ids`: which servos are there, and make them 1 to 6 at 1 Mbaud.

    so101-calibrate ids --port PORT                 find, say, and repair what is certain
    so101-calibrate ids --port PORT --motor gripper the one motor that is connected becomes the gripper's
    so101-calibrate ids --port PORT --all           one motor after the other, as in `lerobot-setup-motors`
    so101-calibrate ids --port PORT --identify      move each joint once: finds ids that were swapped

What was found and what will be written is said before anything is written.
"""

import argparse
from collections.abc import Sequence

from so101_calibration.errors import ImplausibleError, UsageError
from so101_calibration.homing import Track
from so101_calibration.servos import bus_scan
from so101_calibration.servos import command as servos
from so101_calibration.servos.bus_scan import Found, Write
from so101_calibration.servos.line import POSITION, TORQUE, Line, open_line
from so101_calibration.servos.plausible import MOVED, NOMINAL_DEG
from so101_calibration.servos.steps import CONNECTS, HOLD, MIDDLE, WIGGLES
from so101_calibration.servos.terminal import Talk
from so101_robot.bus.link import BAUD
from so101_robot.bus.registers import MODEL_NUMBER
from so101_robot.bus.setup import value_of
from so101_robot.joints import JOINTS, SERVO_IDS

EXAMPLES = """examples:
  so101-calibrate ids --port=/dev/ttyACM0
      find all servos at any speed and id; repair what is certain, after asking
  so101-calibrate ids --port=/dev/ttyACM0 --all
      new motors: one after the other, the gripper's first
  so101-calibrate ids --port=/dev/ttyACM0 --motor=gripper
      the one motor that is connected becomes the gripper's
  so101-calibrate ids --port=/dev/ttyACM0 --identify
      move each joint once: finds ids that were swapped
  so101-calibrate ids --port=mock --all
      see it on a simulated arm with motors as from the factory"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    servos.add_port(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--motor", metavar="JOINT", help="the one motor that is connected becomes this joint's")
    how.add_argument("--all", action="store_true", help="one motor after the other")
    how.add_argument(
        "--identify", action="store_true", help="find out by moving each joint which servo is which"
    )


def run(options: argparse.Namespace) -> int:
    """Do it. Returns the exit code: 0, or 1 if the person said no or a hand is needed."""
    if options.motor is not None and options.motor not in JOINTS:
        raise UsageError(f"--motor {options.motor}: there is no such joint; possible: {', '.join(JOINTS)}")
    mock = servos.new_mock(options, calibrated=False)
    if mock is not None and (options.all or options.motor):
        from so101_calibration.servos.simulated_person import as_from_the_factory

        as_from_the_factory(mock, options.motor)
    with open_line(options.port, mock) as line:
        talk = servos.person(options, mock, line)
        if options.motor:
            return set_up(line, options.motor, talk)
        if options.all:
            return set_up_all(line, talk)
        found = report(line, talk)
        wanted = identify(line, found, talk) if options.identify else bus_scan.assign(found)
        return repair(line, wanted, found, talk)


def report(line: Line, talk: Talk) -> list[Found]:
    """Look at every speed and say what is there. Raises ImplausibleError if nobody is."""
    found = bus_scan.look(line)
    if not found:
        raise ImplausibleError(
            f"no servo answers on {line.name} at any baud rate - is the power supply on (USB does not feed the "
            "servos), and the bus cable in?"
        )
    talk.say("\n".join(["Found:", *(f"  {servo.describe()}" for servo in found)]))
    return found


def repair(line: Line, wanted: dict[int, Found], found: Sequence[Found], talk: Talk) -> int:
    """Write what is certain, after asking; say what needs a hand."""
    _check_models(found)
    writes = bus_scan.plan(wanted, found)
    if writes:
        _hold(found, talk)
    if writes and not _write(line, writes, talk):
        return 1
    shared = [servo for servo in found if servo.shared]
    for servo in shared:
        talk.say(
            f"Two servos or more answer as id {servo.servo_id}: nothing can address one of them. Leave only one of "
            "them connected and run `so101-calibrate ids --motor JOINT`"
        )
    missing = [servo_id for servo_id in SERVO_IDS if servo_id not in wanted]
    if missing:
        names = ", ".join(f"{servo_id} ({JOINTS[SERVO_IDS.index(servo_id)]})" for servo_id in missing)
        left = [str(s.servo_id) for s in found if s not in wanted.values() and not s.shared]
        spare = f"; not assigned: {', '.join(left)} - `--identify` finds out which is which" if left else ""
        talk.say(f"Missing: {names}{spare}")
        return 1
    if not shared:
        talk.say(f"Servos 1 to 6 answer at {BAUD} baud.")
    return 1 if shared else 0


def set_up(line: Line, joint: str, talk: Talk) -> int:
    """The one motor that is connected becomes `joint`'s. Raises ImplausibleError if it is not exactly one."""
    found = report(line, talk)
    if len(found) != 1 or found[0].shared:
        raise ImplausibleError(
            f"{len(found)} servos answer, or several share an id; to make one of them {joint}'s, connect only that one"
        )
    return repair_one(line, found[0], joint, talk)


def repair_one(line: Line, servo: Found, joint: str, talk: Talk) -> int:
    """Give the only servo on the line the id of `joint`."""
    _check_models([servo])
    writes = bus_scan.plan({SERVO_IDS[JOINTS.index(joint)]: servo}, [servo])
    if not writes:
        talk.say(f"It is {joint}'s already.")
        return 0
    _hold([servo], talk)
    return 0 if _write(line, writes, talk) else 1


def set_up_all(line: Line, talk: Talk) -> int:
    """One motor after the other, the gripper's first, so that the cable grows towards the base."""
    for joint in reversed(JOINTS):
        talk.until_done(CONNECTS[joint], lambda: "")
        if set_up(line, joint, talk):
            return 1
    return 0


def identify(line: Line, found: Sequence[Found], talk: Talk) -> dict[int, Found]:
    """Ask for each joint to be moved and see which servo turns.

    Returns target id -> servo. Raises ImplausibleError: an id is shared, or no or the same servo turned.
    """
    if len(found) != len(JOINTS) or any(servo.shared for servo in found):
        raise ImplausibleError(
            f"{len(found)} servos answer, some perhaps with one id; --identify needs six with different ids - "
            "set up the missing ones with --motor JOINT, each alone"
        )
    _hold(found, talk)
    _set_speeds(line, found, talk)
    ids = [servo.servo_id for servo in found]
    for servo_id in ids:
        line.write(servo_id, TORQUE, 0)
    talk.until_done(MIDDLE, lambda: "")
    wanted: dict[int, Found] = {}
    for target, joint in zip(SERVO_IDS, JOINTS, strict=True):
        moved = _which_moves(line, ids, joint, talk)
        if any(servo.servo_id == moved for servo in wanted.values()):
            raise ImplausibleError(
                f"servo {moved} moved with {joint}, and with a joint before; nothing was written"
            )
        wanted[target] = found[ids.index(moved)]._replace(baud=BAUD)
    return wanted


def _set_speeds(line: Line, found: Sequence[Found], talk: Talk) -> None:
    writes = [Write(servo.baud, servo.servo_id, servo.servo_id) for servo in found if servo.baud != BAUD]
    if writes and not _write(line, writes, talk):
        raise ImplausibleError("servos with different speeds cannot be watched together; nothing was written")


def _which_moves(line: Line, ids: list[int], joint: str, talk: Talk) -> int:
    tracks = {servo_id: Track() for servo_id in ids}

    def look() -> str:
        for servo_id, track in tracks.items():
            track.add(line.clock.now_s(), line.read(servo_id, POSITION) % 4096)
        return ", ".join(f"{servo_id}: {track.travel_deg:.0f} deg" for servo_id, track in tracks.items())

    talk.until_done(WIGGLES[joint], look)
    order = sorted(ids, key=lambda servo_id: -tracks[servo_id].travel_deg)
    first, second = (tracks[servo_id].travel_deg for servo_id in order[:2])
    if first < MOVED * 0.5 * NOMINAL_DEG[joint] or second > MOVED * first:
        raise ImplausibleError(
            f"{joint} was to be moved; servo {order[0]} turned {first:.0f} deg and servo {order[1]} {second:.0f} deg: "
            "not clear which it is - hold the other joints still; nothing was written"
        )
    return order[0]


def _hold(found: Sequence[Found], talk: Talk) -> None:
    """A servo loses its torque before its id changes or a hand moves it."""
    if any(servo.row is not None and value_of(servo.row, "Torque_Enable") for servo in found):
        talk.until_done(HOLD, lambda: "")


def _write(line: Line, writes: list[Write], talk: Talk) -> bool:
    talk.say("\n".join(["Will write, to EEPROM:", *(f"  {write.describe()}" for write in writes)]))
    if not talk.confirm("Write this?"):
        talk.say("Nothing was written.")
        return False
    for write in writes:
        bus_scan.carry_out(line, write)
        talk.say(f"  done: {write.describe()}")
    return True


def _check_models(found: Sequence[Found]) -> None:
    for servo in found:
        if servo.row is not None and value_of(servo.row, "Model_Number") != MODEL_NUMBER:
            raise ImplausibleError(
                f"{servo.describe()} - an SO-101 has STS3215 (model {MODEL_NUMBER}); nothing was written"
            )
