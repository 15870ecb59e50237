"""so101-data background: what each camera that stands showed in a dataset, as so101-train keeps it with a checkpoint.

By it `so101-run --camera.correct` and `so101-eval run --camera_correction` find a camera that has moved. Written into
the folder of a checkpoint it belongs to that one.
"""

from collections.abc import Sequence
from pathlib import Path

from so101_policy.command_line.command_flags import Parser, Whole
from so101_policy.command_line.command_shell import FAILED, OK, say
from so101_policy.errors import DatasetError, RegistrationError
from so101_policy.frames.dataset import camera_shapes, open_checked
from so101_policy.frames.spread import FRAMES, spread_frames
from so101_policy.names import camera_name
from so101_policy.registration.background import learn
from so101_policy.registration.files import name_of, write_background

EXAMPLES = """
  so101-data background data/boxes --output_dir=outputs/act/pretrained_model
  so101-data background user/so101_pick --output_dir=backgrounds
"""


def parser() -> Parser:
    """Of the command line."""
    flags = Parser(
        "so101-data background",
        "Keeps what each camera that stands showed in a dataset.",
        EXAMPLES,
        epilog="exit code 1: no camera stands",
    )
    flags.add_argument("dataset", help="folder of a LeRobotDataset v3, or the hub's USER/NAME")
    flags.add_argument(
        "--output_dir", type=Path, required=True, metavar="DIR", help="a checkpoint's folder, or any"
    )
    flags.add_argument(
        "--frames", type=Whole(1, 100_000), default=FRAMES, help="pictures to read (default: %(default)s)"
    )
    return flags


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code. Raises PolicyError, OSError."""
    asked = parser().parse_args(arguments)
    folder = Path(asked.dataset).expanduser()
    if not folder.is_dir() and (asked.dataset.count("/") != 1 or asked.dataset.startswith((".", "/", "~"))):
        raise DatasetError(f"there is no dataset folder {folder}; a dataset on the hub is written USER/NAME")
    local = folder.is_dir()
    name = f"local/{folder.name}" if local else asked.dataset
    dataset, _ = open_checked(name, folder if local else None)
    cameras = list(camera_shapes(dataset))
    episodes = range(dataset.meta.total_episodes)
    kept = 0
    for key, frames in spread_frames(dataset, cameras, episodes, asked.frames).items():
        camera = camera_name(key)
        try:
            background = learn(frames)
        except RegistrationError as problem:
            say(f"{camera}: none, {problem}")
            continue
        path = asked.output_dir / name_of(camera)
        write_background(path, background, name)
        say(f"{camera}: {path} ({len(frames)} pictures, {background.static.mean():.0%} stays the same)")
        kept += 1
    return OK if kept else FAILED
