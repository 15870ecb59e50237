"""A calibration as numbers: how it is read from LeRobot's file, what its angles mean, and where two of them differ.

LeRobot's file is JSON: joint -> id, drive_mode, homing_offset, range_min, range_max. An STS3215 reads
`present = (raw - Homing_Offset) mod 4096`, where `raw` is the encoder's own count; 0 degrees is the middle of the
range. `drive_mode` is in the file alone, no servo has it: 1 turns the sign around, so the gripper, which is in percent,
is closed at the larger count. LeRobot ignores it for joints in degrees, and so does `units`.

Sources: LeRobot 0.6.1 (`SerialMotorsBus._normalize`); the sign of the offset as measured on servos with firmware 3.10.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from so101_policy.errors import shown
from so101_policy.files.plain_data import parse_json, read_text
from so101_robot.bus.identity import Calibrated
from so101_robot.joints import JOINTS, SERVO_IDS, STEPS_PER_TURN

DEG_PER_STEP = 360 / (STEPS_PER_TURN - 1)
"""LeRobot's degrees of a step: its turn has 4095."""

LARGEST_OFFSET = 2047
"""What LeRobot writes into Homing_Offset: 11 bits and a sign."""

OLDER_FOLDERS = (
    "so101_follower",
    "so100_follower",
    "so101_follower_end_effector",
    "so100_follower_end_effector",
)
"""What earlier versions of LeRobot called the folder `so_follower` (2025): the files in them have the same format."""

OLDER_LEADER_FOLDERS = ("so101_leader", "so100_leader")
"""The same of the folder `so_leader`."""

OLDEST_FILES = tuple(Path(".cache/calibration", arm, "main_follower.json") for arm in ("so101", "so100"))
"""Where LeRobot kept a calibration before June 2025: in the folder that it was started in."""

LARGEST_NUMBER = 0xFFFF
"""No register of a servo holds more."""


class JointCalibration(NamedTuple):
    """One joint of a calibration, the fields of LeRobot's `MotorCalibration`."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    @property
    def middle(self) -> float:
        """What the servo reads at 0 degrees (of the gripper: half open)."""
        return (self.range_min + self.range_max) / 2

    @property
    def span_deg(self) -> float:
        """Width of the range [deg]."""
        return (self.range_max - self.range_min) * DEG_PER_STEP


Calibration = Mapping[str, JointCalibration]
"""Joint by joint."""


class CalibratedServo(Calibrated, Protocol):
    """`JointCalibration`, or LeRobot's `MotorCalibration`."""

    @property
    def id(self) -> int: ...
    @property
    def drive_mode(self) -> int: ...


def of(rows: Mapping[str, CalibratedServo]) -> dict[str, JointCalibration]:
    """The same, of LeRobot's rows."""
    return {
        name: JointCalibration(row.id, row.drive_mode, row.homing_offset, row.range_min, row.range_max)
        for name, row in rows.items()
    }


# angles -----


def raw_of(present: int, homing_offset: int, mode: int = 0) -> int:
    """The raw encoder count, 0..4095, of a reading. In modes 1 and 2 (velocity, PWM) the reading is the raw count."""
    return (present + (homing_offset if mode in (0, 3) else 0)) % STEPS_PER_TURN


def wrapped(steps: float) -> float:
    """`steps` brought into -2048 (included) to 2048 (excluded): the short way round."""
    half = STEPS_PER_TURN // 2
    return (steps + half) % STEPS_PER_TURN - half


def zero_raw(joint: JointCalibration) -> float:
    """The raw count at which a joint is at 0 degrees."""
    return (joint.middle + joint.homing_offset) % STEPS_PER_TURN


def angle_deg(joint: JointCalibration, raw: float) -> float:
    """Where a joint is by its calibration [deg from the middle], of its raw count."""
    return wrapped(raw - zero_raw(joint)) * DEG_PER_STEP


def zero_shift_deg(ours: JointCalibration, theirs: JointCalibration) -> float:
    """By how many degrees a joint reads more under `theirs` than under `ours`, in the same pose."""
    return wrapped(zero_raw(ours) - zero_raw(theirs)) * DEG_PER_STEP


def end_shifts_deg(ours: JointCalibration, theirs: JointCalibration) -> tuple[float, float]:
    """How far the lower and the upper end of `theirs` are above those of `ours`, at the joint [deg]."""
    lower = theirs.range_min + theirs.homing_offset - ours.range_min - ours.homing_offset
    upper = theirs.range_max + theirs.homing_offset - ours.range_max - ours.homing_offset
    return wrapped(lower) * DEG_PER_STEP, wrapped(upper) * DEG_PER_STEP


