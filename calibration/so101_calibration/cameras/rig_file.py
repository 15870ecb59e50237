"""One readable file for the cameras of a rig, beside the calibration of its servos: `<robot id>.cameras.yaml`.

For each camera by name: intrinsics, pose (in the arm's base frame, or on its hand), both with standard deviations,
and the settings that were locked. Every part has its date. The file is written whole or not at all, and the one
before is kept in `backups`.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from so101_calibration import files
from so101_calibration.cameras.intrinsics import PARAMETERS, Intrinsics
from so101_calibration.cameras.lock_settings import Lock
from so101_calibration.cameras.poses import Placed, transform
from so101_calibration.errors import FileError

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
    """`base`: it stands; `hand`: it rides on the link `gripper`."""
    placed: Placed


@dataclass(frozen=True)
class RigCamera:
    """What is known of a camera."""

    intrinsics: Intrinsics | None = None
    pose: CameraPose | None = None
    locks: tuple[Lock, ...] = ()
    dates: dict[str, str] = field(default_factory=dict)
    """Of each part."""


def path_of(robot_id: str, folder: Path | None = None) -> Path:
    """Where the cameras of a rig are kept; `folder` as for the servos. Raises FileError for an id that is no name."""
    return files.path_of(robot_id, folder).with_suffix(".cameras.yaml")


def load(path: Path) -> dict[str, RigCamera]:
    """The cameras by name; none if there is no file. Raises FileError for a file that is none of ours."""
    try:
        found: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    try:
        if found["version"] != VERSION:
            raise FileError(f"{path} is of version {found['version']}; this program knows version {VERSION}")
        return {str(name): _camera(row) for name, row in found["cameras"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FileError(f"{path} is not a file of cameras: {type(error).__name__} {error}") from error


def update(path: Path, name: str, now: datetime, **parts: Any) -> RigCamera:
    """Write parts (`intrinsics`, `pose`, `locks`) of one camera and leave the rest of the file as it is.

    New intrinsics drop a pose that was made with the old ones. Returns what the file now says of the camera. Raises
    FileError.
    """
    cameras = load(path)
    date = now.isoformat(sep=" ", timespec="seconds")
    camera = replace(cameras.get(name, RigCamera()), **parts)
    dates = {**camera.dates, **dict.fromkeys(parts, date)}
    if "intrinsics" in parts and "pose" not in parts:
        camera = replace(camera, pose=None)
        dates.pop("pose", None)
    cameras[name] = replace(camera, dates=dates)
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


def _pose(row: dict[str, Any]) -> CameraPose:
    if row["frame"] not in FRAMES:
        raise ValueError(f"frame {row['frame']!r}; possible are {', '.join(FRAMES)}")
    vectors = {
        key: np.array([float(value) for value in row[key]])
        for key in ("position_mm", "position_sd_mm", "rotation_deg", "rotation_sd_deg")
    }
    X = transform(np.deg2rad(vectors["rotation_deg"]), vectors["position_mm"] / 1000)
    placed = Placed(
        X, vectors["position_sd_mm"], vectors["rotation_sd_deg"], float(row["rms_px"]), int(row["views"])
    )
    return CameraPose(row["frame"], placed)
