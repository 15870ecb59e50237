"""Boxes in a picture from a camera at a known place: on the table at the start, on the pallet at the end.

At the start nothing is known of the empty table but that it is paler than boxes: something saturated of a box's size
is a box, and its own colours and those round it make the weights of the fit.
At the end the picture at the start says what lay
under the boxes and how each of them looks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_eval.real_study.measurement.colours import MOST, distance, nearest, palette, weights
from so101_eval.real_study.measurement.cubes import View, areas_px, corners, drawn
from so101_eval.real_study.measurement.fits import Edges, Fit, Region, grid, turn_between

type Floats = NDArray[np.float64]
type Mask = NDArray[np.bool_]

SATURATED = 0.22
"""Of a box against the table, from 0 to 1. Boxes that are paler need a marker."""
JOIN_PX = 11
"""Pieces of a box that a pale label parts are nearer together than this; boxes are not."""
LIKE_A_BOX = (0.45, 1.8)
"""Area of a piece against that of a box there."""
NEAR_M = 0.060
"""A box farther from its target than this is another thing, or not laid out yet."""
INSIDE_PX, OUTSIDE_PX, RING_PX = 2, 3, 10
"""Margins to a fitted outline: where its colours and those of the ground are taken."""

AGREE_M, AGREE_RAD = 0.0025, math.radians(15)
"""Between the two estimates. A silhouette says little of the turn: 95 % are within 14 deg, by the edges within 2."""
GAIN_EVERY = 3
"""Pixels, down and across, of which one is enough to compare the light by."""
LEAST_SCORE, LEAST_LOSS, LEAST_TURN_LOSS = 0.45, 0.02, 0.02
MOST_MISFIT_PX = 1.2


class Look(NamedTuple):
    """A box that was looked for."""

    fit: Fit | None
    edges: Floats | None
    """(3,) place by its edges."""
    colours: Floats | None
    """(k, 3)"""
    why_not: str
    """Why its place is not measured; empty: it is."""
    turned: bool = True
    """Its yaw is measured, too."""

    @property
    def place(self) -> Floats | None:
        """(3,) mean of the two estimates [m, m], if they agree, and the turn of the edges [rad]: a cube's silhouette
        hardly changes when it turns a little."""
        if self.fit is None or self.edges is None or self.why_not:
            return None
        return np.array([*(self.fit.place[:2] + self.edges[:2]) / 2, self.edges[2]])


class Window(NamedTuple):
    """A part of a picture."""

    rows: slice
    columns: slice
    inside: Mask
    """(h, w) of the part that counts."""

    @property
    def origin_px(self) -> tuple[int, int]:
        return self.columns.start, self.rows.start

    def of(self, picture: Floats) -> Floats:
        return picture[self.rows, self.columns]


def window(outline_m: Floats, height_m: float, view: View, margin_px: int = 14) -> Window | None:
    """Of what stands on an outline (n, 2) [m], up to a height; None: it is not in the picture."""
    points = [np.column_stack((outline_m, np.full(len(outline_m), z))) for z in (0.0, height_m)]
    hull = cv2.convexHull(view.project(np.concatenate(points)).astype(np.float32)).reshape(-1, 2)
    width, height = view.lens.size_px
    low = np.clip(np.floor(hull.min(0)).astype(int) - margin_px, 0, (width, height))
    high = np.clip(np.ceil(hull.max(0)).astype(int) + margin_px, 0, (width, height))
    if np.any(high - low < 8):
        return None
    inside = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillConvexPoly(inside, np.rint(hull - low).astype(np.int32), 1)
    return Window(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])), inside > 0)


def silhouette(place: Floats, bottom_m: float, edge_m: float, view: View, where: Window) -> NDArray[np.uint8]:
    """(h, w) 1 where a cube is, to the pixel."""
    points = view.project(corners(place[None], bottom_m, edge_m)[0]) - where.origin_px
    mask = np.zeros(where.inside.shape, np.uint8)
    hull = cv2.convexHull(np.rint(points * 16).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1, shift=4)
    return mask


def judged(fit: Fit, seen: Edges, colours: Floats | None) -> Look:
    """Whether the fit is good, and the second estimate, by the edges, says the same."""
    edges = seen.fit(fit.place, fit.bottom_m)
    off_m = float(np.linalg.norm(edges[:2] - fit.place[:2]))
    turn = abs(turn_between(float(edges[2]), float(fit.place[2])))
    why = ""
    if fit.score < LEAST_SCORE:
        why = f"only {100 * max(fit.score, 0):.0f} % of it is seen"
    elif fit.misfit_px > MOST_MISFIT_PX:
        why = f"it does not look like a box that stands level ({fit.misfit_px:.1f} px off)"
    elif fit.loss < LEAST_LOSS:
        why = "its place is not well determined by what is seen of it"
    elif off_m > AGREE_M:
        why = f"outline and edges are {1000 * off_m:.1f} mm apart"
    turned = turn <= AGREE_RAD and seen.turn_loss(edges, fit.bottom_m) >= LEAST_TURN_LOSS
    return Look(fit, edges, colours, why, turned)


# at the start -----


def on_table(
    picture: Floats, view: View, targets: Floats, edges_m: Sequence[float], outline_m: Floats
) -> list[Look]:
    """Boxes of known edges near their targets (n, 3) [m, m, rad], on a table that is paler than they are.

    Args:
        picture: (h, w, 3), smoothed.
        view: of the camera.
        targets: where each should be.
        edges_m: of each.
        outline_m: (k, 2) round where boxes may lie.
    """
    where = window(outline_m, max(edges_m), view)
    if where is None:
        return [Look(None, None, None, "the pick area is not in the picture") for _ in edges_m]
    part = where.of(picture)
    middle_m = np.column_stack((targets[:, :2], np.array(edges_m) / 2))
    expected = view.project(middle_m) - where.origin_px
    area_px = float(areas_px(drawn(targets, 0.0, edges_m[0], view)).mean())
    pieces = [part_of for piece in _pieces(part, where) for part_of in _parted(piece, expected, area_px)]
    at_m = [on_plane(view, middle + np.array(where.origin_px), edges_m[0] / 2) for _, middle in pieces]
    looks: list[Look] = []
    for box, piece in enumerate(_matched(targets, at_m)):
        edge_m = edges_m[box]
        if piece is None:
            looks.append(Look(None, None, None, f"it is not seen within {1000 * NEAR_M:.0f} mm of its place"))
            continue
        start = np.array([*at_m[piece], 0.0])
        share = pieces[piece][0].sum() / float(areas_px(drawn(start[None], 0.0, edge_m, view))[0])
        if not LIKE_A_BOX[0] <= share <= LIKE_A_BOX[1]:
            what = "it touches something, or a hand covers it"
            looks.append(Look(None, None, None, f"what is there is {100 * share:.0f} % of a box: {what}"))
            continue
        others = np.any([mask for number, (mask, _) in enumerate(pieces) if number != piece], axis=0)
        taken = np.zeros(where.inside.shape, np.bool_) | others
        looks.append(_at_start(part, where, view, pieces[piece][0], taken, start, edge_m))
    return looks


def _at_start(
    part: Floats, where: Window, view: View, piece: Mask, taken: Mask, start: Floats, edge_m: float
) -> Look:
    """One box, found roughly. The first fit says better which pixels are its own, the second uses them."""
    mask, starts = piece.astype(np.uint8), grid((start[0], start[1]), (0.012, 0.012))
    fit: Fit | None = None
    colours: Floats | None = None
    for _ in range(2):
        core = cv2.erode(mask, _disc(INSIDE_PX)) > 0
        ring = (cv2.dilate(mask, _disc(RING_PX)) > 0) & (cv2.dilate(mask, _disc(OUTSIDE_PX)) == 0) & ~taken
        if core.sum() < 30 or ring.sum() < 60:
            return Look(None, None, None, "too little of it or of the table round it is in the picture")
        colours, ground = palette(part[core]), palette(part[ring], 5)
        near = cv2.dilate(mask, _disc(RING_PX)) > 0
        weight = np.zeros(near.shape)
        here = _round(near)  # colours are compared where the weight is not 0 anyway
        alike = weights(nearest(part[here], colours), nearest(part[here], ground))
        weight[here] = np.where(near[here] & ~taken[here], alike, 0.0)
        fit = Region(weight, where.origin_px, view, edge_m, MOST).fit(starts, 0.0)
        mask, starts = silhouette(fit.place, 0.0, edge_m, view, where), fit.place[None]
    assert fit is not None  # it was made twice
    return judged(fit, Edges(part, where.origin_px, view, edge_m), colours)


def _pieces(part: Floats, where: Window) -> list[tuple[Mask, Floats]]:
    """Saturated things: where, and the middle (2,) [px] in the part."""
    pale = np.median(part[where.inside], axis=0)
    balanced = part / np.maximum(pale, 1.0)
    high, low = balanced.max(-1), balanced.min(-1)
    seen = ((high - low > SATURATED * high) & (high > 0.12) & where.inside).astype(np.uint8)
    seen = cv2.morphologyEx(seen, cv2.MORPH_OPEN, _disc(1))
    seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, _disc(JOIN_PX // 2))
    count, labels, stats, middles = cv2.connectedComponentsWithStats(seen)
    big = [number for number in range(1, count) if stats[number, cv2.CC_STAT_AREA] >= 60]
    return [(labels == number, np.asarray(middles[number], float)) for number in big]


def _parted(piece: tuple[Mask, Floats], expected: Floats, area_px: float) -> list[tuple[Mask, Floats]]:
    """Boxes that touch in the picture: parted by Lloyd's algorithm from where boxes are expected (n, 2) [px]."""
    mask, middle = piece
    count = min(round(mask.sum() / area_px), len(expected))
    if count < 2:
        return [piece]
    order = np.argsort(np.linalg.norm(expected - middle, axis=1))
    middles = expected[order[:count]].copy()
    rows, columns = np.nonzero(mask)
    points = np.column_stack((columns, rows)).astype(float)
    nearest_one = np.zeros(len(points), int)
    for _ in range(8):
        nearest_one = np.argmin(np.linalg.norm(points[:, None] - middles, axis=2), axis=1)
        for one in range(count):
            if np.any(nearest_one == one):
                middles[one] = points[nearest_one == one].mean(0)
    found: list[tuple[Mask, Floats]] = []
    for one in range(count):
        own = np.zeros_like(mask)
        own[rows[nearest_one == one], columns[nearest_one == one]] = True
        found.append((own, middles[one]))
    return found


