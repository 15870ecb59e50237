"""Draws the two poses that a first hour needs: the middle that calibration asks for, and home.

    python docs/pictures/draw_poses.py

The mock arm is driven there in lockstep, and drawn from beside it.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from so101_robot import SO101, SO101Config
from so101_robot.mock.arm import MockConfig
from so101_robot.mock.cameras.render import open_renderer

FILE = Path(__file__).with_name("poses.png")
POSES = {"middle": [0, 0, 0, 0, 0, 50], "home": [0, -98, 92, 65, 0, 5]}
"""Degrees, and percent of the gripper; the second is the default of --robot.home."""
TICKS, TICK_S = 90, 1 / 30


def main() -> None:
    config = MockConfig(realtime_factor=0, camera_fps=1)
    arm = SO101(SO101Config(port="mock", mock=config))
    arm.connect()
    assert arm.mock is not None
    assert arm.mock.world is not None
    taken = []
    for pose in POSES.values():
        start = arm.read().position
        for tick in range(2 * TICKS):
            share = min(1.0, (tick + 1) / TICKS)
            arm.command(start + share * (np.array(pose) - start))
            arm.clock.sleep_until(arm.clock.now_s() + TICK_S)
        taken.append(arm.mock.world.snapshot())
    with open_renderer(arm.mock.world.model, 640, 400, shadows=True) as renderer:
        pictures = [renderer.render(moment, "hero") for moment in taken]
    Image.fromarray(np.concatenate(pictures, axis=1)).quantize(96).save(FILE, optimize=True)
    arm.disconnect()


if __name__ == "__main__":
    main()
