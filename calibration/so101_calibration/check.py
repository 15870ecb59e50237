"""`so101-calibrate check`: a one-minute self-test of the whole arm, with a report for people and as JSON.

Every servo answers; model, firmware, supply, temperature, error bits; the calibration in file and servos; time per
bus cycle; tracking error and backlash from a small slow motion (only after a yes, or --yes; --no_motion skips it);
frames per second and jitter of each camera that is given. Exit code 0: pass, also with warnings; 1: a check failed.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from so101_calibration import files
from so101_calibration.cameras import rates as camera_rates
from so101_calibration.errors import CalibrateError, FileError, UsageError
from so101_calibration.report import as_json, graded, show
from so101_calibration.robot_options import with_so101_yaml
from so101_calibration.servos import command as servos
from so101_calibration.servos import compare, journal, motion_test
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.terminal import Terminal
from so101_policy.command_line.command_flags import Parser
from so101_policy.command_line.command_shell import say
from so101_policy.command_line.console import Console
from so101_policy.errors import first_line
from so101_policy.files.plain_data import parse_yaml
from so101_robot.bus.calibration import JointCalibration, older_file
from so101_robot.bus.registers import VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of
from so101_robot.errors import RobotError
from so101_robot.joints import JOINTS
from so101_robot.preflight.findings import Finding, Level, verdict
from so101_robot.preflight.judgement import servo_judgements

STDOUT = Path("-")
FILE = "calibration file"
"""Name of an item of the report."""

EXAMPLES = """
  so101-calibrate check --robot.port=/dev/ttyACM0 --robot.id=my_arm
      asks, then moves each joint 3 degrees; the arm is left as it was found
  so101-calibrate check --robot.port=/dev/ttyACM0 --robot.id=my_arm --no_motion
      moves nothing
  so101-calibrate check --robot.port=/dev/ttyACM0 --robot.id=my_arm --yes \\
      --json && so101-run ...
      before a run or a study: the report as JSON on standard output, exit
      code 1 if something failed
  so101-calibrate check --robot.port=mock
      see it on a simulated arm
