"""The camera's measurement of a study against the simulator's truth, with everything wrong that is wrong on a desk.

python -m experiments.camera_score play --states 200 --output_dir outputs/camera_score
python -m experiments.camera_score play --states 60 --first_state 30000 --task palletize-4-layers
python -m experiments.camera_score table outputs/camera_score

A state is a start and an end of a trial with 1 to 4 boxes, or with those of one task. MuJoCo draws both with shadows
and smooth edges; the pictures then go through a lens with distortion, noise and MJPG. The measurement gets a lens that
is wrong by what a calibration is wrong, boxes whose edge is up to 0.5 mm off, a mat that was printed 1 % small or large
(nobody has measured its bar), a pallet that lies on that print, another light at the end than at the start, and in
every tenth state an arm that stands anywhere. `play` goes on where it was interrupted; `table` prints Markdown.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_eval.palletizing.scene.draw import draw
from so101_eval.palletizing.scene.reset_data import BoxStart, Light, PalletStart, Reset
from so101_eval.palletizing.scene.safe_pose import safe_pose_rad
from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import (
    BOX_M,
    PALLET_M,
    POSITION_TOLERANCE_MM,
    YAW_TOLERANCE_DEG,
    Slot,
    Task,
    load_task,
)
from so101_eval.palletizing.scene.tasks import TASKS as NAMED
from so101_eval.palletizing.score.placement import Placement as Against
from so101_eval.palletizing.score.placement import Pose, assign, in_world, measure
from so101_eval.real_study.measurement.camera import Camera
from so101_eval.real_study.measurement.mat import ANCHOR_M, BAR_M, Mat
from so101_eval.real_study.measurement.protocol import Placed
from so101_eval.real_study.measurement.rendered import SIZE_PX
from so101_eval.statistics.intervals import clopper_pearson
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
"""Error of a calibration (docs/guides/cameras.md)."""
EDGE_OFF_M = 0.0005
"""Of a box's edge: at most, either way."""
PRINTS = (0.99, 1.0, 1.01)
"""The mat against what it should be."""
ROUND = 144
"""States after which every task and print has had its share: compiling a scene takes as long as a state."""
NOISE, JPEG = 2.0, 80
"""[grey levels] of a pixel; quality of MJPG."""
LIGHT, LIGHT_CHANGE, TINT, TURN_RAD = 0.25, 0.04, 0.05, 0.6
PLACED_M, PLACED_RAD = 0.005, 0.09
"""Standard deviation of where boxes end."""
CARRIED_M = 0.4 * BOX_M
"""How far off its middle a box may stand on another one."""
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
        small = np.asarray(cv2.resize(bent, SIZE_PX, interpolation=cv2.INTER_AREA), np.float32)
        noise = NOISE * rng.standard_normal(small.shape, np.float32)
        noisy = np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)
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


class End(NamedTuple):
    """Where a box stands in the end."""

    x_m: float
    y_m: float
    yaw_rad: float
    on: int | None
    """The box under it; None: it stands on the deck."""


def ends(task: Task, pallet: PalletStart, rng: np.random.Generator) -> list[End | None]:
    """Where boxes are in the end; None: where they started. No two are in each other.

    A box of the upper layer stands on the box below it, wherever that is on the pallet; if that was left behind, on the
    deck.
    """
    while True:
        found: list[End | None] = []
        for slot in task.slots:
            kind = rng.uniform()
            if kind < LEFT:
                found.append(None)
                continue
            below = _below(slot, task.slots, found)
            if kind < LEFT + ASTRAY:
                most = CARRIED_M if below is not None else 0.025
                off = rng.uniform(-most, most, 2)
            else:
                off = rng.normal(0, PLACED_M, 2)
            yaw_rad = pallet.yaw_rad + float(rng.normal(0, PLACED_RAD))
            if below is not None and (carrier := found[below]) is not None:
                off = np.clip(off, -CARRIED_M, CARRIED_M)
                found.append(End(carrier.x_m + float(off[0]), carrier.y_m + float(off[1]), yaw_rad, below))
            else:
                place = in_world(pallet, slot.u_m + float(off[0]), slot.v_m + float(off[1]))
                found.append(End(*place, yaw_rad, None))
        if all(_apart(a, b) for i, a in enumerate(found) for b in found[:i]):
            return found


