"""What `so101-calibrate cameras` asks of a live camera: views of a board, with joints or without, and locked settings.

Apart from the command because LeRobot's cameras and robot take seconds to import, and pictures in files need neither.
"""

import argparse
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from so101_calibration.cameras import live
from so101_calibration.cameras import lock_settings as locks
from so101_calibration.cameras.board_views import View
from so101_calibration.cameras.boards import Board
from so101_calibration.cameras.capture import capture
from so101_calibration.errors import TorqueError, UsageError
from so101_robot.arm.arm import SO101
from so101_robot.arm.cameras import LeRobotFrames
from so101_robot.bus.registers import BY_NAME

ADJUST_S = 1.5
"""How long a camera may adjust itself before its settings are locked."""


def capture_views(
    options: argparse.Namespace, board: Board, wanted: int, say: Callable[[str], None], with_joints: bool
) -> list[View]:
    """`wanted` views of the board from the camera `options.camera`, written to the folder `options.keep`.

    Args:
        options: which robot and camera, see `robot_options`.
        board: what is shown.
        wanted: how many views.
        say: called with what the person should do.
        with_joints: keep the joint values too. A hand moves the arm, which is read and never driven.

    Raises:
        TorqueError: with joints, and servos hold the arm.
        UsageError: no such camera. CameraError: it does not open.
    """
    if with_joints:
        with _connected(options) as arm:
            _check_free(arm)
            frames = live.frames(live.ArmCamera(arm, options.camera), arm.clock)
            return capture(frames, board, options.keep, wanted, say, lambda: arm.read().position.tolist())
    with live.open_cameras(options, options.camera) as cameras:
        frames = live.frames(cameras.source(options.camera), cameras.clock)
        return capture(frames, board, options.keep, wanted, say)


def lock_settings(options: argparse.Namespace, wanted: Mapping[str, float], adjust: bool) -> list[locks.Lock]:
    """Lock the settings of a camera, see `locks.lock`; `adjust`: let it adjust itself first.

    Raises UsageError for a camera that is not opened through OpenCV.
    """
    with live.open_cameras(options, options.camera) as cameras:
        source = cameras.source(options.camera)
        handle = source.camera if isinstance(source, LeRobotFrames) else None
        device: locks.Capture | None = getattr(handle, "videocapture", None)
        if device is None:
            raise UsageError(
                f"camera {options.camera!r} is not opened through OpenCV: it has no settings to lock"
            )
        if adjust:
            time.sleep(ADJUST_S)
        return locks.lock(device, wanted)


@contextmanager
def _connected(options: argparse.Namespace) -> Generator[SO101]:
    arm = SO101(live.parse(options))
    arm.connect()
    try:
        yield arm
    finally:
        arm.disconnect(release=False)


def _check_free(arm: SO101) -> None:
    """Raises TorqueError. The torque is not switched off here: an arm that nobody holds would fall."""
    torque = BY_NAME["Torque_Enable"].address
    holding = [str(number) for number, row in enumerate(arm.bus.read_registers(), 1) if row[torque] == 1]
    if holding:
        raise TorqueError(
            f"servos {', '.join(holding)} hold the arm, and a hand must be able to move it: support the arm, switch "
            "its power off and on, then start again"
        )