def _matched(targets: Floats, at_m: Sequence[Floats]) -> list[int | None]:
    """For each target the thing that belongs to it: pairs by increasing distance."""
    pairs = sorted(
        (float(np.linalg.norm(target[:2] - at)), box, piece)
        for box, target in enumerate(targets)
        for piece, at in enumerate(at_m)
    )
    found: dict[int, int] = {}
    for off_m, box, piece in pairs:
        if off_m <= NEAR_M and box not in found and piece not in found.values():
            found[box] = piece
    return [found.get(box) for box in range(len(targets))]


def on_plane(view: View, pixel: Floats, height_m: float) -> Floats:
    """(2,) [m] x and y where the ray of a pixel (2,) meets a height."""
    lens = view.lens
    straight = cv2.undistortPoints(pixel.reshape(1, 1, 2).astype(float), lens.matrix, lens.distortion)
    ray = view.X_base_camera[:3, :3] @ np.array([*np.asarray(straight, float).ravel(), 1.0])
    eye = view.X_base_camera[:3, 3]
    return (eye + ray * (height_m - eye[2]) / ray[2])[:2]


def _round(mask: Mask) -> tuple[slice, slice]:
    """The smallest window of a mask that has something in it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _disc(radius_px: int) -> NDArray[np.uint8]:
    size = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


# at the end -----


def gain(before: Floats, after: Floats) -> Floats:
    """(3,) brightness of the picture after over that before, by the median of pixels neither dark nor clipped."""
    before, after = before[::GAIN_EVERY, ::GAIN_EVERY], after[::GAIN_EVERY, ::GAIN_EVERY]
    usable = (before.min(-1) > 20) & (after.min(-1) > 20) & (before.max(-1) < 250) & (after.max(-1) < 250)
    if usable.sum() < 500:
        return np.ones(3)
    return np.median(after[usable] / before[usable], axis=0)


def on_pallet(
    before: Floats,
    after: Floats,
    view: View,
    colours: Sequence[Floats],
    edges_m: Sequence[float],
    starts: Floats,
    outline_m: Floats,
    bottoms_m: Sequence[float],
) -> list[list[Look]]:
    """Boxes on the pallet, at each height that a box may stand at: [box][height].

    Args:
        before, after: (h, w, 3), smoothed, of a camera that has not moved.
        view: of the camera.
        colours: of each box.
        edges_m: of each box.
        starts: (N, 3) places to begin at.
        outline_m: (k, 2) round the pallet.
        bottoms_m: heights.
    """
    where = window(outline_m, max(bottoms_m) + max(edges_m), view)
    if where is None:
        return [
            [Look(None, None, None, "the pallet is not in the picture")] * len(bottoms_m) for _ in edges_m
        ]
    brighter = gain(before, after)
    part = where.of(after)
    as_before = distance(part, where.of(before) * brighter)
    as_box = [nearest(part, own * brighter) for own in colours]
    edges = Edges(part, where.origin_px, view, edges_m[0])
    looks: list[list[Look]] = []
    for box, edge_m in enumerate(edges_m):
        others = [other for number, other in enumerate(as_box) if number != box]
        weight = np.where(where.inside, weights(as_box[box], as_before, others), 0.0)
        region = Region(weight, where.origin_px, view, edge_m, MOST)
        row: list[Look] = []
        for bottom_m in bottoms_m:
            fit = region.fit(starts, bottom_m)
            if fit.score < LEAST_SCORE / 2:
                row.append(Look(fit, None, colours[box], "it is not seen on the pallet"))
                continue
            row.append(judged(fit, edges, colours[box]))
        looks.append(row)
    return looks


def unmoved(
    before: Floats, after: Floats, view: View, place: Floats, edge_m: float, brighter: Floats
) -> bool:
    """Whether the picture of a box at its start has not changed; `brighter` (3,) is `gain` of the pictures."""
    points = view.project(corners(place[None], 0.0, edge_m)[0])
    where = Window(slice(0, before.shape[0]), slice(0, before.shape[1]), np.ones(before.shape[:2], np.bool_))
    if points.min() < 0 or np.any(points.max(0) >= view.lens.size_px):
        return False
    mask = silhouette(place, 0.0, edge_m, view, where) > 0
    return float(np.median(distance(after[mask], before[mask] * brighter))) < 1.0
