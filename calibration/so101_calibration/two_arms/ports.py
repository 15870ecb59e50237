"""`so101-calibrate ports`: which arm is at which port. By unplugging one, or by moving one with the hand.

Nothing is written, and no torque is put on or taken off: at the wire leader and follower are six servos of one model,
so a person has to show which is which.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import RenderableType

from so101_calibration import files
from so101_calibration.errors import ImplausibleError, ServoError
from so101_calibration.robot_options import MOCK_PORT
from so101_calibration.servos.guided import Recorder
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.steps import Step, StepKind
from so101_calibration.servos.terminal import Operator, Terminal
from so101_calibration.two_arms.simulated_hands import SimulatedHands
from so101_policy.command_line.command_flags import Parser
from so101_robot.bus import calibration
from so101_robot.bus.link import list_ports
from so101_robot.bus.setup import Registers, value_of
from so101_robot.errors import PortError
from so101_robot.leader.ports import belongs_to, like_a_follower
from so101_robot.mock.arm import MockArm, MockConfig

MOVED_DEG, RESTED_DEG = 15.0, 5.0
"""The arm that a hand moved went at least so far in one joint, and no other arm more than the second."""

UNPLUG = Step(StepKind.CONNECT, None, "Unplug the USB cable of the follower (the arm with the jaws)")
PLUG_IN = Step(StepKind.CONNECT, None, "Plug it in again")
MOVE = Step(
    StepKind.SHAKE, None, "Move the leader (the arm with the trigger) to and fro with the hand, and no other"
)

EXAMPLES = """
  so101-calibrate ports
      unplug the follower, and see which port has gone
  so101-calibrate ports --move
      move the leader with the hand, and see at which port that is
  so101-calibrate ports --move --among=mock
      see it on two simulated arms
