"""A picture of how an attempt ended: the bench from above, and the pallet's plan with the measured errors.

The plan is drawn from the score alone, so it shows what was judged and not what somebody sees.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from so101_eval.palletizing.scene.scene import PalletizingScene
from so101_eval.palletizing.scene.tasks import (
    BOX_M,
    PALLET_M,
    POSITION_TOLERANCE_MM,
    YAW_TOLERANCE_DEG,
    Slot,
    Task,
)
from so101_eval.palletizing.score.placement import in_world
from so101_eval.palletizing.score.record import BoxScore, Score
from so101_robot.mock.cameras.render import open_renderer
from so101_robot.mock.physics.world import REST_POSE_RAD, World

WIDTH, HEIGHT, PANEL = 640, 480, 400
_FINE = 2  # drawn so much larger, then reduced: smooth lines

type Rgb = tuple[int, int, int]
_PAPER, _INK, _FAINT = (250, 248, 243), (38, 40, 44), (150, 148, 142)
_WOOD, _WOOD_EDGE = (233, 213, 182), (176, 140, 96)
_GOOD, _BAD = (24, 128, 72), (196, 48, 36)


def overhead_picture(world: World, score: Score) -> NDArray[np.uint8]:
    """The bench from above beside the plan of the pallet, (480, 1040, 3) RGB.

    Left: the world as it is, the arm drawn folded so that it hides nothing; slots are outlined in the
    colour of the verdict. Right: slots, boxes as they were measured, and their errors, one plan per layer.
    The world must hold a `PalletizingScene` that was laid out.
    """
    scene = world.scene
    assert isinstance(scene, PalletizingScene), "only palletizing scenes have a pallet"
    assert scene.current is not None, "the scene was never laid out"
    photo = Image.fromarray(_photo(world)).resize((WIDTH * _FINE, HEIGHT * _FINE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", ((WIDTH + PANEL) * _FINE, HEIGHT * _FINE), _PAPER)
    canvas.paste(photo, (0, 0))
    pen = ImageDraw.Draw(canvas)
    _outline_slots(pen, world, scene, score)
    colours = [_bytes(box.rgb) for box in scene.current.boxes]
    _draw_panel(pen, scene.task, score, colours)
    small = canvas.resize((WIDTH + PANEL, HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(small, np.uint8).copy()


def _bytes(rgb: Sequence[float]) -> Rgb:
    red, green, blue = (round(255 * value) for value in rgb)
    return red, green, blue


def _photo(world: World) -> NDArray[np.uint8]:
    snapshot = world.snapshot()
    snapshot[world.joint_qpos] = REST_POSE_RAD
    with open_renderer(world.model, WIDTH, HEIGHT, shadows=True) as renderer:
        return renderer.render(snapshot, "overhead")


def _verdict(box: BoxScore | None) -> Rgb:
    return _FAINT if box is None else _GOOD if box.good else _BAD


def _outline_slots(pen: ImageDraw.ImageDraw, world: World, scene: PalletizingScene, score: Score) -> None:
    """On the photograph, round the upper faces of the boxes that have none on top."""
    assert scene.current is not None
    slots = scene.task.slots
    for index, slot in enumerate(slots):
        if any((other.u_m, other.v_m) == (slot.u_m, slot.v_m) for other in slots[index + 1 :]):
            continue
        corners = _square(slot.u_m, slot.v_m, 0.0, BOX_M + 0.004)
        top_m = PALLET_M[2] + slot.bottom_m + BOX_M
        places = [(*in_world(scene.current.pallet, u, v), top_m) for u, v in corners]
        line = [_pixel(world, place) for place in places]
        pen.line([*line, line[0]], fill=_verdict(score.slot(index)), width=2 * _FINE, joint="curve")


def _pixel(world: World, point_m: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point is seen by the overhead camera, on the fine canvas."""
    camera = world.model.camera("overhead").id
    R_world_camera = world.data.cam_xmat[camera].reshape(3, 3)
    x, y, z = (R_world_camera.T @ (np.array(point_m) - world.data.cam_xpos[camera])).tolist()
    scale = HEIGHT / 2 / math.tan(math.radians(float(world.model.cam_fovy[camera])) / 2)
    return (WIDTH / 2 + scale * x / -z) * _FINE, (HEIGHT / 2 - scale * y / -z) * _FINE


def _square(u: float, v: float, yaw_rad: float, edge: float) -> list[tuple[float, float]]:
    cos, sin = math.cos(yaw_rad) * edge / 2, math.sin(yaw_rad) * edge / 2
    return [(u + a * cos - b * sin, v + a * sin + b * cos) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]


class _Plan(NamedTuple):
    """Where a plan of the pallet is drawn: its middle and scale, on the fine canvas; u is up, v to the left."""

    x: float
    y: float
    pixels_per_m: float

    def at(self, u_m: float, v_m: float) -> tuple[float, float]:
        return self.x - v_m * self.pixels_per_m, self.y - u_m * self.pixels_per_m

    def square(self, u_m: float, v_m: float, yaw_rad: float, edge_m: float) -> list[tuple[float, float]]:
        return [self.at(*corner) for corner in _square(u_m, v_m, yaw_rad, edge_m)]


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _FINE)


