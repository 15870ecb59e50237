"""`so101-calibrate drift`: has a camera moved, turned, been refocused or seen other light since the data was recorded?

Exit code 0: go; 3: warn; 4: no-go; 2: wrong input (raised, for the main to print).
"""

import argparse
import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from so101_calibration import robot_options
from so101_calibration.cameras import live, pictures, rig_file
from so101_calibration.drift import remembered
from so101_calibration.drift.dataset_frames import FRAMES, read_frames
from so101_calibration.drift.judgement import Drift, Limits
from so101_calibration.drift.measure import ASSUMED_FIELD_DEG, GAMMA, measure
from so101_calibration.drift.overlay import instruction, overlay
from so101_calibration.drift.remembered import Remembered
from so101_calibration.errors import UsageError
from so101_policy.command_line.command_flags import Number, Parser, Whole
from so101_policy.command_line.console import Console
from so101_policy.registration.background import Background, learn
from so101_robot.preflight.findings import Level

EXAMPLES = """
  so101-calibrate drift --dataset=me/boxes --robot.id=my_arm \\
      --robot.cameras="{...}" --remember
      compare with the dataset, and keep it for the runs that follow
  so101-calibrate drift --dataset=data/boxes --image=now.png --overlay=back.png
      a picture instead of the camera; by back.png the camera is put back
"""

