"""Where the jaws are for given joint angles, which angles bring them somewhere, and what gravity asks of them.

Everything is computed on a model of the bare arm, apart from any world: what a scene randomises does not reach
it, and neither does what happens there. Angles are those of the kinematics [rad], (6,) with the gripper last.

The frame `grasp` sits on the fixed jaw: origin in the middle of its pad, x towards the moving jaw, z back along
the fingers. All targets are grasps from above: z of the frame straight up, so that a position and a yaw say all.
"""

import math
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.physics.model import add_arm

Vector = NDArray[np.float64]

PAN, ROLL = JOINTS.index("shoulder_pan"), JOINTS.index("wrist_roll")
PAN_AXIS_M = (0.0388353, 0.0)
"""Source: body `shoulder` of the arm's data file."""

P_GRIPPER_GRASP_M = (-0.0079, 0.0, -0.0984)
"""The face of the fixed jaw's pad in the gripper body's frame. Source: shape `fj_pad` of the arm's data file."""

PAD_GAP_M, GAP_PER_SIN_M = 0.0158, 0.078
"""Distance between the pads at gripper angle 0, where they are parallel, and its growth with the sine of it.
Fitted to the model's shapes; within 0.5 mm up to 35 mm."""

DAMPING = 1e-4
"""[m^2] of the least squares: small against the squares of lever arms (0.1 to 0.3 m), far from singular."""
LEVER_M = 0.1
"""Weighs a radian of orientation against metres: the length of the fingers."""
MAX_STEP_RAD = 0.35
"""Per iteration and joint; keeps the linearisation honest."""
MAX_ITERATIONS = 60
POSITION_TOLERANCE_M = 5e-5
TILT_TOLERANCE_RAD = 1e-3
REACHED_M, REACHED_RAD = 0.001, math.radians(2.0)
LIMIT_MARGIN_RAD = np.radians([1.0, 0.5, 0.5, 0.5, 3.0])
"""Distance that solutions keep from the joints' ends: room for a goal that leads, and for corrections. Hardly any
for wrist_flex, whose end decides how high the arm can hold its fingers upright."""

SEED_POSE_RAD = (0.0, -0.3, 0.6, 1.2, 0.0, 0.35)
"""Fingers down over the middle of the bench: from here the solver finds the elbow-up branch."""


class Grasp(NamedTuple):
    """Where the grasp frame is wanted: straight above, turned by `yaw_rad` about the vertical."""

    position_m: Vector
    """(3,) in the world."""
    yaw_rad: float
    """Of the direction in which the jaws open."""

    @property
    def opening(self) -> Vector:
        """(2,) unit vector from the fixed jaw towards the moving jaw."""
        return np.array([math.cos(self.yaw_rad), math.sin(self.yaw_rad)])

    def shifted(self, along_m: float = 0.0, up_m: float = 0.0) -> "Grasp":
        """Moved along the opening direction and upwards."""
        return Grasp(self.position_m + np.array([*(along_m * self.opening), up_m]), self.yaw_rad)

    def at_height(self, z_m: float) -> "Grasp":
        """The same place at another height."""
        return Grasp(np.array([*self.position_m[:2], z_m]), self.yaw_rad)


class Solution(NamedTuple):
    """Joint angles for a grasp, and by how much they miss it."""

    joint_rad: Vector
    """(6,); the gripper's angle is that of the start."""
    off_m: float
    off_rad: float

    @property
    def reached(self) -> bool:
        """Close enough to grasp a box."""
        return self.off_m < REACHED_M and self.off_rad < REACHED_RAD


