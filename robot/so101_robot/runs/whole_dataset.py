"""A dataset that is whole at every moment, while episodes are added to it.

LeRobot's writer finishes its files only when it is told that all is done: a program that is killed in between leaves a
table without an end, and a dataset that nobody can read. So an episode is recorded into a copy beside the dataset
(`.NAME.next`), and when everything in it is finished the copy takes the dataset's place in one step. A copy costs
nothing: what is finished is never written again, so it is linked, and only the few small files that are written anew
are copied. What a killed program has left is a copy that nobody needs, and the next recording removes it.
"""

import ctypes
import os
import shutil
from pathlib import Path

from so101_policy.files.whole_files import sync

FINISHED = ("data", "videos", os.path.join("meta", "episodes"))
"""Folders of a dataset whose files LeRobot never writes again; an episode that is added later gets files of its own."""

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
"""Linux: renameat2(2)."""


def next_of(root: Path) -> Path:
    """Where the copy of a dataset is."""
    return root.with_name(f".{root.name}.next")


def before_of(root: Path) -> Path:
    """Where a dataset is while the copy takes its place, on file systems that cannot exchange two folders."""
    return root.with_name(f".{root.name}.before")


def copy_of(root: Path) -> Path:
    """A fresh copy of the dataset in `root`; there is no folder where there is no dataset yet. Raises OSError."""
    recover(root)
    copy = next_of(root)
    if copy.exists():
        shutil.rmtree(copy)
    if root.exists():
        for folder, _, names in os.walk(root):
            inside = os.path.relpath(folder, root)
            (copy / inside).mkdir()
            finished = inside.startswith(FINISHED)
            for name in names:
                (_linked if finished else shutil.copy2)(Path(folder, name), copy / inside / name)
    return copy


def publish(root: Path) -> None:
    """Put the copy in the place of the dataset. Raises OSError; then the dataset is what it was."""
    copy = next_of(root)
    if not root.exists():
        copy.rename(root)
    elif _exchanged(copy, root):
        shutil.rmtree(copy)
    else:
        before = before_of(root)
        root.rename(before)
        copy.rename(root)
        shutil.rmtree(before)
    sync(root.parent)


def recover(root: Path) -> None:
    """After a program was killed between two renames: the dataset back to its place. Raises OSError."""
    before = before_of(root)
    if before.exists() and not root.exists():
        before.rename(root)
    elif before.exists():
        shutil.rmtree(before)


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _exchanged(one: Path, other: Path) -> bool:
    """Both change places at once; False where the system cannot do that, and nothing has happened."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