def differences(file: Calibration, servos: Calibration) -> list[str]:
    """One phrase for each joint whose offset or range in the servo is not that of the file. Both have all six."""
    lines: list[str] = []
    for joint in JOINTS:
        ours, theirs = file[joint], servos[joint]
        pairs = [(key, getattr(ours, key), getattr(theirs, key)) for key in JointCalibration._fields[2:]]
        if found := [f"{key} {a}, in the servo {b}" for key, a, b in pairs if a != b]:
            lines.append(
                f"{joint}: {'; '.join(found)} (its zero is off by {zero_shift_deg(ours, theirs):+.1f} deg)"
            )
    return lines


def not_these_joints(found: Collection[str]) -> str:
    """What is wrong with a calibration that has not the six joints."""
    names = ", ".join(shown(name).strip("'\"") for name in list(found)[:12])
    return f"joints {names or 'none'}; an SO-101 has {', '.join(JOINTS)}"


def wrong_ids(rows: Calibration) -> list[str]:
    """A phrase for each joint whose servo has another id than `lerobot-setup-motors` gives it."""
    return [
        f"{joint}: has servo id {rows[joint].id}; an SO-101 has {servo_id} there"
        for joint, servo_id in zip(JOINTS, SERVO_IDS, strict=True)
        if rows[joint].id != servo_id
    ]


def not_in_order(joint: str, row: Calibrated) -> str | None:
    """The range is none: its ends are not counts of one turn, or not in order."""
    if 0 <= row.range_min < row.range_max < STEPS_PER_TURN:
        return None
    return (
        f"{joint}: range {row.range_min}..{row.range_max} is not within 0..{STEPS_PER_TURN - 1} in this order: it "
        "crosses the encoder's wrap"
    )


# files -----


def read(path: Path) -> dict[str, JointCalibration]:
    """A calibration file. Raises OSError: it cannot be read; ValueError: it is no calibration, and why."""
    return parse(read_text(path))


def parse(text: str) -> dict[str, JointCalibration]:
    """The calibration in LeRobot's JSON. Raises ValueError that names what is missing."""
    joints: Any = parse_json(text)
    if not isinstance(joints, dict):
        raise ValueError("it has no joints")
    rows = cast("dict[str, Any]", joints)
    if {"homing_offset", "start_pos", "end_pos"} <= set(rows):
        raise ValueError(
            "it is of LeRobot before June 2025 (homing_offset, start_pos, end_pos), whose angles mean something else: "
            "calibrate again, and expect other zeros than those of the datasets of that time"
        )
    return {name: _joint(name, fields) for name, fields in rows.items()}


def _joint(name: str, fields: Any) -> JointCalibration:
    wanted = JointCalibration._fields
    who = shown(name).strip("'\"")
    if not isinstance(fields, dict):
        raise ValueError(f"{who} is not an object with {', '.join(wanted)}")
    values = cast("dict[str, Any]", fields)
    if set(values) != set(wanted):
        found = ", ".join(shown(key).strip("'\"") for key in list(values)[:8]) or "nothing"
        raise ValueError(f"{who} has {found}; expected are {', '.join(wanted)}")
    for key in wanted:
        if type(values[key]) is not int:
            raise ValueError(f"{who}: {key} = {shown(values[key])} is not a whole number")
        if not -LARGEST_NUMBER <= values[key] <= LARGEST_NUMBER:
            raise ValueError(f"{who}: {key} = {shown(values[key])} is more than a servo's register holds")
    return JointCalibration(**values)


def older_file(path: Path) -> Path | None:
    """The calibration of the same name in a folder of an earlier LeRobot, beside the folder of `path`."""
    places = (folder / path.name for folder in _older_folders(path))
    return next((place for place in places if place.is_file()), None)


def neighbours(path: Path) -> str:
    """A phrase that names the other calibrations there, and those that an earlier LeRobot left: most often the id was
    forgotten or misspelt. Empty where there is none."""
    here = _names(path.parent)
    phrases = [f"that folder has {here} (choose one with --robot.id)"] if here else []
    for folder in _older_folders(path):
        if names := _names(folder):
            phrases.append(f"{folder}, of an earlier LeRobot, has {names}")
    oldest = next((place for place in OLDEST_FILES if place.is_file()), None)
    if oldest is not None:
        phrases.append(
            f"{oldest} is of LeRobot before June 2025, whose angles mean something else: of no use here"
        )
    return "; ".join(phrases)


def _older_folders(path: Path) -> list[Path]:
    beside = path.parent.parent
    names = OLDER_LEADER_FOLDERS if beside.name == "teleoperators" else OLDER_FOLDERS
    folders = [beside / name for name in names]
    return [folder for folder in folders if folder != path.parent]


def _names(folder: Path) -> str:
    return ", ".join(shown(file.stem).strip("'\"") for file in sorted(folder.glob("*.json"))[:12])
