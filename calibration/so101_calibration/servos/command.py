"""`so101-calibrate servos`: homing and ranges, guided; and comparing, copying and restoring calibrations.

so101-calibrate servos --port PORT --id NAME                  guided
so101-calibrate servos --port PORT --id NAME --check          compare file, servos and arm; exit code 1 if they differ
so101-calibrate servos --port PORT --id NAME --from FILE      put FILE (or `eeprom`) into servos and LeRobot's folder
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101_calibration import files
from so101_calibration.errors import ImplausibleError, InterruptedWriteError, UsageError
from so101_calibration.homing import JointCalibration
from so101_calibration.servos import compare, guided, journal, plausible
from so101_calibration.servos.line import MOCK_PORT, Line, open_line
from so101_calibration.servos.terminal import Talk, Terminal
from so101_robot.joints import JOINTS

if TYPE_CHECKING:
    from so101_robot.mock.arm import MockArm

FROM_EEPROM = "eeprom"

EXAMPLES = """examples:
  so101-calibrate servos --port=/dev/ttyACM0 --id=my_arm
      guided: moves you through homing and ranges, asks, writes servos and file
  so101-calibrate servos --port=/dev/ttyACM0 --id=my_arm --check
      compare file, servos and arm; writes nothing; exit code 1 if they differ
  so101-calibrate servos --port=/dev/ttyACM0 --id=my_arm --from=backup.json
      put that file into the servos and LeRobot's folder, after asking
  so101-calibrate servos --port=/dev/ttyACM0 --id=my_arm --from=eeprom
      write the lost file from what the servos have
  so101-calibrate servos --port=mock
      see it on a simulated arm

Without a terminal every prompt takes one line of standard input: empty for "done", y or n for a question."""


def add_port(parser: argparse.ArgumentParser) -> None:
    """The options that every command on an arm has."""
    parser.add_argument(
        "--port", "--robot.port", required=True, help="serial port, or mock: a simulated arm in memory"
    )
    parser.add_argument(
        "--id", "--robot.id", metavar="NAME", default=None, help="names the calibration file, as in LeRobot"
    )
    parser.add_argument(
        "--calibration_dir", "--robot.calibration_dir", type=Path, metavar="DIR", default=None,
        help="where calibration files lie; default: LeRobot's place",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="answer yes to every question")
    parser.add_argument(
        "--mock.seed", dest="mock_seed", type=int, metavar="N", default=0, help="which simulated arm"
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
        talk = person(options, mock, line)
        if options.check:
            return check(line, path, talk, options.json)
        told = journal.recover(line, path, datetime.now())
        if told:
            print(told, file=sys.stderr)
        if options.source is not None:
            return take_over(line, options.source, path, talk, allowed)
        return calibrate(line, path, talk, allowed)


def calibrate(line: Line, path: Path, talk: Talk, allowed: set[str]) -> int:
    """The guided flow, then the question, then the write."""
    calibration = guided.guide(line, line.rows(), talk, allowed)
    return _propose(line, calibration, path, talk, allowed)


def take_over(line: Line, source: str, path: Path, talk: Talk, allowed: set[str]) -> int:
    """Put a calibration that exists into the servos and the file."""
    rows = line.rows()
    calibration = compare.stored(rows) if source == FROM_EEPROM else files.read(Path(source))
    return _propose(line, calibration, path, talk, allowed)


def check(line: Line, path: Path, talk: Talk, as_json: bool) -> int:
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
    talk.say(compare.table(differences, compare.positions_deg(file, rows)))
    for text in found:
        talk.say(f"Implausible: {text}")
    if agree and not found:
        talk.say(f"{path} is the calibration in the servos, and the arm stands within it.")
    elif not agree:
        talk.say(
            f"{path} is not the calibration in the servos. Put the file into them with --from {path}, or what they "
            f"have into the file with --from {FROM_EEPROM}. Nothing was changed."
        )
    return 0 if agree and not found else 1


def path_for(options: argparse.Namespace) -> Path:
    """The calibration file that is meant. Raises UsageError without an id."""
    robot_id = "mock" if options.id is None and options.port == MOCK_PORT else options.id
    if robot_id is None:
        raise UsageError(
            "--id is needed: it names the calibration file, as --robot.id does in LeRobot's commands"
        )
    if options.calibration_dir is None and options.port == MOCK_PORT:
        return files.path_of(robot_id, Path("outputs/calibration"))
    return files.path_of(robot_id, options.calibration_dir)


def new_mock(options: argparse.Namespace, calibrated: bool) -> "MockArm | None":
    """The arm behind port `mock`: servos bolted on anyhow, and calibrated or as from the factory."""
    if options.port != MOCK_PORT:
        return None
    from so101_robot.mock.arm import MockArm, MockConfig

    config = MockConfig(seed=options.mock_seed, random_mount=True, calibrated=calibrated, realtime_factor=0)
    return MockArm(config)


def person(
    options: argparse.Namespace, mock: "MockArm | None", line: Line, terminal: Terminal | None = None
) -> Talk:
    """Who answers: the simulated hand for the mock arm, else the person at the terminal (with --yes: less of them)."""
    terminal = terminal or Terminal()
    if mock is not None and mock.hand is not None:
        from so101_calibration.servos.simulated_person import SimulatedPerson, connect_alone

        def connect(joint: str) -> None:
            connect_alone(mock, joint)

        return SimulatedPerson(mock.hand, line.clock, terminal, connect=connect)
    return Willing(terminal) if options.yes else terminal


class Willing:
    """A person who has said yes to every question beforehand; hands are still needed."""

    def __init__(self, talk: Talk) -> None:
        self.say, self.until_done = talk.say, talk.until_done

    def confirm(self, question: str) -> bool:
        self.say(f"{question} yes")
        return True


def _propose(
    line: Line, calibration: Mapping[str, JointCalibration], path: Path, talk: Talk, allowed: set[str]
) -> int:
    """Show what will be written, refuse what cannot be right, ask, write."""
    refused = [f for f in plausible.of_calibration(calibration) if f.kind not in allowed]
    if refused:
        kinds = ",".join(dict.fromkeys(finding.kind for finding in refused))
        reasons = "\n".join(f"  {finding.text}" for finding in refused)
        raise ImplausibleError(
            f"nothing was written:\n{reasons}\n(accept it all the same with --allow={kinds})"
        )
    rows = line.rows()
    talk.say(guided.result_table(dict(calibration)))
    for text in compare.outside(calibration, rows):
        talk.say(f"Look: {text}")
    changes = journal.changes_for(calibration, rows)
    count = sum(change.before != change.after for change in changes)
    if not talk.confirm(f"Write it into the servos ({count} of {len(changes)} registers differ) and {path}?"):
        talk.say("Nothing was written.")
        return 1
    backup = journal.write(line, calibration, path, datetime.now())
    kept = f"; the old file is kept as {backup}" if backup else ""
    talk.say(f"Calibrated: servos and {path} agree{kept}.")
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
