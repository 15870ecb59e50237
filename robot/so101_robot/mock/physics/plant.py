"""What the servos are bolted to: duty in, encoder counts out, a millisecond at a time.

`MujocoPlant` is the arm of a `World`: motors, heat and supply from `mock.motor` every tick, MuJoCo every
second tick (2 ms) with the mean drive of both. The tick in between reads positions extrapolated by velocity:
at 100 rad/s^2 that is wrong by 0.03 counts. `IdealPlant` has no physics: a shaft that follows duty with a
short lag, for tests of what is above.

Larger counts are larger joint angles. The encoder sits on the output shaft, behind the play of the gears.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from so101_robot.errors import ConfigError
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS, SERVO_IDS, STEPS_PER_TURN
from so101_robot.mock.physics import ticks
from so101_robot.mock.physics.model import GEAR_PREFIX, load_kinematics
from so101_robot.mock.physics.motor import (
    DRIVE,
    NO_LOAD_RAD_S,
    NOMINAL_V,
    OUTPUT_INERTIA_KGM2,
    TICK_S,
    Drivetrain,
    MotorParameters,
    SupplyParameters,
)
from so101_robot.mock.physics.world import World
from so101_robot.mock.servo.servo import Servos

if TYPE_CHECKING:  # LeRobot brings torch, which takes seconds and which a pseudo-terminal does not need
    from lerobot.motors import MotorCalibration

STEPS_PER_RAD = STEPS_PER_TURN / (2 * math.pi)

HOME_STEPS = 2047
"""What LeRobot's calibration makes every servo read with the joint in the middle of its range."""

HOME_RAD: NDArray[np.float64] = np.zeros(len(JOINTS))
"""(6,) the angles that calibration calls the middle: the kinematics' zero, the gripper's half open."""
HOME_RAD[GRIPPER] = load_kinematics().range_rad[GRIPPER].mean()
HOME_RAD.setflags(write=False)

MAX_HOMING_STEPS = 2047  # what the servo's Homing_Offset register holds in 11 bits and a sign

_NO_OFFSET = (0,) * len(JOINTS)


class Plant(Protocol):
    """What the servos move and feel; arrays are (n,), live for good, and are updated in place by `tick`."""

    raw_steps: NDArray[np.int32]
    """Encoder, 0..4095."""
    current_a: NDArray[np.float64]
    """Winding current, positive towards larger counts."""
    supply_v: NDArray[np.float64]
    temperature_c: NDArray[np.float64]

    def tick(self, duty: NDArray[np.float64], bridge: NDArray[np.int8]) -> None:
        """One millisecond. Duty in [-1, 1], positive towards larger counts; bridge as in `servo.Bridge`."""
        ...


def steps_of(
    joint_rad: NDArray[np.float64], mount_offset_steps: Sequence[int] = _NO_OFFSET
) -> NDArray[np.int32]:
    """Encoder counts (6,) of joint angles (6,) [rad], horns mounted `mount_offset_steps` off the middle."""
    counts = np.rint((joint_rad - HOME_RAD) * STEPS_PER_RAD).astype(np.int32)
    return (counts + HOME_STEPS + np.asarray(mount_offset_steps, np.int32)) % STEPS_PER_TURN


