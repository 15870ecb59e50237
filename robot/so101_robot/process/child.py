"""Python processes that this package starts."""

import os
from pathlib import Path

import so101_policy

ROOTS = (Path(__file__).parents[2], Path(so101_policy.__file__).parents[1])
"""Where these packages are, installed or not."""


def environment() -> dict[str, str]:
    """For a child that imports them: this process's, and where to find them."""
    paths = [*map(str, ROOTS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
