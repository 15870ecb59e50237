"""The front camera as a measuring device: `protocol.Measurement` by what it sees of tags and boxes.

Where the camera is: by the mat's tags in every picture, so a camera that was bumped goes on measuring; without a mat,
where its calibration has it. Boxes at the start: in the base frame, against where they should lie. Boxes at the end: in
the pallet's frame. What is not certain is null, with the reason.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix
from so101_calibration.cameras.tags import camera_from_tags, find_tags, laid, print_scale
from so101_calibration.errors import ImplausibleError
from so101_eval.palletizing.scene.reset_data import PalletStart, Reset
from so101_eval.palletizing.scene.tasks import BOX_M, PALLET_M, PAN_AXIS_M, Task
from so101_eval.palletizing.score.placement import Placement as Against
from so101_eval.palletizing.score.placement import Pose, assign, in_world, measure
from so101_eval.real_study.design.tolerances import Tolerances
from so101_eval.real_study.measurement.colours import smooth
from so101_eval.real_study.measurement.cubes import View, around, outline
from so101_eval.real_study.measurement.fits import grid, turn_between
from so101_eval.real_study.measurement.looking import Look, gain, on_pallet, on_table, unmoved
from so101_eval.real_study.measurement.mat import Mat
from so101_eval.real_study.measurement.protocol import Offset, Outline, Pictures, Placed, Placement
from so101_eval.real_study.measurement.stacked import Stood, apart, layers, sure_of_layer
from so101_robot.preflight.findings import Finding, Level

FRONT = "front"
CHECK = "measurement"
MOST_RMS_PX = 1.5
"""Residual of the tags' corners; above, a tag lies elsewhere: halves taped wrongly, a mat that is not flat."""
SCALE_WARN, SCALE_STOP = 0.006, 0.02
LAID_MM, LAID_DEG = 3.0, 1.0
"""How far off its place the mat may lie; it is measured and taken out all the same."""
MOVED_PX = 1.5
"""Of the camera between start and end: more, and the picture at the start is no background."""
AROUND_M = 0.045
"""Round pick area and pallet: where boxes are looked for."""
PALLET_GRID_M = 0.008
SURE_MM, SURE_DEG = 1.0, 1.5
"""A placement is called good or bad where it is this far from its limit, as far as nine in ten errors go."""
NO_TURN = "its turn is not certain"
CLIPPED = 0.20
"""Share of the picture that may be white without anything in it."""


class Known(NamedTuple):
    """A picture's view, or why there is none."""

    view: View | None
    rms_px: float | None
    by: str
    """tags or calibration; or the reason."""