def _below(slot: Slot, slots: Sequence[Slot], found: Sequence[End | None]) -> int | None:
    """The box in the slot under this one."""
    under = [n for n, s in enumerate(slots[: len(found)]) if s == slot._replace(layer=slot.layer - 1)]
    return next((n for n in under if found[n] is not None), None)


def _apart(a: End | None, b: End | None) -> bool:
    if a is None or b is None or (a.on is None) != (b.on is None):
        return True
    return math.dist(a[:2], b[:2]) > 1.15 * BOX_M


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
            bottom_m = PALLET_M[2] + (0.0 if place.on is None else edges[place.on])
            half_rad = place.yaw_rad / 2
            qpos[:] = (*place[:2], bottom_m + edges[i] / 2, math.cos(half_rad), 0, 0, math.sin(half_rad))
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
            _end(rows[i], final[i], rows[i][slots[i]], box) for i, box in enumerate(found.boxes)
        ],
        "starts": [
            {"why": o.why_not, "off_mm": None if o.dx_mm is None or o.dy_mm is None else math.hypot(
                o.dx_mm + 1000 * (boxes[i].y_m - asked.boxes[i].y_m),
                o.dy_mm - 1000 * (boxes[i].x_m - asked.boxes[i].x_m))}
            for i, o in enumerate(offsets)
        ],
    }  # fmt: skip


def _end(row: Sequence[Against], final: End | None, true: Against, box: Placed) -> dict[str, Any]:
    """A box against the truth: the slot that it is compared by is the one that fits what was measured; `true` is the
    slot that it counts for."""
    off_mm = turn_deg = None
    if box.du_mm is not None and box.dv_mm is not None:
        du, dv = box.du_mm, box.dv_mm
        near = min(range(len(row)), key=lambda slot: math.hypot(row[slot].du_mm - du, row[slot].dv_mm - dv))
        off_mm = math.hypot(row[near].du_mm - du, row[near].dv_mm - dv)
        turn_deg = None if box.dyaw_deg is None else (box.dyaw_deg - row[near].yaw_deg + 45) % 90 - 45
    return {
        "left": final is None, "layer": 0 if final is None or final.on is None else 1,
        "off_mm": off_mm, "turn_deg": turn_deg, "why": box.why_not, "good": true.good,
        "error_mm": true.error_mm, "yaw_deg": true.yaw_deg, "overhang_mm": true.overhang_mm,
        "seen_mm": None if box.du_mm is None or box.dv_mm is None else math.hypot(box.du_mm, box.dv_mm),
        "seen_deg": box.dyaw_deg,
    }  # fmt: skip


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


def states(first_state: int, count: int, folder: Path, tasks: Sequence[str] = TASKS) -> None:
    """Plays what is missing of so many states, in rounds of a few states of every task and print."""
    path = folder / STATES
    folder.mkdir(parents=True, exist_ok=True)
    done = {row["state"] for row in _rows(path)}
    end = first_state + count
    left = [number for number in range(first_state, end) if number not in done]
    optics: Optics | None = None
    for first in range(first_state, end, ROUND):
        for name, scale in product(tasks, PRINTS):
            numbers = [n for n in left if first <= n < first + ROUND and _kind(n, tasks) == (name, scale)]
            if not numbers:
                continue
            with closing(stage(name, scale)) as one:
                optics = Optics(one.focal_px) if optics is None else optics
                for number in numbers:
                    row = play(number, one, optics)
                    with path.open("a") as file:
                        file.write(json.dumps(row) + "\n")


