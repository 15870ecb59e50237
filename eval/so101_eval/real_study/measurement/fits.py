"""Where a cube is: by what it covers, and a second time by its edges. Two estimates that can disagree.

Both search places (x, y, yaw) on a surface of known height: a grid first, then ever smaller steps round the best one.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_eval.real_study.measurement.cubes import COARSE, SAMPLES, Drawn, Summed, View, areas_px, drawn

type Floats = NDArray[np.float64]
type Score = Callable[[Floats], Floats]
"""(N,) of places (N, 3): higher is better."""

GRID_M, GRID_YAWS = 0.006, 6
"""Of the first search; a cube's yaw is known to a quarter turn."""
STEPS = ((0.004, 0.20), (0.002, 0.10), (0.001, 0.05), (0.0005, 0.025), (0.0002, 0.01))
"""[m], [rad] of the later ones."""
ROUGH_M = 0.001
"""Steps from here on are judged by few samples an edge: what they have wrong is put right by the smaller ones."""
AROUND = np.array([(x, y, turn) for x in (-1, 0, 1) for y in (-1, 0, 1) for turn in (-1, 0, 1)], float)
EDGE_STEP_M, EDGE_TURNS = 0.002, np.deg2rad(np.arange(-15.0, 16.0, 5.0))
QUARTER = math.pi / 2
PROBE_M, PROBE_RAD = 0.003, math.radians(6)
"""How far the best place is moved to see whether it is well determined."""


class Fit(NamedTuple):
    """A cube by what it covers."""

    place: Floats
    """(3,) x, y [m], yaw [rad]"""
    bottom_m: float
    score: float
    """Share of the silhouette that looks like the box, minus the share that looks as before: -1 to 1."""
    loss: float
    """Of that score, at least, when the place is moved by 3 mm in any direction."""
    misfit_px: float
    """Area that contradicts, over the length of the outline: a mean distance."""


def search(score: Score, starts: Floats, roughly: Score | None = None) -> Floats:
    """(3,) the best place: the best of `starts` (N, 3), then uphill in ever smaller steps, the large ones roughly."""
    place = starts[int(np.argmax((roughly or score)(starts)))]
    for step_m, step_rad in STEPS:
        judge = roughly if roughly is not None and step_m >= ROUGH_M else score
        for _ in range(6):
            tries = place + AROUND * (step_m, step_m, step_rad)
            best = int(np.argmax(judge(tries)))
            if best == len(AROUND) // 2:
                break
            place = tries[best]
    return place


def grid(middle_m: tuple[float, float], half_m: tuple[float, float], step_m: float = GRID_M) -> Floats:
    """(N, 3) places round a middle, in all yaws."""
    x, y = (
        middle + np.arange(-math.ceil(half / step_m), math.ceil(half / step_m) + 1) * step_m
        for middle, half in zip(middle_m, half_m, strict=True)
    )
    yaws = np.arange(GRID_YAWS) * QUARTER / GRID_YAWS
    return np.stack(np.meshgrid(x, y, yaws, indexing="ij"), axis=-1).reshape(-1, 3)


class Region:
    """Cubes by what they cover, on a map of weights."""

    def __init__(
        self, weight: Floats, origin_px: tuple[int, int], view: View, edge_m: float, most: float
    ) -> None:
        self._all = Summed(weight / most, origin_px)
        self._against = Summed(np.minimum(weight, 0) / most, origin_px)
        self._view, self._edge_m = view, edge_m

    def fit(self, starts: Floats, bottom_m: float) -> Fit:
        """The best place on a surface at that height."""

        def score(places: Floats) -> Floats:
            return self._all.over(self._drawn(places, bottom_m))

        def roughly(places: Floats) -> Floats:
            return self._all.over(self._drawn(places, bottom_m, COARSE))

        place = search(score, starts, roughly)
        cubes = self._drawn(place[None], bottom_m)
        area = float(areas_px(cubes)[0])
        best = float(self._all.over(cubes)[0])
        angles = np.arange(8) * math.pi / 4
        moved = place + np.column_stack((np.cos(angles), np.sin(angles), np.zeros(8))) * PROBE_M
        against = -float(self._against.over(cubes)[0])
        perimeter = 4 * math.sqrt(area)
        return Fit(
            place,
            bottom_m,
            best / area,
            (best - float(score(moved).max())) / area,
            against / perimeter,
        )

    def _drawn(self, places: Floats, bottom_m: float, samples: int = SAMPLES) -> Drawn:
        return drawn(places, bottom_m, self._edge_m, self._view, samples)


