"""Has a camera moved, turned, been refocused or seen other light since a dataset was recorded?

The background of the dataset (`background`) is found again in a live picture (`alignment`). From the homography
between them come a shift in pixels, the turn of the camera that would explain it, light, colour and sharpness, and
from thresholds (`judgement`) an answer: go, warn or no-go.

A single picture cannot tell a small turn from a small shift of the camera, so the degrees are those of a turn that
moves the picture in this way, and what a turn cannot explain is given in pixels. Light is a ratio of linear
light: grey levels to the power of `gamma` (2.2 for cameras, 1 for the mock arm's pictures, whose levels are light
already). Automatic exposure hides changes of light; lock it (`so101-calibrate cameras lock`).
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from so101_calibration.drift.judgement import Drift, Limits, judged
from so101_calibration.errors import ImplausibleError
from so101_policy.registration.alignment import align
from so101_policy.registration.background import Background, sharpness
from so101_policy.registration.homography import Homography, mapped
from so101_policy.registration.light import measure_light
from so101_robot.preflight.findings import Level

ASSUMED_FIELD_DEG = 60.0
"""Horizontal field of view of a camera without a calibration; common webcams have 55 to 78."""
GAMMA = 2.2
OCCLUDED_LEVELS = 12.0
"""Grey levels by which picture and background, both without detail, differ where something is in front of it."""


def measure(
    background: Background,
    live: NDArray[np.uint8],
    limits: Limits | None = None,
    focal_px: float | None = None,
    gamma: float = GAMMA,
) -> Drift:
    """Compare a live picture (height, width, 3) RGB with the background of a dataset.

    `focal_px` comes from the camera's calibration; without it a field of view is assumed for the degrees. Raises
    ImplausibleError for a picture of another size.
    """
    if live.shape != background.image.shape:
        height, width = live.shape[:2]
        raise ImplausibleError(
            f"the live picture is {width}x{height}, the dataset's are {background.size_px[0]}x{background.size_px[1]}: "
            "open the camera as it was when the data was recorded"
        )
    limits = limits or Limits()
    grey = np.asarray(cv2.cvtColor(live, cv2.COLOR_RGB2GRAY), np.uint8)
    alignment = align(background.grey, background.static, grey)
    if alignment is None:
        return _not_found(background, live, gamma)
    points = background.points(background.static)
    focal_px = focal_px or background.size_px[0] / 2 / float(np.tan(np.deg2rad(ASSUMED_FIELD_DEG / 2)))
    turn, unexplained_px = _turn(alignment.H, points, focal_px, background.size_px)
    shift_px = float(np.linalg.norm(mapped(alignment.H, points) - points, axis=1).mean())
    brightness, colour, clipped = measure_light(background, live, alignment.H)
    sharp = _sharpness(background, live, alignment.H, brightness)
    light = brightness**gamma
    right, up, clockwise = np.rad2deg(turn).tolist()
    drift = Drift(
        Level.OK,
        (),
        shift_px,
        alignment.sd_px,
        (right, up, clockwise),
        float(np.rad2deg(np.linalg.norm(turn))),
        unexplained_px,
        _zoom(alignment.H, background.size_px),
        light,
        brightness,
        colour,
        clipped,
        sharp,
        alignment.share,
        alignment.H,
    )
    return judged(drift, limits)


def _not_found(background: Background, live: NDArray[np.uint8], gamma: float) -> Drift:
    nan = float("nan")
    before, now = background.image.mean(), live.mean()
    brightness = float(now / before) if before > 0 else nan
    reason = (
        "the dataset's background was not found in the live picture: is this the right camera, is its lens free, "
        f"does it look at the same bench? (mean grey level {now:.0f}, in the dataset {before:.0f})"
    )
    return Drift(
        Level.STOP,
        (reason,),
        *(nan, nan),
        (nan, nan, nan),
        *(nan, nan, nan, brightness**gamma, brightness),
        (nan, nan),
        *(nan, nan, 0.0),
        None,
    )


def _turn(
    H: Homography, points: NDArray[np.float64], focal_px: float, size_px: tuple[int, int]
) -> tuple[NDArray[np.float64], float]:
    """The turn (3,) [rad] that moves the points most nearly as H does: right, up, clockwise; and what is left [px].

    In the camera's frame (x right, y down, z ahead) a turn by the vector r takes rays d to R(r) d: about y it moves
    the picture to the right, about x up, about z clockwise. To put the camera back it is turned by the same.
    """
    centre = (np.array(size_px) - 1) / 2
    rays = np.column_stack(((points - centre) / focal_px, np.ones(len(points))))
    target = mapped(H, points)

    def residuals(turn: NDArray[np.float64]) -> NDArray[np.float64]:
        turned = rays @ np.asarray(cv2.Rodrigues(turn)[0], float).T
        return (turned[:, :2] / turned[:, 2:] * focal_px + centre - target).ravel()

    fit = least_squares(residuals, np.zeros(3))
    about_x, about_y, about_z = fit.x.tolist()
    left_px = np.linalg.norm(np.asarray(fit.fun).reshape(-1, 2), axis=1).mean()
    return np.array([about_y, about_x, about_z]), float(left_px)


def _zoom(H: Homography, size_px: tuple[int, int]) -> float:
    """How much H enlarges the neighbourhood of the picture's middle."""
    centre = (np.array(size_px) - 1) / 2
    around = mapped(H, centre + np.array([(1.0, 0), (-1, 0), (0, 1), (0, -1)]))
    across, down = (around[0] - around[1]) / 2, (around[2] - around[3]) / 2
    return float(np.sqrt(abs(across[0] * down[1] - across[1] * down[0])))


def _sharpness(background: Background, live: NDArray[np.uint8], H: Homography, brightness: float) -> float:
    """Ratio of sharpness over the background that both pictures show, NaN where there is none.

    Where the arm or a box is now in front of the background, the two differ even when blurred; that is left out.
    """
    size, flags = background.size_px, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpPerspective(live, H, size, flags=flags).astype(np.float32)
    inside = (
        np.asarray(cv2.warpPerspective(np.full(live.shape[:2], 255, np.uint8), H, size, flags=flags)) == 255
    )
    coarse_px = max(2.0, size[0] / 100)
    before = cv2.GaussianBlur(background.image.astype(np.float32), (0, 0), coarse_px) * brightness
    now = cv2.GaussianBlur(np.asarray(back), (0, 0), coarse_px)
    occluded = (np.abs(np.asarray(now) - np.asarray(before)).max(-1) > OCCLUDED_LEVELS).astype(np.uint8)
    reach = 2 * int(2 * coarse_px) + 1
    same = (
        background.static
        & inside
        & (np.asarray(cv2.dilate(occluded, np.ones((reach, reach), np.uint8))) == 0)
    )
    same_live = np.asarray(cv2.warpPerspective(same.astype(np.uint8), H, size, flags=cv2.INTER_NEAREST)) > 0
    whole, part = sharpness(background.image, background.static), sharpness(background.image, same)
    expected = background.sharpness * part / whole if whole > 0 else 0.0
    found = sharpness(live, same_live)
    return found / expected if expected > 0 and found > 0 else float("nan")
