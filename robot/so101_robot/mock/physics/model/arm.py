"""The arm as a part of a MuJoCo scene: bodies, joints, gear play, collision shapes, looks, wrist camera.

Each servo is two degrees of freedom. The joint of the arm is the output shaft, which carries the encoder. A
second hinge, `gear/<joint>`, is the rotor seen through the gears; it holds nearly all of the inertia that the
motor adds and all of the friction, and a tendon whose length is rotor minus output is free inside the play
and stiff at its ends. The rotor bodies hang on the world and have no shape: a rotor coordinate is relative to
its link like the joint's own, and torque reaches the links through the tendon, which acts on the joint. The
solver treats the ends of the play like joint limits, so backlash needs no model of impact of our own. What it
costs is six unknowns (about 20 % of a step).

What is approximated: friction of the output bearing is zero (all friction sits on the rotor), the play does
not grow with wear or heat, and the gears' own elasticity is that of the limit (below 0.02 deg at stall).
"""

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import JOINTS
from so101_robot.mock.physics.model.kinematics import Body, Shape, load_kinematics
from so101_robot.mock.physics.motor import OUTPUT_INERTIA_KGM2, MotorParameters

GEAR_PREFIX = "gear/"
"""Name of a servo's rotor joint and of its tendon: this and the joint's name."""

MATERIALS = {
    "pla": ((1.00, 0.69, 0.09), 0.25, 0.4),  # printed parts: rgb, specular, shininess
    "pla_dark": ((0.95, 0.62, 0.07), 0.25, 0.4),
    "motor": ((0.085, 0.087, 0.095), 0.45, 0.45),
    "horn": ((0.20, 0.205, 0.22), 0.6, 0.6),
    "screw": ((0.66, 0.67, 0.69), 0.8, 0.7),
    "label": ((0.80, 0.80, 0.78), 0.1, 0.1),
    "cable": ((0.06, 0.06, 0.07), 0.2, 0.2),
    "pcb": ((0.06, 0.30, 0.20), 0.3, 0.3),
    "plug": ((0.88, 0.87, 0.82), 0.2, 0.3),
    "pad": ((0.40, 0.41, 0.43), 0.05, 0.1),
    "lens": ((0.02, 0.02, 0.03), 0.9, 0.9),
}

SEEN_GROUP, TOUCHED_GROUP = 2, 3
"""Geom groups: what is drawn, and what collides (hidden)."""

ARM_CONTYPE, ARM_CONAFFINITY = 2, 1
"""The arm touches scene objects (contype 1, conaffinity 3) and not itself."""

STIFF_SOLREF = (0.004, 1.0)
"""[s, -] twice the physics step, the stiffest that MuJoCo keeps. For play, joint limits, dry friction."""
STIFF_SOLIMP = (0.99, 0.999, 0.001, 0.5, 2.0)

PAD_FRICTION = (1.0, 0.005, 0.0001)
PAD_SOLREF = (0.005, 1.0)
"""[s, -] a cube shaken in the jaws creeps 1.2 mm in 6 s, 7.8 mm at MuJoCo's default. At least two steps."""
PAD_SOLIMP = (0.95, 0.99, 0.001, 0.5, 2.0)
ARM_FRICTION = (0.5, 0.005, 0.0001)

WRIST_CAMERA_M = (0.0, 0.060, -0.030)
"""In the gripper's frame: sees both jaws, what they hold and where it goes."""
WRIST_CAMERA_TILT_RAD = -0.47  # about the gripper's x axis
WRIST_CAMERA_FOVY_DEG = 70.0

HINGE = mujoco.mjtJoint.mjJNT_HINGE
_KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}


