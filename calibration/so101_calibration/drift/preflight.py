"""The drift check as part of a run's pre-flight: cameras whose dataset is remembered are compared with it.

`so101-run` reaches this through the entry point `drift` of the group `so101.preflight`: the robot's package does not
know this one. After a no-go (level STOP) the arm does not move.
"""

from pathlib import Path

from so101_calibration.cameras.live import ArmCamera, steady
from so101_calibration.drift import remembered
from so101_calibration.drift.judgement import Drift, Limits, judged
from so101_calibration.drift.measure import measure
from so101_calibration.drift.overlay import instruction
from so101_calibration.errors import CalibrateError
from so101_policy.registration.correction import Correction
from so101_robot.arm.arm import SO101
from so101_robot.errors import RobotError
from so101_robot.preflight.findings import Finding, Level
from so101_robot.preflight.policy import Policy

CHECK = "drift"


def check(robot: SO101, policy: Policy | None = None) -> list[Finding]:
    """A finding for each camera of a connected robot whose background is remembered; nothing moves.

    `policy` is given to every check; this one does not need it.
    """
    places = {camera: remembered.path_of(robot.calibration_fpath, camera) for camera in robot.cameras}
    known = {camera: path for camera, path in places.items() if path.is_file()}
    if not known:
        how = "`so101-calibrate drift --dataset=... --remember` keeps what a run is compared with"
        return [Finding(Level.OK, CHECK, "", "no camera is compared with a dataset", "", how)]
    return [_compare(robot, camera, path) for camera, path in known.items()]


def _compare(robot: SO101, camera: str, path: Path) -> Finding:
    try:
        kept = remembered.read(path)
        picture = steady(ArmCamera(robot, camera), robot.clock)
        drift = measure(kept.background, picture, kept.limits, kept.focal_px, kept.gamma)
        if (correction := robot.corrections.get(camera)) is not None and drift.H is not None:
            drift = put_back(drift, correction, kept.limits)
    except (CalibrateError, RobotError) as error:
        return Finding(Level.STOP, CHECK, camera, str(error), "", f"or remove {path}, to stop comparing")
    expected = f"as in {kept.dataset}"
    found = in_words(drift)
    if drift.level is Level.OK:
        return Finding(drift.level, CHECK, camera, found, expected)
    again = f"`so101-calibrate drift --camera={camera} --overlay=FILE` shows it"
    return Finding(
        drift.level,
        CHECK,
        camera,
        "; ".join((found, *drift.reasons)),
        expected,
        f"{instruction(drift)}; {again}",
    )


def put_back(drift: Drift, correction: Correction, limits: Limits) -> Drift:
    """What is left of a drift for the policy, whose pictures are put back (`--camera.correct`): judged anew."""
    left = drift._replace(
        level=Level.OK,
        reasons=(),
        shift_px=correction.left_px,
        shift_sd_px=correction.left_sd_px,
        brightness=drift.brightness / correction.gain,
    )
    return judged(left, limits)


def in_words(drift: Drift) -> str:
    """The figures in a line."""
    if drift.H is None:
        return "not comparable"
    return (
        f"moved {drift.shift_px:.1f} ± {1.96 * drift.shift_sd_px:.1f} px, {drift.angle_deg:.1f} deg; brightness "
        f"{100 * drift.brightness:.0f} %, sharpness {100 * drift.sharpness:.0f} %"
    )
