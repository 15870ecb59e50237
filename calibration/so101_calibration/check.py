"""`so101-calibrate check`: a one-minute self-test of the whole arm, with a report for people and as JSON.

Every servo answers; model, firmware, supply, temperature, error bits; the calibration in file and servos; time per
bus cycle; tracking error and backlash from a small slow motion (only after a yes, or --yes; --no_motion skips it);
frames per second and jitter of each camera that is given. Exit code 0: pass, also with warnings; 1: a check failed.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from so101_calibration import files
from so101_calibration.cameras import rates as camera_rates
from so101_calibration.errors import CalibrateError, FileError, UsageError
from so101_calibration.homing import JointCalibration
from so101_calibration.report import FAIL, PASS, WARN, Item, graded, report, verdict
from so101_calibration.servos import command as servos
from so101_calibration.servos import compare, journal, motion_test, plausible
from so101_calibration.servos.line import Line, open_line
from so101_calibration.servos.terminal import Talk, Terminal
from so101_robot.bus.registers import VOLTAGE_UNIT_V
from so101_robot.bus.setup import Registers, value_of
from so101_robot.errors import RobotError
from so101_robot.joints import JOINTS
from so101_robot.preflight import findings
from so101_robot.preflight import servos as preflight_servos

STDOUT = Path("-")

EXAMPLES = """examples:
  so101-calibrate check --port=/dev/ttyACM0 --id=my_arm
      asks, then moves each joint 3 degrees; the arm is left as it was found
  so101-calibrate check --port=/dev/ttyACM0 --id=my_arm --no_motion
      moves nothing
  so101-calibrate check --port=/dev/ttyACM0 --id=my_arm --yes --json && so101-run ...
      before a run or a study: the report as JSON on standard output, exit code 1 if something failed
  so101-calibrate check --port=mock
      see it on a simulated arm"""

VERDICTS = {"ok": PASS, "warn": WARN, "stop": FAIL}
"""Of the pre-flight's levels."""

TRACKING_WARN_DEG, TRACKING_FAIL_DEG = 3.5, 6.0
"""With the servos' gain, gravity alone holds the shoulder 1 to 3 deg from its goal."""
BACKLASH_WARN_DEG, BACKLASH_FAIL_DEG = 1.5, 4.0
"""A new servo has about 1 deg."""
CYCLE_WARN_MS, CYCLE_FAIL_MS = 6.0, 20.0
"""Of a 33 ms tick. All of it takes 2.2 ms on the wire."""


PER_JOINT = ("voltage", "temperature", "tracking", "rest", "backlash")
"""What is measured at every joint."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    servos.add_port(parser)
    parser.add_argument("--no_motion", action="store_true", help="move nothing; torque stays as it is")
    parser.add_argument(
        "--cameras", "--robot.cameras", metavar="CAMERAS", default=None,
        help="LeRobot's cameras by name, as in so101-run; the mock arm brings front and wrist",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, default=None, metavar="FILE",
        help="the report as JSON, into FILE, or on standard output in place of the table",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Test, report. Returns 0, or 1 where a check failed."""
    cameras = camera_rates.configs(_cameras(options.cameras))  # a mistake there is told before anything moves
    as_json = options.json == STDOUT
    mock = servos.new_mock(options, calibrated=True)
    with open_line(options.port, mock) as line:
        talk = servos.person(options, mock, line, Terminal(Console(stderr=True)) if as_json else None)
        calibration = _calibration(options)
        move = not options.no_motion and talk.confirm(
            f"Each joint will move {motion_test.AMPLITUDE_DEG:g} deg from where it is. Is the arm clear?"
        )
        items = [*_unfinished(options), *examine(line, calibration, move)]
    items += camera_rates.examine(cameras, mock)
    text = json.dumps(report(items), indent=1) + "\n"
    if as_json:
        print(text, end="")
    else:
        show(items, talk)
        if options.json is not None:
            files.write_whole(options.json, text)
    return 1 if verdict(items) == FAIL else 0


def examine(line: Line, calibration: Mapping[str, JointCalibration] | None, move: bool) -> list[Item]:
    """Everything about the servos.

    Args:
        line: to the servos.
        calibration: of the file; None if there is none.
        move: whether joints may be moved.
    """
    try:
        rows = line.rows()
    except CalibrateError as error:
        return [Item("servos", FAIL, str(error))]
    items = [
        Item("servos", PASS, "1 to 6 answer"),
        *_health(rows),
        *_calibrated(calibration, rows),
        _cycles(line),
    ]
    if not move:
        return [*items, Item("motion", WARN, "not tried")]
    if any(item.verdict == FAIL for item in items):
        return [*items, Item("motion", WARN, "not tried, because something above failed")]
    return [*items, *_motions(line, compare.stored(rows))]


