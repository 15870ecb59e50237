"""`so101-calibrate ids`: which servos are there, and make them 1 to 6 at 1 Mbaud.

What was found and what will be written is shown before anything is written.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from so101_calibration.errors import ImplausibleError, UsageError
from so101_calibration.homing import Track
from so101_calibration.robot_options import with_so101_yaml
from so101_calibration.servos import bus_scan
from so101_calibration.servos import command as servos
from so101_calibration.servos.bus_scan import FoundServo, Write
from so101_calibration.servos.line import POSITION, TORQUE, Line, open_line
from so101_calibration.servos.plausible import NOMINAL_DEG
from so101_calibration.servos.simulated_person import as_from_the_factory
from so101_calibration.servos.steps import CONNECTS, HOLD, LEADER_CONNECTS, MIDDLE, WIGGLES
from so101_calibration.servos.terminal import Operator
from so101_policy.command_line.command_flags import Parser
from so101_robot.bus.link import BAUD
from so101_robot.bus.registers import MODEL_NUMBER
from so101_robot.bus.setup import value_of
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.leader.ports import like_a_follower

SMALLEST_MOVE = 0.25
"""Share of a joint's nominal range by which it must move to be identified."""
LARGEST_OTHER = 0.5
"""Share of that motion by which no other joint may move."""

EXAMPLES = """
  so101-calibrate ids --robot.port=/dev/ttyACM0
      find all servos at any speed and id; repair what is certain, after asking
  so101-calibrate ids --robot.port=/dev/ttyACM0 --all
      new motors: one after the other, the gripper's first
  so101-calibrate ids --robot.port=/dev/ttyACM0 --motor=gripper
      the one motor that is connected becomes the gripper's
  so101-calibrate ids --robot.port=/dev/ttyACM0 --identify
      move each joint once: finds ids that were swapped
  so101-calibrate ids --robot.port=/dev/ttyACM1 --leader --all
      a leader's new motors: says which gear belongs where
  so101-calibrate ids --robot.port=mock --all
      see it on a simulated arm with motors as from the factory
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    servos.add_port(parser)
    parser.add_argument(
        "--leader",
        action="store_true",
        help="the arm that a person moves: its motors have three kinds of gears",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--motor", metavar="JOINT", help="the one motor that is connected becomes this joint's")
    how.add_argument("--all", action="store_true", help="one motor after the other")
    how.add_argument(
        "--identify", action="store_true", help="find out by moving each joint which servo is which"
    )


def parser() -> Parser:
    """Of the command line."""
    parser = Parser("so101-calibrate ids", "Sets or repairs servo ids and baud rates.", EXAMPLES)
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    return run(
        parser().parse_args(with_so101_yaml(arguments, "leader" if "--leader" in arguments else "arm"))
    )


def run(options: argparse.Namespace) -> int:
    """Do it. Returns the exit code: 0, or 1 if the person said no or must do something first."""
    if options.motor is not None and options.motor not in JOINTS:
        raise UsageError(f"--motor {options.motor}: there is no such joint; possible: {', '.join(JOINTS)}")
    mock = servos.new_mock(options, calibrated=False, leader=options.leader)
    if mock is not None and (options.all or options.motor):
        as_from_the_factory(mock, options.motor)
    with open_line(options.port, mock) as line:
        operator = servos.operator_for(options, mock, line)
        if options.motor:
            return set_up(line, options.motor, operator)
        if options.all:
            return set_up_all(line, operator, options.leader)
        found = report(line, operator)
        if options.leader:
            _note_a_follower(found, operator)
        wanted = identify(line, found, operator) if options.identify else bus_scan.assign(found)
        return repair(line, wanted, found, operator)


def report(line: Line, operator: Operator) -> list[FoundServo]:
    """Search at every speed and show what was found. Raises ImplausibleError if nothing answers."""
    found = bus_scan.scan(line)
    if not found:
        raise ImplausibleError(
            f"no servo answers on {line.name} at any baud rate - is the power supply on (USB does not feed the "
            "servos), and the bus cable in?"
        )
    operator.say("\n".join(["Found:", *(f"  {servo.describe()}" for servo in found)]))
    return found


def repair(line: Line, wanted: dict[int, FoundServo], found: Sequence[FoundServo], operator: Operator) -> int:
    """Write what is certain, after asking; report what a person must do."""
    _check_models(found)
    writes = bus_scan.plan(wanted, found)
    if writes:
        _hold(found, operator)
    if writes and not _write(line, writes, operator):
        return 1
    shared = [servo for servo in found if servo.shared]
    for servo in shared:
        operator.say(
            f"Two servos or more answer as id {servo.servo_id}: nothing can address one of them. Leave only one of "
            "them connected and run `so101-calibrate ids --motor JOINT`"
        )
    missing = [servo_id for servo_id in SERVO_IDS if servo_id not in wanted]
    if missing:
        names = ", ".join(f"{servo_id} ({JOINTS[SERVO_IDS.index(servo_id)]})" for servo_id in missing)
        left = [str(s.servo_id) for s in found if s not in wanted.values() and not s.shared]
        spare = f"; not assigned: {', '.join(left)} - `--identify` finds out which is which" if left else ""
        operator.say(f"Missing: {names}{spare}")
        return 1
    if not shared:
        operator.say(f"Servos 1 to 6 answer at {BAUD} baud.")
    return 1 if shared else 0


def set_up(line: Line, joint: str, operator: Operator) -> int:
    """The one motor that is connected becomes `joint`'s. Raises ImplausibleError if it is not exactly one."""
    found = report(line, operator)
    if len(found) != 1 or found[0].shared:
        raise ImplausibleError(
            f"{len(found)} servos answer, or several share an id; to make one of them {joint}'s, connect only that one"
        )
    return repair_one(line, found[0], joint, operator)


