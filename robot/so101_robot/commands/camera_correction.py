"""Cameras that have moved since the recordings, put back for a run: before the pre-flight, and again while it holds.

The registration is `so101_policy.registration`'s; here it gets its pictures and its backgrounds, and says what it did:
as findings of the pre-flight, in the run's log, and as pictures in the run folder, before and after.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from so101_policy.errors import RegistrationError
from so101_policy.files.whole_files import write_json
from so101_policy.registration.background import Background
from so101_policy.registration.correction import Correction
from so101_policy.registration.corrector import Corrector
from so101_policy.registration.files import name_of, read_background, read_remembered, remembered_path
from so101_robot.arm.arm import SO101
from so101_robot.chunks.inference import Predict
from so101_robot.commands.run_config import OFF, RunConfig
from so101_robot.errors import CameraError, ConfigError
from so101_robot.preflight.findings import Finding, Level
from so101_robot.runs.log import CORRECTION

if TYPE_CHECKING:
    from so101_policy.inference.loaded import LoadedPolicy, Prediction
    from so101_policy.inference.seen import Seen

CHECK = "camera correction"
"""Name of the findings."""
FILE = "corrections.json"
"""In the folder `CORRECTION` of the run folder, beside the pictures."""
PICTURES = 5
"""Of which the median is taken: little noise."""
NEXT_PICTURE_S = 2.0
POLL_S = 0.005
REMEDY = (
    "`so101-calibrate drift --camera={camera} --dataset=... --overlay=FILE` shows how to put the camera back; "
    "--camera.correct=off drives with its pictures as they come"
)

_log = logging.getLogger(__name__)

type Picture = NDArray[np.uint8]


class Registered(NamedTuple):
    """The cameras of a run, looked at before it."""

    corrector: Corrector | None
    """None: there is nothing to put back, and nothing that could be."""
    findings: list[Finding]
    """A STOP says that the arm must not move."""
    pictures: dict[str, Picture]
    """Camera -> what it showed."""


def register(
    config: RunConfig, robot: SO101, policy: "LoadedPolicy", tell: Callable[[str], None] | None = None
) -> Registered:
    """Look through every camera whose background is known. The drift check of the pre-flight is told what was found.

    Args:
        config: of the run.
        robot: connected; not moved.
        policy: brings backgrounds, or does not.
        tell: is told when a camera was registered again during the run, in the thread that infers.

    Raises:
        ConfigError: `--camera.background` has none that can be read.
    """
    robot.corrections = {}
    if config.camera.correct == OFF:
        return Registered(None, [Finding(Level.OK, CHECK, "", "off: pictures stay as they come")], {})
    backgrounds = find_backgrounds(config.camera.background, robot, policy)
    if not backgrounds:
        how = "so101-train keeps backgrounds with a checkpoint; `so101-data background` makes them for one without"
        return Registered(
            None, [Finding(Level.OK, CHECK, "", "no camera's background is known", possible=how)], {}
        )
    corrector, findings, pictures = Corrector(backgrounds, tell), list[Finding](), dict[str, Picture]()
    for camera in corrector.cameras:
        try:
            pictures[camera] = steady(robot, camera)
            corrector.register(pictures, camera)
        except (RegistrationError, CameraError) as problem:
            remedy = REMEDY.format(camera=camera)
            findings.append(Finding(Level.STOP, CHECK, camera, str(problem), possible=remedy))
            continue
        correction = corrector.corrections[camera]
        level = Level.OK if correction.H is None and correction.gain == 1.0 else Level.WARN
        findings.append(Finding(level, CHECK, camera, correction.in_words()))
    robot.corrections = corrector.corrections
    return Registered(corrector, findings, pictures)


def find_backgrounds(folder: Path | None, robot: SO101, policy: "LoadedPolicy") -> dict[str, Background]:
    """Camera of the policy -> its background: of the folder, else the checkpoint's, else what is remembered beside the
    servos' calibration. Raises ConfigError."""
    cameras = [name for name in policy.cameras if name in robot.observation_features]
    if folder is not None:
        files = {name: folder / name_of(name) for name in cameras if (folder / name_of(name)).exists()}
        if not files:
            raise ConfigError(
                f"--camera.background={folder}: expected {' or '.join(map(name_of, cameras))}; `so101-data background` "
                "makes them of a dataset"
            )
        return _read(files, read_background, "`so101-data background` makes it again")
    if known := {name: found for name, found in policy.backgrounds.items() if name in cameras}:
        return known
    places = {name: remembered_path(robot.calibration_fpath, name) for name in cameras}
    files = {name: path for name, path in places.items() if path.is_file()}
    return _read(files, read_remembered, "`so101-calibrate drift --remember` makes it again")


def _read(
    files: Mapping[str, Path], read: Callable[[Path], Background], remedy: str
) -> dict[str, Background]:
    found: dict[str, Background] = {}
    for name, path in files.items():
        try:
            found[name] = read(path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{path} is not a background: {error}; {remedy}, or remove it") from error
    return found


def steady(robot: SO101, camera: str, count: int = PICTURES) -> Picture:
    """The median of `count` new pictures (height, width, 3) RGB. Raises CameraError when none comes for two seconds."""
    clock, pictures, last = robot.clock, list[Picture](), -1
    since_s = clock.now_s()
    while len(pictures) < count:
        frame = robot.frames()[camera]
        if frame.sequence != last:
            last, since_s = frame.sequence, clock.now_s()
            pictures.append(frame.image)
        elif clock.now_s() - since_s > NEXT_PICTURE_S:
            raise CameraError(f"camera {camera!r} has sent nothing new for {NEXT_PICTURE_S:.0f} s")
        clock.sleep_until(clock.now_s() + POLL_S)
    return np.rint(np.median(np.stack(pictures), axis=0)).astype(np.uint8)


def corrected(predict: Predict, corrector: Corrector | None) -> Predict:
    """A policy that is shown its pictures as the recordings would show them; without a corrector `predict` itself.

    It raises what the corrector raises: the loop then lets the arm hold, and asks again.
    """
    if corrector is None:
        return predict

    def put_back(
        state: NDArray[np.float64], images: Mapping[str, Picture], before: "Sequence[Seen]" = ()
    ) -> "Prediction":
        earlier = [seen._replace(images=corrector(seen.images)) for seen in before]
        return predict(state, corrector(images), *([earlier] if earlier else []))

    return put_back


def as_dict(correction: Correction) -> dict[str, Any]:
    """For JSON."""
    return correction._asdict() | {"H": None if correction.H is None else correction.H.tolist()}


def keep(registered: Registered, folder: Path) -> dict[str, Any]:
    """Into the run folder: every registered camera before and after, and the numbers. That the pictures cannot be
    written does not stop a run.

    Returns:
        The numbers, for the run's summary.
    """
    if registered.corrector is None:
        return {}
    place, found = folder / CORRECTION, registered.corrector.corrections
    numbers = {camera: as_dict(correction) for camera, correction in found.items()}
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / FILE, numbers)
        for camera, picture in registered.pictures.items():
            Image.fromarray(picture).save(place / f"{camera}_before.png")
            Image.fromarray(registered.corrector.warped(camera, picture)).save(place / f"{camera}_after.png")
    except OSError as problem:
        _log.warning("the pictures of the camera correction could not be written: %s", problem)
    return {CORRECTION: numbers}
