"""A printed sheet on the table, as somebody lays one there. No task has one unless it is asked for."""

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

LIFT_M = 0.00012
"""Above the table, and under the painted outline of the pick area."""
INK, PAPER = 25, 235
"""Grey levels of a print."""


class Sheet(NamedTuple):
    """A sheet."""

    picture: NDArray[np.uint8]
    """(h, w) grey levels, 0 is ink: seen from above, its upper edge away from the arm, its left one at +y."""
    middle_m: tuple[float, float]
    size_m: tuple[float, float]
    """Along x and y."""


def add_sheet(spec: mujoco.MjSpec, sheet: Sheet) -> None:
    """It is looked at, and touches nothing."""
    grey = INK + sheet.picture.astype(float) / 255 * (PAPER - INK)
    # a plane's texture runs with x to the right and y up in the picture: the sheet's rows are turned to that
    turned = np.ascontiguousarray(np.rot90(grey, k=-1))
    pixels = np.repeat(turned[..., None], 3, axis=2).astype(np.uint8)
    texture = spec.add_texture(name="sheet", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    texture.height, texture.width = pixels.shape[:2]
    texture.data = pixels.tobytes()
    material = spec.add_material(name="sheet", texrepeat=[1, 1], texuniform=False, specular=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "sheet"
    x_m, y_m = sheet.size_m
    plane = spec.worldbody.add_geom(
        name="sheet", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[x_m / 2, y_m / 2, 0.1], material="sheet"
    )
    plane.pos = [*sheet.middle_m, LIFT_M]
    plane.contype = plane.conaffinity = 0