"""

TRACKING_WARN_DEG, TRACKING_FAIL_DEG = 3.5, 6.0
"""With the servos' gain, gravity alone holds the shoulder 1 to 3 deg from its goal."""
BACKLASH_WARN_DEG, BACKLASH_FAIL_DEG = 1.5, 4.0
"""A new servo has about 1 deg."""
CYCLE_WARN_MS, CYCLE_FAIL_MS = 6.0, 20.0
"""Of a tick of 33 ms. The bytes of a cycle take 2.2 ms on the wire."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    servos.add_port(parser)
    parser.add_argument("--no_motion", action="store_true", help="move nothing; torque stays as it is")
    parser.add_argument(
        "--robot.cameras", dest="cameras", metavar="CAMERAS", default=None,
        help="LeRobot's cameras by name, as in so101-run; the mock arm brings front and wrist",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, default=None, metavar="FILE",
        help="the report as JSON, into FILE, or on standard output in place of the table",
    )  # fmt: skip


def parser() -> Parser:
    """Of the command line."""
    parser = Parser("so101-calibrate check", "A one-minute self-test with a report.", EXAMPLES)
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    return run(parser().parse_args(with_so101_yaml(arguments, "arm")))


def run(options: argparse.Namespace) -> int:
    """Test, report. Returns 0, or 1 where a check failed."""
    cameras = camera_rates.configs(_cameras(options.cameras))  # wrong input is reported before anything moves
    to_stdout = options.json == STDOUT
    mock = servos.new_mock(options, calibrated=True)
    with open_line(options.port, mock) as line:
        operator = servos.operator_for(
            options, mock, line, Terminal(Console(stderr=True)) if to_stdout else None
        )
        calibration = _calibration(options)
        move = not options.no_motion and operator.confirm(
            f"Each joint will move {motion_test.AMPLITUDE_DEG:g} deg from where it is. Is the arm clear?"
        )
        findings = [*_unfinished(options), *examine(line, calibration, move)]
    findings += camera_rates.examine(cameras, mock)
    text = json.dumps(as_json(findings), indent=1) + "\n"
    if to_stdout:
        say(text.rstrip())
    else:
        show(findings, operator)
        if options.json is not None:
            files.write_whole(options.json, text)
    return 1 if verdict(findings) is Level.STOP else 0


def examine(line: Line, calibration: Mapping[str, JointCalibration] | None, move: bool) -> list[Finding]:
    """Everything about the servos.

    Args:
        line: to the servos.
        calibration: of the file; None if there is none.
        move: whether joints may be moved.
    """
    try:
        rows = line.rows()
    except CalibrateError as error:
        return [Finding(Level.STOP, "servos", "", str(error))]
    findings = [
        Finding(Level.OK, "servos", "", "1 to 6 answer"),
        *_judged(calibration, rows),
        _cycles(line),
    ]
    if not move:
        return [*findings, Finding(Level.WARN, "motion", "", "not tried")]
    if any(value_of(row, "Operating_Mode") for row in rows):
        text = "not tried, because not every servo is in the mode that follows positions"
        return [*findings, Finding(Level.WARN, "motion", "", text)]
    if verdict(findings) is Level.STOP:
        return [*findings, Finding(Level.WARN, "motion", "", "not tried, because something above failed")]
    return [*findings, *_motions(line, compare.stored(rows))]


def _summary(check: str, problems: Sequence[Finding], fine: str) -> Finding:
    """All problems of one check as one finding; `fine` is what is said without any."""
    return Finding(verdict(problems), check, "", "; ".join(finding.text for finding in problems) or fine)


def _unfinished(options: argparse.Namespace) -> Iterator[Finding]:
    """What is the matter with the file itself: a write that was cut off, or it is where an earlier LeRobot kept it."""
    if options.id is None:
        return
    path = servos.path_for(options)
    if message := journal.unfinished(path):
        yield Finding(Level.STOP, "calibration", "", message)
    if not path.exists() and (older := older_file(path)) is not None:
        yield Finding(Level.WARN, FILE, "", servos.take_over(older, options.port, path))


def _judged(file: Mapping[str, JointCalibration] | None, rows: Registers) -> Iterator[Finding]:
    """What servos and calibration are, by the judgement of the pre-flight; and what the servos measure."""
    found = {name: judge() for name, judge in servo_judgements(rows, None, "servos").items()}
    for kind in ("model", "firmware"):
        yield _summary(
            kind, [finding for finding in found["servos"] if finding.kind == kind], "as it should be"
        )
    yield _summary("supply", _troubles(found["supply"]), "as it should be")
    for name in ("heat", "errors", "settings"):
        yield from found[name]
    for joint, row in zip(JOINTS, rows, strict=True):
        for name, value, unit in (
            ("voltage", value_of(row, "Present_Voltage") * VOLTAGE_UNIT_V, "V"),
            ("temperature", float(value_of(row, "Present_Temperature")), "C"),
        ):  # measured here, judged above
            text = f"{value:.4g} {unit}"
            yield Finding(Level.OK, f"{joint} {name}", "", text, value=round(value, 1), unit=unit)
    in_servos = _troubles([*found["calibration"], *found["sizes"]])
    yield _summary("calibration in the servos", in_servos, "plausible")
    if file is None:
        yield Finding(Level.WARN, FILE, "", "none was named (--robot.id), or there is no such file")
        return
    of_file = servo_judgements(rows, file, FILE)
    in_file = _troubles([*of_file["calibration"](), *of_file["sizes"]()])
    told = {finding.text for finding in in_servos}
    yield _summary(FILE, [f for f in in_file if f.text not in told], "is the one in the servos")


def _troubles(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def _cycles(line: Line) -> Finding:
    cycles = motion_test.bus_cycles(line)
    finding = graded("bus cycle", cycles.p99_ms, "ms", CYCLE_WARN_MS, CYCLE_FAIL_MS, "99 % within")
    text = f"{finding.found}, median {cycles.median_ms:.2f} ms, {cycles.lost} of {cycles.reads} lost"
    return finding._replace(found=text, level=Level.STOP if cycles.lost else finding.level)


def _motions(line: Line, calibration: Mapping[str, JointCalibration]) -> Iterator[Finding]:
    try:
        found = motion_test.motions(line, calibration)
    except (CalibrateError, RobotError) as error:
        yield Finding(Level.STOP, "motion", "", str(error))
        return
    for motion in found:
        name, limits = motion.joint, (TRACKING_WARN_DEG, TRACKING_FAIL_DEG)
        yield graded(f"{name} tracking", motion.tracking_deg, "deg", *limits, "moving, off by")
        yield graded(f"{name} rest", motion.rest_deg, "deg", *limits, "at rest, off by")
        limits = BACKLASH_WARN_DEG, BACKLASH_FAIL_DEG
        yield graded(f"{name} backlash", motion.backlash_deg, "deg", *limits, "up against down")


def _calibration(options: argparse.Namespace) -> dict[str, JointCalibration] | None:
    """The file that was given; a mock arm has its calibration only in its servos."""
    if options.id is None:
        return None
    try:
        return files.read(servos.path_for(options))
    except FileError as error:
        if servos.path_for(options).exists():
            raise UsageError(str(error)) from error
        return None


def _cameras(text: str | None) -> dict[str, dict[str, Any]]:
    """The cameras that were given: name -> LeRobot's options."""
    if text is None:
        return {}
    try:
        cameras: Any = parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"--robot.cameras: {first_line(error)}") from error
    if not isinstance(cameras, dict) or not all(isinstance(value, dict) for value in cameras.values()):
        raise UsageError(
            "--robot.cameras: expected is {name: {type: opencv, index_or_path: 0, width: .., ..}, ..}"
        )
    return cameras
