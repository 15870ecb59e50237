"""Many milliseconds of the arm in one call: firmware, motors, MuJoCo and encoders, compiled together.

`run` does what `Servos.tick` and `MujocoPlant.tick` do in turn, in the same order and with the same numbers. A loop in
Python around them took longer than everything in them. MuJoCo's step is called by its address in MuJoCo's library;
where that is not found, `STEP` is 0 and `run` must not be called.
"""

import ctypes
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from so101_robot.mock.physics import motor as motor_module
from so101_robot.mock.physics.motor import TICK_S, drivetrain_tick
from so101_robot.mock.servo import firmware
from so101_robot.mock.servo import memory as memory_module

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_LIBRARY = {"darwin": "libmujoco.*.dylib", "win32": "mujoco.dll"}.get(sys.platform, "libmujoco.so.*")


def _step_address() -> int:
    """Where `mj_step` is; 0: not known."""
    for path in sorted(Path(mujoco.__file__).parent.glob(_LIBRARY)):
        try:
            step = ctypes.CDLL(str(path)).mj_step  # the library that is loaded already
        except (OSError, AttributeError):
            continue
        return ctypes.cast(step, ctypes.c_void_p).value or 0
    return 0


STEP = _step_address()


def address_of(structure: mujoco.MjModel | mujoco.MjData) -> int:
    """Where MuJoCo's own structure is."""
    return int(structure._address)  # pyright: ignore[reportAttributeAccessIssue]


def _typed(context: Any, function: Any, model: Any, data: Any) -> tuple[Any, Callable[..., Any]]:
    """`function(model, data)`, all of them addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer])
        target = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(target, [builder.inttoptr(each, pointer) for each in arguments[1:]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


_call: Any = intrinsic(_typed)


@njit(cache=True)
def load(
    drive_nm: Floats, damping_nms: Floats, first: Floats, gear_dof: Indices, force: Floats, damping: Floats
) -> None:
    """Give MuJoCo's rotors the mean drive and damping of two ticks."""
    for i in range(gear_dof.shape[0]):
        force[gear_dof[i]] = 0.5 * (first[0, i] + drive_nm[i])
        damping[gear_dof[i]] = 0.5 * (first[1, i] + damping_nms[i])


@njit(cache=True)
def read_encoders(
    qpos: Floats,
    qvel: Floats,
    joint_qpos: Indices,
    joint_dof: Indices,
    ahead_s: float,
    zero_steps: Floats,
    steps_per_rad: float,
    turn: int,
    joint_rad: Floats,
    raw_steps: NDArray[np.int32],
) -> None:
    """Angles [rad] `ahead_s` after the state, and the counts that they read."""
    for i in range(joint_qpos.shape[0]):
        joint_rad[i] = qpos[joint_qpos[i]] + ahead_s * qvel[joint_dof[i]]
        raw_steps[i] = int(np.rint(zero_steps[i] + joint_rad[i] * steps_per_rad)) % turn


def _compiled(sources: str) -> Callable[..., bool]:
    """`run`. Numba's cache notices changes of this file and of what a closure holds, but not of the other files that
    are compiled in; so their digest is in the closure."""

    @njit(cache=True)
    def run(
        ticks: int,
        second_tick: bool,
        step: int,
        model: int,
        data: int,
        registers: firmware.Bytes,
        saved: firmware.Bytes,
        servos: NDArray[np.void],
        duty: Floats,
        bridge: NDArray[np.int8],
        motor: Floats,
        supply: Floats,
        state: Floats,
        first: Floats,
        rotor_rad_s: Floats,
        hand_torque_nm: Floats,
        qpos: Floats,
        qvel: Floats,
        force: Floats,
        damping: Floats,
        joint_qpos: Indices,
        joint_dof: Indices,
        gear_dof: Indices,
        zero_steps: Floats,
        steps_per_rad: float,
        turn: int,
        joint_rad: Floats,
        raw_steps: NDArray[np.int32],
    ) -> bool:
        _ = sources
        n = gear_dof.shape[0]
        for _tick in range(ticks):
            firmware.tick(registers, saved, servos, raw_steps, state[2], state[0], state[1], duty, bridge)
            for i in range(n):
                rotor_rad_s[i] = qvel[gear_dof[i]]
            drivetrain_tick(duty, bridge, rotor_rad_s, motor, supply, state)
            ahead_s = 0.0
            if second_tick:
                load(state[3], state[4], first, gear_dof, force, damping)
                for i in range(n):
                    force[joint_dof[i]] = hand_torque_nm[i]
                _call(step, model, data)
            else:
                for i in range(n):
                    first[0, i] = state[3, i]
                    first[1, i] = state[4, i]
                ahead_s = TICK_S
            read_encoders(
                qpos, qvel, joint_qpos, joint_dof, ahead_s, zero_steps, steps_per_rad, turn,
                joint_rad, raw_steps,
            )  # fmt: skip
            second_tick = not second_tick
        return second_tick

    return run


def _digest() -> str:
    files = (firmware.__file__, memory_module.__file__, motor_module.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


run = _compiled(_digest())
"""`ticks` milliseconds; returns whether the next tick is the second of a pair. Arrays as in `MujocoPlant` and `Servos`,
changed in place. `step`, `model` and `data` are addresses."""
