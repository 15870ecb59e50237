"""Of the cameras before a study's trials: have they moved since the recordings, is their exposure locked?"""

from collections.abc import Callable

from so101_calibration.cameras.rig_file import load, path_of
from so101_calibration.drift import preflight as drift
from so101_calibration.errors import CalibrateError
from so101_robot.arm.arm import SO101
from so101_robot.preflight.findings import Finding, Level

EXPOSURE = "exposure"
HOW = "so101-calibrate cameras lock"


def camera_checks(robot: SO101) -> dict[str, Callable[[], list[Finding]]]:
    """By name, for `run_checks`; nothing moves."""
    return {drift.CHECK: lambda: drift.check(robot), EXPOSURE: lambda: exposure(robot)}


def exposure(robot: SO101) -> list[Finding]:
    """Whether each camera's exposure was locked, by its file: one that adjusts itself changes what policies see."""
    if robot.mock is not None:
        return [Finding(Level.OK, EXPOSURE, "", "simulated cameras do not adjust themselves")]
    path = path_of(robot.calibration_fpath)
    try:
        known = load(path)
    except CalibrateError as problem:
        return [Finding(Level.STOP, EXPOSURE, "", str(problem))]
    found: list[Finding] = []
    for name in robot.cameras:
        lock = (
            next((lock for lock in known[name].locks if lock.name == EXPOSURE), None)
            if name in known
            else None
        )
        if lock is None:
            words = "nobody has locked its exposure"
            found.append(Finding(Level.WARN, EXPOSURE, name, words, "locked", HOW))
        elif not lock.held:
            found.append(Finding(Level.WARN, EXPOSURE, name, f"not locked: {lock.refused}", "locked", HOW))
        else:
            since = known[name].dates.get("locks", "")
            found.append(Finding(Level.OK, EXPOSURE, name, f"locked at {lock.value:g} on {since}"))
    return found
