"""Pictures of the board taken by themselves: hold it still in front of the camera, move it, hold it still again.

Every kept picture is written at once (`view_00.png` ...), for the calibration to be repeated from the files; for the
wrist camera with a line of `joints.csv`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras import pictures
from so101_calibration.cameras.board_views import AutoCapture, View, coverage_share, coverage_text, detect
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.poses import Matrix, transform
from so101_calibration.errors import FileError, ImplausibleError, UsageError
from so101_calibration.files import write_whole
from so101_robot.joints import JOINTS
from so101_robot.state import Frame

JOINTS_FILE = "joints.csv"
HEADER = ",".join(("picture", *JOINTS))


def capture(
    frames: Iterable[Frame],
    board: Board,
    folder: Path,
    wanted: int,
    say: Callable[[str], None],
    joints: Callable[[], Sequence[float]] | None = None,
    limit_s: float = 300.0,
) -> list[View]:
    """Feed `frames` to automatic capture until `wanted` views are kept, and return them.

    Args:
        say: told what to do, whenever that changes.
        joints: joint values (6,) in LeRobot units of the moment, for a camera on the hand.
        limit_s: on the frames' clock.

    Raises:
        UsageError: the folder has pictures already. ImplausibleError: the time is over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("view_*.png")):
        raise UsageError(f"{folder} has pictures of an earlier capture; name another folder or remove them")
    taking, rows = AutoCapture(), [HEADER]
    last, start_s = "", None
    for frame in frames:
        start_s = frame.captured_s if start_s is None else start_s
        name = f"view_{len(taking.views):02d}.png"
        told = taking.feed(detect(frame.image, board, name), frame.captured_s)
        if told == "captured":
            pictures.write(folder / name, frame.image)
            if joints is not None:
                rows.append(",".join((name, *(f"{value:.4f}" for value in joints()))))
                write_whole(folder / JOINTS_FILE, "\n".join(rows) + "\n")
            share = 100 * coverage_share(taking.views)
            told = f"captured {len(taking.views)} of {wanted}; {share:.0f} % of the picture seen\n"
            told += coverage_text(taking.views)
        if told != last:
            say(told)
            last = told
        if len(taking.views) == wanted:
            return taking.views
        if frame.captured_s - start_s > limit_s:
            break
    raise ImplausibleError(
        f"{len(taking.views)} of {wanted} views within {limit_s:.0f} s; the last frame: {last or 'none came'}. What "
        f"was captured lies in {folder}"
    )


def read_views(places: Sequence[Path], board: Board) -> tuple[list[View], list[str]]:
    """Views in picture files or folders, and the names of files without a board. Raises FileError."""
    views, without = list[View](), list[str]()
    for path in pictures.find(places):
        view = detect(pictures.read(path), board, path.name)
        if view is None:
            without.append(path.name)
        else:
            views.append(view)
    return views, without


def read_joints(path: Path) -> dict[str, NDArray[np.float64]]:
    """Joint values (6,) in LeRobot units by picture. Raises FileError."""
    try:
        lines = path.read_text().split()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if not lines or lines[0] != HEADER:
        raise FileError(f"{path}: the first line must be {HEADER}")
    found: dict[str, NDArray[np.float64]] = {}
    for line in lines[1:]:
        name, *values = line.split(",")
        found[name] = np.array([_number(value, path) for value in values])
        if len(values) != len(JOINTS):
            raise FileError(f"{path}: {name} has {len(values)} joint values; needed are {len(JOINTS)}")
    return found


def read_touches(path: Path) -> tuple[list[int], NDArray[np.float64]]:
    """Corner numbers, and where they were touched (n, 3) [m] in the base frame. Raises FileError."""
    header = "corner,x_mm,y_mm,z_mm"
    try:
        lines = path.read_text().split()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    rows = [[_number(value, path) for value in line.split(",")] for line in lines[1:]]
    if not lines or lines[0] != header or any(len(row) != 4 for row in rows):
        raise FileError(f"{path}: needed are the line {header} and four numbers in each line after it")
    return [int(row[0]) for row in rows], np.array([row[1:] for row in rows]).reshape(-1, 3) / 1000


def hand_pose(joint: NDArray[np.float64]) -> Matrix:
    """X_base_hand at joint values (6,) in LeRobot units; the hand is the link `gripper`."""
    from so101_robot.guard.kinematics import LINK_NAMES, angles_of, forward

    pose = forward(angles_of(joint))
    link = LINK_NAMES.index("gripper")
    return transform(pose.rotation[link], pose.position_m[link])


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FileError(f"{path}: {text!r} is no number") from error
    if not np.isfinite(value):
        raise FileError(f"{path}: {text!r} is no finite number")
    return value
