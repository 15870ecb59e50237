"""The camera tests' scenes, for benchmarks: tests are no package, so they are loaded from their file."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).parents[1] / "support" / "camera_scenes.py"


def load_scenes() -> Any:
    """The module `camera_scenes`."""
    spec = importlib.util.spec_from_file_location("camera_scenes", HELPERS)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["camera_scenes"] = made
    spec.loader.exec_module(made)
    return made
