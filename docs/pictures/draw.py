"""Draws the README's pictures: the arm at work, what its cameras see, and the terminal.

    make pictures

The demonstration policy drives the mock arm in lockstep for a few seconds; nothing here is painted by hand.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from so101_policy.checkpoint import ActPolicy
from so101_robot.arm import SO101
from so101_robot.chunks import make_scheduler
from so101_robot.config_arm import SO101Config
from so101_robot.demo import demo_checkpoint
from so101_robot.loop import ControlLoop, LoopConfig
from so101_robot.mock.arm import MockConfig
from so101_robot.mock.render import open_renderer
from so101_robot.observers import Tick
from so101_robot.run import main as so101_run
from so101_robot.workers import InlineWorker

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


def drive(checkpoint: Path) -> Snapshots:
    """Ten seconds of the demonstration."""
    policy = ActPolicy.load(checkpoint)
    robot = SO101(SO101Config(port="mock", mock=MockConfig(seed=SEED, realtime_factor=0)))
    robot.connect()
    assert robot.guard is not None
    worker = InlineWorker(policy.predict, robot.clock, latency_s=0.1)
    scheduler = make_scheduler("asynchronous", worker, fps=30, n_action_steps=policy.n_action_steps)
    snapshots = Snapshots(robot)
    settings = LoopConfig(duration_s=10)
    ControlLoop(robot, scheduler, robot.guard, robot.clock, config=settings, observers=[snapshots]).run()
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
    checkpoint = demo_checkpoint()
    draw(drive(checkpoint))
    picture = FOLDER / "dashboard.svg"
    so101_run([f"--robot.mock.seed={SEED}", "--duration_s=8", "--dashboard=plain", f"--picture={picture}"])


if __name__ == "__main__":
    main()
