"""Where a checkpoint is: a folder, one inside it, or an entry of the hub's cache."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from so101_policy.checkpoint.folder import CONFIG
from so101_policy.errors import CheckpointError, first_line, printable
from so101_policy.registration.files import name_of

LAST = "last"
"""LeRobot's link to the newest checkpoint."""
PLACES_IN_FOLDER = (
    "",
    "pretrained_model",
    f"{LAST}/pretrained_model",
    f"checkpoints/{LAST}/pretrained_model",
)
"""Where in a folder a checkpoint may be: itself, a step's, checkpoints/, what `lerobot-train` writes."""


def find_checkpoint(path: str | Path) -> Path:
    """The folder with config.json that `path` means: that folder, one inside it, or a hub id `user/name`.

    Raises:
        CheckpointError: nothing is there; names what is nearest.
    """
    given = Path(path).expanduser()
    if given.is_file():
        given = given.parent
    if given.is_dir():
        return _checkpoint_inside(given)
    if _may_be_hub_id(path):
        return _from_hub(str(path))
    raise CheckpointError(f"there is no checkpoint {given}{_nearest(given)}")


def _checkpoint_inside(given: Path) -> Path:
    candidates = [given / place for place in PLACES_IN_FOLDER]
    for steps in (given, given / "checkpoints"):  # without `last`: the highest step, 000500/pretrained_model
        numbered = sorted((p for p in _children(steps) if p.name.isdecimal()), key=lambda p: -int(p.name))
        candidates += [p / "pretrained_model" for p in numbered]
    for link in (given / LAST, given / "checkpoints" / LAST):
        if (
            link.is_symlink() and not (link / "pretrained_model" / CONFIG).is_file()
        ):  # another one would be a guess
            raise CheckpointError(
                f"{link} leads to {printable(os.readlink(link))}, where there is no checkpoint; name one by its step, "
                f"{link.parent} holds {_list(_children(link.parent))}"
            )
    for folder in candidates:
        if (folder / CONFIG).is_file():
            return folder
    raise CheckpointError(
        f"no checkpoint in {given}: looked for {CONFIG} there, in pretrained_model and in checkpoints/last; "
        f"the folder holds {_list(_children(given))}"
    )


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _list(paths: Sequence[Path], most: int = 8) -> str:
    names = sorted(path.name for path in paths)
    return ", ".join(names[:most] + ["..."] * (len(names) > most)) or "nothing"


def _nearest(path: Path) -> str:
    """What a person may have meant: like-named neighbours in the last folder of `path` that exists."""
    missing = path.absolute()
    while not missing.parent.is_dir():
        missing = missing.parent
    neighbours = [p for p in _children(missing.parent) if not p.name.startswith(".")]
    if close := get_close_matches(missing.name, [p.name for p in neighbours], n=3, cutoff=0.5):
        return "; did you mean " + " or ".join(str(missing.parent / name) for name in close) + "?"
    return f"; {missing.parent} holds {_list(neighbours)}"


def _may_be_hub_id(path: str | Path) -> bool:
    """`user/name`, where no local folder `user` suggests a slip in a path instead."""
    user, _, name = str(path).partition("/")
    return bool(user and name) and "/" not in name and user[0] not in ".~" and not Path(user).exists()


def _from_hub(repo_id: str) -> Path:
    try:
        return Path(snapshot_download(repo_id, allow_patterns=["*.json", "*.safetensors", name_of("*")]))
    except (OSError, HFValidationError) as error:  # the hub's other errors derive from OSError
        raise CheckpointError(
            f"there is no folder {repo_id}, and the hub id {repo_id} is not in the local cache and could not be "
            f"downloaded: {first_line(error)}"
        ) from error
