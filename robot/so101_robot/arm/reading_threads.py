"""The threads in which LeRobot's cameras read: what they died of, and how they are left.

A camera of LeRobot reads in a thread named `<camera>_read_loop`. After eleven failures in a row that thread raises, and
Python would print a traceback over whatever the terminal shows. Here the reason is kept, for a message.

A thread that is inside a driver's `read` cannot be stopped, and to release the device under it may crash the program.
So a camera whose read does not return is left as it is.
"""

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lerobot.cameras import Camera

SUFFIX = "_read_loop"
"""How LeRobot's cameras call their reading threads, after their own name."""

CLOSE_S = 2.0
"""How long a read may take to return when a camera is closed: LeRobot's own limit."""

_others = threading.excepthook
_reasons: dict[str, str] = {}


def keep_reasons() -> None:
    """From now on a reading thread that dies leaves its reason here. Other threads' errors are shown as before."""
    global _others
    if threading.excepthook is not _keep_reason:
        _others, threading.excepthook = threading.excepthook, _keep_reason


def take_reason(camera: "Camera") -> str:
    """What the camera's reading thread died of; empty if it did not. Asked again, it is empty."""
    return _reasons.pop(f"{camera}{SUFFIX}", "")


def has_died(camera: "Camera") -> bool:
    """The camera is open and nobody reads it any more."""
    reader = getattr(camera, "thread", None)
    return isinstance(reader, threading.Thread) and not reader.is_alive()


def close(camera: "Camera") -> bool:
    """Close a camera, whatever state it is in.

    Returns:
        False if its driver does not return from a read. Then the camera is not released, and its reading thread ends by
        itself if the read ever returns.
    """
    reader, stop = getattr(camera, "thread", None), getattr(camera, "stop_event", None)
    if isinstance(reader, threading.Thread) and isinstance(stop, threading.Event):
        stop.set()
        reader.join(CLOSE_S)
        if reader.is_alive():
            return False
    with contextlib.suppress(
        Exception
    ):  # LeRobot raises where there is nothing to close, drivers what they like
        camera.disconnect()
    return True


def _keep_reason(args: threading.ExceptHookArgs) -> None:
    if args.thread is None or not args.thread.name.endswith(SUFFIX) or args.exc_value is None:
        _others(args)
        return
    _reasons[args.thread.name] = " ".join(str(args.exc_value.__cause__ or args.exc_value).split())
