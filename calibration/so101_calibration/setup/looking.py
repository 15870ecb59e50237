"""The step about the cameras: found, named, and in focus."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from so101_calibration.setup.cameras import Shown
from so101_calibration.setup.work import NotYetError, Setup
from so101_policy.command_line.command_shell import say
from so101_policy.files.plain_data import Plain
from so101_robot.errors import CameraError
from so101_robot.so101_yaml.find import NAME

PICTURES = "setup_pictures"
"""Folder for what the cameras show."""


def find_cameras(setup: Setup) -> None:
    devices = setup.cameras.devices()
    if not devices:
        raise NotYetError("no camera was found; plug one in, or skip this step")
    shown: dict[str, Shown] = {}
    for device in devices:
        try:
            shown[device] = setup.cameras.look(device)
        except CameraError as problem:
            say(f"  {problem}")
            continue
        path = shown[device].save(setup.folder / PICTURES, f"camera_{Path(device).name}")
        height, width = shown[device].image.shape[:2]
        say(f"  {device}: {width}x{height}, see {path}")
    if not shown:
        raise NotYetError("no camera sends pictures")
    say("The front camera sees the whole place and a part of the arm, the wrist camera both jaws.")
    named: dict[str, Mapping[str, Plain]] = {}
    for name in ("front", "wrist"):
        left = [device for device in shown if device not in named]
        possible = [*(device for device in left), "none"]
        default = name if name in left else (left[0] if left else "none")
        device = setup.person.ask(
            f"Which is the {name} camera: {', '.join(possible)}?",
            default,
            lambda said, possible=possible: (
                "" if said in possible else f"expected one of {', '.join(possible)}"
            ),
        )
        if device == "none":
            continue
        _focus(setup, name, device)
        del shown[device]
        if settings := setup.cameras.settings(device):
            named[name] = settings
    setup.write(replace(setup.content, cameras=named))


def _focus(setup: Setup, name: str, device: str) -> None:
    """Show how sharp it is until the person is content."""
    best = 0.0
    while True:
        shown = setup.cameras.look(device)
        best = max(best, shown.sharpness)
        path = shown.save(setup.folder / PICTURES, name)
        say(f"  {name}: sharpness {shown.sharpness:.3f} (best so far {best:.3f}), see {path}")
        if setup.person.yes(
            "Is it sharp, and does it see what it should? (n: turn the lens, and look again)", True
        ):
            return


def cameras_wrong(setup: Setup) -> str:
    missing = [
        f"{name} ({place})"
        for name, camera in setup.content.cameras.items()
        if isinstance(place := camera.get("index_or_path"), str) and not os.path.exists(place)
    ]
    return f"not there: {', '.join(missing)} - is the cable in?" if missing else ""


def forget_cameras(setup: Setup) -> str:
    setup.write(replace(setup.content, cameras={}))
    return f"no cameras are in {NAME}"
