"""The demo checkpoint: made on first use, kept in the user's cache, never half there.

It is made in a folder of its own and renamed when it is whole; whatever stops the making (Ctrl-C, no space, an error)
takes that folder away again. Its name carries the recipe's version and what drew the pictures, because a policy
trained on one renderer's pixels has not seen the other's.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from so101_robot.demo.training import Recipe, Recordings, record, statistics, train
from so101_robot.errors import ConfigError
from so101_robot.mock.backend import choose_backend

VERSION = 1
"""Raise it with every change to motion, recording, training or `Recipe`: old caches are then left alone."""

STALE_S = 3600.0
"""A making that was killed leaves its folder; it is cleared away when it is older than this."""

MAKING = ".making-"


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/so101, by default ~/.cache/so101. Source: XDG Base Directory specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "so101"


def demo_checkpoint(
    cache_dir: Path | None = None, progress: Console | None = None, recipe: Recipe | None = None
) -> Path:
    """A LeRobot ACT checkpoint that swings over the red block of scene `table`, made if it is not there yet.

    Args:
        cache_dir: where it is kept; `cache_folder()` by default.
        progress: console on which to show what happens; by default the terminal's stderr. `Console(quiet=True)`: none.
        recipe: another recipe than the default, under a name of its own (tests).

    Returns:
        The checkpoint's folder.

    Raises:
        ConfigError: the cache cannot be written.
    """
    folder = (cache_dir or cache_folder()) / _name(recipe)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(folder.parent)
        with tempfile.TemporaryDirectory(prefix=MAKING, dir=folder.parent) as workshop:
            whole = Path(workshop) / "checkpoint"
            _make(whole, recipe or Recipe(), progress or Console(stderr=True))
            _put(whole, folder)
    except OSError as error:
        raise ConfigError(
            f"the demo checkpoint cannot be kept in {folder.parent}: {error.strerror or error}; "
            "free some space, or choose another place with XDG_CACHE_HOME"
        ) from error
    return folder


def save(folder: Path, recordings: Recordings, recipe: Recipe, learn: Callable[[float], None]) -> None:
    """Train, and write policy and processors as LeRobot does."""
    from lerobot.policies.act.processor_act import make_act_pre_post_processors

    policy = train(recordings, recipe, learn)
    policy.save_pretrained(folder)
    for processor in make_act_pre_post_processors(policy.config, statistics(recordings)):
        processor.save_pretrained(folder)


def _make(folder: Path, recipe: Recipe, console: Console) -> None:
    console.print(
        f"There is no policy yet, so a small ACT is trained on a scripted motion ([bold]{recipe.moments}[/] pictures "
        "of the mock arm, one to two minutes). This happens once."
    )
    columns = TextColumn("{task.description:<22}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        looking = bars.add_task("recording the motion", total=1.0)
        learning = bars.add_task("training", total=1.0, start=False)
        recordings = record(recipe, lambda done: bars.update(looking, completed=done))
        bars.start_task(learning)
        save(folder, recordings, recipe, lambda done: bars.update(learning, completed=done))
    console.print("Done. It knows this one motion and this one scene, and is no measure of what ACT can do.")


def _put(whole: Path, folder: Path) -> None:
    """Rename, so that it is there at once or not at all."""
    try:
        whole.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, and its checkpoint is as good
            raise


def _name(recipe: Recipe | None) -> str:
    changed = "" if recipe is None else "-" + "-".join(str(value) for value in recipe)
    return f"demo-act-v{VERSION}-{choose_backend()}{changed}"


def _clear_stale(folder: Path) -> None:
    for left in folder.glob(f"{MAKING}*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)
