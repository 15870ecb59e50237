"""`so101-calibrate cameras`: a board to print, intrinsics, the cameras' poses, and their settings locked.

Exit code 0: done; 1: `lock` was refused something; 2: wrong input, or an impossible result
(raised, for the main to print). Nothing is written before a result has passed its checks.
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_calibration import robot_options
from so101_calibration.cameras import lock_settings as locks
from so101_calibration.cameras import rig_file
from so101_calibration.cameras.board_views import View, coverage_share, coverage_text
from so101_calibration.cameras.boards import DICTIONARIES, PAGES_MM, Board, write_board
from so101_calibration.cameras.capture import JOINTS_FILE, hand_pose, read_joints, read_touches, read_views
from so101_calibration.cameras.hand_eye import camera_on_hand
from so101_calibration.cameras.in_words import lens_table, pose_line
from so101_calibration.cameras.intrinsics import Intrinsics, calibrate
from so101_calibration.cameras.placing import board_from_touches, camera_in_base
from so101_calibration.cameras.poses import Matrix, board_on_table
from so101_calibration.cameras.rig_file import CameraPose, RigCamera
from so101_calibration.errors import UsageError
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.console import Console

EXAMPLES = """
  so101-calibrate cameras board --output=board.pdf
      draw the board to print
  so101-calibrate cameras intrinsics --robot.id=my_arm --robot.cameras="{...}"
      hold the board before the camera, in many places
  so101-calibrate cameras front --robot.id=my_arm --board_mm 120 -60 90 \\
      --robot.cameras="{...}"
      where a standing camera is
"""

WANTED_VIEWS = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command and its parts."""
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    board = _part(parts, "board", draw_board, "draw the board to print")
    board.add_argument(
        "--output", dest="out", type=Path, metavar="FILE", required=True, help="a .pdf or .png file"
    )
    board.add_argument("--page", default="a4", help=f"{', '.join(PAGES_MM)} (default: a4)")
    lens = _part(parts, "intrinsics", find_intrinsics, "focal length, principal point, distortion")
    _add_views(lens)
    front = _part(parts, "front", place_camera, "pose of a standing camera in the arm's base frame")
    _add_views(front)
    front.add_argument("--board_mm", type=Number(), nargs=3, metavar=("X", "Y", "TURN_DEG"),
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
        lock.add_argument(f"--{name}", type=Number(), metavar="VALUE", help="default: what it has now")
    lock.add_argument("--again", action="store_true", help="set what was recorded")
    _part(parts, "show", show, "what is known of the cameras")


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-calibrate cameras",
        "Calibrates the cameras of a rig and keeps the result beside the servos'\ncalibration.",
        EXAMPLES,
    )
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    part: Callable[[argparse.Namespace, Console], int] = options.camera_part
    return part(options, Console())


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
        robot_options.add_arguments(parser)
    if name not in ("lock", "show"):
        group = parser.add_argument_group("board, as printed")
        group.add_argument(
            "--columns", type=Whole(2, 100), default=board.columns, help="squares (default: %(default)s)"
        )
        group.add_argument(
            "--rows", type=Whole(2, 100), default=board.rows, help="squares (default: %(default)s)"
        )
        group.add_argument(
            "--square_mm",
            type=Number(1, 1000),
            default=board.square_mm,
            help="measured (default: %(default)s)",
        )
        group.add_argument(
            "--marker_mm", type=Number(1, 1000), help="default: in the proportion of the default board"
        )
        group.add_argument("--dictionary", default=board.dictionary, help=f"{', '.join(DICTIONARIES)}")
    return parser


def _add_views(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, nargs="+", help="pictures or folders of them, instead of the live camera"
    )
    parser.add_argument(
        "--views", type=Whole(0, 10_000), default=WANTED_VIEWS, help="to capture (default: %(default)s)"
    )
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
    console.print(f"{options.out}: {board}, on {options.page}", soft_wrap=True)
    console.print("print at 100 %, measure the bar and a square, glue it on something flat")
    return 0


