"""What is inside a servo's case: DC motor, H-bridge, gears, supply line and heat, a millisecond at a time.

Electrical state is quasi-static (the winding's time constant is far below a millisecond), so in one tick

    I = (V duty - k_e w) / R        DRIVE      torque = k_t I
    I = -k_e w / R                  BRAKE      (winding shorted through the bridge)
    I = 0                           FREE

with `w` the rotor speed reflected to the output shaft. The torque is handed on as a constant part `k_t V duty
/ R` and a damping `k_t k_e / R`, because a damping can be integrated implicitly: explicit back-EMF would be
unstable at the physics step of 2 ms on a light link. The supply sags along the daisy chain by the current
that each cable segment carries; the winding heats by I^2 R and cools to ambient through one thermal
resistance; copper resistance follows temperature.

Not modelled: cogging, winding inductance, a gear efficiency that depends on direction (k_t < k_e holds it in
one number), regeneration into the supply (the bus current is clamped at zero), brown-out of the servo's own
electronics.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

TICK_S = 0.001
"""Firmware tick and time step of this file [s]. Source: STS3215 control loop, 1 kHz."""

NOMINAL_V = 12.0  # [V] source: STS3215-C018 data sheet (the 12 V variant)
STALL_TORQUE_NM = 2.94  # [Nm] 30 kg cm at 12 V. source: STS3215 data sheet
STALL_CURRENT_A = 2.7  # [A] source: STS3215 data sheet, 12 V
NO_LOAD_RAD_S = 46 * 2 * math.pi / 60  # [rad/s] 46 rpm at 12 V. source: measurement in SO-ARM100 issue 134
FRICTION_NM = 0.052  # [Nm] Coulomb, at the output. source: Open Duck Mini's identification of the STS3215
INERTIA_KGM2 = 0.028  # [kg m^2] rotor and gears seen from the output. source: as above
OUTPUT_INERTIA_KGM2 = 5e-4  # [kg m^2] part of it behind the play (last gear, horn). Assumed; see `mock.model`
BACKLASH_RAD = math.radians(0.87)  # [rad] total play; SO-ARM100 issue 134 measured about 1 deg
HOUSING_K_W = 11.0  # [K/W] 3.6 W at a third of stall current end near 65 deg C. Estimated, no published value
HEAT_J_K = 33.0  # [J/K] 55 g of copper, steel and plastic at about 600 J/(kg K). Estimated
COPPER_1_K = 0.00393  # [1/K] temperature coefficient of copper at 20 deg C. source: IEC 60028
SOURCE_OHM = 0.12  # [ohm] 12 V 5 A adapter, 5 % load regulation. Assumed
SEGMENT_OHM = 0.034  # [ohm] 0.2 m of 24 AWG there and back (0.084 ohm/m) between two servos
AMBIENT_C = 25.0  # [deg C]
REFERENCE_C = 25.0  # [deg C] winding temperature to which stall figures refer

FREE, DRIVE, BRAKE = 0, 1, 2  # as `mock.servo.Bridge`; plain integers for compiled code


@dataclass(frozen=True)
class MotorParameters:
    """One servo's motor and gears; torques and speeds are those of the output shaft."""

    nominal_v: float = NOMINAL_V
    """Voltage of the three figures below [V]."""
    stall_torque_nm: float = STALL_TORQUE_NM
    stall_current_a: float = STALL_CURRENT_A
    no_load_rad_s: float = NO_LOAD_RAD_S
    friction_nm: float = FRICTION_NM
    """Coulomb friction [Nm], present whatever the bridge does."""
    inertia_kgm2: float = INERTIA_KGM2
    backlash_rad: float = BACKLASH_RAD
    """Whole width of the play between motor and output [rad]."""
    housing_k_w: float = HOUSING_K_W
    heat_j_k: float = HEAT_J_K

    @property
    def resistance_ohm(self) -> float:
        """Winding and bridge at the reference temperature [ohm]."""
        return self.nominal_v / self.stall_current_a

    @property
    def torque_constant_nm_a(self) -> float:
        """k_t [Nm/A]: makes the stall torque, friction already paid."""
        return (self.stall_torque_nm + self.friction_nm) / self.stall_current_a

    @property
    def back_emf_vs_rad(self) -> float:
        """k_e [V s/rad]: makes the no-load speed, at which the current just overcomes friction."""
        idle_a = self.friction_nm / self.torque_constant_nm_a
        return (self.nominal_v - self.resistance_ohm * idle_a) / self.no_load_rad_s