"""


class Watched(NamedTuple):
    """An arm at a port."""

    port: str
    recorder: Recorder
    rows: Registers

    def travel_deg(self) -> float:
        """How far the joint went that went farthest."""
        return max(track.travel_deg for track in self.recorder.tracks.values())


def parser() -> Parser:
    """Of the command line."""
    parser = Parser("so101-calibrate ports", "Finds out which arm is at which port.", EXAMPLES)
    parser.add_argument("--move", action="store_true", help="by moving the leader with the hand")
    parser.add_argument(
        "--among",
        metavar="PORTS",
        default="",
        help="look at these alone, by commas; mock: two simulated arms",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    options = parser().parse_args(arguments)
    operator = Terminal()
    if options.among == MOCK_PORT:
        return _simulated(operator)
    ports = [port for port in options.among.split(",") if port] or present()
    if len(ports) < 2:
        found = ", ".join(ports) or "none"
        raise ImplausibleError(f"ports found: {found}; expected two or more - are both USB cables in?")
    if options.move:
        with ExitStack() as stack:
            return by_motion(_opened(ports, stack, operator), operator)
    return by_unplugging(lambda: [port for port in present() if not options.among or port in ports], operator)


def present() -> list[str]:
    """The serial ports of this machine, each once, by the name that stays the same after replugging."""
    devices: dict[str, str] = {}
    for port in list_ports():
        devices.setdefault(os.path.realpath(port), port)
    return list(devices.values())


def by_unplugging(listed: Callable[[], list[str]], operator: Operator) -> int:
    """Which port goes when the follower is unplugged. Returns the exit code. Raises ImplausibleError."""
    before = listed()
    follower = unplugged(listed, operator)
    return _tell(follower, [port for port in before if port != follower], operator)


def unplugged(listed: Callable[[], list[str]], operator: Operator) -> str:
    """The follower's port: the one that goes when its cable is pulled, and comes back.

    Args:
        listed: the ports that there are now.
        operator: the person.

    Raises:
        ImplausibleError: not exactly one port has gone, or it does not come back.
    """
    before = listed()
    operator.until_done(UNPLUG, lambda: ", ".join(listed()))
    gone = [port for port in before if port not in listed()]
    if len(gone) != 1:
        raise ImplausibleError(
            f"{len(gone)} ports have gone ({', '.join(gone) or 'none'}); expected one - unplug the follower's USB "
            "cable, not its supply, and no other"
        )
    operator.until_done(PLUG_IN, lambda: ", ".join(listed()))
    if gone[0] not in (after := listed()):
        came = ", ".join(port for port in after if port not in before) or "none"
        raise ImplausibleError(
            f"{gone[0]} did not come back (new ports: {came}) - names like ttyACM0 change with the order of plugging "
            "in; use a name below /dev/serial/by-id"
        )
    return gone[0]


def by_motion(arms: Sequence[Watched], operator: Operator) -> int:
    """Which arm a hand moves. Returns the exit code.

    Raises:
        ImplausibleError: fewer than two arms can be watched, or not exactly one was moved.
    """
    if len(arms) < 2:
        raise ImplausibleError(
            f"{len(arms)} arms can be watched; expected two or more - supplies on? Nothing was moved"
        )

    def look() -> RenderableType:
        for arm in arms:
            arm.recorder.look()
        return ", ".join(f"{arm.port}: {arm.travel_deg():.0f} deg" for arm in arms)

    look()
    for arm in arms:
        for track in arm.recorder.tracks.values():
            track.begin()
    operator.until_done(MOVE, look)
    moved = [arm for arm in arms if arm.travel_deg() >= MOVED_DEG]
    rested = [arm for arm in arms if arm.travel_deg() <= RESTED_DEG]
    if len(moved) != 1 or len(rested) != len(arms) - 1:
        raise ImplausibleError(
            f"not clear which arm was moved ({look()}); expected one that goes {MOVED_DEG:.0f} degrees or more and "
            "others that rest"
        )
    leader = moved[0]
    for arm in arms:
        if names := _calibrated_as(arm.rows):
            operator.say(f"{arm.port}: its servos have the calibration of {names}")
    if like_a_follower(leader.rows):
        operator.say(
            f"Note: the gripper of the arm that you moved ({leader.port}) has the torque limits of a follower"
        )
    others = [arm.port for arm in arms if arm is not leader]
    if len(others) > 1:
        operator.say(f"leader: {leader.port}\nnot moved: {', '.join(others)}")
        return 0
    return _tell(others[0], [leader.port], operator)


def _tell(follower: str, others: Sequence[str], operator: Operator) -> int:
    operator.say(f"follower: {follower}")
    if len(others) == 1:
        operator.say(f"leader:   {others[0]}")
        operator.say(f"Flags for so101-teleop: --robot.port={follower} --teleop.port={others[0]}")
    else:
        operator.say(f"other ports: {', '.join(others)}; `so101-calibrate ports --move` tells the leader's")
    return 0


def _opened(ports: Sequence[str], stack: ExitStack, operator: Operator) -> list[Watched]:
    """The arms that a hand can move. What cannot be watched is said; an arm under torque is left as it is."""
    found: list[Watched] = []
    for port in ports:
        try:
            line = stack.enter_context(open_line(port))
            if (arm := _watched(port, line, operator)) is not None:
                found.append(arm)
        except (PortError, ServoError) as problem:
            operator.say(f"{port}: {problem}")
    return found


def _watched(port: str, line: Line, operator: Operator) -> Watched | None:
    rows = line.rows()
    if any(value_of(row, "Torque_Enable") for row in rows):
        operator.say(
            f"{port}: the arm is under torque and is left so; no hand can move it. Support it, and switch its supply "
            "off and on"
        )
        return None
    return Watched(port, Recorder(line, rows), rows)


def _calibrated_as(rows: Registers) -> str:
    """The names of LeRobot's files whose calibration the servos have."""
    names: list[str] = []
    for leader in (False, True):
        for path in sorted(Path(files.lerobot_folder(leader)).glob("*.json")):
            try:
                same = belongs_to(rows, calibration.read(path))
            except (OSError, ValueError):
                continue  # not a calibration: somebody else's business
            if same:
                names.append(f"the {'leader' if leader else 'follower'} {path.stem}")
    return " and of ".join(names)


def _simulated(operator: Operator) -> int:
    config = MockConfig(random_mount=True, realtime_factor=0, scene="table")
    arms = [MockArm(config), MockArm(config, leader=True)]
    with ExitStack() as stack:
        lines = [stack.enter_context(open_line(MOCK_PORT, arm)) for arm in arms]
        person = SimulatedHands(arms, lines, operator)
        watched = [
            found
            for name, line in zip(("mock", "mock --leader"), lines, strict=True)
            if (found := _watched(name, line, person)) is not None
        ]
        return by_motion(watched, person)
