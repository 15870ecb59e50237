"""The backgrounds that travel with a checkpoint: what each camera that stands showed in the recordings.

`so101-train` writes a picture a camera beside the weights, `so101_background.<camera>.png`; `so101-data background`
makes them for a checkpoint that has none. LeRobot does not know them. A runner finds a moved camera by them
(`so101_policy.registration`). A camera that moves with the arm has none.
"""

from pathlib import Path

from so101_policy.checkpoint.fields import MOST_NAME, MOST_NAMES
from so101_policy.checkpoint.folder import file_in
from so101_policy.errors import CheckpointError, shown
from so101_policy.registration.background import Background
from so101_policy.registration.files import camera_of, read_background


def background_files(folder: Path) -> dict[str, Path]:
    """Camera -> its file, in a checkpoint's folder.

    Raises:
        CheckpointError: a file is not in this folder, has no name of a camera, or there are too many.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        camera = camera_of(path.name)
        if camera is None:
            continue
        if not camera.isprintable() or len(camera) > MOST_NAME or len(found) == MOST_NAMES:
            raise CheckpointError(f"{folder}: {shown(path.name)} is no camera's background, or one too many")
        found[camera] = file_in(folder, path.name)
    return found


def read_backgrounds(folder: Path) -> dict[str, Background]:
    """Camera -> its background; empty where the checkpoint has none.

    Raises:
        CheckpointError: a file is damaged, or is something else.
    """
    found: dict[str, Background] = {}
    for camera, path in background_files(folder).items():
        try:
            found[camera] = read_background(path)
        except (ValueError, OSError) as error:
            raise CheckpointError(
                f"{path} is not a background of so101-train: {error}; remove it, or make it again with "
                "`so101-data background`"
            ) from error
    return found
