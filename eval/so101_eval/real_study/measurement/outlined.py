"""Where objects of any kind have to lie, drawn into the picture; nothing is measured.

What the camera measures are cubes (`camera.py`). Of other things a study shows the outline of the start, through the
calibrated place of the camera; whether the object lies on it is for the operator to see.
"""

import math

import numpy as np

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix
from so101_eval.palletizing.scene.draw import Reset
from so101_eval.real_study.design.own_task import OwnTask
from so101_eval.real_study.measurement.cubes import View
from so101_eval.real_study.measurement.nothing import Nothing
from so101_eval.real_study.measurement.protocol import Outline

WHY_NOT = "objects of a task of its own are not measured; their outlines are shown"


class Outlined(Nothing):
    """Of a task of its own; the lens and the place of the front camera are known."""

    def __init__(self, task: OwnTask, lens: Intrinsics, X_base_camera: Matrix) -> None:
        super().__init__(WHY_NOT)
        self._task, self._view = task, View(lens, X_base_camera)

    def outlines(self, reset: Reset) -> dict[int, Outline]:
        """Each object's rectangle on the table, at its start."""
        size_px = np.array(self._view.lens.size_px, float)
        found: dict[int, Outline] = {}
        for number, (start, thing) in enumerate(zip(reset.boxes, self._task.objects, strict=True)):
            half = np.array(thing.size_mm) / 2000 * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
            cos, sin = math.cos(start.yaw_rad), math.sin(start.yaw_rad)
            at = half @ np.array([(cos, sin), (-sin, cos)]) + (start.x_m, start.y_m)
            corners = (self._view.project(np.column_stack((at, np.zeros(4)))) + 0.5) / size_px
            found[number] = tuple((float(x), float(y)) for x, y in corners)
        return found
