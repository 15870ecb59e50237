"""`so101-calibrate servos`: homing and ranges, guided; and comparing, copying and restoring calibrations.

Guided; or with --check comparing file, servos and arm (exit code 1 if they differ); or with --from=FILE (or `eeprom`)
putting a calibration into servos and LeRobot's folder.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from so101_calibration import files
from so101_calibration.errors import FileError, ImplausibleError, InterruptedWriteError, UsageError
from so101_calibration.robot_options import MOCK_PORT, with_so101_yaml
from so101_calibration.servos import auto, compare, guided, journal, plausible
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.simulated_person import SimulatedPerson, connect_alone
from so101_calibration.servos.terminal import Operator, Terminal
from so101_policy.command_line.command_flags import Parser, Whole
from so101_policy.command_line.command_shell import say
from so101_policy.command_line.next_steps import Step, next_steps, tell_next
from so101_robot.bus.calibration import JointCalibration, older_file
from so101_robot.guard import measured_ends
from so101_robot.guard.measured_ends import MeasuredEnds
from so101_robot.joints import FULL_TURN_JOINT, FULL_TURN_STOP_DEG, JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.preflight.calibration import of_joints, outside, positions_deg
from so101_robot.preflight.findings import Level, verdict
from so101_robot.preflight.judgement import servo_judgements

FROM_EEPROM = "eeprom"

EXAMPLES = """
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm
      guided: moves you through homing and ranges, asks, writes servos and file
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm --check
      compare file, servos and arm; writes nothing; exit code 1 if they differ
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm \\
      --from=backup.json
      put that file into the servos and LeRobot's folder, after asking
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm \\
      --from=eeprom
      write the lost file from what the servos have
  so101-calibrate servos --leader --robot.port=/dev/ttyACM1 \\
      --robot.id=my_leader
      the arm that a person moves; its file goes where LeRobot looks for it
  so101-calibrate servos --robot.port=/dev/ttyACM0 --robot.id=my_arm --auto
      the arm finds its own stops, you watch with a finger on Ctrl-C
  so101-calibrate servos --robot.port=mock
      see it on a simulated arm