EXIT_CODES = {Level.OK: 0, Level.WARN: 3, Level.STOP: 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    limits = Limits()
    parser.add_argument(
        "--dataset",
        metavar="REPO_OR_DIR",
        help="a LeRobotDataset: folder or USER/NAME (default: the one that is remembered)",
    )
    parser.add_argument("--camera", default="front", help="its name in dataset and robot (default: front)")
    parser.add_argument("--image", type=Path, help="a picture instead of the live camera")
    parser.add_argument(
        "--overlay", type=Path, metavar="FILE", help="write the picture by which to put the camera back"
    )
    parser.add_argument(
        "--remember", action="store_true",
        help="keep the dataset's background for --robot.id: every run is compared with it before the arm moves",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--frames",
        type=Whole(0, 1_000_000),
        default=FRAMES,
        help=f"pictures of the dataset to read (default: {FRAMES})",
    )
    parser.add_argument("--field_deg", type=Number(), metavar="DEG",
                        help="horizontal field of view; without it the rig's "
                        f"calibration is used, else {ASSUMED_FIELD_DEG:g}")  # fmt: skip
    parser.add_argument("--gamma", type=Number(), help=f"of the camera (default: {GAMMA}; mock arm: 1)")
    for name in ("warn", "no_go"):
        value = getattr(limits, f"{name}_px")
        parser.add_argument(f"--{name}_px", type=Number(), help=f"pixels of the dataset (default: {value:g})")
    robot_options.add_arguments(parser)


def parser() -> Parser:
    """Of the command line."""
    parser = Parser(
        "so101-calibrate drift",
        "Compares a camera's live view with the pictures of a dataset.",
        EXAMPLES,
        epilog="exit code: 0 go, 3 warn, 4 no-go",
    )
    add_arguments(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """The command; returns its exit code. Raises CalibrateError or RobotError for mistakes."""
    if options.image is None and not robot_options.given(options):
        raise UsageError("nothing to compare: give --image=FILE, or the robot with its --robot.cameras")
    if options.frames < 1:
        raise UsageError(f"--frames={options.frames}: expected is a number of pictures")
    if options.gamma is not None and not 0.2 <= options.gamma <= 5:
        raise UsageError(f"--gamma={options.gamma:g}: cameras have about {GAMMA}; expected is 0.2 to 5")
    calibration = robot_options.calibration_path(options)
    if options.remember and (calibration is None or options.dataset is None):
        raise UsageError("--remember needs --robot.id, beside whose calibration it is kept, and --dataset")
    picture = None if options.image is None else pictures.read(options.image)
    kept, source = _reference(options, calibration)
    if picture is None:
        picture = _look(options)
    drift = measure(kept.background, picture, kept.limits, kept.focal_px, kept.gamma)
    if options.overlay is not None:
        pictures.write(options.overlay, overlay(kept.background, picture, drift))
    if options.json:
        print(json.dumps({"camera": options.camera, "dataset": kept.dataset, **as_dict(drift)}))
    else:
        _show(options, kept, drift, source)
    if options.remember and calibration is not None:
        place = remembered.path_of(calibration, options.camera)
        remembered.write(place, kept)
        if not options.json:
            Console().print(f"remembered in {place}", soft_wrap=True)
    return EXIT_CODES[drift.level]


def _reference(options: argparse.Namespace, calibration: Path | None) -> tuple[Remembered, str]:
    """What to compare with, by the options and otherwise as remembered; and where the focal length is from."""
    given = {key: value for key in ("warn_px", "no_go_px") if (value := getattr(options, key)) is not None}
    if options.dataset is None:
        if calibration is None:
            raise UsageError(
                "nothing to compare with: give --dataset, or --robot.id with a remembered dataset"
            )
        kept = remembered.read(remembered.path_of(calibration, options.camera))
        limits = Limits(**(kept.limits.__dict__ | given))
        focal_px, source = _focal(options, calibration, kept.background)
        if focal_px is None and kept.focal_px is not None:
            focal_px, source = kept.focal_px, "as remembered"
        return kept._replace(limits=limits, focal_px=focal_px, gamma=options.gamma or kept.gamma), source
    limits = Limits(**given)
    is_mock = (
        options.image is None and robot_options.given(options).get("--robot.port") == robot_options.MOCK_PORT
    )
    background = learn(read_frames(options.dataset, options.camera, options.frames))
    focal_px, source = _focal(options, calibration, background)
    date = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
    gamma = options.gamma or (1.0 if is_mock else GAMMA)
    return Remembered(background, options.dataset, date, gamma, focal_px, limits), source


def as_dict(drift: Drift) -> dict[str, Any]:
    """For JSON; what is not known is None."""
    numbers = {
        name: _finite(getattr(drift, name))
        for name in Drift._fields
        if name not in ("level", "reasons", "turn_deg", "colour", "H")
    }
    return {
        "answer": drift.answer,
        "reasons": list(drift.reasons),
        **numbers,
        "turn_deg": [_finite(angle) for angle in drift.turn_deg],
        "colour": [_finite(cast) for cast in drift.colour],
        "H": None if drift.H is None else drift.H.tolist(),
        "instruction": instruction(drift),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _look(options: argparse.Namespace) -> NDArray[np.uint8]:
    with live.open_cameras(options, options.camera) as cameras:
        return live.steady(cameras.source(options.camera), cameras.clock)


def _focal(
    options: argparse.Namespace, calibration: Path | None, background: Background
) -> tuple[float | None, str]:
    """Focal length [px] and where it comes from."""
    width = background.size_px[0]
    if options.field_deg is not None:
        if not 5 <= options.field_deg <= 170:
            raise UsageError(f"--field_deg={options.field_deg:g}: a field of view has 5 to 170 degrees")
        return width / 2 / math.tan(math.radians(options.field_deg / 2)), "as given"
    if calibration is not None:
        path = rig_file.path_of(calibration)
        camera = rig_file.load(path).get(options.camera)
        if camera is not None and camera.intrinsics is not None:
            return camera.intrinsics.scaled(background.size_px).fx, f"from {path.name}"
    return (
        None,
        f"a field of view of {ASSUMED_FIELD_DEG:g} deg assumed; calibrate the camera or give --field_deg",
    )


def _show(options: argparse.Namespace, kept: Remembered, drift: Drift, source: str) -> None:
    console = Console()
    table = Table(
        title=f"{options.camera} against {kept.background.frames} pictures of {kept.dataset}",
        title_justify="left",
    )
    for heading in ("", "now", "in words"):
        table.add_column(heading)
    for row in _rows(drift, source):
        table.add_row(*row)
    console.print(table)
    console.print(Text.assemble((drift.answer.upper(), "bold"), f"  {instruction(drift)}"))
    for reason in drift.reasons:
        console.print(f"  {reason}")
    if options.overlay is not None:
        console.print(f"picture: {options.overlay}", soft_wrap=True)


def _rows(drift: Drift, source: str) -> list[tuple[str, str, str]]:
    red, blue = drift.colour
    return [
        (
            "moved",
            f"{drift.shift_px:.2f} ± {1.96 * drift.shift_sd_px:.2f} px",
            "mean over the background, 95 %",
        ),
        ("turned", f"{drift.angle_deg:.2f} deg", f"a turn that moves the picture like this ({source})"),
        ("unexplained", f"{drift.unexplained_px:.2f} px", "after that turn: carried or zoomed"),
        ("size", f"{100 * drift.zoom:.1f} %", "of things in the picture"),
        (
            "light",
            f"{100 * drift.light:.0f} %",
            f"of linear light; {100 * drift.brightness:.0f} % of grey levels",
        ),
        ("colour", f"red {100 * red:+.0f} %, blue {100 * blue:+.0f} %", "against green"),
        ("sharpness", f"{100 * drift.sharpness:.0f} %", ""),
        ("clipped", f"{100 * drift.clipped:.0f} %", "of the background too bright or too dark to compare"),
        ("found", f"{100 * drift.found:.0f} %", "of the background's corners"),
    ]
