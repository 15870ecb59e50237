"""Calibration files: LeRobot's format in LeRobot's folder, written whole or not at all, with a dated backup.

A file is JSON: joint -> id, drive_mode, homing_offset, range_min, range_max. LeRobot keeps it as
`<HF_LEROBOT_CALIBRATION>/robots/so_follower/<robot id>.json`.
"""

import contextlib
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from so101_calibration.errors import FileError
from so101_calibration.homing import Calibration, JointCalibration

FOLDER = ("robots", "so_follower")
"""Below LeRobot's calibration folder: its name for an SO-101 that follows."""

BACKUPS = "backups"
"""Folder beside the file; not `*.json` beside it, which LeRobot's and our lists of robot ids would show."""


def path_of(robot_id: str, folder: Path | None = None) -> Path:
    """Where LeRobot keeps the calibration of `robot_id`. Raises FileError for an id that is no file name."""
    if not robot_id or Path(robot_id).name != robot_id or robot_id.startswith("."):
        raise FileError(f"robot id {robot_id!r} cannot name a file; use letters, digits, - and _")
    return (lerobot_folder() if folder is None else folder) / f"{robot_id}.json"


def lerobot_folder() -> Path:
    """LeRobot's folder, without importing LeRobot: the same environment variables in the same order."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    hub = Path(os.environ.get("HF_HOME", cache / "huggingface"))
    home = Path(os.environ.get("HF_LEROBOT_HOME", hub / "lerobot"))
    return Path(os.environ.get("HF_LEROBOT_CALIBRATION", home / "calibration")).expanduser().joinpath(*FOLDER)


def read(path: Path) -> dict[str, JointCalibration]:
    """A calibration file. Raises FileError: it is not there (says which are), or is none."""
    try:
        text = path.read_text()
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise FileError(f"no calibration at {path} ({error.strerror}); found there: {names}") from error
    try:
        return parse(text)
    except ValueError as error:
        raise FileError(f"{path} is not a calibration file: {error}") from error


def parse(text: str) -> dict[str, JointCalibration]:
    """The calibration in LeRobot's JSON. Raises ValueError that says what is missing."""
    joints: Any = json.loads(text)
    if not isinstance(joints, dict):
        raise ValueError("it has no joints")
    rows = cast("dict[str, Any]", joints)
    return {name: _joint(name, fields) for name, fields in rows.items()}


def dump(calibration: Calibration) -> str:
    """LeRobot's JSON."""
    return json.dumps({name: joint._asdict() for name, joint in calibration.items()}, indent=4)


def _joint(name: str, fields: Any) -> JointCalibration:
    wanted = JointCalibration._fields
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is not an object with {', '.join(wanted)}")
    values = cast("dict[str, Any]", fields)
    if set(values) != set(wanted):
        raise ValueError(f"{name} has {', '.join(values) or 'nothing'}; needed are {', '.join(wanted)}")
    wrong = [key for key in wanted if type(values[key]) is not int]
    if wrong:
        raise ValueError(f"{name}: {wrong[0]} = {values[wrong[0]]!r} is not a whole number")
    return JointCalibration(**values)


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path` in one step that survives power loss: a reader finds the old text or the new one.

    Raises FileError.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; other users of the arm read it too
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def back_up(path: Path, now: datetime) -> Path | None:
    """Keep a copy of `path` as `backups/<name>.<date>_<time>.json`. Returns it, None if there is nothing to keep."""
    if not path.is_file():
        return None
    stamp = now.strftime("%Y-%m-%d_%H%M%S_%f")
    copy = path.parent / BACKUPS / f"{path.stem}.{stamp}.json"
    write_whole(copy, path.read_text())
    return copy