def add_arm(spec: mujoco.MjSpec) -> None:
    """Add the arm, base at the origin, x forward, with six nominal motors (`plant.MujocoPlant` fits others).

    Bodies and joints keep the names of the kinematics, the camera is `wrist`; a scene that uses one of these
    names for the same kind of element fails to compile.
    """
    for name, (rgb, specular, shininess) in MATERIALS.items():
        spec.add_material(name=f"so101/{name}", rgba=[*rgb, 1], specular=specular, shininess=shininess)
    range_of: dict[str, NDArray[np.float64]] = dict(zip(JOINTS, load_kinematics().range_rad, strict=True))
    built: dict[str, mujoco.MjsBody] = {}
    for body in load_kinematics().bodies:
        parent = spec.worldbody if body.parent is None else built[body.parent]
        built[body.name] = _add_link(spec, parent, body)
        if body.joint is not None:
            joint = built[body.name].add_joint(name=body.joint, type=HINGE, axis=[0, 0, 1])
            joint.range = np.rad2deg(range_of[body.joint]) if spec.compiler.degree else range_of[body.joint]
            joint.limited = mujoco.mjtLimited.mjLIMITED_TRUE
            joint.armature = OUTPUT_INERTIA_KGM2
            joint.solref_limit, joint.solimp_limit = STIFF_SOLREF, STIFF_SOLIMP
            _add_gear(spec, body.joint, MotorParameters())
    camera = built["gripper"].add_camera(name="wrist", pos=WRIST_CAMERA_M, fovy=WRIST_CAMERA_FOVY_DEG)
    camera.quat = [math.cos(WRIST_CAMERA_TILT_RAD / 2), math.sin(WRIST_CAMERA_TILT_RAD / 2), 0, 0]


def _add_link(spec: mujoco.MjSpec, parent: mujoco.MjsBody, body: Body) -> mujoco.MjsBody:
    link = parent.add_body(name=body.name, pos=body.position_m, quat=body.quat_wxyz)
    link.explicitinertial = True
    link.mass, link.ipos, link.fullinertia = body.mass_kg, body.centre_m, body.inertia_kgm2
    for shape in body.seen:
        geom = _add_shape(spec, link, shape)
        geom.group, geom.contype, geom.conaffinity, geom.mass = SEEN_GROUP, 0, 0, 0
        geom.material = f"so101/{shape.material}"
    for shape in body.touched:
        geom = _add_shape(spec, link, shape)
        geom.name = shape.name
        geom.group, geom.contype, geom.conaffinity, geom.mass = TOUCHED_GROUP, ARM_CONTYPE, ARM_CONAFFINITY, 0
        geom.condim, geom.friction = 3, ARM_FRICTION
        if shape.name.endswith("_pad"):
            geom.condim, geom.friction, geom.priority = 4, PAD_FRICTION, 1
            geom.solref, geom.solimp = PAD_SOLREF, PAD_SOLIMP
    return link


def _add_shape(spec: mujoco.MjSpec, link: mujoco.MjsBody, shape: Shape) -> mujoco.MjsGeom:
    geom = link.add_geom(pos=shape.position_m, quat=shape.quat_wxyz)
    if shape.bevel_m > 0:
        geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, _bevelled_box(spec, shape)
    else:
        geom.type = _KINDS[shape.kind]
        geom.size = [*shape.size_m, 0, 0][:3]
    return geom


def _bevelled_box(spec: mujoco.MjSpec, shape: Shape) -> str:
    """Name of a mesh: the box with its edges cut, 24 corners and their hull. Light catches the edges."""
    name = "so101/box_" + "_".join(f"{value:g}" for value in (*shape.size_m, shape.bevel_m, *shape.taper))
    if spec.mesh(name) is None:
        corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        insets = shape.bevel_m * (1 - np.eye(3))  # each corner gives a point for each face that meets there
        points = corners[:, None] * (np.array(shape.size_m) - insets)[None]
        points[..., :2] *= np.where(corners[:, None, 2:] > 0, shape.taper, 1.0)
        spec.add_mesh(name=name, uservert=points.ravel())
    return name


def _add_gear(spec: mujoco.MjSpec, joint: str, motor: MotorParameters) -> None:
    rotor = spec.worldbody.add_body(name=GEAR_PREFIX + joint)
    rotor.explicitinertial = True
    rotor.mass, rotor.inertia = 1e-9, [1e-9] * 3  # MuJoCo wants some; the armature is what counts
    hinge = rotor.add_joint(name=GEAR_PREFIX + joint, type=HINGE, axis=[0, 0, 1])
    hinge.armature = motor.inertia_kgm2 - OUTPUT_INERTIA_KGM2
    hinge.frictionloss = motor.friction_nm
    hinge.solref_friction = STIFF_SOLREF  # at MuJoCo's defaults a load that friction holds creeps 0.1 deg/s
    hinge.solimp_friction = STIFF_SOLIMP
    play = spec.add_tendon(name=GEAR_PREFIX + joint)
    play.wrap_joint(GEAR_PREFIX + joint, 1)
    play.wrap_joint(joint, -1)
    play.limited = mujoco.mjtLimited.mjLIMITED_TRUE
    play.range = [-motor.backlash_rad / 2, motor.backlash_rad / 2]
    play.solref_limit, play.solimp_limit = STIFF_SOLREF, STIFF_SOLIMP
