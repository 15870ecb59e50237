"""What the operator is told at the reset."""

import math
from collections.abc import Mapping

from so101_eval.palletizing.scene.draw import BoxStart
from so101_eval.real_study.design.study import Study
from so101_eval.real_study.measurement.protocol import Offset, Outline


def put_down(outlines: Mapping[int, Outline]) -> str:
    """What the operator does now."""
    if outlines:
        return "Put each object on its outline."
    return "Put each object where the list says, seen from the arm's foot: straight ahead, then to its side."


def where(study: Study, offset: Offset, start: BoxStart) -> str:
    """For the operator, who stands behind the arm and looks along it."""
    name = study.objects[offset.box]
    if offset.dx_mm is None or offset.dy_mm is None:
        same_deg = 90 if study.own is None else 180  # a cube looks the same four times
        turned = (math.degrees(start.yaw_rad) + same_deg / 2) % same_deg - same_deg / 2
        side = "left" if start.y_m >= 0 else "right"
        ahead_mm, aside_mm = 1000 * start.x_m, 1000 * abs(start.y_m)
        return f"{name}: {ahead_mm:.0f} mm ahead, {aside_mm:.0f} mm {side}, turned {turned:.0f} deg"
    side, way = "right" if offset.dx_mm > 0 else "left", "too far" if offset.dy_mm > 0 else "too near"
    turn = offset.why_not if offset.dyaw_deg is None else f"{abs(offset.dyaw_deg):.0f} deg"
    return f"{name}: {abs(offset.dx_mm):.0f} mm {side}, {abs(offset.dy_mm):.0f} mm {way}, {turn}"
