"""The scene `table`: an empty bench with a few blocks to look at, light, and cameras.

`front` and `wrist` are what a policy sees; `overhead` and `hero` are for pictures.
"""

import math
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

BLOCKS = {
    "red": (0.93, 0.22, 0.17),
    "blue": (0.14, 0.42, 0.90),
    "green": (0.17, 0.68, 0.36),
}
BLOCK_HALF_M = 0.0125  # 25 mm cubes: held flat by the jaws
BLOCK_KG = 0.020
OBJECT_FRICTION = (0.8, 0.02, 0.0005)
LABEL_RGBA = (0.95, 0.91, 0.80, 1.0)
TABLE_RGB = ((0.72, 0.735, 0.75), (0.655, 0.67, 0.69))  # checker of 10 cm squares
HORIZON_RGB = (0.80, 0.83, 0.86)

REACH_M = (0.135, 0.225)  # distance from the pan axis where a block can be grasped from above
PAN_AXIS_M = (0.0388353, 0.0)
AZIMUTH_RAD = (0.28, 0.95)  # to either side: in the middle the folded arm rests its fingers
CLEARANCE_M = 0.048  # between block centres: room for the jaws


class TableScene:
    """Three coloured blocks at seeded places within reach."""

    name = "table"

    def build(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec()
        dress(spec)
        for name, rgb in BLOCKS.items():
            add_block(spec, name, rgb)
        return spec

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        placed: list[NDArray[np.float64]] = []
        for name in BLOCKS:
            position = _free_place(rng, placed)
            placed.append(position)
            yaw_rad = rng.uniform(-math.pi, math.pi)
            pose = [*position, BLOCK_HALF_M, math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)]
            address = model.joint(f"block/{name}").qposadr[0]
            data.qpos[address : address + 7] = pose


def add_block(
    spec: mujoco.MjSpec,
    name: str,
    rgb: Sequence[float],
    half_m: float = BLOCK_HALF_M,
    mass_kg: float = BLOCK_KG,
) -> mujoco.MjsBody:
    """A free cube `block/<name>` with a cream label strip, which shows its yaw to an eye and to a camera."""
    body = spec.worldbody.add_body(name=f"block/{name}")
    body.add_freejoint(name=f"block/{name}")
    box = body.add_geom(name=f"block/{name}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[half_m] * 3, mass=mass_kg)
    box.contype, box.conaffinity, box.condim, box.friction = 1, 3, 3, OBJECT_FRICTION
    box.rgba = [*rgb, 1]
    strip = body.add_geom(name=f"block/{name}/label", type=mujoco.mjtGeom.mjGEOM_BOX, rgba=LABEL_RGBA, mass=0)
    strip.size = [half_m * 1.012, half_m * 0.26, half_m * 1.012]  # round the block, proud of it by 0.15 mm
    strip.contype = strip.conaffinity = 0
    return body


def dress(spec: mujoco.MjSpec) -> None:
    """Bench top, sky, lights and cameras, for this scene and for others that want the same look."""
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=16, height=96)
    sky.builtin, sky.rgb1 = mujoco.mjtBuiltin.mjBUILTIN_FLAT, HORIZON_RGB
    checker = spec.add_texture(name="table", type=mujoco.mjtTexture.mjTEXTURE_2D, width=256, height=256)
    checker.builtin = mujoco.mjtBuiltin.mjBUILTIN_CHECKER
    checker.rgb1, checker.rgb2 = TABLE_RGB
    material = spec.add_material(name="table", texrepeat=[10, 10], texuniform=True, specular=0.05)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table"
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    table = spec.worldbody.add_geom(name="table", type=plane, size=[4, 4, 0.1], material="table")
    table.contype, table.conaffinity, table.condim, table.friction = 1, 3, 3, OBJECT_FRICTION
    if hasattr(table, "castshadow"):  # since MuJoCo 4; the plane casts specks where it leaves the shadow map
        table.castshadow = False
    _light(spec)
    _frame(spec.visual, spec.stat)
    add_camera(spec, "front", (0.52, 0.0, 0.42), (0.150, 0.005, 0.045), fovy_deg=40)
    add_camera(spec, "overhead", (0.19, 0.0, 0.60), (0.19, 0.0, 0.0), fovy_deg=46, up=(1, 0, 0))
    add_camera(spec, "hero", (0.50, -0.46, 0.34), (0.12, 0.0, 0.095), fovy_deg=36)


def _light(spec: mujoco.MjSpec) -> None:
    """A warm key light that casts the shadows, a cool fill against it, and light from everywhere.

    No lamp at the camera (headlight): OpenGL lights a plane by its corners, far away. The sum on a level
    surface stays below 1, where OpenGL would clip it.
    """
    key = spec.worldbody.add_light(name="key", pos=[0.36, -0.30, 0.80], dir=[-0.30, 0.42, -1])
    key.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    key.diffuse, key.specular = [0.53, 0.51, 0.475], [0.3] * 3
    fill = spec.worldbody.add_light(name="fill", pos=[0, 1, 0.8], dir=[0.25, -0.75, -0.6], castshadow=False)
    fill.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    fill.diffuse, fill.specular = [0.18, 0.20, 0.24], [0] * 3
    lamp = spec.visual.headlight
    lamp.ambient, lamp.diffuse, lamp.specular = [0.40] * 3, [0] * 3, [0] * 3


def _frame(visual: Any, stat: Any) -> None:
    """How far a picture reaches. MuJoCo counts these in extents."""
    stat.extent, stat.center = 0.8, [0.15, 0, 0.1]  # [m]
    visual.map.znear, visual.map.zfar = 0.01, 10
    visual.map.shadowclip = 0.65  # the shadow map covers the arm's reach and no more: fine texels
    visual.map.fogstart, visual.map.fogend = 1.0, 3.4  # the bench fades into the sky: no hard horizon
    visual.rgba.fog = [*HORIZON_RGB, 1]
    visual.quality.numquads = 2


def add_camera(
    spec: mujoco.MjSpec,
    name: str,
    position_m: Sequence[float],
    target_m: Sequence[float],
    fovy_deg: float,
    up: Sequence[float] = (0, 0, 1),
) -> None:
    """A fixed camera at `position_m` that looks at `target_m`."""
    back = np.subtract(position_m, target_m)
    back = back / np.linalg.norm(back)
    right = np.cross(up, back)
    right = right / np.linalg.norm(right)
    R_world_camera = np.column_stack((right, np.cross(back, right), back))
    quat_wxyz = np.empty(4)
    mujoco.mju_mat2Quat(quat_wxyz, R_world_camera.ravel())
    spec.worldbody.add_camera(name=name, pos=position_m, quat=quat_wxyz, fovy=fovy_deg)


def _free_place(rng: np.random.Generator, placed: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A point (2,) [m] on the table, uniform over the reachable sectors, away from those in `placed`."""
    while True:
        radius_m = math.sqrt(rng.uniform(REACH_M[0] ** 2, REACH_M[1] ** 2))
        azimuth_rad = rng.uniform(*AZIMUTH_RAD) * rng.choice((-1, 1))
        place = np.array(PAN_AXIS_M) + radius_m * np.array([math.cos(azimuth_rad), math.sin(azimuth_rad)])
        if all(np.linalg.norm(place - other) > CLEARANCE_M for other in placed):
            return place
