"""`so101-calibrate pair`: leader and follower in three poses side by side. Nothing is written, and both are free."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table

from so101_calibration import files
from so101_calibration.errors import ImplausibleError, UsageError
from so101_calibration.robot_options import MOCK_PORT
from so101_calibration.servos import compare
from so101_calibration.servos.guided import Recorder
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.steps import HOLD, MIDDLE, Step, StepKind
from so101_calibration.servos.terminal import Operator, Terminal
from so101_calibration.two_arms.judgement import JAWS, Judged, Stop, Who, agree, judge
from so101_calibration.two_arms.simulated_hands import SimulatedHands
from so101_policy.command_line.command_flags import Parser, Whole
from so101_robot.bus.calibration import Calibration, angle_deg
from so101_robot.bus.setup import value_of
from so101_robot.joints import GRIPPER, JOINTS, STEPS_PER_TURN
from so101_robot.leader.ports import belongs_to, require_two_ports
from so101_robot.mock.arm import MockArm, MockConfig

FOLDED = Step(
    StepKind.FOLD,
    None,
    "Fold both arms and press them gently together: the upper arm all the way back, the forearm all the way down onto "
    "it; close the jaws, press the trigger",
)

TURNED = Step(
    StepKind.ASIDE,
    None,
    "Both arms up; turn both to the same side as far as they go, and bend both hands up as far as they go",
)

POSES: dict[str, Step] = {"middle": MIDDLE, "folded": FOLDED, "turned": TURNED}

STOPS: dict[str, tuple[str, int]] = {
    "shoulder_lift": ("folded", -1),
    "elbow_flex": ("folded", 1),
    "shoulder_pan": ("turned", 0),
    "wrist_flex": ("turned", -1),
}
"""Joint -> the pose in which it is at a stop, and at which."""

EXAMPLES = """
  so101-calibrate pair --robot.port=/dev/ttyACM0 --robot.id=my_arm \\
      --teleop.port=/dev/ttyACM1 --teleop.id=my_leader
      bring both into three poses; exit code 1 if they differ
  so101-calibrate pair --robot.port=mock --teleop.port=mock
      see it on two simulated arms
