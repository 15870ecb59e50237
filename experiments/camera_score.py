"""The camera's measurement of a study against the simulator's truth, with everything wrong that is wrong on a desk.

python -m experiments.camera_score play --states 200 --output_dir outputs/camera_score
python -m experiments.camera_score table outputs/camera_score

A state is a start and an end of a trial with 1 to 4 boxes. MuJoCo draws both with shadows and smooth edges; the
pictures then go through a lens with distortion, noise and MJPG. The measurement gets a lens that is wrong by what a
calibration is wrong, boxes whose edge is up to 0.5 mm off, a mat that was printed 1 % small or large (nobody has
measured its bar), a pallet that lies on that print, another light at the end than at the start, and in every tenth
state an arm that stands anywhere. `play` goes on where it was interrupted; `table` prints Markdown.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.reset_data import BoxStart, Light, PalletStart, Reset
from so101_eval.palletizing.scene.safe_pose import safe_pose_rad
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, Task, load_task
from so101_eval.palletizing.score.placement import Pose, assign, in_world, measure
from so101_eval.real_study.measurement.camera import Camera
from so101_eval.real_study.measurement.mat import ANCHOR_M, BAR_M, Mat
from so101_eval.real_study.measurement.rendered import SIZE_PX
from so101_eval.statistics.intervals import wilson
from so101_robot.joints import JOINTS
from so101_robot.mock.cameras.render import Renderer, open_renderer
from so101_robot.mock.physics.world import World

TASKS = ("palletize-1", "palletize-2", "palletize-3", "palletize-4")
STATES = "states.jsonl"
FINER, WIDER = 1, 1.14
"""Of the drawn picture against the camera's: pixels along an edge, and its field, of which the lens takes a part."""
TRUE_LENS = (-0.11, 0.04, 0.0006, -0.0004)
"""k1, k2, p1, p2 of the camera: a webcam."""
FOCAL_SD, CENTRE_SD_PX, K_SD = 0.0003, 0.3, (0.002, 0.004, 0.0001, 0.0001)
"""Error of a calibration (docs/cameras.md)."""
EDGE_OFF_M = 0.0005
"""Of a box's edge: at most, either way."""
PRINTS = (0.99, 1.0, 1.01)
"""The mat against what it should be."""
ROUND = 36
"""States after which every task and print has had its share."""
NOISE, JPEG = 2.0, 80
"""[grey levels] of a pixel; quality of MJPG."""
LIGHT, LIGHT_CHANGE, TINT, TURN_RAD = 0.25, 0.04, 0.05, 0.6
PLACED_M, PLACED_RAD = 0.005, 0.09
"""Standard deviation of where boxes end."""
LEFT, ASTRAY, ARM = 0.08, 0.08, 0.10
"""Shares of boxes that nobody moved, of boxes up to 25 mm off, of states with the arm in the picture."""


@dataclass(frozen=True)
class Stage:
    """A task's world and the renderer of its front camera."""

    task: Task
    scene: PalletizingScene
    world: World
    renderer: Renderer
    focal_px: float
    scale: float
    """Of the mat's print."""

    def close(self) -> None:
        self.renderer.close()


def stage(name: str, scale: float) -> Stage:
    """Compiled once for a task and a print: OpenGL keeps the size of a plane."""
    task = load_task(name)
    scene = PalletizingScene(task, Mat(task, 1000 * BAR_M * scale).sheet())
    world = World(scene)
    width, height = SIZE_PX
    fovy = math.radians(float(world.model.cam_fovy[world.model.camera("front").id]))
    renderer = open_renderer(world.model, width * FINER, height * FINER, shadows=True)
    return Stage(task, scene, world, renderer, height / 2 / math.tan(fovy / 2), scale)


