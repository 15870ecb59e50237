"""What tests share in `tests/support`, for benchmarks: tests are no package, so it is loaded from its file."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parents[1] / "support"


def load_scenes() -> Any:
    """The module `camera_scenes`."""
    return load_support("camera_scenes")


def load_support(name: str) -> Any:
    """The module of that name."""
    spec = importlib.util.spec_from_file_location(name, SUPPORT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made
