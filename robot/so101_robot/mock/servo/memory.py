"""What a servo's processor remembers: where its registers lie, and its working variables.

The addresses have short names because `firmware` is dense with them; the table is `registers.REGISTERS`.
"""

import numpy as np

from so101_robot.bus.registers import BY_NAME

WINDOW_TICKS = 20
"""Speed and the D term look back this far."""


def _at(name: str) -> int:
    return BY_NAME[name].address


ID = _at("ID")
BAUD = _at("Baud_Rate")
MIN_LIMIT = _at("Min_Position_Limit")
MAX_LIMIT = _at("Max_Position_Limit")
MAX_CELSIUS = _at("Max_Temperature_Limit")
MAX_VOLTS = _at("Max_Voltage_Limit")
MIN_VOLTS = _at("Min_Voltage_Limit")
MAX_TORQUE = _at("Max_Torque_Limit")
PHASE = _at("Phase")
UNLOAD = _at("Unloading_Condition")
P = _at("P_Coefficient")
D = _at("D_Coefficient")
I = _at("I_Coefficient")  # noqa: E741 (everybody's name)
STARTUP = _at("Minimum_Startup_Force")
INTEGRAL_LIMIT = _at("Integral_Limit")
CW_DEAD = _at("CW_Dead_Zone")
CCW_DEAD = _at("CCW_Dead_Zone")
MAX_CURRENT = _at("Protection_Current")
RESOLUTION = _at("Angular_Resolution")
HOMING = _at("Homing_Offset")
MODE = _at("Operating_Mode")
OVERLOAD_LEFT = _at("Protective_Torque")
OVERLOAD_TIME = _at("Protection_Time")
OVERLOAD_DUTY = _at("Overload_Torque")
VELOCITY_P = _at("Velocity_closed_loop_P_proportional_coefficient")
CURRENT_TIME = _at("Over_Current_Protection_Time")
VELOCITY_I = _at("Velocity_closed_loop_I_integral_coefficient")
TORQUE = _at("Torque_Enable")
ACCELERATION = _at("Acceleration")
GOAL = _at("Goal_Position")
GOAL_PWM = _at("Goal_Time")
GOAL_SPEED = _at("Goal_Velocity")
TORQUE_LIMIT = _at("Torque_Limit")
LOCK = _at("Lock")
PRESENT = _at("Present_Position")
PRESENT_SPEED = _at("Present_Velocity")
PRESENT_LOAD = _at("Present_Load")
PRESENT_VOLTS = _at("Present_Voltage")
PRESENT_CELSIUS = _at("Present_Temperature")
STATUS = _at("Status")
MOVING = _at("Moving")
PRESENT_GOAL = _at("Present_Goal")
PRESENT_CURRENT = _at("Present_Current")
PROFILE_SPEED = _at("Goal_Position_2")
STILL_SPEED = _at("Moving_Velocity_Threshold")
FASTEST = _at("Maximum_Velocity_Limit")
MAX_ACCELERATION = _at("Maximum_Acceleration")
ACCELERATION_FACTOR = _at("Acceleration_Multiplier")

SERVO = np.dtype(
    (
        np.record,
        [
            # the encoder
            ("seeded", np.int64),  # 0 until the first sample after power-up
            ("raw", np.int64),  # last good sample, 0..4095
            ("position", np.int64),  # with the homing offset, 0..4095
            ("turns", np.int64),
            ("filtered", np.float64),
            ("pose", np.int64),  # filtered, turns counted: what the loop works on
            ("poses", np.int64, (WINDOW_TICKS,)),
            ("errors_back", np.int64, (WINDOW_TICKS,)),
            ("window_at", np.int64),
            ("speed", np.int64),  # [steps/s]
            # profile and loops
            ("target", np.float64),
            ("setpoint", np.float64),
            ("profile_speed", np.float64),  # [steps/s]
            ("error_sum", np.float64),
            ("duty", np.int64),
            # protections
            ("errors", np.int64),
            ("hot_ticks", np.int64),
            ("overvoltage_ticks", np.int64),
            ("current_ticks", np.int64),
            ("overload_ticks", np.int64),
            ("overload_from", np.int64),
            ("overload_sign", np.int64),  # direction in which it tripped, 0: not
            ("down_ticks", np.int64),  # > 0: no supply or booting
            # injected from outside
            ("encoder_fault", np.int64),
            ("overload_forced", np.int64),
            ("extra_volts", np.float64),
            ("extra_celsius", np.float64),
            ("extra_amps", np.float64),
        ],
    )
)
"""The working variables of one servo. Attribute access works on its elements, compiled or not."""