"""


class Arm(NamedTuple):
    """One of the two."""

    name: str
    line: Line
    calibration: Calibration
    recorder: Recorder

    def degrees(self) -> dict[str, float]:
        """Where it is, by its calibration; the gripper's is degrees too, from half open."""
        return {
            joint: angle_deg(self.calibration[joint], self.recorder.count(joint) % STEPS_PER_TURN)
            for joint in JOINTS
        }

    def jaws_percent(self) -> float:
        """How far open the jaws are: 0 closed, by drive_mode."""
        row = self.calibration[JAWS]
        share = angle_deg(row, self.recorder.count(JAWS) % STEPS_PER_TURN) / row.span_deg + 0.5
        return 100 * (1 - share if row.drive_mode else share)


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-calibrate pair",
        "Compares leader and follower in three poses, and tells which of the two is off.",
        EXAMPLES,
    )
    for arm, name in (("robot", "follower"), ("teleop", "leader")):
        parser.add_argument(
            f"--{arm}.port", dest=f"{arm}_port", required=True, metavar="PORT",
            help=f"the {name}'s serial port, or mock",
        )  # fmt: skip
        parser.add_argument(
            f"--{arm}.id", dest=f"{arm}_id", metavar="NAME", help=f"names the {name}'s calibration file"
        )
        parser.add_argument(
            f"--{arm}.calibration_dir", dest=f"{arm}_dir", type=Path, metavar="DIR",
            help="where it is; default: LeRobot's folder",
        )  # fmt: skip
    parser.add_argument(
        "--robot.mock.seed",
        dest="mock_seed",
        type=Whole(),
        metavar="N",
        default=0,
        help="which simulated arms",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    options = parser().parse_args(arguments)
    require_two_ports(options.robot_port, options.teleop_port)
    mocks = _mocks(options)
    with ExitStack() as stack:
        lines = [
            stack.enter_context(open_line(port, mock))
            for port, mock in zip((options.robot_port, options.teleop_port), mocks, strict=True)
        ]
        operator: Operator = Terminal()
        if mocks[0] is not None:
            operator = SimulatedHands([arm for arm in mocks if arm is not None], lines, operator)
        return compare_arms(*_arms(options, lines, operator), operator)


def compare_arms(follower: Arm, leader: Arm, operator: Operator) -> int:
    """Three poses, then the table and what it means. Returns the exit code: 0, or 1 if they differ."""
    seen: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    closed = (0.0, 0.0)
    for name, step in POSES.items():
        operator.until_done(step, _look(follower, leader))
        seen[name] = follower.degrees(), leader.degrees()
        if name == "folded":
            closed = follower.jaws_percent(), leader.jaws_percent()
    stops = {
        joint: Stop(seen[pose][0][joint], seen[pose][1][joint], end) for joint, (pose, end) in STOPS.items()
    }
    middle = {joint: (seen["middle"][0][joint], seen["middle"][1][joint]) for joint in JOINTS}
    found = judge(follower.calibration, leader.calibration, stops, middle, closed)
    operator.say(_table(seen, found))
    for judged in found:
        if judged.who is not Who.NEITHER:
            operator.say(f"{judged.joint}: {judged.who}. {judged.why[0].upper()}{judged.why[1:]}.")
    if agree(found):
        operator.say("Leader and follower mean the same by every angle.")
        return 0
    operator.say(
        "Calibrate the one that is off again (so101-calibrate servos, with --leader for the leader). A recalibrated "
        "follower has other zeros than its datasets and policies: if you may choose, change the leader."
    )
    return 1


def _arms(options: argparse.Namespace, lines: Sequence[Line], operator: Operator) -> tuple[Arm, Arm]:
    """Both, read, told apart, and without torque. Raises UsageError, ImplausibleError."""
    rows = [line.rows() for line in lines]
    ours, theirs = (_file(options, arm) for arm in ("robot", "teleop"))
    if ours and theirs and belongs_to(rows[0], theirs) and belongs_to(rows[1], ours) and ours != theirs:
        raise ImplausibleError(
            "the ports are exchanged: each arm has the other one's calibration - exchange --robot.port and "
            "--teleop.port. Nothing was moved"
        )
    arms: list[Arm] = []
    for name, line, servos, file in zip(("follower", "leader"), lines, rows, (ours, theirs), strict=True):
        stored = compare.stored(servos)
        if file and not belongs_to(servos, file):
            raise ImplausibleError(
                f"the {name}'s servos have another calibration than its file - see `so101-calibrate servos "
                f"{'--leader ' if name == 'leader' else ''}--check`. Nothing was moved"
            )
        arms.append(Arm(name, line, file or stored, Recorder(line, servos)))
    if any(value_of(row, "Torque_Enable") for servos in rows for row in servos):
        operator.until_done(HOLD, lambda: "")
    for line in lines:
        line.release()
    for arm in arms:
        arm.recorder.look()
    return arms[0], arms[1]


def _file(options: argparse.Namespace, arm: str) -> dict[str, files.JointCalibration]:
    """The calibration file of an arm; empty for a simulated one, whose servos say it. Raises UsageError, FileError."""
    name, port = getattr(options, f"{arm}_id"), getattr(options, f"{arm}_port")
    if name is None:
        if port == MOCK_PORT:
            return {}
        raise UsageError(f"--{arm}.id is missing: it names the calibration file, as in LeRobot's commands")
    return files.read(files.path_of(name, getattr(options, f"{arm}_dir"), leader=arm == "teleop"))


def _mocks(options: argparse.Namespace) -> Sequence[MockArm | None]:
    if options.robot_port != MOCK_PORT:
        return None, None
    config = MockConfig(seed=options.mock_seed, random_mount=True, realtime_factor=0, scene="table")
    return MockArm(config), MockArm(config, leader=True)


def _look(follower: Arm, leader: Arm) -> Callable[[], RenderableType]:
    def look() -> RenderableType:
        follower.recorder.look()
        leader.recorder.look()
        return _live(follower.degrees(), leader.degrees())

    return look


def _live(follower: Mapping[str, float], leader: Mapping[str, float]) -> Table:
    table = _columns("joint", "follower", "leader", "difference")
    for joint in JOINTS:
        ours, theirs = follower[joint], leader[joint]
        table.add_row(joint, f"{ours:.0f}", f"{theirs:.0f}", f"{theirs - ours:+.0f} deg")
    return table


def _table(
    seen: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], found: Sequence[Judged]
) -> Table:
    """Leader minus follower in each pose [deg]; of the gripper, whose trigger is another part, nothing."""
    table = _columns("leader - follower", *POSES, "")
    for joint, judged in zip(JOINTS, found, strict=True):
        differences = [f"{theirs[joint] - ours[joint]:+.1f}" for ours, theirs in seen.values()]
        if joint == JOINTS[GRIPPER]:
            differences = ["-"] * len(differences)
        table.add_row(joint, *differences, str(judged.who))
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i and name else "left", no_wrap=True)
    return table
