"""Lens and place of rendered cameras, found against true: other lenses, other views, one grey level of noise.

Each row is a camera drawn at random (50 to 75 degrees across, principal point up to 12 px aside, barrel or pincushion
distortion), calibrated from 16 views and then placed by one picture of a board 0.5 m away.

    python tests/benchmarks/bench_cameras.py --cameras 12
"""

import argparse
from typing import Any

import cv2
import numpy as np
from scenes import load_scenes

from so101_calibration.cameras.board_views import View, detect, objection
from so101_calibration.cameras.intrinsics import Intrinsics, calibrate
from so101_calibration.cameras.placing import camera_in_base
from so101_calibration.cameras.poses import board_on_table, inverse, pose_difference
from so101_calibration.cameras.rendered import draw

COLUMNS = (
    "focal length [%]",
    "principal point [px]",
    "distortion at the corners [px]",
    "place [mm]",
    "turn [deg]",
)
VIEWS = 16
LIMITS = (0.5, 1.5, None, 1.0, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=12)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    scenes, rows = load_scenes(), list[list[float]]()
    for seed in range(options.cameras):
        rows.append(errors(scenes, np.random.default_rng(seed)))
        print("  ".join(f"{value:.3f}" for value in rows[-1]), flush=True)
    for name, limit, column in zip(COLUMNS, LIMITS, np.array(rows).T, strict=True):
        asked = "" if limit is None else f", asked {limit:g}"
        print(f"{name}: median {np.median(column):.3f}, largest {column.max():.3f} of {len(column)}{asked}")


def errors(scenes: Any, rng: np.random.Generator) -> list[float]:
    """Of one camera, in the order of `COLUMNS`."""
    truth = lens(rng)
    scenes.LENS = truth
    found = calibrate(shown(scenes, rng), scenes.BOARD).intrinsics
    X_camera_board = scenes.tilted(
        320, 240, 0.5, rng.uniform(0, 2 * np.pi), rng.uniform(20, 50), rng.uniform(-20, 20)
    )
    X_base_board = board_on_table(0.12, 0.1, turn_deg=-90)
    view = detect(draw(scenes.BOARD, truth, X_camera_board, rng, blur_px=0.5), scenes.BOARD)
    assert view is not None
    place = camera_in_base([view], [X_base_board], found, scenes.BOARD)
    place_mm, turn_deg = pose_difference(place.X, X_base_board @ inverse(X_camera_board))
    focal = max(abs(found.fx / truth.fx - 1), abs(found.fy / truth.fy - 1))
    middle = float(np.hypot(found.cx - truth.cx, found.cy - truth.cy))
    return [100 * focal, middle, bent(found, truth), place_mm, turn_deg]


def shown(scenes: Any, rng: np.random.Generator) -> list[View]:
    """As automatic capture takes them: a person goes on until there are enough different views."""
    views: list[View] = []
    reach = scenes.LENS.fx / 612  # a wide lens is shown the board from nearer by
    while len(views) < VIEWS:
        place = rng.uniform((110, 85), (530, 395))
        tilt = rng.uniform(0, 2 * np.pi), rng.uniform(12, 40), rng.normal(0, 12)
        pose = scenes.tilted(*place, reach * rng.uniform(0.28, 0.45), *tilt)
        views += [view for view in scenes.seen([pose], rng) if objection(view, views) is None]
    return views


def lens(rng: np.random.Generator) -> Intrinsics:
    focal = 320 / np.tan(np.deg2rad(rng.uniform(50, 75)) / 2)
    return Intrinsics(
        (640, 480),
        focal,
        focal * rng.uniform(0.99, 1.01),
        319.5 + rng.uniform(-12, 12),
        239.5 + rng.uniform(-12, 12),
        rng.uniform(-0.25, 0.15),
        rng.uniform(-0.1, 0.1),
        *rng.normal(0, 0.0007, 2),
    )


def bent(found: Intrinsics, truth: Intrinsics) -> float:
    """Largest distance [px] between what both lenses make of the same rays: corners and edges of the picture."""
    x, y = 300 / truth.fx, 225 / truth.fy
    rays = np.array([(i * x, j * y, 1.0) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    pixels = [
        cv2.projectPoints(rays, np.zeros(3), np.zeros(3), one.matrix, one.distortion)[0].reshape(-1, 2)
        for one in (found, truth)
    ]
    return float(np.linalg.norm(pixels[0] - pixels[1], axis=1).max())


if __name__ == "__main__":
    main()