class Optics:
    """What a lens makes of pictures that were drawn without one."""

    def __init__(self, focal_px: float) -> None:
        (width, height), (k1, k2, p1, p2) = SIZE_PX, TRUE_LENS
        self.lens = Intrinsics(
            SIZE_PX, focal_px, focal_px, (width - 1) / 2 + 3.0, (height - 1) / 2 - 2.0, k1, k2, p1, p2
        )
        fine = np.stack(
            np.meshgrid(*((np.arange(side * FINER) + 0.5) / FINER - 0.5 for side in SIZE_PX)), axis=-1
        )
        criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-10)
        straight = cv2.undistortPointsIter(
            fine.reshape(-1, 1, 2), self.lens.matrix, self.lens.distortion, np.eye(3), np.eye(3), criteria
        )
        rays = np.asarray(straight, np.float32).reshape(height * FINER, width * FINER, 2)
        drawn_focal = focal_px * FINER / WIDER
        self._x = rays[..., 0] * drawn_focal + (width * FINER - 1) / 2
        self._y = rays[..., 1] * drawn_focal + (height * FINER - 1) / 2

    def picture(self, drawn: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(480, 640, 3) as it comes off the cable."""
        bent = cv2.remap(drawn, self._x, self._y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        small = np.asarray(cv2.resize(bent, SIZE_PX, interpolation=cv2.INTER_AREA), float)
        noisy = np.clip(np.rint(small + rng.normal(0, NOISE, small.shape)), 0, 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1]
        return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1])


def wrong_lens(lens: Intrinsics, rng: np.random.Generator) -> Intrinsics:
    """As a calibration would have it."""
    off = rng.normal(size=8)
    k = [
        getattr(lens, name) + sd * o
        for name, sd, o in zip(("k1", "k2", "p1", "p2"), K_SD, off[4:], strict=True)
    ]
    return Intrinsics(
        lens.size_px,
        lens.fx * (1 + FOCAL_SD * off[0]), lens.fy * (1 + FOCAL_SD * off[1]),
        lens.cx + CENTRE_SD_PX * off[2], lens.cy + CENTRE_SD_PX * off[3],
        *k,
    )  # fmt: skip


def ends(
    task: Task, pallet: PalletStart, rng: np.random.Generator
) -> list[tuple[float, float, float] | None]:
    """Where boxes are in the end (x, y, yaw); None: where they started. No two are in each other."""
    while True:
        found: list[tuple[float, float, float] | None] = []
        for slot in task.slots:
            kind = rng.uniform()
            if kind < LEFT:
                found.append(None)
                continue
            off = rng.uniform(-0.025, 0.025, 2) if kind < LEFT + ASTRAY else rng.normal(0, PLACED_M, 2)
            place = in_world(pallet, slot.u_m + float(off[0]), slot.v_m + float(off[1]))
            found.append((*place, pallet.yaw_rad + float(rng.normal(0, PLACED_RAD))))
        placed = [place for place in found if place is not None]
        if all(math.dist(a[:2], b[:2]) > 1.15 * BOX_M for i, a in enumerate(placed) for b in placed[:i]):
            return found


def play(number: int, on: Stage, optics: Optics) -> dict[str, Any]:
    """One state: what the camera says, and what is true."""
    rng = np.random.default_rng((20261130, number))
    task, model, data = on.task, on.world.model, on.world.data
    asked = draw(task, seed=number)
    scale = on.scale
    x_m, y_m = (
        a + scale * (p - a) for a, p in zip(ANCHOR_M, (asked.pallet.x_m, asked.pallet.y_m), strict=True)
    )
    pallet = replace(asked.pallet, x_m=x_m, y_m=y_m)
    edges = [BOX_M + float(rng.uniform(-EDGE_OFF_M, EDGE_OFF_M)) for _ in asked.boxes]
    boxes = tuple(_nudged(box, edge, rng) for box, edge in zip(asked.boxes, edges, strict=True))
    light = Light(
        1 + float(rng.uniform(-LIGHT, 0.1)),
        float(rng.uniform(-TINT, TINT)),
        float(rng.uniform(-TURN_RAD, TURN_RAD)),
    )
    true = replace(asked, boxes=boxes, pallet=pallet, light=light)
    _lay_out(on, true)
    before = optics.picture(on.renderer.render(on.world.snapshot(), "front"), rng)
    final = ends(task, pallet, rng)
    for i, place in enumerate(final):
        if place is not None:
            qpos = data.joint(f"box/{i}").qpos
            qpos[:] = (
                *place[:2],
                PALLET_M[2] + edges[i] / 2,
                math.cos(place[2] / 2),
                0,
                0,
                math.sin(place[2] / 2),
            )
    arm = rng.uniform() < ARM
    if arm:
        for joint, angle_rad in zip(JOINTS, safe_pose_rad(rng, 1.0), strict=True):
            data.joint(joint).qpos[0] = angle_rad
    model.light_diffuse[:] *= 1 + rng.uniform(-LIGHT_CHANGE, LIGHT_CHANGE)
    mujoco.mj_forward(model, data)
    after = optics.picture(on.renderer.render(on.world.snapshot(), "front"), rng)
    camera = Camera(task, wrong_lens(optics.lens, rng), None, Mat(task))
    found = camera.placement({"front": before}, {"front": after}, asked)
    offsets = camera.reset_offsets({"front": before}, asked)
    rows = [
        [measure(Pose.of(data.joint(f"box/{i}").qpos), edges[i], slot, pallet) for slot in task.slots]
        for i in range(task.boxes)
    ]
    slots = assign(rows)
    return {
        "state": number, "task": task.name, "boxes": task.boxes, "arm": arm, "scale": scale,
        "success": all(row[slot].good for row, slot in zip(rows, slots, strict=True)), "said": found.success,
        "ends": [
            _end(rows[i], final[i] is None, box.du_mm, box.dv_mm, box.dyaw_deg, box.why_not, task)
            for i, box in enumerate(found.boxes)
        ],
        "starts": [
            {"why": o.why_not, "off_mm": None if o.dx_mm is None or o.dy_mm is None else math.hypot(
                o.dx_mm + 1000 * (boxes[i].y_m - asked.boxes[i].y_m),
                o.dy_mm - 1000 * (boxes[i].x_m - asked.boxes[i].x_m))}
            for i, o in enumerate(offsets)
        ],
    }  # fmt: skip


def _end(
    row: Sequence[Any],
    left: bool,
    du: float | None,
    dv: float | None,
    dyaw: float | None,
    why: str,
    task: Task,
) -> dict[str, Any]:
    """A box against the truth: the slot that it was counted for is the one that fits what was measured."""
    off_mm = turn_deg = None
    if du is not None and dv is not None:
        near = min(range(len(row)), key=lambda slot: math.hypot(row[slot].du_mm - du, row[slot].dv_mm - dv))
        off_mm = math.hypot(row[near].du_mm - du, row[near].dv_mm - dv)
        turn_deg = None if dyaw is None else (dyaw - row[near].yaw_deg + 45) % 90 - 45
    return {"left": left, "off_mm": off_mm, "turn_deg": turn_deg, "why": why}


def _nudged(box: BoxStart, edge_m: float, rng: np.random.Generator) -> BoxStart:
    """As a hand puts it down."""
    dx, dy, turn = rng.normal(0, (0.002, 0.002, 0.05)).tolist()
    return replace(box, x_m=box.x_m + dx, y_m=box.y_m + dy, yaw_rad=box.yaw_rad + turn, edge_m=edge_m)


def _lay_out(on: Stage, reset: Reset) -> None:
    on.scene.next = reset
    on.world.reset(reset.seed)
    model = on.world.model
    front = model.camera("front").id
    model.cam_fovy[front] = math.degrees(2 * math.atan(SIZE_PX[1] / 2 / on.focal_px * WIDER))
    mujoco.mj_forward(model, on.world.data)


def states(first_state: int, count: int, folder: Path) -> None:
    """Plays what is missing of so many states, in rounds of a few states of every task and print."""
    path = folder / STATES
    folder.mkdir(parents=True, exist_ok=True)
    done = {row["state"] for row in _rows(path)}
    end = first_state + count
    left = [number for number in range(first_state, end) if number not in done]
    optics: Optics | None = None
    for first in range(first_state, end, ROUND):
        for name, scale in product(TASKS, PRINTS):
            numbers = [n for n in left if first <= n < first + ROUND and _kind(n) == (name, scale)]
            if not numbers:
                continue
            with closing(stage(name, scale)) as one:
                optics = Optics(one.focal_px) if optics is None else optics
                for number in numbers:
                    row = play(number, one, optics)
                    with path.open("a") as file:
                        file.write(json.dumps(row) + "\n")


def _kind(number: int) -> tuple[str, float]:
    return TASKS[number % len(TASKS)], PRINTS[number // len(TASKS) % len(PRINTS)]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        yield from (json.loads(line) for line in path.read_text().splitlines())


def table(folder: Path) -> list[str]:
    """Markdown."""
    rows = list(_rows(folder / STATES))
    groups = [
        (f"{n} box{'es' if n > 1 else ''}", [r for r in rows if r["boxes"] == n and not r["arm"]])
        for n in range(1, 5)
    ]
    groups += [("arm in the picture", [r for r in rows if r["arm"]]), ("all", rows)]
    lines = [
        "| states | boxes | null | error median / 95 % / largest | over 6 mm | turn, 95 % | right wrong null |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [line for name, group in groups if (line := _line(name, group))]
    starts = [start["off_mm"] for row in rows for start in row["starts"]]
    known = np.array([off for off in starts if off is not None])
    if known.size:
        lines += [
            "",
            f"At the start: {len(starts)} boxes, {_share(len(starts) - known.size, len(starts))} null, error median / "
            f"95 % / largest {np.median(known):.1f} / {np.quantile(known, 0.95):.1f} / {known.max():.1f} mm.",
        ]
    reasons: dict[str, int] = {}
    for row in rows:
        for end in row["ends"]:
            if end["off_mm"] is None and not end["left"]:
                words = "".join(letter for letter in end["why"] if not letter.isdigit() and letter != ".")
                reasons[words] = reasons.get(words, 0) + 1
    lines += [
        "",
        *(f"- {count} {words}" for words, count in sorted(reasons.items(), key=lambda item: -item[1])),
    ]
    return lines


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    ends_of = [end for row in rows for end in row["ends"] if not end["left"]]
    off = np.array([end["off_mm"] for end in ends_of if end["off_mm"] is not None])
    if not off.size:
        return ""
    turns = np.array([abs(end["turn_deg"]) for end in ends_of if end["turn_deg"] is not None] or [math.nan])
    far = int((off > 6).sum())
    said = [row for row in rows if row["said"] is not None]
    right = sum(row["said"] == row["success"] for row in said)
    return (
        f"| {name} ({len(rows)}) | {len(ends_of)} | {_share(len(ends_of) - off.size, len(ends_of))} "
        f"| {np.median(off):.1f} / {np.quantile(off, 0.95):.1f} / {off.max():.1f} mm | {_share(far, off.size)} "
        f"| {np.quantile(turns, 0.95):.1f} deg | {right} / {len(said) - right} / {len(rows) - len(said)} |"
    )


def _share(count: int, total: int) -> str:
    low, high = wilson(count, total)[:2]
    return f"{100 * count / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    played = what.add_parser("play")
    played.add_argument("--states", type=int, default=2000)
    played.add_argument(
        "--first_state", type=int, default=0, help="seeds are fresh from here on (default: %(default)s)"
    )
    played.add_argument("--output_dir", type=Path, default=Path("outputs/camera_score"))
    what.add_parser("table").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.what == "play":
        states(options.first_state, options.states, options.output_dir)
    else:
        print("\n".join(table(options.folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
