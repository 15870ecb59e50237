"""The drift check as part of a run's pre-flight: cameras whose dataset is remembered are compared with it.

`so101-run` reaches this through the entry point `drift` of the group `so101.preflight`: the robot's package does not
know this one. go is `ok`, warn is `warn`, and no-go is `stop`: the arm does not move.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from so101_calibration.cameras.live import ArmCamera, steady
from so101_calibration.drift import remembered
from so101_calibration.drift.measure import Answer, Drift, measure
from so101_calibration.drift.overlay import instruction
from so101_calibration.errors import CalibrateError
from so101_robot.errors import RobotError
from so101_robot.preflight.findings import Finding, Level

if TYPE_CHECKING:
    from so101_robot.arm.arm import SO101

CHECK = "drift"
LEVELS: dict[Answer, Level] = {Answer.GO: "ok", Answer.WARN: "warn", Answer.NO_GO: "stop"}


def check(robot: "SO101", policy: object = None) -> list[Finding]:
    """A finding for each camera of a connected robot whose background is remembered; it does not move.

    `policy` is what the pre-flight offers to every check; nothing is asked of it.
    """
    places = {camera: remembered.path_of(robot.calibration_fpath, camera) for camera in robot.cameras}
    known = {camera: path for camera, path in places.items() if path.is_file()}
    if not known:
        how = "`so101-calibrate drift --dataset=... --remember` keeps what a run is compared with"
        return [Finding("ok", CHECK, "", "no camera is compared with a dataset", "", how)]
    return [_compare(robot, camera, path) for camera, path in known.items()]


def _compare(robot: "SO101", camera: str, path: Path) -> Finding:
    try:
        kept = remembered.read(path)
        picture = steady(ArmCamera(robot, camera), robot.clock)
        drift = measure(kept.background, picture, kept.limits, kept.focal_px, kept.gamma)
    except (CalibrateError, RobotError) as error:
        return Finding("stop", CHECK, camera, str(error), "", f"or remove {path}, to compare no longer")
    level = LEVELS[drift.answer]
    asked = f"as in {kept.dataset}"
    found = in_words(drift)
    if level == "ok":
        return Finding(level, CHECK, camera, found, asked)
    again = f"`so101-calibrate drift --camera={camera} --overlay=FILE` shows it"
    return Finding(
        level, CHECK, camera, "; ".join((found, *drift.reasons)), asked, f"{instruction(drift)}; {again}"
    )


def in_words(drift: Drift) -> str:
    """The figures in a line."""
    if drift.H is None:
        return "not comparable"
    return (
        f"moved {drift.shift_px:.1f} ± {1.96 * drift.shift_sd_px:.1f} px, {drift.angle_deg:.1f} deg; brightness "
        f"{100 * drift.brightness:.0f} %, sharpness {100 * drift.sharpness:.0f} %"
    )
