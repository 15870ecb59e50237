"""`so101-calibrate cameras`: a board to print, intrinsics, the cameras' poses, and their settings locked.

Exit code 0: done; 1: `lock` was refused something; 2: a mistake in what was asked, or a result that cannot be
(raised, for the main to print). Nothing is written before a result has passed its checks.
"""

import argparse
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from so101_calibration.cameras import live, poses, rig_file
from so101_calibration.cameras import lock_settings as locks
from so101_calibration.cameras.board_views import View, coverage_share, coverage_text
from so101_calibration.cameras.boards import DICTIONARIES, PAGES_MM, Board, write_board
from so101_calibration.cameras.capture import (
    JOINTS_FILE,
    capture,
    hand_pose,
    read_joints,
    read_touches,
    read_views,
)
from so101_calibration.cameras.intrinsics import PARAMETERS, Intrinsics, calibrate
from so101_calibration.cameras.rig_file import CameraPose, RigCamera
from so101_calibration.errors import TorqueError, UsageError
from so101_robot.arm.cameras import LeRobotFrames
from so101_robot.bus.registers import BY_NAME

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101

WANTED_VIEWS = 18
REGULATE_S = 1.5
"""So long a camera regulates itself before it is locked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command and its parts."""
    parser.description = (
        "Calibrates the cameras of a rig and keeps the result beside the servos' calibration."
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    board = _part(parts, "board", draw_board, "draw the board to print")
    board.add_argument("--out", type=Path, required=True, help="a .pdf or .png file")
    board.add_argument("--page", default="a4", help=f"{', '.join(PAGES_MM)} (default: a4)")
    lens = _part(parts, "intrinsics", find_intrinsics, "focal length, principal point, distortion")
    _add_views(lens)
    front = _part(parts, "front", place_camera, "pose of a standing camera in the arm's base frame")
    _add_views(front)
    front.add_argument("--board-mm", type=float, nargs=3, metavar=("X", "Y", "TURN_DEG"),
                       help="the board lies face up: its first black corner in the base frame, its turn")  # fmt: skip
    front.add_argument("--touches", type=Path, help="or: a CSV of touched corners: corner,x_mm,y_mm,z_mm")
    wrist = _part(
        parts, "wrist", place_hand_camera, "pose of the wrist camera on the hand, from a board that stays"
    )
    _add_views(wrist)
    wrist.add_argument(
        "--joints", type=Path, help=f"joint values by picture (default: {JOINTS_FILE} beside the pictures)"
    )
    lock = _part(parts, "lock", lock_settings, "lock and record exposure, gain, white balance, focus")
    for name in locks.NAMES:
        lock.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="VALUE", help="default: what it has now"
        )
    lock.add_argument("--again", action="store_true", help="set what was recorded")
    _part(parts, "show", show, "what is known of the cameras")


def run(options: argparse.Namespace) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    part: Callable[[argparse.Namespace, Console], int] = options.camera_part
    return part(options, Console(highlight=False))


