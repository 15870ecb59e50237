"""Where this package keeps what it can make again. By the XDG Base Directory specification, below one folder, which
`$SO101_CACHE` may name instead; `so101-cache` shows all of it and cleans it.

`$SO101_CACHE` is the folder of the frames itself, as it was before there were other caches; these lie below it.
"""

import os
from pathlib import Path

VARIABLE = "SO101_CACHE"
DEFAULT = "~/.cache/so101"


def cache_home() -> Path:
    """$SO101_CACHE, else $XDG_CACHE_HOME/so101, else ~/.cache/so101."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home).expanduser() / "so101"
    return Path(DEFAULT).expanduser()


def frames_folder() -> Path:
    """Of datasets' decoded frames."""
    return cache_home() if os.environ.get(VARIABLE) else cache_home() / "frames"


def engines_folder() -> Path:
    """Of exported policies, and of which engine was the fastest."""
    return cache_home() / "engines"
