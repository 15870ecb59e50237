"""Cubes in a picture: what of a cube is seen from a camera, and sums over what it covers, exactly and without pixels.

A place is (x, y, yaw) of a cube that stands on a level surface. The faces that a camera sees tile the cube's
silhouette, and the sum of a map over a face is an integral along its four edges (Green's theorem) of the map's running
sums down its columns. So a sum changes smoothly with the place, to hundredths of a pixel, and thousands of places
are summed at once.

Shapes: N places, F faces of which at least one cube shows something (5 at most: none shows its underside), S samples on
an edge.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_calibration.cameras.intrinsics import Intrinsics
from so101_calibration.cameras.poses import Matrix, inverse

type Floats = NDArray[np.float64]

SAMPLES, COARSE = 12, 5
"""On an edge of a face, the first in its corner: lens distortion bends it, and running sums are sampled there. The
coarse number is for searches: a map that changes within 5 px is summed to some percent."""

_CORNERS = np.array([(x, y, z) for z in (0, 1) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))], float)
"""(8, 3) in half edges in the plane, and edges up; the bottom ones first."""
_FACES = np.array([(4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)])
"""Top and sides, all in the same sense as seen from outside."""
TOP = 0


class View(NamedTuple):
    """A camera at a known place."""

    lens: Intrinsics
    X_base_camera: Matrix

    def project(self, points_m: Floats) -> Floats:
        """(..., 2) [px] of points (..., 3) in the base frame."""
        X = inverse(self.X_base_camera)
        p = points_m @ X[:3, :3].T + X[:3, 3]
        x, y = p[..., 0] / p[..., 2], p[..., 1] / p[..., 2]
        lens, r2 = self.lens, x * x + y * y
        radial = 1 + r2 * (lens.k1 + r2 * lens.k2)
        u = x * radial + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x)
        v = y * radial + lens.p1 * (r2 + 2 * y * y) + 2 * lens.p2 * x * y
        return np.stack((lens.fx * u + lens.cx, lens.fy * v + lens.cy), axis=-1)


def corners(places: Floats, bottom_m: float, edge_m: float) -> Floats:
    """(N, 8, 3) [m] of cubes at places (N, 3) [m, m, rad] whose undersides are at `bottom_m`."""
    cos, sin = np.cos(places[:, 2, None]), np.sin(places[:, 2, None])
    a, b = _CORNERS[:, 0] * edge_m / 2, _CORNERS[:, 1] * edge_m / 2
    x, y = places[:, 0, None] + cos * a - sin * b, places[:, 1, None] + sin * a + cos * b
    z = np.broadcast_to(bottom_m + _CORNERS[:, 2] * edge_m, x.shape)
    return np.stack((x, y, z), axis=-1)


class Drawn(NamedTuple):
    """Cubes in a picture."""

    points_px: Floats
    """(N, F, 4 S, 2) round each face."""
    seen: NDArray[np.bool_]
    """(N, F)"""
    samples: int
    """S"""


def drawn(places: Floats, bottom_m: float, edge_m: float, view: View, samples: int = SAMPLES) -> Drawn:
    """The outlines of the faces of cubes; a face that none of them shows is left out."""
    solids = corners(places, bottom_m, edge_m)
    seen = _areas(view.project(solids)[:, _FACES]) < 0  # the picture's y goes down
    shown = np.flatnonzero(seen.any(0))
    faces = solids[:, _FACES[shown]]  # (N, F, 4, 3)
    share = np.arange(samples) / samples  # from a corner on, so that nothing is cut off there
    ends = np.roll(faces, -1, axis=2)
    along = faces[:, :, :, None] + share[:, None] * (ends - faces)[:, :, :, None]
    points = view.project(along.reshape(*faces.shape[:2], 4 * samples, 3))
    return Drawn(points, seen[:, shown], samples)


def _areas(points: Floats) -> Floats:
    x, y = points[..., 0], points[..., 1]
    return 0.5 * (x * np.roll(y, -1, -1) - np.roll(x, -1, -1) * y).sum(-1)


def outline(place: Floats, bottom_m: float, edge_m: float, view: View) -> Floats:
    """(4, 2) [px] corners of one cube's footprint."""
    return view.project(corners(place[None], bottom_m, edge_m)[0, :4])


def around(place: Floats, bottom_m: float, edge_m: float, view: View) -> Floats:
    """(k, 2) [px] round the whole of one cube."""
    hull = cv2.convexHull(view.project(corners(place[None], bottom_m, edge_m)[0]).astype(np.float32))
    return np.asarray(hull, float).reshape(-1, 2)


class Summed:
    """Sums of a map over what cubes cover.

    Args:
        values: (h, w) the map.
        origin_px: of its first pixel in the whole picture.
    """

    def __init__(self, values: Floats, origin_px: tuple[int, int] = (0, 0)) -> None:
        self._down = np.zeros((values.shape[0] + 1, values.shape[1]))
        np.cumsum(values, axis=0, out=self._down[1:])
        self._origin = np.array(origin_px, float)

    def over(self, cubes: Drawn) -> Floats:
        """(N,) the sum over each silhouette, each pixel by the share of it that is covered."""
        points = cubes.points_px
        step_x = (np.roll(points[..., 0], -1, -1) - np.roll(points[..., 0], 1, -1)) / 2
        around = (self._at(points) * step_x).sum(-1)
        return np.where(cubes.seen, around, 0.0).sum(-1)

    def _at(self, points: Floats) -> Floats:
        """The running sum down to the points, linear in between."""
        column = np.clip(points[..., 0] - self._origin[0], 0, self._down.shape[1] - 1.001)
        row = np.clip(points[..., 1] - self._origin[1] + 0.5, 0, self._down.shape[0] - 1.001)
        i, j = row.astype(np.intp), column.astype(np.intp)
        down, across = row - i, column - j
        table = self._down
        upper = table[i, j] * (1 - across) + table[i, j + 1] * across
        lower = table[i + 1, j] * (1 - across) + table[i + 1, j + 1] * across
        return upper * (1 - down) + lower * down


def areas_px(cubes: Drawn) -> Floats:
    """(N,) of the silhouettes."""
    return np.where(cubes.seen, np.abs(_areas(cubes.points_px)), 0.0).sum(-1)
