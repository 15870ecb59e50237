"""The files of a checkpoint: where they may be.

A processor's description names further files. They are read from the checkpoint's folder and from nowhere else: no
path, no `..`, no link that leads out. The one exception is the cache of the hub, whose folders hold nothing but links
into `blobs` beside them.
"""

import stat
from pathlib import Path

from so101_policy.errors import CheckpointError, first_line

CONFIG, WEIGHTS, TRAIN_CONFIG = "config.json", "model.safetensors", "train_config.json"
TRAINED_ON = "so101_trained_on.json"
"""What `so101-train` writes for whoever plays the policy; see `trained_on.py`."""
PREPROCESSOR, POSTPROCESSOR = PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
READ = (".json", ".safetensors")
"""What is ever opened of a checkpoint."""


def file_in(folder: Path, name: str) -> Path:
    """The file of that name in the checkpoint's folder.

    Raises:
        CheckpointError: it is not there, is no ordinary file, or is not in this folder.
    """
    if not name or name != Path(name).name or not name.isprintable() or "\\" in name:
        raise CheckpointError(
            f"{folder} names the file {name!r}: expected a file in the same folder, without a path"
        )
    path = folder / name
    try:
        real = path.resolve(strict=True)
        ordinary = stat.S_ISREG(real.stat().st_mode)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {name}") from error
    except (OSError, RuntimeError) as error:  # links in a circle
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}") from error
    if not any(real.is_relative_to(place) for place in _places(folder.resolve())):
        raise CheckpointError(
            f"{path} is a link out of the checkpoint's folder, to {real}: nothing there is read. Copy the file instead"
        )
    if not ordinary:
        raise CheckpointError(f"{path} is not an ordinary file")
    return path


def look_at_files(folder: Path) -> None:
    """All that may be opened is in the folder. Raises CheckpointError for the first file that is not."""
    for name in sorted(path.name for path in folder.iterdir() if path.suffix in READ):
        file_in(folder, name)


def _places(folder: Path) -> list[Path]:
    """Where the files of a checkpoint may be: in its folder or, of one in the hub's cache, in the cache's blobs."""
    snapshots = [parent for parent in folder.parents if parent.name == "snapshots"]
    return [folder] + [
        snapshot.parent / "blobs" for snapshot in snapshots if snapshot.parent.name.startswith("models--")
    ]
