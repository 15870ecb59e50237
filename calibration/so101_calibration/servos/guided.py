"""The guided calibration of the servos: what is asked, in which order, and when it is refused.

Nothing is written to a servo's EEPROM or to a file before everything has been measured, judged and confirmed; the only
thing that changes on the way is that the torque goes off. Every look at the arm checks that it still is: a joint that
a hand is asked to move is free, or this stops.
"""

from collections.abc import Iterable
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table

from so101_calibration.errors import ImplausibleError, TorqueError
from so101_calibration.homing import (
    DEG_PER_STEP,
    JointCalibration,
    Track,
    full_turn_joint,
    is_full_turn,
    joint_from_range,
    raw_of,
)
from so101_calibration.servos import plausible
from so101_calibration.servos.line import Line, Sample, describe_errors
from so101_calibration.servos.plausible import Finding
from so101_calibration.servos.steps import HOLD, MIDDLE, SWEEPS, Step
from so101_calibration.servos.terminal import Talk
from so101_robot.bus.setup import Registers, stored_calibration, value_of
from so101_robot.joints import FULL_TURN_JOINT, JOINTS, SERVO_IDS

TRIES = 3
"""How often a joint may be moved before the flow gives up."""


class Reading(NamedTuple):
    """How a servo's positions come about: what is needed to know its bare encoder."""

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
                f"{', '.join(held)} came under torque while a hand was asked to move the arm - does another program "
                "use it? Nothing was written"
            )
        for i, joint in enumerate(JOINTS):
            self.tracks[joint].add(sample.time_s, raw_of(int(sample.present[i]), *self._readings[i]))
        self.sample = sample
        return sample

    def raw(self, joint: str) -> int:
        """Where a joint is: its raw count, 0..4095."""
        position = self.tracks[joint].position
        assert position is not None, "looked at before it was read"
        return position % 4096


def guide(
    line: Line, rows: Registers, talk: Talk, allowed: Iterable[str] = ()
) -> dict[str, JointCalibration]:
    """Lead a person through the calibration. Nothing is written.

    Args:
        line: to the servos.
        rows: their registers, (6, 87).
        talk: the person.
        allowed: kinds of finding (`plausible.KINDS`) that are told, but not refused.

    Raises:
        ImplausibleError: something cannot be right, also not in the third try.
        TorqueError: a joint is not free.
        ServoError: servos do not answer.
    """
    allowed = set(allowed)
    _refuse(plausible.of_servos(rows), allowed, talk)
    _let_go(line, rows, talk)
    recorder = Recorder(line, rows)
    recorder.look()
    _do(MIDDLE, recorder, talk)
    roll_raw = recorder.raw(FULL_TURN_JOINT)
    ends = {joint: _sweep(joint, recorder, talk, allowed) for joint in JOINTS}
    return {
        joint: full_turn_joint(SERVO_IDS[i], roll_raw)
        if is_full_turn(joint)
        else joint_from_range(SERVO_IDS[i], *ends[joint])
        for i, joint in enumerate(JOINTS)
    }


def _let_go(line: Line, rows: Registers, talk: Talk) -> None:
    """Torque off, and looked at; told first where that changes anything."""
    if any(value_of(row, "Torque_Enable") for row in rows):
        talk.until_done(HOLD, lambda: "")
    line.release()


def _sweep(joint: str, recorder: Recorder, talk: Talk, allowed: set[str]) -> tuple[int, int]:
    """The unrolled ends of one joint, moved again while that is implausible."""
    for attempt in range(1, TRIES + 1):
        for track in recorder.tracks.values():
            track.begin()
        _do(SWEEPS[joint], recorder, talk)
        found = plausible.of_motion(joint, recorder.tracks)
        if attempt < TRIES and any(finding.kind not in allowed for finding in found):
            talk.say("\n".join(f"Not accepted: {finding.text}" for finding in found))
            continue
        _refuse(found, allowed, talk)
        break
    track = recorder.tracks[joint]
    if track.low is None or track.high is None:
        raise ImplausibleError(f"{joint} was not seen at rest; nothing was written")
    return track.low, track.high


def _do(step: Step, recorder: Recorder, talk: Talk) -> None:
    def look() -> RenderableType:
        recorder.look()
        return live_table(recorder, step.joint)

    talk.until_done(step, look)


def _refuse(found: list[Finding], allowed: set[str], talk: Talk) -> None:
    refused = [finding for finding in found if finding.kind not in allowed]
    for finding in found:
        if finding not in refused:
            talk.say(f"Accepted as you asked: {finding.text}")
    if refused:
        kinds = ",".join(dict.fromkeys(finding.kind for finding in refused))
        reasons = "\n".join(f"  {finding.text}" for finding in refused)
        raise ImplausibleError(
            f"nothing was written:\n{reasons}\n(accept it all the same with --allow={kinds})"
        )


def live_table(recorder: Recorder, asked: str | None = None) -> Table:
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
            f"> {joint}" if joint == asked else f"  {joint}",
            str(track.position),
            *(("-", "-") if track.low is None else (str(track.low), str(track.high))),
            f"{track.span_deg:.0f} of {plausible.NOMINAL_DEG[joint]:.0f}°",
            f"{sample.load_percent[i]:.0f} %",
            f"{sample.voltage_v[i]:.1f} V",
            f"{sample.temperature_c[i]:.0f} C",
            describe_errors(int(sample.errors[i])),
            style="bold" if joint == asked else None,
        )
    return table


def result_table(calibration: dict[str, JointCalibration]) -> Table:
    """A calibration for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("joint", "homing offset", "from", "to", "range"):
        table.add_column(column, justify="left" if column == "joint" else "right", no_wrap=True)
    for name, joint in calibration.items():
        span = f"{(joint.range_max - joint.range_min) * DEG_PER_STEP:.1f} deg"
        table.add_row(name, str(joint.homing_offset), str(joint.range_min), str(joint.range_max), span)
    return table
