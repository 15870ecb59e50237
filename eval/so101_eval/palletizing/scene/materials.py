"""How the palletizing scene looks: table tops, pallet woods, prints on boxes, things beside the way.

Every look is compiled into the model and a reset only switches materials, colours and sizes, so that all
scenarios share one model, no texture has to be sent to the renderer again, and both renderers show the same.
"""

import mujoco
import numpy as np
from numpy.typing import NDArray

TEXELS = 256
type Rgb = tuple[float, float, float]

BOX_RGB: tuple[Rgb, ...] = (
    (0.93, 0.22, 0.17), (0.14, 0.42, 0.90), (0.17, 0.68, 0.36), (0.98, 0.68, 0.08),
    (0.56, 0.27, 0.80), (0.05, 0.66, 0.72), (0.95, 0.42, 0.65), (0.48, 0.34, 0.24),
)  # fmt: skip
"""Boxes in turn: saturated, and told apart from the arm's yellow and the pallet's wood."""
LABEL_RGB: Rgb = (0.95, 0.91, 0.80)
PRINTED: dict[str, tuple[str, ...]] = {
    "label": ("strip",),
    "cross": ("strip", "cross"),
    "band": ("band",),
    "lid": ("lid",),
    "plain": (),
}
"""Which prints a box's look shows (`parts.PRINTS`)."""
PALLET_RGB: dict[str, tuple[Rgb, Rgb, Rgb]] = {  # deck boards, in turn; blocks and runners are darker
    "wood": ((0.83, 0.65, 0.43), (0.78, 0.59, 0.38), (0.86, 0.69, 0.48)),
    "weathered": ((0.58, 0.54, 0.49), (0.52, 0.48, 0.43), (0.63, 0.59, 0.54)),
    "blue": ((0.20, 0.38, 0.66), (0.18, 0.35, 0.62), (0.22, 0.41, 0.70)),
    "grey": ((0.36, 0.37, 0.39), (0.36, 0.37, 0.39), (0.36, 0.37, 0.39)),
    "mixed": ((0.72, 0.36, 0.30), (0.80, 0.74, 0.56), (0.33, 0.55, 0.44)),
}


def add_table_looks(spec: mujoco.MjSpec) -> None:
    """Materials `table/<look>` beside the bench's own `table`, which is the checker."""
    drawn = {
        "wood": (_wood(), 3.0),
        "slate": (_speckle((0.28, 0.30, 0.33), 0.05, coarse=8), 4.0),
        "mat": (_mat(), 10.0),
        "stripes": (_stripes(), 10.0),
        "speckle": (_speckle((0.78, 0.76, 0.72), 0.16, coarse=2), 5.0),
        "plain": (_flat((0.70, 0.715, 0.73)), 1.0),
    }
    for look, (pixels, repeat) in drawn.items():
        name = f"table/{look}"
        texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
        texture.height, texture.width = pixels.shape[:2]
        texture.data = pixels.tobytes()
        material = spec.add_material(name=name, texrepeat=[repeat, repeat], texuniform=True, specular=0.05)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _flat(rgb: Rgb) -> NDArray[np.uint8]:
    return _pixels(np.broadcast_to(np.array(rgb), (8, 8, 3)))


def _pixels(rgb: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8))


def _smooth_noise(cells: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Noise (TEXELS, TEXELS) in -1..1 that repeats at its edges, with `cells` bumps down and across."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, cells)
    for axis, count in enumerate(cells):
        place = np.arange(TEXELS) * count / TEXELS
        low = place.astype(int)
        weight = 0.5 - 0.5 * np.cos(np.pi * (place - low))
        weight = weight[:, None] if axis == 0 else weight
        coarse = np.take(coarse, low, axis) * (1 - weight) + np.take(coarse, (low + 1) % count, axis) * weight
    return coarse


def _wood() -> NDArray[np.uint8]:
    """Four planks with grain along them."""
    grain = (
        0.05 * _smooth_noise((64, 4), 1) + 0.04 * _smooth_noise((128, 2), 2) + 0.03 * _smooth_noise((8, 2), 3)
    )
    plank = np.arange(TEXELS) // (TEXELS // 4)
    tone = np.array([0.0, 0.05, -0.04, 0.02])[plank]
    tone[np.arange(TEXELS) % (TEXELS // 4) < 2] -= 0.25
    return _pixels(np.array([0.70, 0.52, 0.35]) * (1 + grain + tone[:, None])[..., None])


def _speckle(rgb: Rgb, contrast: float, coarse: int) -> NDArray[np.uint8]:
    noise = _smooth_noise((TEXELS // coarse, TEXELS // coarse), coarse)
    return _pixels(np.array(rgb) * (1 + contrast * noise)[..., None])


def _mat() -> NDArray[np.uint8]:
    """A green cutting mat with a fine grid."""
    rgb = np.broadcast_to(np.array([0.16, 0.42, 0.36]), (TEXELS, TEXELS, 3)).copy()
    line = (np.arange(TEXELS) % 64 < 2) | (np.arange(TEXELS) % 64 > 61)
    rgb[line, :] = rgb[:, line] = (0.42, 0.62, 0.54)
    return _pixels(rgb)


def _stripes() -> NDArray[np.uint8]:
    dark = (np.arange(TEXELS) // 32) % 2 == 1
    rgb = np.where(dark[None, :, None], np.array([0.62, 0.30, 0.26]), np.array([0.86, 0.82, 0.74]))
    return _pixels(np.broadcast_to(rgb, (TEXELS, TEXELS, 3)))
