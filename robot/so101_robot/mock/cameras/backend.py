"""Which renderer this machine has: OpenGL through EGL or OSMesa, or our own rays; found without touching it.

MuJoCo reads MUJOCO_GL when it is imported, and where that names a library that is missing, the import itself
fails and takes physics with it. So the libraries are probed with ctypes, and `let_mujoco_import`, which runs
when anything in `so101_robot.mock` is imported, keeps a broken request away from MuJoCo; it is reported when
somebody wants a picture.
"""

import ctypes
import importlib
import os
import sys
from collections.abc import Mapping
from functools import cache

from so101_robot.errors import ConfigError

LIBRARIES: Mapping[str, tuple[str, ...]] = (
    {"cgl": ("/System/Library/Frameworks/OpenGL.framework/OpenGL",)}
    if sys.platform == "darwin"
    else {"egl": ("libEGL.so.1", "libGL.so.1"), "osmesa": ("libOSMesa.so.8",)}
)
"""Shared libraries that MuJoCo loads for an off-screen context; EGL fails without libGL too. macOS has CGL alone."""

PACKAGES = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6", "cgl": ""}
"""Debian and Ubuntu packages that bring them; macOS brings its own."""

_MUJOCO_OFF = ("disable", "disabled", "off", "false", "0")
_OFF = (*_MUJOCO_OFF, "ray")
_WINDOWED = ("glfw", "glx")  # a window system is no use to a headless camera
_ANY = ("", "enable", "enabled", "on", "true", "1", *_WINDOWED)

_asked = os.environ.get("MUJOCO_GL", "").lower().strip()


def let_mujoco_import() -> None:
    """Hide a MUJOCO_GL that would make `import mujoco` fail, for as long as the import takes."""
    if _asked in (*_ANY, *_MUJOCO_OFF) or (_asked in LIBRARIES and loadable(_asked)):
        return
    os.environ["MUJOCO_GL"] = "disable"
    importlib.import_module("mujoco")
    os.environ["MUJOCO_GL"] = _asked


@cache
def loadable(backend: str) -> bool:
    """Whether every library of `backend` can be loaded."""
    try:
        for library in LIBRARIES[backend]:
            ctypes.CDLL(library, mode=ctypes.RTLD_LOCAL)
    except OSError:
        return False
    return True


def choose_backend(asked: str = "auto") -> str:
    """The renderer to use: "egl", "osmesa" (on macOS "cgl") or "ray".

    `asked` is one of these or "auto", which honours MUJOCO_GL and otherwise takes the first that the machine
    has. Raises `ConfigError` for a name that does not exist and for one whose libraries are missing.
    """
    source = f"renderer={asked}"
    if asked == "auto":
        asked, source = _asked, f"MUJOCO_GL={_asked}"
    if asked in _OFF:
        return "ray"
    if asked in _ANY:
        return next((name for name in LIBRARIES if loadable(name)), "ray")
    if asked not in LIBRARIES:
        raise ConfigError(
            f"{source}: there is no such renderer; expected one of auto, {', '.join(LIBRARIES)}, ray"
        )
    if not loadable(asked):
        raise ConfigError(
            f"{source}: cannot load {' and '.join(LIBRARIES[asked])}; install them "
            f"(apt-get install -y --no-install-recommends {PACKAGES[asked]}), "
            "or ask for 'ray', which needs none"
        )
    return asked
