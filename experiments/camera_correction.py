"""How well a camera that moved is put back.

python -m experiments.camera_correction --scenes 8 --first_seed 35000

First pictures alone, 96x96 and 640x480, compared with the simulator's truth, which the correction itself never sees:
how far off a point of the table is once it is put back, how far off the top of a box, which is above the table and so
warped wrongly. Prints Markdown. What it is worth to a policy is played by `so101-eval run --camera_correction=auto`.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_eval.episode.episode import Stage
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import EvalError
from so101_eval.evaluation.plan import parse_cells
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import DEMO_SEEDS, draw
from so101_policy.errors import PolicyError, RegistrationError
from so101_policy.registration.background import Background, learn
from so101_policy.registration.correction import Correction, find_correction
from so101_policy.registration.homography import Homography, mapped
from so101_policy.registration.warp import Warp
from so101_robot.errors import RobotError
from so101_robot.loop.tick import Tick
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.config import MockConfig

TASK, CAMERA = "palletize-1-small", "front"
SIZES = ((96, 96), (640, 480))
"""Width and height [px]."""
FIRST_SEED = 9000
DEMONSTRATIONS, EVERY_TICKS = 12, 60
"""Episodes of the expert of which a background is made, and how often a picture is taken."""
REGISTERED = (
    "nominal,camera-pose:1,camera-pose:2,camera-pose:3,camera-moved:1,camera-moved:2,camera-moved:3,another-room:1,"
    "light-intensity:2,light-direction:2,distractors:3,table-texture:2,camera-pose-plain:2"
)
MILLIMETRE = np.array([0.001, 0.0, 0.0])
"""Along the world's x [m]."""
BOX_TOP_M = 0.025
"""Height of what a policy reaches for."""
PICK_AREA_M = ((0.14, 0.24), (0.02, 0.18))
"""x and y, in front of the arm, of points whose warp is looked at."""


