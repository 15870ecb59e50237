"""Draws the README's film of a policy at work, what its cameras see, and the terminal.

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
EVERY, FPS = 5, 30.0
"""Ticks per picture of the film, and ticks a second."""
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
        self.seen: list[dict[str, np.ndarray]] = []
        """Of each tick, what the policy's cameras had last."""
        self.lift_deg: list[float] = []

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "run":
            self.taken.append(self.world.snapshot())
            self.lift_deg.append(float(tick.state.position[1]))
            self.seen.append({name: frame.image for name, frame in tick.frames.items()})

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
    """`cameras.png` at the moment when the arm has reached farthest down."""
    lift_deg = np.array(snapshots.lift_deg)[LOWEST_TICKS.start : LOWEST_TICKS.stop]
    moment = snapshots.taken[LOWEST_TICKS.start + int(lift_deg.argmax())]
    model = snapshots.world.model
    with open_renderer(model, 640, 480, shadows=True) as renderer:
        pair = np.concatenate([renderer.render(moment, name) for name in ("front", "wrist")], axis=1)
    Image.fromarray(pair).save(FOLDER / "cameras.png", optimize=True)


def film(snapshots: Snapshots) -> None:
    """`policy.webp`: the whole of it at twice the speed, and on the right what the policy's two cameras see."""
    pictures: list[Image.Image] = []
    with open_renderer(snapshots.world.model, 480, 320, shadows=True) as renderer:
        for snapshot, seen in list(zip(snapshots.taken, snapshots.seen, strict=True))[::EVERY]:
            picture = Image.new("RGB", (644, 320))
            picture.paste(Image.fromarray(renderer.render(snapshot, "hero")))
            for row, image in enumerate(seen.values()):
                picture.paste(Image.fromarray(image).resize((160, 158)), (484, 162 * row))
            pictures.append(picture)
    pictures[0].save(
        FOLDER / "policy.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=round(EVERY / FPS * 1000 / 2),
        loop=0,
        quality=60,
        method=4,
    )


def main() -> None:
    snapshots = drive()
    draw(snapshots)
    film(snapshots)
    picture = FOLDER / "dashboard.svg"
    RUN.main([f"--robot.mock.seed={SEED}", "--duration_s=8", "--dashboard=plain", f"--picture={picture}"])


if __name__ == "__main__":
    main()