class Camera:
    """The front camera.

    Args:
        task: what is built.
        lens: as calibrated.
        X_base_camera: as calibrated; None: only the tags say it.
        mat: on the table; None: there is none.
        tolerances: of a placement.
        name: of the camera.
    """

    available = True

    def __init__(
        self,
        task: Task,
        lens: Intrinsics,
        X_base_camera: Matrix | None,
        mat: Mat | None,
        tolerances: Tolerances | None = None,
        name: str = FRONT,
    ) -> None:
        self._task, self._lens, self._X, self._mat = task, lens, X_base_camera, mat
        self._tolerances = Tolerances() if tolerances is None else tolerances
        self._name = name
        self._last: View | None = None

    # where the camera is -----

    def known(self, pictures: Pictures) -> Known:
        """Where the camera is that took these pictures."""
        picture = pictures.get(self._name)
        if picture is None:
            return Known(None, None, f"there is no picture of {self._name}")
        try:
            lens = self._lens.scaled((picture.shape[1], picture.shape[0]))
            if self._mat is not None:
                placed = camera_from_tags(find_tags(picture), self._mat.corners_m, lens)
                if placed.rms > MOST_RMS_PX:
                    raise ImplausibleError(
                        f"the tags fit the mat's drawing to {placed.rms:.1f} px, allowed are {MOST_RMS_PX}: is the "
                        "mat flat, are its halves taped edge to edge, is it the mat of this task?"
                    )
                return Known(View(lens, placed.X), placed.rms, "tags")
        except ImplausibleError as problem:
            return Known(None, None, str(problem))
        if self._X is None:
            return Known(None, None, f"neither a mat nor a pose of {self._name} is known")
        return Known(View(lens, self._X), None, "calibration")

    def rig_check(self, pictures: Pictures) -> list[Finding]:
        """Tags, residual of the pose, print and place of the mat, light."""
        known = self.known(pictures)
        if known.view is None:
            how = "so101-bench mat prints it; without a mat, so101-calibrate cameras front measures where the camera is"
            return [Finding(Level.STOP, CHECK, self._name, known.by, "", how)]
        self._last = known.view
        found = [self._light(pictures[self._name])]
        if known.rms_px is None:
            found.append(
                Finding(
                    Level.OK, CHECK, self._name, "no mat: the camera is taken to be where it was calibrated"
                )
            )
            return found
        found.append(Finding(Level.OK, CHECK, self._name, f"the mat's tags fit to {known.rms_px:.2f} px"))
        if self._X is not None and self._mat is not None:
            found += self._print(known.view.X_base_camera, self._X, self._mat)
        return found

    def _print(self, by_tags: Matrix, calibrated: Matrix, mat: Mat) -> list[Finding]:
        scale = print_scale(by_tags, calibrated)
        off = abs(scale - 1)
        level = Level.STOP if off >= SCALE_STOP else Level.WARN if off >= SCALE_WARN else Level.OK
        bar_mm = mat.bar_mm * scale
        words = f"the print is {100 * scale:.1f} % of what it is taken for: by this its bar is {bar_mm:.1f} mm long"
        how = f"measure the bar and give --bar_mm; or the camera was moved: so101-calibrate cameras {self._name}"
        findings = [
            Finding(level, CHECK, self._name, words, "99.4 to 100.6 %", "" if level is Level.OK else how)
        ]
        lies = laid(by_tags, calibrated, mat.middle_m)
        far = math.hypot(lies.dx_mm, lies.dy_mm) > LAID_MM or abs(lies.turn_deg) > LAID_DEG
        words = (
            f"the mat lies {_way(lies.dx_mm, 'too far ahead', 'too near')}, {_way(lies.dy_mm, 'left', 'right')}, "
            f"turned by {lies.turn_deg:.1f} deg"
        )
        how = "push it back, or calibrate the camera again if that was moved" if far else ""
        findings.append(
            Finding(Level.WARN if far else Level.OK, CHECK, self._name, words, f"within {LAID_MM:g} mm", how)
        )
        return findings

    def _light(self, picture: NDArray[np.uint8]) -> Finding:
        clipped = float((picture.min(-1) >= 254).mean())
        dark = float(np.median(picture)) < 40
        level = Level.WARN if clipped > CLIPPED or dark else Level.OK
        words = (
            f"{100 * clipped:.0f} % of the picture is clipped, its median is {np.median(picture):.0f} of 255"
        )
        return Finding(
            level, CHECK, self._name, words, "", "" if level is Level.OK else "lock another exposure"
        )

    # the start -----

    def outlines(self, reset: Reset) -> dict[int, Outline]:
        """Where each box has to lie, through the camera's last known place."""
        view = self._last
        if view is None and self._X is not None:
            view = View(self._lens, self._X)
        if view is None:
            return {}
        size = np.array(view.lens.size_px, float)
        found: dict[int, Outline] = {}
        for box, start in enumerate(reset.boxes):
            if start.present:
                place = np.array([start.x_m, start.y_m, start.yaw_rad])
                corners = (outline(place, 0.0, start.edge_m, view) + 0.5) / size
                found[box] = tuple((float(x), float(y)) for x, y in corners)
        return found

    def reset_offsets(self, pictures: Pictures, reset: Reset) -> list[Offset]:
        """Off the target as the operator stands behind the arm: to the right, and away."""
        known = self.known(pictures)
        if known.view is None:
            return [Offset(box, None, None, None, known.by) for box in range(len(reset.boxes))]
        self._last = known.view
        return [
            self._offset(box, look, reset)
            for box, look in enumerate(self._starts(smooth(pictures[self._name]), known.view, reset))
        ]

    def _offset(self, box: int, look: Look, reset: Reset) -> Offset:
        place, start = look.place, reset.boxes[box]
        if place is None:
            return Offset(box, None, None, None, look.why_not)
        off_mm = 1000 * (place[:2] - (start.x_m, start.y_m))
        turn = math.degrees(turn_between(float(place[2]), start.yaw_rad)) if look.turned else None
        return Offset(box, float(-off_mm[1]), float(off_mm[0]), turn, "" if look.turned else NO_TURN)

    def _starts(self, picture: NDArray[np.float64], view: View, reset: Reset) -> list[Look]:
        targets = np.array([(box.x_m, box.y_m, box.yaw_rad) for box in reset.boxes])
        return on_table(
            picture, view, targets, [box.edge_m for box in reset.boxes], self._pick_outline(targets)
        )

    def _pick_outline(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round the pick area, and round targets outside of it."""
        area = self._task.pick_area
        angles = np.linspace(area.azimuth_rad[0], area.azimuth_rad[1], 9)
        ring = [
            (PAN_AXIS_M[0] + r * math.cos(a), PAN_AXIS_M[1] + r * math.sin(a))
            for r in area.radius_m
            for a in angles.tolist()
        ]
        points = np.concatenate((np.array(ring), targets[:, :2]))
        square = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * AROUND_M / 2
        return (points[:, None] + square).reshape(-1, 2)

    # the end -----

    def placement(self, before: Pictures, after: Pictures, reset: Reset) -> Placement:
        """Boxes in the pallet's frame, against the slots that suit them best."""
        first, last = self.known(before), self.known(after)
        if first.view is None or last.view is None:
            why = f"at the start: {first.by}" if first.view is None else f"at the end: {last.by}"
            return _nothing(reset, why)
        pallet = self._pallet(reset)
        moved = _moved_px(first.view, last.view, pallet)
        if moved > MOVED_PX:
            return _nothing(reset, f"the camera moved by {moved:.1f} px in the trial")
        start, end = smooth(before[self._name]), smooth(after[self._name])
        starts = self._starts(start, last.view, reset)
        brighter = gain(start, end)
        still = [
            look.fit is not None
            and unmoved(start, end, last.view, look.fit.place, reset.boxes[box].edge_m, brighter)
            for box, look in enumerate(starts)
        ]
        looks = self._ends(start, end, last.view, starts, reset, pallet, still)
        return self._against_slots(looks, still, reset, pallet, last.view, last.rms_px)

    def _pallet(self, reset: Reset) -> PalletStart:
        if self._mat is None:
            return reset.pallet
        x_m, y_m = self._mat.as_printed(np.array((reset.pallet.x_m, reset.pallet.y_m))).tolist()
        return PalletStart(x_m, y_m, reset.pallet.yaw_rad, reset.pallet.look)

    def _ends(
        self,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        view: View,
        starts: list[Look],
        reset: Reset,
        pallet: PalletStart,
        still: list[bool],
    ) -> list[Stood]:
        """Each box and its layer."""
        seen = [(box, look.colours) for box, look in enumerate(starts) if look.colours is not None]
        missing = [f"at the start: {look.why_not}" for look in starts]
        looks = [Stood(Look(None, None, None, missing[box]), 0) for box in range(len(starts))]
        if not seen:
            return looks
        half_u, half_v = PALLET_M[0] / 2 + 0.012, PALLET_M[1] / 2 + 0.012
        rim = [
            in_world(pallet, u * (half_u + 0.012), v * (half_v + 0.012))
            for u, v in ((1, 1), (1, -1), (-1, -1), (-1, 1))
        ]
        local = grid((0.0, 0.0), (half_u, half_v), PALLET_GRID_M)
        places = np.array([(*in_world(pallet, u, v), yaw + pallet.yaw_rad) for u, v, yaw in local.tolist()])
        bottoms = [PALLET_M[2] + layer * BOX_M for layer in range(self._task.pattern.layers)]
        table = on_pallet(
            start, end, view, [colours for _, colours in seen], [reset.boxes[box].edge_m for box, _ in seen],
            places, np.array(rim), bottoms,
        )  # fmt: skip
        for (box, _), layer, row in zip(seen, layers(table), table, strict=True):
            looks[box] = Stood(row[layer], layer, row)
        return apart(sure_of_layer(looks, still))

    def _against_slots(
        self,
        looks: list[Stood],
        still: list[bool],
        reset: Reset,
        pallet: PalletStart,
        view: View,
        rms_px: float | None,
    ) -> Placement:
        rows: list[list[Against]] = []
        for box, (look, layer, _) in enumerate(looks):
            edge_m = reset.boxes[box].edge_m
            x, y, yaw = (1.0, 1.0, 0.0) if look.fit is None else look.fit.place.tolist()
            if (place := look.place) is not None:
                x, y, yaw = place.tolist()
            pose = Pose((x, y, PALLET_M[2] + layer * BOX_M + edge_m / 2), yaw, 0.0)
            rows.append([measure(pose, edge_m, slot, pallet) for slot in self._task.slots])
        boxes: list[Placed] = []
        goods: list[bool | None] = []
        for box, slot in enumerate(assign(rows)):
            (look, layer, _), at, edge_m = looks[box], rows[box][slot], reset.boxes[box].edge_m
            ideal = self._task.slots[slot]
            middle = (*in_world(pallet, ideal.u_m, ideal.v_m), pallet.yaw_rad)
            target = _outlined(np.array(middle), ideal.layer, edge_m, view)
            if look.place is None:
                goods.append(False if still[box] else None)
                why = "it lies where it started" if still[box] else look.why_not
                boxes.append(Placed(box, None, None, None, why, target))
                continue
            good, why = self._good(at, look.turned)
            goods.append(good)
            yaw_deg, seen = at.yaw_deg if look.turned else None, _outlined(look.place, layer, edge_m, view)
            boxes.append(Placed(box, at.du_mm, at.dv_mm, yaw_deg, why, target, seen))
        success = False if False in goods else None if None in goods else True
        fits = [look.fit for look, *_ in looks if look.fit is not None and look.place is not None]
        details = {"tags_rms_px": rms_px} if rms_px is not None else {}
        return Placement(tuple(boxes), success, max((fit.misfit_px for fit in fits), default=None), details)

    def _good(self, at: Against, turned: bool) -> tuple[bool | None, str]:
        """Within the study's tolerances; None, with the reason, where that depends on what is not known so exactly."""
        most = self._tolerances
        if at.error_mm > most.placed_mm + SURE_MM or at.overhang_mm > 2 * SURE_MM:
            return False, "" if turned else NO_TURN
        if not turned:
            return None, NO_TURN
        if abs(at.yaw_deg) > most.placed_deg + SURE_DEG:
            return False, ""
        near = at.error_mm > most.placed_mm - SURE_MM or at.overhang_mm > 0
        if near or abs(at.yaw_deg) > most.placed_deg - SURE_DEG:
            return None, "it is too near to the limit to say whether it is within"
        return True, ""


def _outlined(place: NDArray[np.float64], layer: int, edge_m: float, view: View) -> Outline:
    """Of a box on the pallet."""
    points = (around(place, PALLET_M[2] + layer * BOX_M, edge_m, view) + 0.5) / np.array(
        view.lens.size_px, float
    )
    return tuple((round(x, 4), round(y, 4)) for x, y in points.tolist())


def _nothing(reset: Reset, why: str) -> Placement:
    return Placement(tuple(Placed(box, None, None, None, why) for box in range(len(reset.boxes))), None, None)


def _moved_px(first: View, last: View, pallet: PalletStart) -> float:
    points = np.array([(*in_world(pallet, u, v), 0.02) for u in (-0.04, 0.04) for v in (-0.04, 0.04)])
    return float(np.linalg.norm(first.project(points) - last.project(points), axis=-1).max())


def _way(off_mm: float, plus: str, minus: str) -> str:
    return f"{abs(off_mm):.1f} mm {plus if off_mm > 0 else minus}"
