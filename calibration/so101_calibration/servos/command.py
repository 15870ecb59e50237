"""`so101-calibrate servos`: homing and ranges, guided; and comparing, copying and restoring calibrations.

Guided; or with --check comparing file, servos and arm (exit code 1 if they differ); or with --from=FILE (or `eeprom`)
putting a calibration into servos and LeRobot's folder.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from so101_calibration import files
from so101_calibration.errors import ImplausibleError, InterruptedWriteError, UsageError
from so101_calibration.homing import JointCalibration
from so101_calibration.robot_options import MOCK_PORT
from so101_calibration.servos import compare, guided, journal, plausible
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.simulated_person import SimulatedPerson, connect_alone
from so101_calibration.servos.terminal import Operator, Terminal
from so101_policy.command_flags import Parser, Whole
from so101_policy.command_shell import say
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig

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
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Do it. Returns the exit code: 0, or 1 where `--check` found a difference or the person said no."""
    allowed = _allowed(options.allow)
    if options.check and options.source is not None:
        raise UsageError("--check only compares and --from writes; use one of them")
    if options.json and not options.check:
        raise UsageError("--json goes with --check")
    path = path_for(options)
    mock = new_mock(options, calibrated=options.check or options.source is not None)
    with open_line(options.port, mock) as line:
        operator = operator_for(options, mock, line)
        if options.check:
            return check(line, path, operator, options.json)
        message = journal.recover(line, path, datetime.now())
        if message:
            say(message, sys.stderr)
        if options.source is not None:
            return restore(line, options.source, path, operator, allowed)
        return calibrate(line, path, operator, allowed)


def calibrate(line: Line, path: Path, operator: Operator, allowed: set[str]) -> int:
    """The guided flow, then the question, then the write."""
    calibration = guided.guide(line, line.rows(), operator, allowed)
    return _propose(line, calibration, path, operator, allowed)


def restore(line: Line, source: str, path: Path, operator: Operator, allowed: set[str]) -> int:
    """Put a calibration that exists into the servos and the file."""
    rows = line.rows()
    calibration = compare.stored(rows) if source == FROM_EEPROM else files.read(Path(source))
    return _propose(line, calibration, path, operator, allowed)


def check(line: Line, path: Path, operator: Operator, as_json: bool) -> int:
    """Compare file, servos and arm; nothing is written."""
    unfinished = journal.unfinished(path)
    if unfinished:
        raise InterruptedWriteError(unfinished)
    rows, file = line.rows(), files.read(path)
    found = [finding.text for finding in plausible.of_calibration(file)]
    if sorted(file) != sorted(JOINTS):
        raise ImplausibleError(f"{path}: {found[0]}")
    differences = compare.differences(file, compare.stored(rows))
    found += [finding.text for finding in plausible.of_servos(rows)] + compare.outside(file, rows)
    agree = all(difference.same for difference in differences)
    if as_json:
        print(json.dumps(_as_json(path, differences, found)))
        return 0 if agree and not found else 1
    operator.say(compare.table(differences, compare.positions_deg(file, rows)))
    for text in found:
        operator.say(f"Implausible: {text}")
    if agree and not found:
        operator.say(f"{path} is the calibration in the servos, and every joint is inside its range.")
    elif not agree:
        operator.say(
            f"{path} is not the calibration in the servos. Put the file into them with --from {path}, or what they "
            f"have into the file with --from {FROM_EEPROM}. Nothing was changed."
        )
    return 0 if agree and not found else 1


def path_for(options: argparse.Namespace) -> Path:
    """The calibration file of the options. Raises UsageError without an id."""
    robot_id = "mock" if options.id is None and options.port == MOCK_PORT else options.id
    if robot_id is None:
        raise UsageError("--robot.id is missing: it names the calibration file, as in LeRobot's commands")
    if options.calibration_dir is None and options.port == MOCK_PORT:
        return files.path_of(robot_id, Path("outputs/calibration"))
    return files.path_of(robot_id, options.calibration_dir)


def new_mock(options: argparse.Namespace, calibrated: bool) -> MockArm | None:
    """The arm behind port `mock`: servos mounted at random angles, calibrated or as from the factory."""
    if options.port != MOCK_PORT:
        return None
    config = MockConfig(seed=options.mock_seed, random_mount=True, calibrated=calibrated, realtime_factor=0)
    return MockArm(config)


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
    line: Line, calibration: Mapping[str, JointCalibration], path: Path, operator: Operator, allowed: set[str]
) -> int:
    """Show what will be written, refuse what is impossible, ask, write."""
    refused = [f for f in plausible.of_calibration(calibration) if f.check not in allowed]
    if refused:
        kinds = ",".join(dict.fromkeys(finding.check for finding in refused))
        reasons = "\n".join(f"  {finding.text}" for finding in refused)
        raise ImplausibleError(f"nothing was written:\n{reasons}\n(accept it anyway with --allow={kinds})")
    rows = line.rows()
    operator.say(guided.result_table(dict(calibration)))
    for text in compare.outside(calibration, rows):
        operator.say(f"Warning: {text}")
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
