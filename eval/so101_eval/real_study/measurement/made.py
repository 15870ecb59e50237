"""The measurement of a sitting: from what was calibrated of the front camera, and the mat that lies there."""

from pathlib import Path

from so101_calibration.cameras.rig_file import load, path_of
from so101_calibration.errors import CalibrateError
from so101_eval.errors import ConfigError
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.measurement.camera import FRONT, Camera
from so101_eval.real_study.measurement.mat import Mat
from so101_eval.real_study.measurement.nothing import Nothing
from so101_eval.real_study.measurement.outlined import Outlined
from so101_eval.real_study.measurement.protocol import Measurement
from so101_eval.real_study.measurement.rendered import lens_of, pose_of
from so101_robot.arm.arm import SO101


def of_rig(study: Study, robot: SO101, bar_mm: float | None) -> Measurement:
    """As `measurement_of`, for the arm of a sitting."""
    return measurement_of(study, robot.calibration_fpath, bar_mm)


def measurement_of(study: Study, calibration: Path, bar_mm: float | None) -> Measurement:
    """The front camera's, or one that says which command is missing.

    Args:
        study: whose task it is.
        calibration: file of the arm's servos, beside which the cameras' is.
        bar_mm: the mat's bar as measured [mm]; None: there is no mat.

    Raises:
        ConfigError: the cameras' file is damaged, the bar is not near 100 mm, the lens is needed and not known.
    """
    path = path_of(calibration)
    try:
        known = load(path).get(FRONT)
    except CalibrateError as problem:
        raise ConfigError(str(problem)) from problem
    if bar_mm is not None and study.own is not None:
        raise ConfigError(f"--bar_mm: {study.task} is a task of its own, and the mat is that of a pallet")
    mat = None if bar_mm is None else Mat(study.plan_task, bar_mm)
    if known is None or known.intrinsics is None:
        how = f"{path} knows no lens of {FRONT}: so101-calibrate cameras intrinsics measures it"
        if mat is not None:
            raise ConfigError(f"the mat is of no use without a calibrated camera: {how}")
        return Nothing(how)
    pose = known.pose.placed.X if known.pose is not None and known.pose.frame == "base" else None
    if mat is None and pose is None:
        return Nothing(f"{path} knows no place of {FRONT}: so101-calibrate cameras front measures it")
    if study.own is not None:
        assert pose is not None  # without a mat it is known
        return Outlined(study.own, known.intrinsics, pose)
    return Camera(study.plan_task, known.intrinsics, pose, mat, study.tolerances)


def of_mock(study: Study, robot: SO101) -> Measurement:
    """In a rehearsal: the mock's front camera, known exactly; no mat, which would be new to the policies."""
    assert robot.mock is not None  # a rehearsal's
    assert robot.mock.world is not None  # in a scene
    world = robot.mock.world
    if study.own is not None:
        return Outlined(study.own, lens_of(world.model), pose_of(world.data))
    return Camera(study.plan_task, lens_of(world.model), pose_of(world.data), None, study.tolerances)