def _draw_panel(pen: ImageDraw.ImageDraw, task: Task, score: Score, colours: Sequence[Rgb]) -> None:
    left, width = WIDTH * _FINE, PANEL * _FINE
    verdict = {True: "success", False: "failure", None: "not judged"}[score.success]
    colour = {True: _GOOD, False: _BAD, None: _FAINT}[score.success]
    pen.text((left + 20 * _FINE, 16 * _FINE), f"{task.name}, seed {score.seed}", _INK, _font(17))
    pen.text((left + width - 20 * _FINE, 16 * _FINE), verdict, colour, _font(17), anchor="ra")
    detail = f"{score.scenario}, level {score.level}" + (f"   {score.failure.kind}" if score.failure else "")
    pen.text((left + 20 * _FINE, 40 * _FINE), detail, _FAINT, _font(12.5))
    layers = task.pattern.layers
    room = (HEIGHT - 64 - 52) * _FINE / layers
    scale = min(room * 0.94 / PALLET_M[0], width * 0.90 / PALLET_M[1])
    for layer in range(layers):
        middle_y = 64 * _FINE + room * (layers - layer - 0.5)
        _draw_layer(pen, _Plan(left + width / 2, middle_y, scale), layer, task, score, colours)
    limits = f"limits {POSITION_TOLERANCE_MM:g} mm (circle), {YAW_TOLERANCE_DEG:g}°"
    pen.text((left + 20 * _FINE, (HEIGHT - 46) * _FINE), limits, _FAINT, _font(12.5))
    pen.text((left + 20 * _FINE, (HEIGHT - 28) * _FINE), _throughput(score), _INK, _font(12.5))


def _throughput(score: Score) -> str:
    if score.seconds_per_box is None or score.boxes_per_hour is None:
        return f"{score.good_boxes} of {len(score.boxes)} boxes"
    return (
        f"{score.good_boxes} of {len(score.boxes)} boxes, {score.seconds_per_box:.1f} s each, "
        f"{score.boxes_per_hour:.0f} an hour"
    )


def _draw_layer(
    pen: ImageDraw.ImageDraw, plan: _Plan, layer: int, task: Task, score: Score, colours: Sequence[Rgb]
) -> None:
    u_m, v_m, _ = PALLET_M
    corners = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    deck = [plan.at(a * u_m / 2, b * v_m / 2) for a, b in corners]
    pen.polygon(deck, _WOOD, _WOOD_EDGE, _FINE)
    if task.pattern.layers > 1:
        name = "on the deck" if layer == 0 else f"layer {layer + 1}"
        pen.text(plan.at(u_m / 2 - 0.003, v_m / 2 - 0.003), name, _FAINT, _font(11))
    for index, slot in enumerate(task.slots):
        if slot.layer == layer:
            _draw_slot(pen, plan, slot, score.slot(index), colours)


def _draw_slot(
    pen: ImageDraw.ImageDraw, plan: _Plan, slot: Slot, box: BoxScore | None, colours: Sequence[Rgb]
) -> None:
    centre, radius = plan.at(slot.u_m, slot.v_m), POSITION_TOLERANCE_MM / 1000 * plan.pixels_per_m
    pen.circle(centre, radius, None, _WOOD_EDGE, _FINE)
    target = plan.square(slot.u_m, slot.v_m, 0.0, BOX_M)
    small = plan.pixels_per_m < 3000 * _FINE
    if box is None or box.du_mm is None or box.dv_mm is None or box.yaw_deg is None or box.error_mm is None:
        pen.polygon(target, None, _FAINT, _FINE)
        pen.text(centre, "empty", _FAINT, _font(11), anchor="mm")
        return
    u_m, v_m = slot.u_m + box.du_mm / 1000, slot.v_m + box.dv_mm / 1000
    if max(abs(u_m), abs(v_m)) > 2 * max(PALLET_M[:2]):  # never came near: an arrow would point off the page
        pen.polygon(target, None, _BAD, _FINE)
        pen.text(centre, "missing", _BAD, _font(11), anchor="mm")
        return
    pen.polygon(plan.square(u_m, v_m, math.radians(box.yaw_deg), BOX_M), _pale(colours[box.box]), None)
    pen.polygon(plan.square(u_m, v_m, math.radians(box.yaw_deg), BOX_M), None, colours[box.box], 2 * _FINE)
    pen.polygon(target, None, _INK, _FINE)
    pen.line([centre, plan.at(u_m, v_m)], _verdict(box), 3 * _FINE)
    pen.circle(plan.at(u_m, v_m), 2.5 * _FINE, _verdict(box))
    x, y = centre
    step = (8 if small else 15) * _FINE
    font = _font(10 if small else 14)
    pen.text((x, y - step), f"{box.error_mm:.1f} mm", _verdict(box), font, anchor="mb")
    pen.text((x, y + step), f"{box.yaw_deg:+.1f}°", _verdict(box), font, anchor="mt")


def _pale(rgb: Rgb) -> Rgb:
    red, green, blue = (round(255 - 0.28 * (255 - value)) for value in rgb)
    return red, green, blue
