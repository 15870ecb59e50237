"""Writing a calibration so that an interruption leaves servos and file as before, or as after.

The order: (1) a journal beside the file, with what every register and the file held before and will hold; (2) the
servos, register by register, each read back; (3) a backup of the old file and the new file, in one step; (4) the
journal goes. An error or Ctrl-C in (2) or (3) puts back what was written. After kill -9 or a power cut the journal is
still there, and the next `so101-calibrate` completes what had been confirmed, as soon as it sees the same servos;
until then LeRobot and `so101-run` find that file and servos differ and refuse to move. If none of it had been written,
or all of it was put back since, the journal just goes.
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from so101_calibration import files
from so101_calibration.errors import CalibrateError, FileError, InterruptedWriteError
from so101_calibration.servos.line import LOCK, TORQUE, Line
from so101_policy.errors import first_line, shown
from so101_policy.files.plain_data import parse_json, read_text
from so101_policy.files.whole_files import sync
from so101_robot.bus import registers
from so101_robot.bus.calibration import Calibration, parse
from so101_robot.bus.registers import BY_NAME
from so101_robot.bus.setup import MULTI_TURN, Registers, value_of
from so101_robot.errors import RobotError
from so101_robot.joints import JOINTS, SERVO_IDS

NAMES = ("Operating_Mode", "Phase", "Homing_Offset", "Min_Position_Limit", "Max_Position_Limit")
"""The registers of a calibration, in the order of writing: mode and feedback decide what positions mean."""


class Change(NamedTuple):
    """One register of one servo; values as hex of its bytes, because old ones may be anything."""

    servo_id: int
    register: str
    before: str
    after: str


class Journal(NamedTuple):
    """A write that was confirmed."""

    path: str
    """Of the calibration file."""
    before: str | None
    """Its text, None if there was no file."""
    after: str
    changes: list[Change]


def changes_for(calibration: Calibration, rows: Registers) -> list[Change]:
    """All registers of `calibration`, with what the servos, whose registers are (6, 87), have there.

    Also those that do not change: LeRobot writes a file into servos with Lock = 1 when they are fresh from power-up, so
    they have it until power-off only, and nothing in the registers shows that.
    """
    return [change for index in range(len(JOINTS)) for change in _servo_changes(index, calibration, rows)]


def write(line: Line, calibration: Calibration, path: Path, now: datetime) -> Path | None:
    """Put `calibration` into the servos and the file; returns the backup of the old file, if there was one.

    Raises:
        InterruptedWriteError: the write was interrupted; the message says whether all is as before.
        FileError: the journal cannot be written; nothing was changed.
    """
    before = path.read_text() if path.is_file() else None
    journal = Journal(str(path), before, files.dump(calibration), changes_for(calibration, line.rows()))
    files.write_whole(journal_path(path), _dump(journal))
    try:
        _apply(line, journal.changes, lambda change: change.after)
        backup = None
        if before != journal.after:
            backup = files.back_up(path, now)
            files.write_whole(path, journal.after)
    except BaseException as error:
        raise InterruptedWriteError(_undo(line, journal, error)) from error
    _remove(journal_path(path))
    return backup


def recover(line: Line, path: Path, now: datetime) -> str | None:
    """Complete a write that was cut off; returns one message about it, None if there was none.

    Where servos and file are as before (cut off before the first change, or put back by hand), nothing is written.

    Raises:
        InterruptedWriteError: these are not the servos of the journal, or they do not answer.
        FileError: the journal cannot be read.
    """
    place = journal_path(path)
    if not place.is_file():
        return None
    journal = _load(place)
    now_there = path.read_text() if path.is_file() else None
    found = [_found(line, change) for change in journal.changes]
    if now_there == journal.before and found == [change.before for change in journal.changes]:
        _remove(place)
        return f"an earlier calibration of {path.stem} had been cut off; servos and file are as before it"
    unknown = [
        change
        for change, value in zip(journal.changes, found, strict=True)
        if value not in (change.before, change.after)
    ]
    if unknown:
        servo_id, name = unknown[0].servo_id, unknown[0].register
        raise InterruptedWriteError(
            f"an earlier calibration of {path.stem} was cut off, and this is another arm (or was changed since): "
            f"{name} of servo {servo_id} is neither as before nor as after - connect that arm, or delete {place} and "
            "calibrate again"
        )
    _apply(line, journal.changes, lambda change: change.after)
    if now_there != journal.after:
        files.back_up(path, now)
        files.write_whole(path, journal.after)
    _remove(place)
    return f"an earlier calibration of {path.stem} had been cut off while it was written; it is complete now"


def unfinished(path: Path) -> str | None:
    """A message if a write of `path` was cut off and has not been completed yet. Touches nothing."""
    if not journal_path(path).is_file():
        return None
    return (
        f"an earlier calibration of {path.stem} was cut off while it was written; complete it first: "
        f"`so101-calibrate servos --robot.id={path.stem}`, with the same --robot.port and --robot.calibration_dir"
    )


def journal_path(path: Path) -> Path:
    """Beside the file; not `*.json`, which LeRobot would take for a robot."""
    return path.with_name(f".{path.stem}.journal")


def _servo_changes(index: int, calibration: Calibration, rows: Registers) -> Iterator[Change]:
    joint, row = calibration[JOINTS[index]], rows[index]
    wanted = (
        0,
        value_of(row, "Phase") & ~MULTI_TURN,
        joint.homing_offset,
        joint.range_min,
        joint.range_max,
    )
    for name, value in zip(NAMES, wanted, strict=True):
        register = BY_NAME[name]
        before = row[register.address : register.end].tobytes().hex()
        after = registers.encode(register, value).hex()
        yield Change(SERVO_IDS[index], name, before, after)


def _apply(line: Line, changes: list[Change], value: Callable[[Change], str]) -> None:
    """Write servo by servo, saved to flash (which programs only what differs)."""
    for servo_id in dict.fromkeys(change.servo_id for change in changes):
        line.write(servo_id, TORQUE, 0)  # a new offset or mode under torque could move the joint
        line.write(servo_id, LOCK, 0)
        try:
            for change in changes:
                if change.servo_id == servo_id:
                    line.write_word(servo_id, BY_NAME[change.register], bytes.fromhex(value(change)))
        finally:
            line.write(servo_id, LOCK, 1)


def _undo(line: Line, journal: Journal, error: BaseException) -> str:
    """Put everything back; returns the text for the message."""
    path = Path(journal.path)
    why = str(error) or type(error).__name__
    try:
        _apply(line, journal.changes, lambda change: change.before)
        if journal.before is None:
            path.unlink(missing_ok=True)
        elif path.read_text() != journal.before:
            files.write_whole(path, journal.before)
        _remove(journal_path(path))
    except (CalibrateError, RobotError, OSError, KeyboardInterrupt) as second:
        return (
            f"the calibration was interrupted while it was written ({why}) and could not be undone "
            f"({second or 'Ctrl-C'}); the next `so101-calibrate servos` on this arm completes it, and until then "
            "nothing should move it"
        )
    return f"the calibration was interrupted while it was written ({why}); servos and file are as before"


def _found(line: Line, change: Change) -> str:
    return line.read_word(change.servo_id, BY_NAME[change.register]).hex()


def _dump(journal: Journal) -> str:
    fields = journal._asdict() | {"changes": [change._asdict() for change in journal.changes]}
    return json.dumps(fields, indent=1)


def _load(place: Path) -> Journal:
    try:
        fields = parse_json(read_text(place))
        changes = [_change(**change) for change in fields["changes"]]
        if not all(isinstance(fields[name], str) for name in ("path", "after")):
            raise ValueError("path and after are no text")
        parse(fields["after"])
        return Journal(**(fields | {"changes": changes}))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = f"{type(error).__name__}: {first_line(error)}"
        raise FileError(f"{place} should be the journal of a calibration and is not: {text}") from error


def _change(servo_id: int, register: str, before: str, after: str) -> Change:
    """Raises ValueError for what no calibration writes: a journal is acted on without a further question."""
    if servo_id not in SERVO_IDS or register not in NAMES:
        raise ValueError(f"servo {shown(servo_id)}, register {shown(register)}")
    size = BY_NAME[register].size
    if any(len(bytes.fromhex(value)) != size for value in (before, after)):
        raise ValueError(f"{register}: {shown(before)}, {shown(after)}; expected {size} bytes")
    return Change(servo_id, register, before, after)


def _remove(place: Path) -> None:
    place.unlink(missing_ok=True)
    sync(place.parent)