@dataclass(frozen=True)
class SupplyParameters:
    """The power adapter, the cables from servo to servo, and the air around them."""

    open_circuit_v: float = NOMINAL_V
    source_ohm: float = SOURCE_OHM
    segment_ohm: float = SEGMENT_OHM
    """Cable between neighbours on the daisy chain [ohm]; the adapter feeds the first servo."""
    ambient_c: float = AMBIENT_C


class Drivetrain:
    """Motors of n servos on one supply: duty and bridge in; torque, damping, current, volts and heat out.

    Arrays are (n,) and live as long as the object; `tick` updates them in place.
    """

    def __init__(self, motors: Sequence[MotorParameters], supply: SupplyParameters) -> None:
        n = len(motors)
        self._state: NDArray[np.float64] = np.zeros((5, n))
        self.temperature_c, self.current_a, self.supply_v, self.drive_nm, self.damping_nms = self._state
        self.motors = tuple(motors)
        self.supply = supply
        self.motor: NDArray[np.float64] = np.zeros((5, n))
        """(5, n), (4,) parameters, as `drivetrain_tick` takes them."""
        self.supply_numbers: NDArray[np.float64] = np.zeros(4)
        self.fit(motors, supply)
        self.reset()

    def fit(self, motors: Sequence[MotorParameters], supply: SupplyParameters) -> None:
        """Take other parameters (domain randomisation); the state stays. Same number of motors."""
        self.motors, self.supply = tuple(motors), supply
        for i, motor in enumerate(motors):
            self.motor[:, i] = (
                motor.resistance_ohm,
                motor.torque_constant_nm_a,
                motor.back_emf_vs_rad,
                motor.housing_k_w,
                motor.heat_j_k,
            )
        self.supply_numbers[:] = (
            supply.open_circuit_v,
            supply.source_ohm,
            supply.segment_ohm,
            supply.ambient_c,
        )

    def reset(self) -> None:
        """Cold motors, no current, the adapter's open-circuit voltage everywhere."""
        self._state[:] = 0.0
        self.temperature_c[:] = self.supply.ambient_c
        self.supply_v[:] = self.supply.open_circuit_v

    def tick(
        self, duty: NDArray[np.float64], bridge: NDArray[np.int8], rotor_rad_s: NDArray[np.float64]
    ) -> None:
        """One millisecond with duty (n,) in [-1, 1], bridge (n,) and rotor speed (n,) [rad/s]."""
        drivetrain_tick(duty, bridge, rotor_rad_s, self.motor, self.supply_numbers, self._state)

    @property
    def state(self) -> NDArray[np.float64]:
        """All state, (5, n): deg C, A, V, Nm, Nm s/rad."""
        return self._state


@njit(cache=True)
def drivetrain_tick(
    duty: NDArray[np.float64],
    bridge: NDArray[np.int8],
    rotor_rad_s: NDArray[np.float64],
    motor: NDArray[np.float64],
    supply: NDArray[np.float64],
    state: NDArray[np.float64],
) -> None:
    """`Drivetrain.tick`, compiled. `motor` (5, n), `supply` (4,), `state` (5, n): see `Drivetrain`."""
    n = duty.shape[0]
    downstream_a = 0.0
    for i in range(n - 1, -1, -1):
        resistance_ohm, torque_constant, back_emf = motor[0, i], motor[1, i], motor[2, i]
        resistance_ohm *= 1.0 + COPPER_1_K * (state[0, i] - REFERENCE_C)
        applied_v = state[2, i] * duty[i] if bridge[i] == DRIVE else 0.0
        current_a, drive_nm, damping_nms = 0.0, 0.0, 0.0
        if bridge[i] != FREE:
            current_a = (applied_v - back_emf * rotor_rad_s[i]) / resistance_ohm
            drive_nm = torque_constant * applied_v / resistance_ohm
            damping_nms = torque_constant * back_emf / resistance_ohm
        loss_w = current_a * current_a * resistance_ohm
        state[0, i] += TICK_S / motor[4, i] * (loss_w - (state[0, i] - supply[3]) / motor[3, i])
        state[1, i], state[3, i], state[4, i] = current_a, drive_nm, damping_nms
        if bridge[i] == DRIVE:
            downstream_a += current_a * duty[i]  # the supply is connected for the duty's share of time
        state[2, i] = downstream_a  # for now: what flows through the segment in front of servo i
    volts = supply[0] - supply[1] * max(downstream_a, 0.0)
    for i in range(n):
        if i > 0:
            volts -= supply[2] * max(state[2, i], 0.0)
        state[2, i] = max(volts, 0.0)
