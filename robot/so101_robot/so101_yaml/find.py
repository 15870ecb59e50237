"""Where a `so101.yaml` is looked for, and what it has to be before it is read.

Looked for as git looks for `.git`: in the current folder, then in each folder above it. The search ends with the home
folder if the current folder is in it, else with the root of the file system. The first one that is there counts, and no
other: two are never joined.

A file that was found rather than named may be a stranger's. So it is read only if it is an ordinary file (no link, no
pipe, no device) that belongs to the user or to root and that not everybody may write to. If it is not, that is an
error and not a shrug: it may have had limits that the owner counts on.
"""

import os
import stat
from pathlib import Path

from so101_policy.errors import first_line, one_line
from so101_policy.files.plain_data import MOST_BYTES
from so101_robot.errors import ConfigError

NAME = "so101.yaml"


def nearest(start: Path | None = None, home: Path | None = None) -> Path | None:
    """The file that commands in a folder use; None: there is none.

    Args:
        start: the folder; None: the current one.
        home: where the search ends if `start` is in it; None: the user's.
    """
    try:
        start = Path.cwd() if start is None else start.resolve()
        home = (Path.home() if home is None else home).resolve()
    except (OSError, RuntimeError):  # the folder was removed, or there is no user
        return None
    for folder in (start, *start.parents):
        if os.path.lexists(folder / NAME):
            return folder / NAME
        if folder == home:
            break
    return None


def read(path: Path, named: bool = False) -> str:
    """The text of a so101.yaml.

    Args:
        path: where it is.
        named: somebody asked for this one, so it may be a link and anybody's.

    Raises:
        ConfigError: it cannot be read, is no file, is too large, or was only found and could be a stranger's.
    """
    how = f"name it with --config_path={path} if it is right, or leave it out with --config_path=none"
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for
    try:
        if not named and path.is_symlink():
            raise ConfigError(f"{path} is a link, and only an ordinary file is read unasked; {how}")
        handle = os.open(path, flags if named else flags | getattr(os, "O_NOFOLLOW", 0))
        with open(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"{path} is not a file")
            if not named and (doubt := _doubt(about)):
                raise ConfigError(f"{path} {doubt}, so it is not read unasked; {how}")
            if about.st_size > MOST_BYTES:
                raise ConfigError(
                    f"{path} is too large: {about.st_size} bytes, expected at most {MOST_BYTES}"
                )
            return file.read(MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {first_line(error)}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {first_line(error)}") from error


def _doubt(about: os.stat_result) -> str:
    """Why a file that was found is not trusted; empty: it is."""
    if not hasattr(os, "geteuid"):  # Windows: owners are told another way
        return ""
    if about.st_uid not in (os.geteuid(), 0):
        return "belongs to another user"
    return "may be written by everybody" if about.st_mode & stat.S_IWOTH else ""


def shown(path: Path) -> str:
    """A path in a line for a person: `~` for the home folder, nothing that steers a terminal."""
    try:
        text = f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        text = str(path)
    return one_line(text)