def show(items: list[Item], talk: Talk) -> None:
    """For people: a table of what was measured at each joint, then the rest, what is wrong last."""
    joints = Table(box=None, pad_edge=False)
    joints.add_column("joint")
    for column in PER_JOINT:
        joints.add_column(column, justify="right")
    found = {item.name: item for item in items}
    for joint in JOINTS:
        joints.add_row(joint, *(_cell(found.get(f"{joint} {column}")) for column in PER_JOINT))
    rest = Table(box=None, pad_edge=False, show_header=False)
    columns = {f"{joint} {column}" for joint in JOINTS for column in PER_JOINT}
    for grade in (PASS, WARN, FAIL):
        for item in items:
            if item.verdict == grade and (item.name not in columns or grade != PASS):
                rest.add_row(grade.upper() if grade == FAIL else grade, item.name, item.text)
    if any(name in columns for name in found):
        talk.say(joints)
    talk.say(rest)
    talk.say(f"Self-test: {verdict(items)}")


def _cell(item: Item | None) -> str:
    if item is None or item.value is None:
        return "-"
    mark = "" if item.verdict == PASS else " !"
    return f"{item.value:.4g} {item.unit}{mark}" if item.unit != "deg" else f"{item.value:.2f} deg{mark}"


def _unfinished(options: argparse.Namespace) -> Iterator[Item]:
    message = None if options.id is None else journal.unfinished(servos.path_for(options))
    if message:
        yield Item("calibration", FAIL, message)


def _health(rows: Registers) -> Iterator[Item]:
    """What servos say about themselves: kind and supply as the guided calibration judges them, the rest as the
    pre-flight of `so101-run` does."""
    found = plausible.of_servos(rows)
    for kind in ("model", "firmware", "supply"):
        texts = [finding.text for finding in found if finding.kind == kind]
        yield Item(kind, FAIL if texts else PASS, "; ".join(texts) or "as it should be")
    for check in (
        preflight_servos.check_heat,
        preflight_servos.check_errors,
        preflight_servos.check_settings,
    ):
        for finding in check(rows):
            yield Item(finding.check, VERDICTS[finding.level], findings.in_words(finding))
    for joint, row in zip(JOINTS, rows, strict=True):
        for name, value, unit in (
            ("voltage", value_of(row, "Present_Voltage") * VOLTAGE_UNIT_V, "V"),
            ("temperature", float(value_of(row, "Present_Temperature")), "C"),
        ):  # measured here, judged above
            yield Item(f"{joint} {name}", PASS, f"{value:.4g} {unit}", round(value, 1), unit)


def _calibrated(file: Mapping[str, JointCalibration] | None, rows: Registers) -> Iterator[Item]:
    stored = compare.stored(rows)
    texts = [finding.text for finding in plausible.of_calibration(stored)] + compare.outside(stored, rows)
    yield Item("calibration in the servos", FAIL if texts else PASS, "; ".join(texts) or "plausible")
    if file is None:
        yield Item("calibration file", WARN, "none was named (--id) or none is there")
        return
    if sorted(file) != sorted(JOINTS):
        yield Item("calibration file", FAIL, plausible.of_calibration(file)[0].text)
        return
    different = [
        f"{d.joint} ({d.zero_deg:+.1f} deg)" for d in compare.differences(file, stored) if not d.same
    ]
    text = f"differs from the servos: {', '.join(different)}" if different else "is the one in the servos"
    yield Item("calibration file", FAIL if different else PASS, text)


def _cycles(line: Line) -> Item:
    cycles = motion_test.bus_cycles(line)
    item = graded("bus cycle", cycles.p99_ms, "ms", CYCLE_WARN_MS, CYCLE_FAIL_MS, "99 % within")
    text = f"{item.text}, median {cycles.median_ms:.2f} ms, {cycles.lost} of {cycles.reads} lost"
    return item._replace(text=text, verdict=FAIL if cycles.lost else item.verdict)


def _motions(line: Line, calibration: Mapping[str, JointCalibration]) -> Iterator[Item]:
    try:
        found = motion_test.motions(line, calibration)
    except (CalibrateError, RobotError) as error:
        yield Item("motion", FAIL, str(error))
        return
    for motion in found:
        name, limits = motion.joint, (TRACKING_WARN_DEG, TRACKING_FAIL_DEG)
        yield graded(f"{name} tracking", motion.tracking_deg, "deg", *limits, "moving, off by")
        yield graded(f"{name} rest", motion.rest_deg, "deg", *limits, "at rest, off by")
        limits = BACKLASH_WARN_DEG, BACKLASH_FAIL_DEG
        yield graded(f"{name} backlash", motion.backlash_deg, "deg", *limits, "up against down")


def _calibration(options: argparse.Namespace) -> dict[str, JointCalibration] | None:
    """The file that was named; a mock arm has its calibration only in its servos."""
    if options.id is None:
        return None
    try:
        return files.read(servos.path_for(options))
    except FileError as error:
        if servos.path_for(options).exists():
            raise UsageError(str(error)) from error
        return None


def _cameras(text: str | None) -> dict[str, dict[str, Any]]:
    """The cameras that were asked for: name -> LeRobot's options."""
    if text is None:
        return {}
    try:
        cameras: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--cameras: {error}") from error
    if not isinstance(cameras, dict) or not all(isinstance(value, dict) for value in cameras.values()):
        raise UsageError("--cameras: needed is {name: {type: opencv, index_or_path: 0, width: .., ..}, ..}")
    return cameras