def find_intrinsics(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras intrinsics"""
    path, board = _rig_path(options), _board(options)
    found = calibrate(_views(options, board, console, options.views), board)
    for reason in found.refused:
        console.print(f"left out: {reason}")
    console.print(lens_table(found.intrinsics))
    errors = zip(found.views, found.intrinsics.view_rms_px, strict=True)
    console.print(
        "re-projection error [px]: " + ", ".join(f"{view.name} {rms:.2f}" for view, rms in errors),
    )
    console.print(f"seen in {100 * coverage_share(found.views):.0f} % of the picture:")
    console.print(coverage_text(found.views))
    rig_file.update(path, options.camera, datetime.now(), intrinsics=found.intrinsics)
    _say_kept(path, console)
    return 0


def place_camera(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras front"""
    path, board = _rig_path(options), _board(options)
    if (options.board_mm is None) == (options.touches is None):
        raise UsageError("where is the board? give either --board_mm X Y TURN_DEG or --touches FILE")
    intrinsics = _known_intrinsics(path, options)
    X_base_board, sd_mm, sd_deg = _board_place(options, board, console)
    views = _views(options, board, console, 1)
    if not views:
        raise UsageError("no board in any of the pictures")
    lens = intrinsics.scaled(views[0].size_px)
    placed = camera_in_base(views, [X_base_board] * len(views), lens, board)
    reach_mm = float(np.linalg.norm(placed.X[:3, 3] - X_base_board[:3, 3])) * 1000
    # a board that is turned swings the camera about it
    swing_mm = reach_mm * np.deg2rad(np.linalg.norm(sd_deg))
    placed = placed._replace(
        sd_mm=np.sqrt(placed.sd_mm**2 + sd_mm**2 + swing_mm**2), sd_deg=np.hypot(placed.sd_deg, sd_deg)
    )
    console.print(pose_line(options.camera, "base", placed))
    _keep_pose(path, options, console, CameraPose("base", placed))
    return 0


def _board_place(
    options: argparse.Namespace, board: Board, console: Console
) -> tuple[Matrix, NDArray[np.float64], NDArray[np.float64]]:
    """X_base_board and its standard deviations [mm], [deg]."""
    if options.touches is None:
        x_mm, y_mm, turn_deg = options.board_mm
        return board_on_table(x_mm / 1000, y_mm / 1000, turn_deg), np.zeros(3), np.zeros(3)
    corners, touched_m = read_touches(options.touches)
    unknown = [corner for corner in corners if not 0 <= corner < len(board.corners_m)]
    if unknown:
        raise UsageError(
            f"{options.touches}: the board has corners 0 to {len(board.corners_m) - 1}, not {unknown[0]}"
        )
    placed = board_from_touches(board.corners_m[corners], touched_m)
    console.print(f"board from {placed.views} touched corners, {placed.rms:.2f} mm residual (rms)")
    return placed.X, placed.sd_mm, placed.sd_deg


def place_hand_camera(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras wrist"""
    path, board = _rig_path(options), _board(options)
    intrinsics = _known_intrinsics(path, options)
    if options.images is None and options.joints is not None:
        raise UsageError("--joints goes with --images; a live capture reads the joints itself")
    views = _views(options, board, console, options.views, with_joints=True)
    folder = options.images[0] if options.images else options.keep
    joint_of = read_joints(options.joints or (folder if folder.is_dir() else folder.parent) / JOINTS_FILE)
    missing = [view.name for view in views if view.name not in joint_of]
    if missing:
        raise UsageError(f"no joint values for {', '.join(missing)}")
    if not views:
        raise UsageError("no board in any of the pictures")
    hands = [hand_pose(joint_of[view.name]) for view in views]
    placed, board_placed = camera_on_hand(views, hands, intrinsics.scaled(views[0].size_px), board)
    console.print(pose_line(options.camera, "hand", placed))
    console.print(pose_line("the board", "base", board_placed))
    _keep_pose(path, options, console, CameraPose("hand", placed))
    return 0


def lock_settings(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras lock"""
    from so101_calibration.cameras import live_capture  # LeRobot's cameras take 2 s to import

    path = _rig_path(options)
    wanted = {name: value for name in locks.NAMES if (value := getattr(options, name)) is not None}
    if options.again:
        known = rig_file.load(path).get(options.camera, RigCamera())
        wanted = {lock.name: lock.value for lock in known.locks if lock.held} | wanted
        if not wanted:
            raise UsageError(f"nothing was locked of camera {options.camera!r} in {path}")
    found = live_capture.lock_settings(options, wanted, adjust=not options.again)
    for line in locks.in_words(found):
        console.print(line)
    rig_file.update(path, options.camera, datetime.now(), locks=tuple(found))
    _say_kept(path, console)
    return 0 if all(lock.held for lock in found) else 1


def show(options: argparse.Namespace, console: Console) -> int:
    """so101-calibrate cameras show"""
    path = _rig_path(options)
    cameras = rig_file.load(path)
    if not cameras:
        console.print(f"no camera is calibrated: there is no {path}", soft_wrap=True)
        return 0
    console.print(path.read_text(), soft_wrap=True)
    return 0


def _rig_path(options: argparse.Namespace) -> Path:
    calibration = robot_options.calibration_path(options)
    if calibration is None:
        raise UsageError("give --robot.id=NAME: it names the file for the result, as it does for the servos")
    return rig_file.path_of(calibration)


def _known_intrinsics(path: Path, options: argparse.Namespace) -> Intrinsics:
    camera = rig_file.load(path).get(options.camera, RigCamera())
    if camera.intrinsics is None:
        raise UsageError(
            f"the lens of camera {options.camera!r} is not calibrated in {path}; "
            "do `so101-calibrate cameras intrinsics` first"
        )
    return camera.intrinsics


def _views(
    options: argparse.Namespace, board: Board, console: Console, wanted: int, with_joints: bool = False
) -> list[View]:
    """The views in the files that were given, or `wanted` new ones from the live camera, kept in `options.keep`."""

    def say(text: str) -> None:
        console.print(text)

    if options.images is None:
        from so101_calibration.cameras import live_capture  # LeRobot's cameras take 2 s to import

        if options.views < 1:
            raise UsageError(f"--views={options.views}: expected a number of views to capture")
        if options.keep is None:
            options.keep = Path("outputs", "cameras", f"{options.camera}_{datetime.now():%Y-%m-%d_%H%M%S}")
        taken = live_capture.capture_views(options, board, wanted, say, with_joints)
        console.print(f"pictures: {options.keep}", soft_wrap=True)
        return taken
    views, without = read_views(options.images, board)
    if without:
        say(f"no board in {', '.join(without)}")
    return views


def _keep_pose(path: Path, options: argparse.Namespace, console: Console, pose: CameraPose) -> None:
    rig_file.update(path, options.camera, datetime.now(), pose=pose)
    _say_kept(path, console)


def _say_kept(path: Path, console: Console) -> None:
    console.print(f"kept in {path}", soft_wrap=True)
