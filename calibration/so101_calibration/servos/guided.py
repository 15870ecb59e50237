"""The guided calibration of the servos: what the person should do, in which order, and what is refused.

Nothing is written to a servo's EEPROM or to a file before everything has been measured, judged and confirmed; the only
thing that changes on the way is that the torque goes off. Every reading of the arm checks that it still is off: a joint
that a person should move by hand is free, or this stops.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from rich.console import RenderableType
from rich.table import Table

from so101_calibration.errors import ImplausibleError, TorqueError
from so101_calibration.homing import (
    Track,
    full_turn_joint,
    is_full_turn,
    joint_from_range,
    roll_ends,
)
from so101_calibration.servos import plausible
from so101_calibration.servos.line import Line, Sample, describe_errors
from so101_calibration.servos.steps import CLOSE, HOLD, MIDDLE, SQUEEZE, SWEEPS, Step
from so101_calibration.servos.terminal import Operator
from so101_robot.bus.calibration import DEG_PER_STEP, JointCalibration, raw_of
from so101_robot.bus.setup import Registers, stored_calibration, value_of
from so101_robot.guard.measured_ends import MeasuredEnds
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS, SERVO_IDS, STEPS_PER_TURN
from so101_robot.preflight.findings import Finding

QUARTER = STEPS_PER_TURN // 4

TRIES = 3
"""How often a joint may be moved before the flow gives up."""


class Reading(NamedTuple):
    """What is needed to compute a servo's raw encoder count from its position."""

    offset: int
    mode: int


class Recorder:
    """Follows all six joints in raw counts, unrolled over the encoders' wrap.

    Args:
        line: to the servos.
        rows: their registers at the start, (6, 87).
    """

    def __init__(self, line: Line, rows: Registers) -> None:
        self._line = line
        offsets = [joint.homing_offset for joint in stored_calibration(rows).values()]
        self._readings = [
            Reading(offset, value_of(row, "Operating_Mode"))
            for offset, row in zip(offsets, rows, strict=True)
        ]
        self.tracks = {joint: Track() for joint in JOINTS}
        self.sample: Sample | None = None

    def look(self) -> Sample:
        """Read the arm once. Raises TorqueError, and ServoError for servos that do not answer."""
        sample = self._line.sample()
        held = [JOINTS[i] for i, torque in enumerate(sample.torque.tolist()) if torque]
        if held:
            raise TorqueError(
                f"{', '.join(held)} came under torque while a person moves the arm by hand - does another program "
                "use it? Nothing was written"
            )
        for i, joint in enumerate(JOINTS):
            self.tracks[joint].add(sample.time_s, raw_of(int(sample.present[i]), *self._readings[i]))
        self.sample = sample
        return sample

    def count(self, joint: str) -> int:
        """Where a joint is: its unrolled raw count."""
        position = self.tracks[joint].position
        assert position is not None, "looked at before it was read"
        return position


class Search(Protocol):
    """Finds ends without a hand: `auto.seek`."""

    def __call__(
        self, line: Line, middles: Mapping[str, int], operator: Operator, /
    ) -> Mapping[str, tuple[int, int]]: ...


class Measured(NamedTuple):
    """What the guided flow found."""

    calibration: dict[str, JointCalibration]
    roll_ends: MeasuredEnds | None
    """The stops of the wrist's roll; None where it was not rolled to them."""


def guide(
    line: Line,
    rows: Registers,
    operator: Operator,
    allowed: Iterable[str] = (),
    *,
    leader: bool = False,
    search: Search | None = None,
) -> Measured:
    """Lead a person through the calibration. Nothing is written.

    Args:
        line: to the servos.
        rows: their registers, (6, 87).
        operator: the person.
        allowed: kinds of finding (`plausible.KINDS`) that are reported, but not refused.
        leader: the arm has a trigger in the place of jaws.
        search: finds ends without a hand; what it does not find the person does.

    Raises:
        ImplausibleError: something is impossible, also in the third try.
        TorqueError: a joint is not free.
        ServoError: servos do not answer.
    """
    allowed = set(allowed)
    _refuse(plausible.of_servos(rows), allowed, operator)
    _let_go(line, rows, operator)
    recorder = Recorder(line, rows)
    recorder.look()
    _do(MIDDLE, recorder, operator)
    roll_zero = recorder.count(FULL_TURN_JOINT)
    ends: dict[str, tuple[int, int]] = {}
    if search is not None:
        ends |= search(line, {joint: recorder.count(joint) for joint in JOINTS}, operator)
        recorder = Recorder(line, rows)  # nobody has followed the arm meanwhile
        recorder.look()
    for joint in JOINTS:
        if joint not in ends:
            ends[joint] = _sweep(joint, recorder, operator, allowed, leader)
    drive_mode = _closed(recorder, operator, *ends[JOINTS[GRIPPER]], SQUEEZE if leader else CLOSE)
    calibration = {
        joint: full_turn_joint(SERVO_IDS[i], roll_zero % STEPS_PER_TURN)
        if is_full_turn(joint)
        else joint_from_range(SERVO_IDS[i], *ends[joint], drive_mode if i == GRIPPER else 0)
        for i, joint in enumerate(JOINTS)
    }
    return Measured(calibration, roll_ends(calibration[FULL_TURN_JOINT], roll_zero, *ends[FULL_TURN_JOINT]))


