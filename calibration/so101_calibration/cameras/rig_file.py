"""One readable file for the cameras of a rig, beside the calibration of its servos: `<robot id>.cameras.yaml`.

For each camera by name: intrinsics, pose (in the arm's base frame, or on its hand), both with standard deviations,
and the settings that were locked. Every part has its date. The file is written in one step, and the one
before is kept in `backups`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from so101_calibration import files
from so101_calibration.cameras.intrinsics import PARAMETERS, Intrinsics
from so101_calibration.cameras.lock_settings import Lock
from so101_calibration.cameras.poses import Placed, transform
from so101_calibration.errors import FileError
from so101_policy.errors import first_line, printable, shown
from so101_policy.files.plain_data import parse_yaml, read_text

VERSION = 1
HEADER = """\
# The cameras of this rig, made by `so101-calibrate cameras`. Pixels: the centre of the first one is at 0, 0.
# A pose takes points in the camera's frame (x right, y down, z ahead) to the frame it names; rotation is a vector.
# sd: standard deviation.
"""
FRAMES = ("base", "hand")


@dataclass(frozen=True)
class CameraPose:
    """Where a camera is."""

    frame: str
    """`base`: it does not move; `hand`: it is on the link `gripper`."""
    placed: Placed


@dataclass(frozen=True)
class RigCamera:
    """What is known of a camera."""

    intrinsics: Intrinsics | None = None
    pose: CameraPose | None = None
    locks: tuple[Lock, ...] = ()
    dates: dict[str, str] = field(default_factory=dict)
    """Of each part."""


def path_of(calibration: Path) -> Path:
    """Beside the servos' calibration file `<robot id>.json`."""
    return calibration.with_suffix(".cameras.yaml")


def load(path: Path) -> dict[str, RigCamera]:
    """The cameras by name; none if there is no file. Raises FileError for a file of another kind."""
    try:
        found: Any = parse_yaml(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {first_line(error)}") from error
    try:
        if found["version"] != VERSION:
            version = shown(found["version"])
            raise FileError(f"{path} is of version {version}; this program knows version {VERSION}")
        rows = found["cameras"].items()
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FileError(
            f"{path} is not a file of cameras: expected a table with version and cameras"
        ) from error
    cameras: dict[str, RigCamera] = {}
    for name, row in rows:
        try:
            cameras[str(name)] = _camera(row)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            what = printable(f"{type(error).__name__} {first_line(error)}")
            raise FileError(f"{path} is not a file of cameras: {shown(name)}: {what}") from error
    return cameras


def update(
    path: Path,
    name: str,
    now: datetime,
    *,
    intrinsics: Intrinsics | None = None,
    pose: CameraPose | None = None,
    locks: tuple[Lock, ...] | None = None,
) -> RigCamera:
    """Write the parts of one camera that are given and leave the rest of the file as it is.

    New intrinsics drop a pose that was made with the old ones. Returns the camera as the file now has it. Raises
    FileError.
    """
    cameras = load(path)
    old = cameras.get(name, RigCamera())
    given = {"intrinsics": intrinsics is not None, "pose": pose is not None, "locks": locks is not None}
    dates = old.dates | {
        part: now.isoformat(sep=" ", timespec="seconds") for part, new in given.items() if new
    }
    kept_pose = old.pose if intrinsics is None else None
    if pose is None and kept_pose is None:
        dates.pop("pose", None)
    cameras[name] = RigCamera(
        old.intrinsics if intrinsics is None else intrinsics,
        kept_pose if pose is None else pose,
        old.locks if locks is None else locks,
        dates,
    )
    if path.is_file():
        stamp = now.strftime("%Y-%m-%d_%H%M%S_%f")
        files.write_whole(path.parent / files.BACKUPS / f"{path.stem}.{stamp}.yaml", path.read_text())
    files.write_whole(path, dump(cameras))
    return cameras[name]


def dump(cameras: dict[str, RigCamera]) -> str:
    """The file's text."""
    rows = {name: _row(camera) for name, camera in sorted(cameras.items())}
    content = {"version": VERSION, "cameras": rows}
    return HEADER + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)


def _row(camera: RigCamera) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if camera.intrinsics is not None:
        row["intrinsics"] = {"date": camera.dates.get("intrinsics", ""), **_intrinsics_row(camera.intrinsics)}
    if camera.pose is not None:
        row["pose"] = {"date": camera.dates.get("pose", ""), **_pose_row(camera.pose)}
    if camera.locks:
        held = {
            lock.name: {"asked": lock.asked, "value": lock.value, "held": lock.held, "refused": lock.refused}
            for lock in camera.locks
        }
        row["locks"] = {"date": camera.dates.get("locks", ""), "settings": held}
    return row


def _intrinsics_row(found: Intrinsics) -> dict[str, Any]:
    values = {
        name: {"value": round(getattr(found, name), 6), "sd": round(sd, 6)}
        for name, sd in zip(PARAMETERS, found.sd, strict=True)
    }
    errors = [round(rms, 4) for rms in found.view_rms_px]
    return {"size_px": list(found.size_px), **values, "rms_px": round(found.rms_px, 4), "view_rms_px": errors}


def _pose_row(pose: CameraPose) -> dict[str, Any]:
    placed = pose.placed
    turn_deg = np.rad2deg(np.asarray(cv2.Rodrigues(placed.X[:3, :3])[0], float).ravel())
    return {
        "frame": pose.frame,
        "position_mm": [round(value, 4) for value in (placed.X[:3, 3] * 1000).tolist()],
        "position_sd_mm": [round(value, 4) for value in placed.sd_mm.tolist()],
        "rotation_deg": [round(value, 5) for value in turn_deg.tolist()],
        "rotation_sd_deg": [round(value, 5) for value in placed.sd_deg.tolist()],
        "rms_px": round(placed.rms, 4),
        "views": placed.views,
    }


def _camera(row: dict[str, Any]) -> RigCamera:
    dates = {part: str(row[part]["date"]) for part in ("intrinsics", "pose", "locks") if part in row}
    lens = row.get("intrinsics")
    intrinsics = None
    if lens is not None:
        values = {name: float(lens[name]["value"]) for name in PARAMETERS}
        sd = tuple(float(lens[name]["sd"]) for name in PARAMETERS)
        width, height = (int(side) for side in lens["size_px"])
        per_view = tuple(float(rms) for rms in lens["view_rms_px"])
        intrinsics = Intrinsics(
            (width, height), **values, sd=sd, rms_px=float(lens["rms_px"]), view_rms_px=per_view
        )
    settings = row["locks"]["settings"] if "locks" in row else {}
    locks = tuple(Lock(str(name), **fields) for name, fields in settings.items())
    return RigCamera(intrinsics, _pose(row["pose"]) if "pose" in row else None, locks, dates)


def _vector(key: str, values: Any) -> NDArray[np.float64]:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{key} = {shown(values)}; expected three numbers")
    return np.array([float(value) for value in values])


def _pose(row: dict[str, Any]) -> CameraPose:
    if row["frame"] not in FRAMES:
        raise ValueError(f"frame {shown(row['frame'])}; possible are {', '.join(FRAMES)}")
    vectors = {
        key: _vector(key, row[key])
        for key in ("position_mm", "position_sd_mm", "rotation_deg", "rotation_sd_deg")
    }
    X = transform(np.deg2rad(vectors["rotation_deg"]), vectors["position_mm"] / 1000)
    placed = Placed(
        X, vectors["position_sd_mm"], vectors["rotation_sd_deg"], float(row["rms_px"]), int(row["views"])
    )
    return CameraPose(row["frame"], placed)