def _kind(number: int, tasks: Sequence[str]) -> tuple[str, float]:
    return tasks[number % len(tasks)], PRINTS[number // len(tasks) % len(PRINTS)]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        yield from (json.loads(line) for line in path.read_text().splitlines())


def table(folder: Path) -> list[str]:
    """Markdown."""
    rows = list(_rows(folder / STATES))
    flat = [row for row in rows if not _layered(row)]
    high = [row for row in rows if _layered(row)]
    groups = [
        (f"{n} box{'es' if n > 1 else ''}", [r for r in flat if r["boxes"] == n and not r["arm"]])
        for n in range(1, 5)
    ]
    groups += [("arm in the picture", [r for r in flat if r["arm"]]), ("all", flat), ("two layers", high)]
    lines = [
        "| states | boxes | null | error median / 95 % / largest | over 6 mm | turn, 95 % | right wrong null |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [line for name, group in groups if (line := _line(name, group))]
    lines += [
        line for layer, name in enumerate(("lower", "upper")) if (line := _line(f"{name} boxes", high, layer))
    ]
    lines += ["", *_at_the_start(rows), "", *_called_wrongly(rows), ""]
    reasons: dict[str, int] = {}
    for row in rows:
        for end in row["ends"]:
            if end["off_mm"] is None and not end["left"]:
                words = "".join(letter for letter in end["why"] if not letter.isdigit() and letter != ".")
                reasons[words] = reasons.get(words, 0) + 1
    return lines + [
        f"- {count} {words}" for words, count in sorted(reasons.items(), key=lambda item: -item[1])
    ]


def _layered(row: Mapping[str, Any]) -> bool:
    return load_task(row["task"]).pattern.layers > 1


def _at_the_start(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    starts = [start["off_mm"] for row in rows for start in row["starts"]]
    known = np.array([off for off in starts if off is not None])
    if not known.size:
        return []
    return [
        f"At the start: {len(starts)} boxes, {_share(len(starts) - known.size, len(starts))} null, error median / "
        f"95 % / largest {np.median(known):.1f} / {np.quantile(known, 0.95):.1f} / {known.max():.1f} mm."
    ]


def _called_wrongly(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each verdict that is not the truth's, and how far its boxes are from the nearest limit."""
    lines: list[str] = []
    for row in rows:
        if row["said"] is None or row["said"] == row["success"]:
            continue
        deg = min((abs(end["yaw_deg"]) for end in row["ends"]), key=lambda deg: abs(deg - YAW_TOLERANCE_DEG))
        mm = min((end["error_mm"] for end in row["ends"]), key=lambda mm: abs(mm - POSITION_TOLERANCE_MM))
        over = max(end["overhang_mm"] for end in row["ends"] if not end["left"])
        lines.append(
            f"- state {row['state']}, said {row['said']}: nearest to a limit are {deg:.1f} deg (of "
            f"{YAW_TOLERANCE_DEG:g}), {mm:.1f} mm (of {POSITION_TOLERANCE_MM:g}), {over:.1f} mm over the edge"
        )
    return lines


def _line(name: str, rows: list[dict[str, Any]], layer: int | None = None) -> str:
    ends_of = [
        end for row in rows for end in row["ends"] if not end["left"] and layer in (None, end.get("layer"))
    ]
    off = np.array([end["off_mm"] for end in ends_of if end["off_mm"] is not None])
    if not ends_of:
        return ""
    turns = np.array([abs(end["turn_deg"]) for end in ends_of if end["turn_deg"] is not None] or [math.nan])
    far = int((off > 6).sum())
    said = [row for row in rows if row["said"] is not None]
    right = sum(row["said"] == row["success"] for row in said)
    errors = (
        f"{np.median(off):.1f} / {np.quantile(off, 0.95):.1f} / {off.max():.1f} mm | {_share(far, off.size)}"
        if off.size
        else "none measured | "
    )
    verdicts = f"{right} / {len(said) - right} / {len(rows) - len(said)}" if layer is None else ""
    return (
        f"| {name} ({len(rows)}) | {len(ends_of)} | {_share(len(ends_of) - off.size, len(ends_of))} "
        f"| {errors} | {'' if np.isnan(turns).all() else f'{np.quantile(turns, 0.95):.1f} deg'} | {verdicts} |"
    )


def _share(count: int, total: int) -> str:
    """With its exact interval; what was never seen has the one-sided bound."""
    low, high = clopper_pearson(count, total, 0.05 if count else 0.1)[:2]
    return f"{100 * count / total:.1f} % [{100 * low:.1f}, {100 * high:.{1 if high > 0.01 else 2}f}]"


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
    played.add_argument(
        "--task", nargs="+", choices=tuple(NAMED), help="of this task only (default: of 1 to 4 boxes)"
    )
    what.add_parser("table").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.what == "play":
        states(options.first_state, options.states, options.output_dir, options.task or TASKS)
    else:
        print("\n".join(table(options.folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
