"""The data file `so101.json`: bodies, joints, inertias and shapes of the SO-101 follower arm, typed.

Kinematics and inertias are those of the model that TheRobotStudio publishes for the SO-101 ("new calibration"
zero, repository SO-ARM100, Apache-2.0); the simple shapes were fitted to its printed parts.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS


class Shape(NamedTuple):
    """A box (half sizes), a cylinder or a capsule (radius, half length along z) in its body's frame."""

    kind: str
    position_m: tuple[float, ...]
    size_m: tuple[float, ...]
    quat_wxyz: tuple[float, ...]
    material: str
    name: str
    bevel_m: float
    """Cut of a box's edges; 0 for none."""
    taper: tuple[float, ...]
    """Size of a bevelled box at its +z end in x and y, as a fraction of that at its -z end."""


class Body(NamedTuple):
    """A link, its place in the parent, its inertia, and what of it is seen and touched."""

    name: str
    parent: str | None
    position_m: tuple[float, ...]
    quat_wxyz: tuple[float, ...]
    mass_kg: float
    centre_m: tuple[float, ...]
    inertia_kgm2: tuple[float, ...]
    """xx yy zz xy xz yz about the centre of mass, in the body's axes."""
    joint: str | None
    """The hinge about the body's local z axis that moves it."""
    seen: tuple[Shape, ...]
    touched: tuple[Shape, ...]


class Kinematics(NamedTuple):
    """The arm: bodies from the base outwards, joint ranges (6, 2) [rad] in the order of `JOINTS`."""

    bodies: tuple[Body, ...]
    range_rad: NDArray[np.float64]


@cache
def load_kinematics() -> Kinematics:
    """The arm of the data file that ships with this package."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("so101.json").read_text("utf-8"))
    joint_of = {joint["body"]: joint for joint in data["joints"]}
    bodies = tuple(
        Body(
            name=body["name"],
            parent=body["parent"],
            position_m=tuple(body["pos"]),
            quat_wxyz=tuple(body["quat"]),
            mass_kg=body["inertial"]["mass"],
            centre_m=tuple(body["inertial"]["pos"]),
            inertia_kgm2=tuple(body["inertial"]["fullinertia"]),
            joint=joint_of[body["name"]]["name"] if body["name"] in joint_of else None,
            seen=_shapes(data["seen_mm"], body["name"]),
            touched=_shapes(data["touched_mm"], body["name"]),
        )
        for body in data["bodies"]
    )
    range_of = {joint["name"]: joint["range_rad"] for joint in data["joints"]}
    range_rad = np.array([range_of[name] for name in JOINTS])
    range_rad.setflags(write=False)  # shared by every caller
    return Kinematics(bodies, range_rad)


def _shapes(shapes_of: dict[str, list[dict[str, Any]]], body: str) -> tuple[Shape, ...]:
    return tuple(
        Shape(
            kind=shape["type"],
            position_m=_metres(shape["pos"]),
            size_m=_metres(shape["size"]),
            quat_wxyz=tuple(shape.get("quat") or (1, 0, 0, 0)),
            material=shape.get("material", ""),
            name=shape.get("name", ""),
            bevel_m=shape.get("bevel", 0) / 1000,
            taper=tuple(shape.get("taper", (1, 1))),
        )
        for shape in shapes_of.get(body, [])
    )


def _metres(values_mm: list[float]) -> tuple[float, ...]:
    return tuple(value / 1000 for value in values_mm)
