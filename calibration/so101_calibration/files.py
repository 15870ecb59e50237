"""Calibration files: LeRobot's format in LeRobot's folder, written in one step, with a dated backup.

A file is JSON: joint -> id, drive_mode, homing_offset, range_min, range_max. LeRobot keeps it as
`<HF_LEROBOT_CALIBRATION>/robots/so_follower/<robot id>.json`, that of a leader below `teleoperators/so_leader`.
"""

import json
import os
from datetime import datetime
from pathlib import Path

from so101_calibration.errors import FileError
from so101_policy.errors import first_line
from so101_policy.files.whole_files import write_text
from so101_robot.bus import calibration
from so101_robot.bus.calibration import Calibration, JointCalibration

FOLDER = ("robots", "so_follower")
"""Below LeRobot's calibration folder: its name for an SO-101 that follows."""

LEADERS = ("teleoperators", "so_leader")
"""The same for the arm that a person moves."""

BACKUPS = "backups"
"""Folder beside the file; not `*.json` beside it, which LeRobot's and our lists of robot ids would show."""


def path_of(robot_id: str, folder: Path | None = None, *, leader: bool = False) -> Path:
    """Where LeRobot keeps the calibration of `robot_id`. Raises FileError for an id that is no file name."""
    if not robot_id or Path(robot_id).name != robot_id or robot_id.startswith("."):
        raise FileError(f"robot id {robot_id!r} cannot name a file; use letters, digits, - and _")
    return (lerobot_folder(leader) if folder is None else folder) / f"{robot_id}.json"


def lerobot_folder(leader: bool = False) -> Path:
    """LeRobot's folder, without importing LeRobot: the same environment variables in the same order."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    hub = Path(os.environ.get("HF_HOME", cache / "huggingface"))
    home = Path(os.environ.get("HF_LEROBOT_HOME", hub / "lerobot"))
    parts = LEADERS if leader else FOLDER
    return Path(os.environ.get("HF_LEROBOT_CALIBRATION", home / "calibration")).expanduser().joinpath(*parts)


def read(path: Path) -> dict[str, JointCalibration]:
    """A calibration file. Raises FileError: it is not there (names those that are), or is not a calibration."""
    try:
        return calibration.read(path)
    except OSError as error:
        names = calibration.neighbours(path) or "no other calibration is there"
        raise FileError(f"no calibration at {path} ({error.strerror}); {names}") from error
    except ValueError as error:
        raise FileError(f"{path} is not a calibration file: {first_line(error)}") from error


def dump(rows: Calibration) -> str:
    """LeRobot's JSON."""
    return json.dumps({name: joint._asdict() for name, joint in rows.items()}, indent=4)


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path` in one step that survives power loss: a reader finds the old text or the new one.

    Raises FileError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}") from error


def back_up(path: Path, now: datetime) -> Path | None:
    """Keep a copy of `path` as `backups/<name>.<date>_<time>.json`. Returns it, None if there is nothing to keep."""
    if not path.is_file():
        return None
    stamp = now.strftime("%Y-%m-%d_%H%M%S_%f")
    copy = path.parent / BACKUPS / f"{path.stem}.{stamp}.json"
    write_whole(copy, path.read_text())
    return copy
