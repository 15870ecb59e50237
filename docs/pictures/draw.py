"""Draws the README's pictures: the arm at work, what its cameras see, and the terminal.

    make pictures

The demonstration policy drives the mock arm in lockstep for a few seconds; nothing here is painted by hand.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from so101_robot.arm.arm import SO101
from so101_robot.cli import RUN
from so101_robot.commands import compose
from so101_robot.commands.drive import drive as drive_arm
from so101_robot.commands.run import with_defaults
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.mock.cameras.render import open_renderer

FOLDER = Path(__file__).parent
SEED = 3
LOWEST_TICKS = range(60, 300)
"""Where to look for the moment at which the arm is lowest over the block."""


class Snapshots:
    """Keeps what a renderer needs of every tick."""

    name = "snapshots"

    def __init__(self, robot: SO101) -> None:
        assert robot.mock is not None
        assert robot.mock.world is not None
        self.world = robot.mock.world
        self.taken: list[np.ndarray] = []
        self.lift_deg: list[float] = []

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "run":
            self.taken.append(self.world.snapshot())
            self.lift_deg.append(float(tick.state.position[1]))

    def on_message(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def drive() -> Snapshots:
    """The demonstration, as `so101-run` without a word shows it."""
    flags = {"--robot.mock.seed": str(SEED), "--duration_s": "12", "--robot.mock.realtime_factor": "0"}
    config = with_defaults(flags)
    policy = compose.load_policy(config)
    config.start_pose = policy.start_pose
    robot = SO101(config.robot)
    robot.connect()
    snapshots = Snapshots(robot)
    scheduler = compose.make_scheduler(config, robot, policy)
    drive_arm(config, robot, scheduler, [snapshots], FOLDER, StopRequests())
    robot.disconnect()
    return snapshots


def draw(snapshots: Snapshots) -> None:
    """`arm.png` and `cameras.png` at the moment when the arm has reached farthest down."""
    lift_deg = np.array(snapshots.lift_deg)[LOWEST_TICKS.start : LOWEST_TICKS.stop]
    moment = snapshots.taken[LOWEST_TICKS.start + int(lift_deg.argmax())]
    model = snapshots.world.model
    with open_renderer(model, 1280, 800, shadows=True) as renderer:
        Image.fromarray(renderer.render(moment, "hero")).save(FOLDER / "arm.png", optimize=True)
    with open_renderer(model, 640, 480, shadows=True) as renderer:
        pair = np.concatenate([renderer.render(moment, name) for name in ("front", "wrist")], axis=1)
    Image.fromarray(pair).save(FOLDER / "cameras.png", optimize=True)


def main() -> None:
    draw(drive())
    picture = FOLDER / "dashboard.svg"
    RUN.main([f"--robot.mock.seed={SEED}", "--duration_s=8", "--dashboard=plain", f"--picture={picture}"])


if __name__ == "__main__":
    main()