class Edges:
    """Cubes by their edges: how much brightness or colour changes across them, in a picture."""

    def __init__(self, picture: Floats, origin_px: tuple[int, int], view: View, edge_m: float) -> None:
        across = [
            cv2.Sobel(picture, cv2.CV_64F, 1, 0, ksize=3),
            cv2.Sobel(picture, cv2.CV_64F, 0, 1, ksize=3),
        ]
        # the structure tensor: its form along a normal is how much all channels change in that direction
        tensor = np.stack([(a * b).sum(-1) for a, b in ((across[0],) * 2, across, (across[1],) * 2)], axis=-1)
        root = np.sqrt(np.maximum(tensor[..., 0] + tensor[..., 2], 1.0))
        self._tensor = cv2.GaussianBlur(tensor / (root + 150.0)[..., None], (0, 0), 0.7)
        self._origin = np.array(origin_px, float)
        self._view, self._edge_m = view, edge_m

    def score(self, places: Floats, bottom_m: float, samples: int = SAMPLES) -> Floats:
        """(N,) mean change across the edges of the faces that are seen."""
        cubes = drawn(places, bottom_m, self._edge_m, self._view, samples)
        points = cubes.points_px
        along = np.roll(points, -1, -2) - np.roll(points, 1, -2)
        length = np.linalg.norm(along, axis=-1) + 1e-9
        n_x, n_y = along[..., 1] / length, -along[..., 0] / length
        h, w = self._tensor.shape[:2]
        at = points - self._origin
        column, row = np.clip(at[..., 0], 0, w - 1.001), np.clip(at[..., 1], 0, h - 1.001)
        i, j = row.astype(np.intp), column.astype(np.intp)
        down, right = (row - i)[..., None], (column - j)[..., None]
        t = self._tensor
        value = (t[i, j] * (1 - right) + t[i, j + 1] * right) * (1 - down)
        value += (t[i + 1, j] * (1 - right) + t[i + 1, j + 1] * right) * down
        change = value[..., 0] * n_x**2 + 2 * value[..., 1] * n_x * n_y + value[..., 2] * n_y**2
        weight = np.where(cubes.seen[..., None], length, 0.0)
        weight[..., :: cubes.samples] = 0.0  # a corner has no normal
        return (np.sqrt(np.maximum(change, 0)) * weight).sum((1, 2)) / (weight.sum((1, 2)) + 1e-9)

    def fit(self, near: Floats, bottom_m: float, reach_m: float = 0.006) -> Floats:
        """(3,) the best place, searched for up to `reach_m` and 15 deg about `near`."""
        steps = np.arange(-round(reach_m / EDGE_STEP_M), round(reach_m / EDGE_STEP_M) + 1) * EDGE_STEP_M
        offs = np.stack(np.meshgrid(steps, steps, EDGE_TURNS, indexing="ij"), axis=-1).reshape(-1, 3)

        def roughly(places: Floats) -> Floats:
            return self.score(places, bottom_m, COARSE)

        return search(lambda places: self.score(places, bottom_m), near + offs, roughly)

    def turn_loss(self, place: Floats, bottom_m: float) -> float:
        """Share of the score that is lost, at least, when the place (3,) is turned by 6 deg."""
        turns = np.array([(0, 0, 0), (0, 0, PROBE_RAD), (0, 0, -PROBE_RAD)])
        best, *others = self.score(place + turns, bottom_m).tolist()
        return (best - max(others)) / max(best, 1e-9)


def turn_between(a_rad: float, b_rad: float) -> float:
    """[rad] from b to a, of cubes: -45 to 45 deg."""
    return (a_rad - b_rad + QUARTER / 2) % QUARTER - QUARTER / 2