"""

WITHOUT_TERMINAL = """\
Without a terminal every prompt takes one line of standard input: empty for
"done", y or n for a question."""


def add_port(parser: argparse.ArgumentParser) -> None:
    """The options that every command on an arm has."""
    parser.add_argument(
        "--robot.port", dest="port", required=True, metavar="PORT",
        help="serial port, or mock: a simulated arm in memory",
    )  # fmt: skip
    parser.add_argument(
        "--robot.id", dest="id", metavar="NAME", default=None,
        help="names the calibration file, as in LeRobot",
    )  # fmt: skip
    parser.add_argument(
        "--robot.calibration_dir", dest="calibration_dir", type=Path, metavar="DIR", default=None,
        help="where calibration files are; default: LeRobot's folder",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="answer yes to every question")
    parser.add_argument(
        "--robot.mock.seed",
        dest="mock_seed",
        type=Whole(),
        metavar="N",
        default=0,
        help="which simulated arm",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    add_port(parser)
    parser.add_argument(
        "--leader", action="store_true",
        help="the arm that a person moves: LeRobot's folder for teleoperators",
    )  # fmt: skip
    parser.add_argument(
        "--auto", action="store_true",
        help="the follower finds its own stops, slowly and weakly; you confirm that the space around it is free",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="compare only; exit code 1 if anything differs")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", default=None,
        help=f"put this calibration into servos and file; `{FROM_EEPROM}`: what the servos have, into the file",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="with --check: print the comparison as JSON")
    parser.add_argument(
        "--allow", default="", metavar="KINDS",
        help="findings that are not refused, by commas: " + ", ".join(plausible.KINDS),
    )  # fmt: skip


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-calibrate servos",
        "Homes the servos and measures their ranges.",
        EXAMPLES,
        epilog=WITHOUT_TERMINAL,
    )
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    return run(
        parser().parse_args(with_so101_yaml(arguments, "leader" if "--leader" in arguments else "arm"))
    )


def run(options: argparse.Namespace) -> int:
    """Do it. Returns the exit code: 0, or 1 where `--check` found a difference or the person said no."""
    allowed = _allowed(options.allow)
    if options.check and options.source is not None:
        raise UsageError("--check only compares and --from writes; use one of them")
    if options.auto and (options.leader or options.check or options.source is not None):
        other = "--leader" if options.leader else "--check" if options.check else "--from"
        raise UsageError(f"--auto moves a follower to its stops and does not go with {other}")
    if options.json and not options.check:
        raise UsageError("--json goes with --check")
    leader: bool = options.leader
    path = path_for(options, leader)
    mock = new_mock(options, calibrated=options.check or options.source is not None, leader=leader)
    with open_line(options.port, mock) as line:
        operator = operator_for(options, mock, line)
        if options.check:
            return check(line, path, operator, options.json, leader)
        message = journal.recover(line, path, datetime.now())
        if message:
            say(message, sys.stderr)
        if options.source is not None:
            return restore(line, options.source, path, operator, allowed, leader)
        code = calibrate(line, path, operator, allowed, leader, options.auto)
    if code == 0 and not leader:
        tell_next(steps_after(options))
    return code


def steps_after(options: argparse.Namespace) -> list[Step]:
    """What to type when a follower is calibrated."""
    arm = f"--robot.port={shlex.quote(options.port)}"
    if options.id is not None:
        arm += f" --robot.id={shlex.quote(options.id)}"
    if options.calibration_dir is not None:
        arm += f" --robot.calibration_dir={shlex.quote(str(options.calibration_dir))}"
    return next_steps(
        Step(f"so101-calibrate check {arm}", "a self-test of a minute: does the arm move as it should?")
    )


def calibrate(
    line: Line,
    path: Path,
    operator: Operator,
    allowed: set[str],
    leader: bool = False,
    by_itself: bool = False,
) -> int:
    """The guided flow, then the question, then the write."""
    if not path.exists() and (older := older_file(path)) is not None:
        operator.say(f"Note: {take_over(older, line.name, path, leader)}")
    search = auto.seek if by_itself else None
    if by_itself and not operator.confirm(auto.FREE_SPACE):
        operator.say(
            "The arm was not moved, nothing was written. Without --auto you move every joint yourself."
        )
        return 1
    found = guided.guide(line, line.rows(), operator, allowed, leader=leader, search=search)
    code = _propose(line, found.calibration, path, operator, allowed, leader)
    if code == 0 and not leader:  # nothing drives a leader to its stops
        _keep_roll_ends(found.roll_ends, path, operator)
    return code


def restore(
    line: Line, source: str, path: Path, operator: Operator, allowed: set[str], leader: bool = False
) -> int:
    """Put a calibration that exists into the servos and the file."""
    rows = line.rows()
    if source == FROM_EEPROM:
        calibration = _with_drive_modes(compare.stored(rows), path, operator)
    else:
        calibration = files.read(Path(source))
    return _propose(line, calibration, path, operator, allowed, leader)


def check(line: Line, path: Path, operator: Operator, as_json: bool, leader: bool = False) -> int:
    """Compare file, servos and arm; nothing is written."""
    unfinished = journal.unfinished(path)
    if unfinished:
        raise InterruptedWriteError(unfinished)
    if not path.exists() and (older := older_file(path)) is not None:
        raise FileError(f"there is no calibration at {path}; {take_over(older, line.name, path, leader)}")
    rows, file = line.rows(), files.read(path)
    if strange := of_joints(file):
        raise ImplausibleError(f"{path}: {strange[0].text}")
    judges = servo_judgements(rows, file, path, leader=leader).values()
    judged = [finding for judge in judges for finding in judge()]
    found = [finding for finding in judged if finding.level is not Level.OK and finding.kind != "differs"]
    differences = compare.differences(file, compare.stored(rows))
    agree = all(difference.same for difference in differences)
    sound = agree and verdict(found) is not Level.STOP
    if as_json:
        print(json.dumps(_as_json(path, differences, [finding.text for finding in found])))
        return 0 if sound else 1
    operator.say(compare.table(differences, positions_deg(file, rows)))
    for finding in found:
        operator.say(f"{'Implausible' if finding.level is Level.STOP else 'Doubtful'}: {finding.text}")
    if sound:
        operator.say(f"{path} is the calibration in the servos, and every joint is inside its range.")
    elif not agree:
        operator.say(
            f"{path} is not the calibration in the servos. Put the file into them with --from {path}, or what they "
            f"have into the file with --from {FROM_EEPROM}. Nothing was changed."
        )
    return 0 if sound else 1


def path_for(options: argparse.Namespace, leader: bool = False) -> Path:
    """The calibration file of the options. Raises UsageError without an id."""
    robot_id = "mock" if options.id is None and options.port == MOCK_PORT else options.id
    if robot_id is None:
        raise UsageError("--robot.id is missing: it names the calibration file, as in LeRobot's commands")
    if options.calibration_dir is None and options.port == MOCK_PORT:
        return files.path_of(
            robot_id, Path("outputs/calibration/leaders" if leader else "outputs/calibration")
        )
    return files.path_of(robot_id, options.calibration_dir, leader=leader)


def new_mock(options: argparse.Namespace, calibrated: bool, leader: bool = False) -> MockArm | None:
    """The arm behind port `mock`: servos mounted at random angles, calibrated or as from the factory."""
    if options.port != MOCK_PORT:
        return None
    config = MockConfig(seed=options.mock_seed, random_mount=True, calibrated=calibrated, realtime_factor=0)
    return MockArm(config, leader=leader)


def operator_for(
    options: argparse.Namespace, mock: MockArm | None, line: Line, terminal: Terminal | None = None
) -> Operator:
    """A simulated person for the mock arm, else the person at the terminal (with --yes every answer is yes)."""
    terminal = terminal or Terminal()
    if mock is not None and mock.hand is not None:

        def connect(joint: str) -> None:
            connect_alone(mock, joint)

        return SimulatedPerson(mock.hand, line.clock, terminal, connect=connect)
    return AlwaysYes(terminal) if options.yes else terminal


class AlwaysYes:
    """A person at a terminal whose answer to every question is yes; hands are still needed."""

    def __init__(self, operator: Operator) -> None:
        self.say, self.until_done = operator.say, operator.until_done

    def confirm(self, question: str) -> bool:
        self.say(f"{question} yes")
        return True


def _propose(
    line: Line,
    calibration: Mapping[str, JointCalibration],
    path: Path,
    operator: Operator,
    allowed: set[str],
    leader: bool = False,
) -> int:
    """Show what will be written, refuse what is impossible, ask, write."""
    refused = [f for f in plausible.of_calibration(calibration, leader) if f.kind not in allowed]
    if refused:
        kinds = ",".join(dict.fromkeys(finding.kind for finding in refused))
        reasons = "\n".join(f"  {finding.text}" for finding in refused)
        raise ImplausibleError(f"nothing was written:\n{reasons}\n(accept it anyway with --allow={kinds})")
    rows = line.rows()
    operator.say(guided.result_table(dict(calibration)))
    for finding in outside(calibration, rows):
        operator.say(f"Warning: {finding.text}")
    changes = journal.changes_for(calibration, rows)
    count = sum(change.before != change.after for change in changes)
    if not operator.confirm(
        f"Write it into the servos ({count} of {len(changes)} registers differ) and {path}?"
    ):
        operator.say("Nothing was written.")
        return 1
    backup = journal.write(line, calibration, path, datetime.now())
    kept = f"; the old file is kept as {backup}" if backup else ""
    operator.say(f"Calibrated: servos and {path} agree{kept}.")
    return 0


def _with_drive_modes(
    servos: dict[str, JointCalibration], path: Path, operator: Operator
) -> dict[str, JointCalibration]:
    """What the servos have, with the drive modes of the file, because no servo stores them: lost, a gripper that is
    mounted mirrored would open where it should close."""
    place = path if path.exists() else older_file(path)
    try:
        known = {} if place is None else files.read(place)
    except FileError as error:
        operator.say(f"Note: {error}")
        known = {}
    if not known:
        operator.say(
            "Note: servos do not store drive_mode, and no file says it: 0 is taken, a gripper that is closed at its "
            "smaller count. If it is mounted mirrored, calibrate again, which finds out"
        )
    for joint in JOINTS:
        if joint in known and known[joint].drive_mode:
            operator.say(
                f"{joint} keeps drive_mode {known[joint].drive_mode} of {place}: servos do not store it"
            )
    return {
        joint: row._replace(drive_mode=known[joint].drive_mode if joint in known else 0)
        for joint, row in servos.items()
    }


def _keep_roll_ends(ends: MeasuredEnds | None, path: Path, operator: Operator) -> None:
    """The stops of the wrist's roll into their file; without a measurement an older one is not true any more."""
    place = measured_ends.beside(path)
    if ends is None:
        place.unlink(missing_ok=True)
        operator.say(
            f"The stops of {FULL_TURN_JOINT} were not measured: it is kept within {FULL_TURN_STOP_DEG:.0f} degrees to "
            "both sides"
        )
        return
    files.write_whole(place, measured_ends.in_yaml(ends))
    operator.say(
        f"{FULL_TURN_JOINT} has its stops at {ends.lower_deg:.0f} and {ends.upper_deg:+.0f} degrees; kept in {place}"
    )