def angles_of(
    raw_steps: NDArray[np.int32], mount_offset_steps: Sequence[int] = _NO_OFFSET
) -> NDArray[np.float64]:
    """Joint angles (6,) [rad] within half a turn of the middle that read `raw_steps` (6,)."""
    from_middle = (raw_steps - HOME_STEPS - np.asarray(mount_offset_steps)) % STEPS_PER_TURN
    from_middle = np.where(from_middle > STEPS_PER_TURN // 2, from_middle - STEPS_PER_TURN, from_middle)
    return from_middle / STEPS_PER_RAD + HOME_RAD


def calibration(mount_offset_steps: Sequence[int] = _NO_OFFSET) -> "dict[str, MotorCalibration]":
    """`calibration_fields` as LeRobot's own type."""
    from lerobot.motors import MotorCalibration

    fields = calibration_fields(mount_offset_steps)
    return {joint: MotorCalibration(**values) for joint, values in fields.items()}


def calibration_fields(mount_offset_steps: Sequence[int] = _NO_OFFSET) -> dict[str, dict[str, int]]:
    """What LeRobot's calibration of this arm would have found: middles read 2047, ranges end at the limits.

    As in LeRobot's file: joint -> field -> value. Raises `ConfigError` for a horn mounted half a
    turn off, which Homing_Offset cannot express.
    """
    found: dict[str, dict[str, int]] = {}
    for i, joint in enumerate(JOINTS):
        homing = (mount_offset_steps[i] + STEPS_PER_TURN // 2) % STEPS_PER_TURN - STEPS_PER_TURN // 2
        if abs(homing) > MAX_HOMING_STEPS:
            raise ConfigError(
                f"{joint}: a mount offset of {mount_offset_steps[i]} steps is half a turn; "
                f"Homing_Offset holds {-MAX_HOMING_STEPS}..{MAX_HOMING_STEPS}, mount it a tooth on"
            )
        from_middle_rad = load_kinematics().range_rad[i] - HOME_RAD[i]
        low, high = (HOME_STEPS + np.rint(from_middle_rad * STEPS_PER_RAD).astype(int)).tolist()
        if joint == FULL_TURN_JOINT:
            low, high = 0, STEPS_PER_TURN - 1
        found[joint] = {
            "id": SERVO_IDS[i],
            "drive_mode": 0,
            "homing_offset": homing,
            "range_min": low,
            "range_max": high,
        }
    return found


class IdealPlant:
    """n shafts without load: speed follows duty with a short lag, FREE and BRAKE stop. No current or heat."""

    LAG_S = 0.02

    def __init__(self, n: int = len(JOINTS), raw_steps: int = HOME_STEPS) -> None:
        self.raw_steps: NDArray[np.int32] = np.full(n, raw_steps, np.int32)
        self.current_a: NDArray[np.float64] = np.zeros(n)
        self.supply_v: NDArray[np.float64] = np.full(n, NOMINAL_V)
        self.temperature_c: NDArray[np.float64] = np.full(n, 25.0)
        self._steps: NDArray[np.float64] = np.full(n, float(raw_steps))
        self._steps_s: NDArray[np.float64] = np.zeros(n)

    def tick(self, duty: NDArray[np.float64], bridge: NDArray[np.int8]) -> None:
        wanted = np.where(bridge == DRIVE, duty, 0.0) * (NO_LOAD_RAD_S * STEPS_PER_RAD)
        self._steps_s += (wanted - self._steps_s) * (TICK_S / self.LAG_S)
        self._steps += self._steps_s * TICK_S
        self.raw_steps[:] = np.rint(self._steps).astype(np.int64) % STEPS_PER_TURN


class MujocoPlant:
    """The arm in a `World`, at the terminals of its six motors."""

    def __init__(
        self,
        world: World,
        mount_offset_steps: Sequence[int] = _NO_OFFSET,
        motors: Sequence[MotorParameters] | None = None,
        supply: SupplyParameters | None = None,
    ) -> None:
        self.world = world
        self.mount_offset_steps = tuple(mount_offset_steps)
        nominal = [MotorParameters()] * len(JOINTS)
        self.drivetrain = Drivetrain(motors or nominal, supply or SupplyParameters())
        self.current_a = self.drivetrain.current_a
        self.supply_v = self.drivetrain.supply_v
        self.temperature_c = self.drivetrain.temperature_c
        self.raw_steps: NDArray[np.int32] = np.zeros(len(JOINTS), np.int32)
        self.joint_rad: NDArray[np.float64] = np.zeros(len(JOINTS))
        """(6,) true angles of the output shafts [rad]."""
        self.hand_torque_nm: NDArray[np.float64] = np.zeros(len(JOINTS))
        """(6,) torque of a hand (or a weight) on the output shafts [Nm]; holds until it is changed."""
        self._zero_steps = np.add(self.mount_offset_steps, HOME_STEPS) - HOME_RAD * STEPS_PER_RAD
        self._qpos, self._qvel = world.data.qpos, world.data.qvel
        self._force, self._damping = world.data.qfrc_applied, world.model.dof_damping
        self._model_address, self._data_address = ticks.address_of(world.model), ticks.address_of(world.data)
        self._rotor_rad_s: NDArray[np.float64] = np.zeros(len(JOINTS))
        self._joint_qpos, self._joint_dof, self._gear_dof = (
            index.astype(np.int64) for index in (world.joint_qpos, world.joint_dof, world.gear_dof)
        )
        self._first: NDArray[np.float64] = np.zeros((2, len(JOINTS)))  # drive, damping of a pair's first tick
        self._second_tick = False
        self.reset()

    def fit_motors(self, motors: Sequence[MotorParameters], supply: SupplyParameters | None = None) -> None:
        """Bolt other motors on (domain randomisation). Call `reset` after it."""
        self.drivetrain.fit(motors, supply or self.drivetrain.supply)

    def reset(self, joint_rad: Sequence[float] | NDArray[np.float64] | None = None) -> None:
        """Cold, without current; call it after `World.reset`. Puts the arm at `joint_rad` (6,) if given."""
        world, model = self.world, self.world.model
        for joint, motor, gear_dof in zip(JOINTS, self.drivetrain.motors, world.gear_dof, strict=True):
            model.dof_armature[gear_dof] = motor.inertia_kgm2 - OUTPUT_INERTIA_KGM2
            model.dof_frictionloss[gear_dof] = motor.friction_nm
            half = motor.backlash_rad / 2
            model.tendon_range[model.tendon(GEAR_PREFIX + joint).id] = (-half, half)
            model.dof_damping[gear_dof] = 0.0
        if joint_rad is not None:
            world.place_arm(joint_rad)
        mujoco.mj_forward(model, world.data)
        self.drivetrain.reset()
        self.hand_torque_nm[:] = 0.0
        self._first[:] = 0.0
        self._second_tick = False
        self._sense(0.0)

    def slip(self, by_rad: Sequence[float]) -> None:
        """Turn the horns on their shafts: every encoder reads `by_rad` (6,) [rad] more than before at the same joint
        angle, while the registers stay as they were calibrated. Call `reset` after it."""
        self._zero_steps = self._zero_steps + np.asarray(by_rad) * STEPS_PER_RAD

    def tick(self, duty: NDArray[np.float64], bridge: NDArray[np.int8]) -> None:
        motors = self.drivetrain
        np.take(self._qvel, self._gear_dof, out=self._rotor_rad_s)
        motors.tick(duty, bridge, self._rotor_rad_s)
        if self._second_tick:
            drive_nm, damping_nms = motors.drive_nm, motors.damping_nms
            ticks.load(drive_nm, damping_nms, self._first, self._gear_dof, self._force, self._damping)
            self._force[self._joint_dof] = self.hand_torque_nm
            mujoco.mj_step(self.world.model, self.world.data)
            self._sense(0.0)
        else:
            self._first[0], self._first[1] = motors.drive_nm, motors.damping_nms
            self._sense(TICK_S)
        self._second_tick = not self._second_tick

    def _sense(self, ahead_s: float) -> None:
        ticks.read_encoders(
            self._qpos, self._qvel, self._joint_qpos, self._joint_dof, ahead_s, self._zero_steps,
            STEPS_PER_RAD, STEPS_PER_TURN, self.joint_rad, self.raw_steps,
        )  # fmt: skip

    def run(
        self, servos: Servos, duty: NDArray[np.float64], bridge: NDArray[np.int8], milliseconds: int
    ) -> bool:
        """So many rounds of `servos.tick` and `tick`, in one call. False: not possible here, nothing has happened."""
        if not ticks.STEP:
            return False
        motors = self.drivetrain
        self._second_tick = ticks.run(
            milliseconds, self._second_tick, ticks.STEP, self._model_address, self._data_address,
            *servos.memories, duty, bridge,
            motors.motor, motors.supply_numbers, motors.state,
            self._first, self._rotor_rad_s, self.hand_torque_nm,
            self._qpos, self._qvel, self._force, self._damping,
            self._joint_qpos, self._joint_dof, self._gear_dof,
            self._zero_steps, STEPS_PER_RAD, STEPS_PER_TURN, self.joint_rad, self.raw_steps,
        )  # fmt: skip
        return True

    def state(self) -> bytes:
        """Everything here that decides what happens next, besides `World.digest`."""
        parts = (self.drivetrain.state, self._first, self.hand_torque_nm, np.array([self._second_tick]))
        return b"".join(part.tobytes() for part in parts)