def _part(parts: Any, name: str, run_part: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(name, help=text, description=text)
    parser.set_defaults(camera_part=run_part)
    board = Board()
    if name != "board":
        parser.add_argument(
            "--camera",
            default="wrist" if name == "wrist" else "front",
            help="its name (default: %(default)s)",
        )
        live.add_arguments(parser)
    if name not in ("lock", "show"):
        group = parser.add_argument_group("board, as printed")
        group.add_argument(
            "--columns", type=int, default=board.columns, help="squares (default: %(default)s)"
        )
        group.add_argument("--rows", type=int, default=board.rows, help="squares (default: %(default)s)")
        group.add_argument(
            "--square-mm", type=float, default=board.square_mm, help="measured (default: %(default)s)"
        )
        group.add_argument("--marker-mm", type=float, help="default: in the proportion of the default board")
        group.add_argument("--dictionary", default=board.dictionary, help=f"{', '.join(DICTIONARIES)}")
    return parser


def _add_views(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", help="pictures or folders of them, instead of the live camera"
    )
    parser.add_argument("--views", type=int, default=WANTED_VIEWS, help="to capture (default: %(default)s)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where captured pictures go (default: outputs/cameras/...)"
    )


def _board(options: argparse.Namespace) -> Board:
    default = Board()
    marker_mm = options.marker_mm or options.square_mm * default.marker_mm / default.square_mm
    return Board(options.columns, options.rows, options.square_mm, marker_mm, options.dictionary)


def draw_board(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras board"""
    board = _board(options)
    write_board(board, options.out, options.page)
    console.print(f"{options.out}: {board}, on {options.page}", soft_wrap=True, markup=False)
    console.print("print at 100 %, measure the bar and a square, glue it on something flat")
    return 0


def find_intrinsics(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras intrinsics"""
    path, board = _rig_path(options), _board(options)
    found = calibrate(_views(options, board, console), board)
    for reason in found.refused:
        console.print(f"left out: {reason}", markup=False)
    console.print(_lens_table(found.intrinsics))
    errors = zip(found.views, found.intrinsics.view_rms_px, strict=True)
    console.print(
        "re-projection error [px]: " + ", ".join(f"{view.name} {rms:.2f}" for view, rms in errors),
        markup=False,
    )
    console.print(f"seen in {100 * coverage_share(found.views):.0f} % of the picture:", markup=False)
    console.print(coverage_text(found.views), markup=False)
    _keep(path, options, console, intrinsics=found.intrinsics)
    return 0


def place_camera(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras front"""
    path, board = _rig_path(options), _board(options)
    if (options.board_mm is None) == (options.touches is None):
        raise UsageError("where is the board? give either --board-mm X Y TURN_DEG or --touches FILE")
    intrinsics = _known_intrinsics(path, options)
    X_base_board, sd_mm, sd_deg = _board_place(options, board, console)
    views = _views(options, board, console)
    if not views:
        raise UsageError("no board in any of the pictures")
    lens = intrinsics.scaled(views[0].size_px)
    placed = poses.camera_in_base(views, [X_base_board] * len(views), lens, board)
    reach_mm = float(np.linalg.norm(placed.X[:3, 3] - X_base_board[:3, 3])) * 1000
    swing_mm = reach_mm * np.deg2rad(
        np.linalg.norm(sd_deg)
    )  # a board that is turned swings the camera about it
    placed = placed._replace(
        sd_mm=np.sqrt(placed.sd_mm**2 + sd_mm**2 + swing_mm**2), sd_deg=np.hypot(placed.sd_deg, sd_deg)
    )
    _say_pose(console, options.camera, "base", placed)
    _keep(path, options, console, pose=CameraPose("base", placed))
    return 0


def _board_place(
    options: argparse.Namespace, board: Board, console: Console
) -> tuple[poses.Matrix, Any, Any]:
    """X_base_board and its standard deviations [mm], [deg]."""
    if options.touches is None:
        x_mm, y_mm, turn_deg = options.board_mm
        return poses.lying(x_mm / 1000, y_mm / 1000, turn_deg), np.zeros(3), np.zeros(3)
    corners, touched_m = read_touches(options.touches)
    unknown = [corner for corner in corners if not 0 <= corner < len(board.corners_m)]
    if unknown:
        raise UsageError(
            f"{options.touches}: the board has corners 0 to {len(board.corners_m) - 1}, not {unknown[0]}"
        )
    placed = poses.board_from_touches(board.corners_m[corners], touched_m)
    console.print(f"board from {placed.views} touched corners, {placed.rms:.2f} mm left over", markup=False)
    return placed.X, placed.sd_mm, placed.sd_deg


def place_hand_camera(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras wrist"""
    path, board = _rig_path(options), _board(options)
    intrinsics = _known_intrinsics(path, options)
    if options.images is None and options.joints is not None:
        raise UsageError("--joints goes with --images; a live capture reads the joints itself")
    folder = options.images[0] if options.images else _folder(options)
    if options.images is None:
        _capture_with_joints(options, board, folder, console)
    views = _read(folder if options.images is None else options.images, board, console)
    joint_of = read_joints(options.joints or (folder if folder.is_dir() else folder.parent) / JOINTS_FILE)
    missing = [view.name for view in views if view.name not in joint_of]
    if missing:
        raise UsageError(f"no joint values for {', '.join(missing)}")
    if not views:
        raise UsageError("no board in any of the pictures")
    hands = [hand_pose(joint_of[view.name]) for view in views]
    placed, lies = poses.camera_on_hand(views, hands, intrinsics.scaled(views[0].size_px), board)
    _say_pose(console, options.camera, "hand", placed)
    _say_pose(console, "the board", "base", lies)
    _keep(path, options, console, pose=CameraPose("hand", placed))
    return 0


def lock_settings(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras lock"""
    path = _rig_path(options)
    wanted = {name: value for name in locks.NAMES if (value := getattr(options, name)) is not None}
    if options.again:
        known = rig_file.load(path).get(options.camera, RigCamera())
        wanted = {lock.name: lock.value for lock in known.locks if lock.held} | wanted
        if not wanted:
            raise UsageError(f"nothing was locked of camera {options.camera!r} in {path}")
    with live.open_cameras(options, options.camera) as cameras:
        source = cameras.source(options.camera)
        handle = source.camera if isinstance(source, LeRobotFrames) else None
        device = getattr(handle, "videocapture", None)
        if device is None:
            raise UsageError(
                f"camera {options.camera!r} is not opened through OpenCV: it has no settings to lock"
            )
        if not options.again:
            time.sleep(REGULATE_S)
        found = locks.lock(device, wanted)
    for line in locks.in_words(found):
        console.print(line, markup=False)
    _keep(path, options, console, locks=tuple(found))
    return 0 if all(lock.held for lock in found) else 1


def show(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras show"""
    path = _rig_path(options)
    cameras = rig_file.load(path)
    if not cameras:
        console.print(f"nothing is known of cameras: there is no {path}", markup=False, soft_wrap=True)
        return 0
    console.print(path.read_text(), markup=False, soft_wrap=True)
    return 0


def _rig_path(options: argparse.Namespace) -> Path:
    robot = live.given(options)
    if "--robot.id" not in robot:
        raise UsageError(
            "give --robot.id=NAME: it names the file that the result is kept in, as for the servos"
        )
    folder = robot.get("--robot.calibration_dir")
    return rig_file.path_of(robot["--robot.id"], Path(folder) if folder else None)


def _known_intrinsics(path: Path, options: argparse.Namespace) -> Intrinsics:
    camera = rig_file.load(path).get(options.camera, RigCamera())
    if camera.intrinsics is None:
        raise UsageError(
            f"the lens of camera {options.camera!r} is not calibrated in {path}; "
            "do `so101-calibrate cameras intrinsics` first"
        )
    return camera.intrinsics


def _folder(options: argparse.Namespace) -> Path:
    if options.keep is not None:
        return options.keep
    return Path("outputs", "cameras", f"{options.camera}_{datetime.now():%Y-%m-%d_%H%M%S}")


def _views(options: argparse.Namespace, board: Board, console: Console) -> list[View]:
    """From files, or captured."""
    if options.images is not None:
        return _read(options.images, board, console)
    if options.views < 1:
        raise UsageError(f"--views={options.views}: a number of views to capture")
    folder = _folder(options)
    with live.open_cameras(options, options.camera) as cameras:
        frames = live.frames(cameras.source(options.camera), cameras.clock)
        wanted = 1 if options.camera_part is place_camera else options.views
        views = capture(frames, board, folder, wanted, lambda text: console.print(text, markup=False))
    console.print(f"pictures: {folder}", markup=False, soft_wrap=True)
    return views


def _read(places: Any, board: Board, console: Console) -> list[View]:
    views, without = read_views(places if isinstance(places, list) else [places], board)
    if without:
        console.print(f"no board in {', '.join(without)}", markup=False)
    return views


def _capture_with_joints(options: argparse.Namespace, board: Board, folder: Path, console: Console) -> None:
    """A hand moves the arm, which is read and never driven."""
    with _arm(options) as arm:
        _check_free(arm)
        source = live.ArmCamera(arm, options.camera)
        capture(
            live.frames(source, arm.clock),
            board,
            folder,
            options.views,
            lambda text: console.print(text, markup=False),
            joints=lambda: arm.read().position.tolist(),
        )


@contextmanager
def _arm(options: argparse.Namespace) -> "Generator[SO101]":
    from so101_robot.arm.arm import SO101

    arm = SO101(live.parse(options))
    arm.connect()
    try:
        yield arm
    finally:
        arm.disconnect(release=False)


def _check_free(arm: "SO101") -> None:
    """Raises TorqueError. The torque is not switched off here: an arm that nobody holds would fall."""
    torque = BY_NAME["Torque_Enable"].address
    holding = [str(number) for number, row in enumerate(arm.bus.read_registers(), 1) if row[torque] == 1]
    if holding:
        raise TorqueError(
            f"a hand shall move the arm, and servos {', '.join(holding)} hold it: support the arm and switch its power "
            "off and on, then start again"
        )


def _lens_table(found: Intrinsics) -> Table:
    across, down = found.field_deg
    table = Table(
        title=f"field of view {across:.1f} x {down:.1f} deg, {found.rms_px:.3f} px rms", title_justify="left"
    )
    for heading in ("", "value", "standard deviation"):
        table.add_column(heading, justify="right")
    for name, sd in zip(PARAMETERS, found.sd, strict=True):
        digits = 2 if name[0] in "fc" else 5
        table.add_row(name, f"{getattr(found, name):.{digits}f}", f"{sd:.{digits}f}")
    return table


def _say_pose(console: Console, name: str, frame: str, placed: poses.Placed) -> None:
    x, y, z = (placed.X[:3, 3] * 1000).tolist()
    sd_mm, sd_deg = placed.sd_mm.tolist(), placed.sd_deg.tolist()
    console.print(
        f"{name} in the {frame} frame: x {x:.1f} ± {sd_mm[0]:.1f}, y {y:.1f} ± {sd_mm[1]:.1f}, z {z:.1f} ± "
        f"{sd_mm[2]:.1f} mm; turned ± {max(sd_deg):.2f} deg; {placed.rms:.2f} px left over in "
        f"{placed.views} {'view' if placed.views == 1 else 'views'} (± is one standard deviation)",
        markup=False,
    )


def _keep(path: Path, options: argparse.Namespace, console: Console, **parts: Any) -> None:
    rig_file.update(path, options.camera, datetime.now(), **parts)
    console.print(f"kept in {path}", markup=False, soft_wrap=True)