def _let_go(line: Line, rows: Registers, operator: Operator) -> None:
    """Torque off, and checked; the person is warned first where that changes anything."""
    if any(value_of(row, "Torque_Enable") for row in rows):
        operator.until_done(HOLD, lambda: "")
    line.release()


def _sweep(
    joint: str, recorder: Recorder, operator: Operator, allowed: set[str], leader: bool
) -> tuple[int, int]:
    """The unrolled ends of one joint, moved again while that is implausible."""
    for attempt in range(1, TRIES + 1):
        for track in recorder.tracks.values():
            track.begin()
        _do(SWEEPS[joint], recorder, operator)
        found = plausible.of_motion(joint, recorder.tracks, leader)
        if attempt < TRIES and any(finding.kind not in allowed for finding in found):
            operator.say("\n".join(f"Not accepted: {finding.text}" for finding in found))
            continue
        _refuse(found, allowed, operator)
        break
    track = recorder.tracks[joint]
    if track.low is None or track.high is None:
        raise ImplausibleError(f"{joint} was not seen at rest; nothing was written")
    return track.low, track.high


def _closed(recorder: Recorder, operator: Operator, low: int, high: int, step: Step) -> int:
    """The gripper's drive_mode: which of its stops is the closed one. Raises ImplausibleError if it is at neither."""
    found = ""
    for _ in range(TRIES):
        _do(step, recorder, operator)
        above = (recorder.count(JOINTS[GRIPPER]) - low + QUARTER) % STEPS_PER_TURN - QUARTER
        share = above / (high - low)
        drive_mode = plausible.closed_at(share)
        if drive_mode is not None:
            if drive_mode:
                operator.say(
                    "The jaws close towards larger counts: the gripper is mounted mirrored, drive_mode 1"
                )
            return drive_mode
        found = f"gripper: the jaws are {share:.0%} of the way between their stops, not closed"
        operator.say(f"Not accepted: {found}")
    raise ImplausibleError(f"nothing was written:\n  {found}: which stop is the closed one is not known")


def _do(step: Step, recorder: Recorder, operator: Operator) -> None:
    def look() -> RenderableType:
        recorder.look()
        return live_table(recorder, step.joint)

    operator.until_done(step, look)


def _refuse(found: list[Finding], allowed: set[str], operator: Operator) -> None:
    refused = [finding for finding in found if finding.kind not in allowed]
    for finding in found:
        if finding not in refused:
            operator.say(f"Accepted as you asked: {finding.text}")
    if refused:
        kinds = ",".join(dict.fromkeys(finding.kind for finding in refused))
        reasons = "\n".join(f"  {finding.text}" for finding in refused)
        raise ImplausibleError(f"nothing was written:\n{reasons}\n(accept it anyway with --allow={kinds})")


def live_table(recorder: Recorder, active: str | None = None) -> Table:
    """Every joint as it is now; the one that is to be moved is marked."""
    table = Table(box=None, pad_edge=False)
    columns = ("joint", "steps", "min", "max", "range", "load", "volt", "temp", "errors")
    for column in columns:
        table.add_column(column, justify="left" if column in ("joint", "errors") else "right", no_wrap=True)
    sample = recorder.sample
    if sample is None:
        return table
    for i, joint in enumerate(JOINTS):
        track = recorder.tracks[joint]
        table.add_row(
            f"> {joint}" if joint == active else f"  {joint}",
            str(track.position),
            *(("-", "-") if track.low is None else (str(track.low), str(track.high))),
            f"{track.span_deg:.0f} of {plausible.NOMINAL_DEG[joint]:.0f}°",
            f"{sample.load_percent[i]:.0f} %",
            f"{sample.voltage_v[i]:.1f} V",
            f"{sample.temperature_c[i]:.0f} C",
            describe_errors(int(sample.errors[i])),
            style="bold" if joint == active else None,
        )
    return table


def result_table(calibration: dict[str, JointCalibration]) -> Table:
    """A calibration as a table."""
    table = Table(box=None, pad_edge=False)
    for column in ("joint", "homing offset", "from", "to", "range", "drive_mode"):
        table.add_column(column, justify="left" if column == "joint" else "right", no_wrap=True)
    for name, joint in calibration.items():
        span = f"{(joint.range_max - joint.range_min) * DEG_PER_STEP:.1f} deg"
        ends = str(joint.range_min), str(joint.range_max)
        table.add_row(name, str(joint.homing_offset), *ends, span, str(joint.drive_mode))
    return table