class View(NamedTuple):
    """Where a camera is."""

    R_world_camera: NDArray[np.float64]
    p_world_camera: NDArray[np.float64]
    fovy_deg: float

    def pixels(self, points_m: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """(n, 2) where points (n, 3) of the world are in a picture of that width and height."""
        height = size[1]
        focal_px = height / 2 / np.tan(np.deg2rad(self.fovy_deg) / 2)
        seen = (points_m - self.p_world_camera) @ self.R_world_camera @ np.diag([1.0, -1.0, -1.0])
        return seen[:, :2] / seen[:, 2:] * focal_px + (np.array(size) - 1) / 2


class Registered(NamedTuple):
    """One first picture."""

    cell: str
    size: tuple[int, int]
    moved_px: float
    """True, over the table in the picks' area."""
    refused: str
    """Why; empty: it was put back."""
    table_px: float
    """True error of a point of the table, once put back; NaN where refused."""
    top_px: float
    top_mm: float
    """The same at the height of a box's top."""
    claimed_px: float
    """What the correction itself says is left."""
    find_ms: float
    warp_ms: float
    unwarped_mm: float
    """What the shift would be without a correction, in millimetres at the height of a box's top."""


class Pictures:
    """A stage whose front camera is drawn in several sizes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._renderers: dict[tuple[int, int], Renderer] = {}

    def take(self) -> dict[tuple[int, int], NDArray[np.uint8]]:
        """Size -> picture, of what is laid out."""
        world = self._stage.world
        if not self._renderers:
            self._renderers = {size: open_renderer(world.model, *size) for size in SIZES}
        snapshot = world.snapshot()
        return {
            size: np.array(renderer.render(snapshot, CAMERA)) for size, renderer in self._renderers.items()
        }

    def view(self) -> View:
        """Where the camera is now."""
        model = self._stage.world.model
        camera, R = model.camera(CAMERA).id, np.empty(9)
        mujoco.mju_quat2Mat(R, model.cam_quat[camera])
        return View(R.reshape(3, 3).copy(), np.array(model.cam_pos[camera]), float(model.cam_fovy[camera]))

    def close(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()


@contextlib.contextmanager
def staged() -> Generator[tuple[Stage, Pictures]]:
    """The task's stage, and what draws it."""
    width, height = SIZES[0]
    mock = MockConfig(width=width, height=height, realtime_factor=0.0)
    with Stage(TASK, mock) as stage, contextlib.closing(Pictures(stage)) as pictures:
        yield stage, pictures


def backgrounds(stage: Stage, pictures: Pictures) -> dict[tuple[int, int], Background]:
    """Size -> what stays the same while the expert demonstrates."""
    frames: dict[tuple[int, int], list[NDArray[np.uint8]]] = {size: [] for size in SIZES}

    def on_tick(tick: Tick) -> None:
        if tick.index % EVERY_TICKS == 0:
            for size, picture in pictures.take().items():
                frames[size].append(picture)

    for number in range(DEMONSTRATIONS):
        reset = draw(TASK, seed=DEMO_SEEDS.start + number)
        stage.attempt(reset, lambda here, of=reset: Scripted(Expert(here.world, here.robot, of)), on_tick)
    return {size: learn(seen) for size, seen in frames.items()}


# Registration alone


def registrations(cells: str, scenes: range) -> Iterator[Registered]:
    """First pictures of all cells in those scenes, each put back."""
    cv2.setNumThreads(1)
    with staged() as (stage, pictures):
        known = backgrounds(stage, pictures)
        stage.lay_out(draw(TASK, seed=scenes.start))
        before = pictures.view()
        for scenario, level in parse_cells(cells):
            for seed in scenes:
                stage.lay_out(draw(TASK, scenario, level, seed))
                now = pictures.view()
                for size, picture in pictures.take().items():
                    yield registered(f"{scenario}:{level}", size, known[size], picture, before, now)


def registered(
    cell: str,
    size: tuple[int, int],
    background: Background,
    picture: NDArray[np.uint8],
    before: View,
    now: View,
) -> Registered:
    """One picture, with the truth beside it."""
    table, top = points_at(0.0), points_at(BOX_TOP_M)
    moved_px = _mean(now.pixels(table, size) - before.pixels(table, size))
    px_per_mm = _mean(before.pixels(top + MILLIMETRE, size) - before.pixels(top, size))
    unwarped_mm = _mean(now.pixels(top, size) - before.pixels(top, size)) / px_per_mm
    begin_s = time.perf_counter()
    try:
        found = find_correction(background, picture)
    except RegistrationError as problem:
        find_ms, nan = 1e3 * (time.perf_counter() - begin_s), float("nan")
        return Registered(cell, size, moved_px, str(problem), nan, nan, nan, nan, find_ms, nan, unwarped_mm)
    find_ms = 1e3 * (time.perf_counter() - begin_s)
    H = np.eye(3) if found.H is None else found.H
    table_px, top_px = (left_px(H, before, now, points, size) for points in (table, top))
    return Registered(
        cell,
        size,
        moved_px,
        "",
        table_px,
        top_px,
        top_px / px_per_mm,
        found.left_px,
        find_ms,
        _warp_ms(found, background, picture),
        unwarped_mm,
    )


def points_at(height_m: float) -> NDArray[np.float64]:
    """(n, 3) over the picks' area, at that height above the table."""
    (x0, x1), (y0, y1) = PICK_AREA_M
    x, y = np.meshgrid(np.linspace(x0, x1, 6), np.linspace(y0, y1, 8))
    return np.column_stack((x.ravel(), y.ravel(), np.full(x.size, height_m)))


def left_px(
    H: Homography, before: View, now: View, points: NDArray[np.float64], size: tuple[int, int]
) -> float:
    """Mean distance [px] at which points are from where the recordings would show them, once they are put back."""
    return _mean(
        mapped(np.asarray(np.linalg.inv(H), np.float64), now.pixels(points, size))
        - before.pixels(points, size)
    )


def _mean(away: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(away, axis=1).mean())


def _warp_ms(
    found: Correction, background: Background, picture: NDArray[np.uint8], repeat: int = 20
) -> float:
    warp, took = Warp(found.H, found.gain, background.image), list[float]()
    for _ in range(repeat):
        begin_s = time.perf_counter()
        warp(picture)
        took.append(1e3 * (time.perf_counter() - begin_s))
    return float(np.median(took))


def registration_table(rows: Sequence[Registered]) -> str:
    """Markdown."""
    lines = [
        "| pictures | scenario | moved, px | put back | table after, px: mean, worst | claimed, px "
        "| box top before, mm | box top after, mm: mean, worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for cell in dict.fromkeys(row.cell for row in rows):
            part = [row for row in rows if (row.cell, row.size) == (cell, size)]
            good = [row for row in part if not row.refused]
            moved = [row.moved_px for row in part]
            after = (
                f"{np.mean([r.table_px for r in good]):.2f}, {max(r.table_px for r in good):.2f} | "
                f"{np.mean([r.claimed_px for r in good]):.2f} | {np.mean([r.unwarped_mm for r in good]):.1f} | "
                f"{np.mean([r.top_mm for r in good]):.1f}, {max(r.top_mm for r in good):.1f}"
                if good
                else " | | | "
            )
            lines.append(
                f"| {size[0]}x{size[1]} | {cell} | {min(moved):.1f} to {max(moved):.1f} | {len(good)} of {len(part)} "
                f"| {after} |"
            )
    for size in SIZES:
        part = [row for row in rows if row.size == size]
        warp = [row.warp_ms for row in part if not row.refused and row.moved_px > 1]
        lines.append(
            f"\n{size[0]}x{size[1]}: found in {np.median([row.find_ms for row in part]):.0f} ms (median), a picture "
            f"put back in {np.median(warp) if warp else float('nan'):.2f} ms."
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. One message for what cannot be done."""
    options = _parser().parse_args(arguments)
    try:
        found = registrations(
            options.scenarios, range(options.first_seed, options.first_seed + options.scenes)
        )
        print(registration_table(list(found)))
    except (EvalError, RobotError, PolicyError, OSError) as error:
        print(f"camera_correction: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=8, help="per scenario (8)")
    parser.add_argument("--first_seed", type=int, default=FIRST_SEED, help=f"of the scenes ({FIRST_SEED})")
    parser.add_argument("--scenarios", default=REGISTERED, help="as of so101-eval run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