def repair_one(line: Line, servo: FoundServo, joint: str, operator: Operator) -> int:
    """Give the only servo on the line the id of `joint`."""
    _check_models([servo])
    writes = bus_scan.plan({SERVO_IDS[JOINTS.index(joint)]: servo}, [servo])
    if not writes:
        operator.say(f"It is {joint}'s already.")
        return 0
    _hold([servo], operator)
    return 0 if _write(line, writes, operator) else 1


def set_up_all(line: Line, operator: Operator, leader: bool = False) -> int:
    """One motor after the other, the gripper's first, so that the cable grows towards the base."""
    for joint in reversed(JOINTS):
        operator.until_done((LEADER_CONNECTS if leader else CONNECTS)[joint], lambda: "")
        if set_up(line, joint, operator):
            return 1
    return 0


def identify(line: Line, found: Sequence[FoundServo], operator: Operator) -> dict[int, FoundServo]:
    """Ask for each joint to be moved and see which servo turns.

    Returns target id -> servo. Raises ImplausibleError: an id is shared, or no or the same servo turned.
    """
    if len(found) != len(JOINTS) or any(servo.shared for servo in found):
        raise ImplausibleError(
            f"{len(found)} servos answer, perhaps some with the same id; --identify needs six with different ids - "
            "set up the missing ones with --motor JOINT, each alone"
        )
    _hold(found, operator)
    _set_speeds(line, found, operator)
    ids = [servo.servo_id for servo in found]
    for servo_id in ids:
        line.write(servo_id, TORQUE, 0)
    operator.until_done(MIDDLE, lambda: "")
    wanted: dict[int, FoundServo] = {}
    for target, joint in zip(SERVO_IDS, JOINTS, strict=True):
        moved = _which_moves(line, ids, joint, operator)
        if any(servo.servo_id == moved for servo in wanted.values()):
            raise ImplausibleError(
                f"servo {moved} moved with {joint}, and with a joint before; nothing was written"
            )
        wanted[target] = found[ids.index(moved)]._replace(baud=BAUD)
    return wanted


def _set_speeds(line: Line, found: Sequence[FoundServo], operator: Operator) -> None:
    writes = [Write(servo.baud, servo.servo_id, servo.servo_id) for servo in found if servo.baud != BAUD]
    if writes and not _write(line, writes, operator):
        raise ImplausibleError("servos with different speeds cannot be watched together; nothing was written")


def _which_moves(line: Line, ids: list[int], joint: str, operator: Operator) -> int:
    tracks = {servo_id: Track() for servo_id in ids}

    def look() -> str:
        for servo_id, track in tracks.items():
            track.add(line.clock.now_s(), line.read(servo_id, POSITION) % 4096)
        return ", ".join(f"{servo_id}: {track.travel_deg:.0f} deg" for servo_id, track in tracks.items())

    operator.until_done(WIGGLES[joint], look)
    order = sorted(ids, key=lambda servo_id: -tracks[servo_id].travel_deg)
    first, second = (tracks[servo_id].travel_deg for servo_id in order[:2])
    if first < SMALLEST_MOVE * NOMINAL_DEG[joint] or second > LARGEST_OTHER * first:
        raise ImplausibleError(
            f"{joint} was to be moved; servo {order[0]} turned {first:.0f} deg and servo {order[1]} {second:.0f} deg: "
            "not clear which it is - hold the other joints still; nothing was written"
        )
    return order[0]


def _note_a_follower(found: Sequence[FoundServo], operator: Operator) -> None:
    """Say so where the arm is no leader, as far as that can be told: by its gripper's torque limits."""
    rows = {servo.servo_id: servo.row for servo in found if servo.row is not None}
    if set(SERVO_IDS) <= rows.keys() and like_a_follower(np.array([rows[number] for number in SERVO_IDS])):
        operator.say(
            "Note: the gripper has the torque limits that LeRobot gives to followers - is this the leader's port "
            "(so101-calibrate ports)?"
        )


def _hold(found: Sequence[FoundServo], operator: Operator) -> None:
    """A servo loses its torque before its id changes or a hand moves it."""
    if any(servo.row is not None and value_of(servo.row, "Torque_Enable") for servo in found):
        operator.until_done(HOLD, lambda: "")


def _write(line: Line, writes: list[Write], operator: Operator) -> bool:
    operator.say("\n".join(["Will write, to EEPROM:", *(f"  {write.describe()}" for write in writes)]))
    if not operator.confirm("Write this?"):
        operator.say("Nothing was written.")
        return False
    for write in writes:
        bus_scan.carry_out(line, write)
        operator.say(f"  done: {write.describe()}")
    return True


def _check_models(found: Sequence[FoundServo]) -> None:
    for servo in found:
        if servo.row is not None and value_of(servo.row, "Model_Number") != MODEL_NUMBER:
            raise ImplausibleError(
                f"{servo.describe()} - an SO-101 has STS3215 (model {MODEL_NUMBER}); nothing was written"
            )
