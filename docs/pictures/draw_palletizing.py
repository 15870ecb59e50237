"""Draws the expert at work: a short film, and the overhead picture with the measured placement errors.

    make pictures

What is shown is one attempt of the scripted expert on an evaluation seed, through guard, wire and servos.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.overhead_picture import overhead_picture
from so101_eval.episode.episode import FPS, Bench, Tick
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import draw
from so101_robot.mock.cameras.render import open_renderer

FOLDER = Path(__file__).parent
TASK, SEED = "palletize-4", 11
EVERY = 5
"""Ticks per picture of the film, which plays at twice the speed of the arm."""


def main() -> None:
    with Bench(TASK) as bench:
        snapshots: list[np.ndarray] = []

        def keep(tick: Tick) -> None:
            if tick.number % EVERY == 0:
                snapshots.append(bench.world.snapshot())

        reset = draw(TASK, seed=SEED)
        attempt = bench.attempt(reset, lambda b: Expert(b.world, b.robot, reset), keep)
        print(attempt.score.success, attempt.score.placed if hasattr(attempt.score, "placed") else "")
        Image.fromarray(overhead_picture(bench.world, attempt.score)).save(
            FOLDER / "overhead.png", optimize=True
        )
        with open_renderer(bench.world.model, 480, 320, shadows=True) as renderer:
            film = [Image.fromarray(renderer.render(snapshot, "hero")) for snapshot in snapshots]
        film[0].save(
            FOLDER / "expert.webp",
            save_all=True,
            append_images=film[1:],
            duration=round(EVERY / FPS * 1000 / 2),
            loop=0,
            quality=60,
            method=4,
        )


if __name__ == "__main__":
    main()