class ArmModel:
    """Kinematics and statics of the arm alone."""

    def __init__(self) -> None:
        spec = mujoco.MjSpec()
        add_arm(spec)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        joints = [self._model.joint(name) for name in JOINTS]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._gripper = self._model.body("gripper").id
        ranges = np.array([joint.range for joint in joints])
        self.lower_rad: Vector = ranges[:, 0]
        self.upper_rad: Vector = ranges[:, 1]

    def place(self, joint_rad: Vector) -> tuple[Vector, Vector]:
        """X_world_grasp at these angles: origin (3,) [m] and rotation matrix (3, 3)."""
        model, data = self._model, self._data
        data.qpos[self._qpos] = joint_rad
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)  # jacobians and gravity refer to centres of mass
        R_world_gripper = data.xmat[self._gripper].reshape(3, 3)
        return data.xpos[self._gripper] + R_world_gripper @ P_GRIPPER_GRASP_M, R_world_gripper.copy()

    def grasp(self, joint_rad: Vector) -> Grasp:
        """The grasp frame at these angles; a tilt of the fingers is left out."""
        position_m, R_world_grasp = self.place(joint_rad)
        return Grasp(position_m, math.atan2(R_world_grasp[1, 0], R_world_grasp[0, 0]))

    def jacobian(self, joint_rad: Vector) -> Vector:
        """(6, 6): velocity of the grasp frame's origin and its angular velocity, by joint."""
        position_m, _ = self.place(joint_rad)
        return self._jacobian_at(position_m)

    def torque_nm(
        self,
        joint_rad: Vector,
        speed_rad_s: Vector | None = None,
        acceleration_rad_s2: Vector | None = None,
        load_kg: float = 0.0,
    ) -> Vector:
        """Torque (6,) [Nm] that the servos' shafts have to give: gravity, and inertia when it moves.

        All (6,). `load_kg` hangs at the pads (its weight counts, its inertia does not). What is inside the
        servos (rotor, friction) is not part of it.
        """
        model, data = self._model, self._data
        position_m, _ = self.place(joint_rad)
        data.qvel[self._dof] = 0.0 if speed_rad_s is None else speed_rad_s
        data.qacc[self._dof] = 0.0 if acceleration_rad_s2 is None else acceleration_rad_s2
        mujoco.mj_comVel(model, data)
        torque = np.empty(model.nv)
        mujoco.mj_rne(model, data, 1, torque)
        if load_kg:
            torque[self._dof] -= self._jacobian_at(position_m)[:3].T @ (load_kg * model.opt.gravity)
        return torque[self._dof]

    def solve(self, target: Grasp, start_rad: Vector | None = None) -> Solution:
        """Angles for a grasp by damped least squares: dq = (J^T J + d I)^-1 J^T e, joint limits by clipping.

        Args:
            target: where.
            start_rad: (6,) where to start; solutions on a path start from the last one. By default from a
                pose in front, turned towards the target.
        """
        joint_rad = self._seed(target) if start_rad is None else start_rad.copy()
        cos, sin = math.cos(target.yaw_rad), math.sin(target.yaw_rad)
        R_world_target = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        lower = self.lower_rad[:GRIPPER] + LIMIT_MARGIN_RAD
        upper = self.upper_rad[:GRIPPER] - LIMIT_MARGIN_RAD
        off_m = off_rad = math.inf
        for _ in range(MAX_ITERATIONS):
            position_m, R_world_grasp = self.place(joint_rad)
            off = target.position_m - position_m
            turn = _rotation_vector(R_world_target @ R_world_grasp.T)
            off_m, off_rad = float(np.linalg.norm(off)), float(np.linalg.norm(turn))
            if off_m < POSITION_TOLERANCE_M and off_rad < TILT_TOLERANCE_RAD:
                break
            jacobian = self._jacobian_at(position_m)[:, :GRIPPER]
            jacobian[3:] *= LEVER_M
            error = np.concatenate((off, turn * LEVER_M))
            normal = jacobian.T @ jacobian + DAMPING * min(1.0, float(error @ error) * 100) * np.eye(GRIPPER)
            step = np.clip(np.linalg.solve(normal, jacobian.T @ error), -MAX_STEP_RAD, MAX_STEP_RAD)
            joint_rad[:GRIPPER] = np.clip(joint_rad[:GRIPPER] + step, lower, upper)
        return Solution(joint_rad, off_m, off_rad)

    def _seed(self, target: Grasp) -> Vector:
        joint_rad = np.array(SEED_POSE_RAD)
        towards = target.position_m[:2] - PAN_AXIS_M
        joint_rad[PAN] = -math.atan2(towards[1], towards[0])  # positive pan turns to -y
        _, R_world_grasp = self.place(joint_rad)
        roll_is = math.atan2(R_world_grasp[1, 0], R_world_grasp[0, 0])
        turn = math.remainder(target.yaw_rad - roll_is, math.tau)
        joint_rad[ROLL] += turn  # with the fingers down, roll adds to yaw
        return joint_rad

    def _jacobian_at(self, position_m: Vector) -> Vector:
        """Of a point fixed to the gripper, at the angles that `place` was given last."""
        model, nv = self._model, self._model.nv
        jacobian = np.empty((6, nv))
        mujoco.mj_jac(model, self._data, jacobian[:3], jacobian[3:], position_m, self._gripper)
        return jacobian[:, self._dof]


def gap_m(gripper_rad: float) -> float:
    """Distance between the middles of the pads."""
    return PAD_GAP_M + GAP_PER_SIN_M * math.sin(gripper_rad)


def gripper_rad(gap_m: float) -> float:
    """The gripper angle at which the pads are so far apart."""
    return math.asin((gap_m - PAD_GAP_M) / GAP_PER_SIN_M)


def _rotation_vector(rotation: Vector) -> Vector:
    """(3,) axis times angle of a rotation matrix (3, 3)."""
    quat_wxyz, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quat_wxyz, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quat_wxyz, 1.0)
    return vector