def take_over(older: Path, port: str, path: Path, leader: bool = False) -> str:
    """The calibration that an earlier LeRobot kept elsewhere, and the command that puts it in place."""
    arm = f"{'--leader ' if leader else ''}--robot.port={shlex.quote(port)} --robot.id={path.stem}"
    if path.parent != files.lerobot_folder(leader):
        arm += f" --robot.calibration_dir={shlex.quote(str(path.parent))}"
    return (
        f"{older} is one of this name, where an earlier LeRobot kept it. Take it over, into servos and file, with "
        f"`so101-calibrate servos {arm} --from={shlex.quote(str(older))}`, which asks first; calibrating again would "
        "move the zeros that datasets and policies know"
    )


def _as_json(path: Path, differences: list[compare.Difference], found: list[str]) -> dict[str, Any]:
    joints = {
        d.joint: {
            "same": d.same,
            "file": d.file._asdict(),
            "servo": d.servo._asdict(),
            "zero_deg": round(d.zero_deg, 3),
            "lower_deg": round(d.lower_deg, 3),
            "upper_deg": round(d.upper_deg, 3),
        }
        for d in differences
    }
    return {"file": str(path), "agree": all(d.same for d in differences), "joints": joints, "findings": found}


def _allowed(text: str) -> set[str]:
    kinds = {kind for kind in text.replace(" ", "").split(",") if kind}
    unknown = sorted(kinds - set(plausible.KINDS))
    if unknown:
        raise UsageError(
            f"--allow={unknown[0]}: there is no such finding; possible: {', '.join(plausible.KINDS)}"
        )
    return kinds
