"""What the processor inside every STS3215 computes: `tick` is one millisecond of all servos at once.

Each servo has three memories: its register file (`registers.SIZE` bytes, the same bytes that the bus reads
and writes), the saved image of its EEPROM area, and a record of working variables (`memory.SERVO`). The
functions below work on one servo each and are compiled by numba; six servos take about 2 us per tick. With
NUMBA_DISABLE_JIT=1 they are ordinary Python, some 300 times slower. All that is compiled is in this one file,
because numba's cache notices changes of the file that a function is in and of no other.

Conventions. Positions are encoder counts; `pose` counts whole turns, `position` is 0 to 4095. `duty` has the
firmware's unit and sign: 0.1 %, positive drives towards smaller counts (that is what Present_Load shows).
`tick` hands out the opposite sign.

Source: behaviour of factory firmware 3.10 as published by its open re-implementation
(github.com/0o8o0-blip/sts3215-firmware) and by people who measured servos; what is not known is marked [?]
where it is decided.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import (
    ACCELERATION_UNIT_STEPS_S2,
    CURRENT_UNIT_A,
    SIZE,
    SPEED_UNIT_STEPS_S,
    homing_steps,
)
from so101_robot.mock.servo import memory as at
from so101_robot.mock.servo.memory import EEPROM, WINDOW_TICKS, WRITABLE

Bytes = NDArray[np.uint8]
"""The register file of a servo, (87,), or of all, (n, 87); its saved image; or what is written."""
Floats = NDArray[np.float64]

TICK_S = 0.001
TURN = 4096
WRAP_JUMP = 4076
"""A change of more counts than this within a tick is a step across 0/4095. [counts]"""

FILTER_OLD, FILTER_NEW = 0.2, 0.8
MAX_DUTY = 970
"""No duty goes beyond this, whatever Torque_Limit says. [0.1 %]"""

OVERLOAD_MOVE = 50
"""A joint that moves further than this under high duty is not stuck. [counts]"""

HOT_TICKS = 50
HOT_HYSTERESIS_C = 5
OVERVOLTAGE_TICKS = 51
BROWNOUT_V = 3.3
"""[?] Below this the processor stops, and boots when the supply is back."""

BOOT_TICKS = 300
"""[?] Silence between a reset of the processor and its first reply; "hundreds of ms" by hearsay."""

FREE, DRIVE, BRAKE = 0, 1, 2
POSITION_MODE, VELOCITY_MODE, PWM_MODE, STEP_MODE = 0, 1, 2, 3
LAST_ID = 253

VOLTAGE = int(Errors.VOLTAGE)
ENCODER = int(Errors.ENCODER)
OVERHEAT = int(Errors.OVERHEAT)
OVERCURRENT = int(Errors.OVERCURRENT)
OVERLOAD = int(Errors.OVERLOAD)

PHASE_MOTOR, PHASE_UNIT, PHASE_FASTEST, PHASE_TURNS, PHASE_ENCODER = 0x01, 0x04, 0x08, 0x10, 0x80

_homing_steps = njit(homing_steps)  # no cache: it lives in another file


@njit(cache=True)
def _word(regs: Bytes, address: int) -> int:
    return int(regs[address]) | int(regs[address + 1]) << 8


@njit(cache=True)
def _signed(regs: Bytes, address: int, sign_bit: int) -> int:
    word = _word(regs, address)
    magnitude = word & ((1 << sign_bit) - 1)
    return -magnitude if word >> sign_bit & 1 else magnitude


@njit(cache=True)
def _put(regs: Bytes, address: int, value: int, sign_bit: int) -> None:
    word = min(abs(value), (1 << sign_bit) - 1)
    if value < 0:
        word |= 1 << sign_bit
    regs[address] = word & 0xFF
    regs[address + 1] = word >> 8


@njit(cache=True)
def _put_position(regs: Bytes, s: np.record) -> None:
    """Present_Position; bit 4 of Phase lets it leave the turn."""
    turns = TURN * s.turns if regs[at.PHASE] & PHASE_TURNS else 0
    _put(regs, at.PRESENT, s.position + turns, 15)


@njit(cache=True)
def _offset(regs: Bytes) -> int:
    """Modes 1 and 2 show the bare encoder."""
    if regs[at.MODE] in (VELOCITY_MODE, PWM_MODE):
        return 0
    return _homing_steps(_word(regs, at.HOMING))


@njit(cache=True)
def _stay(s: np.record) -> None:
    """Set-point := where the joint is."""
    s.target = s.pose
    s.setpoint = s.pose
    s.profile_speed = 0.0
    s.error_sum = 0.0


@njit(cache=True)
def _seed(regs: Bytes, s: np.record, turns: int) -> None:
    """Start anew from the last sample: so many turns, no speed, no error, set-point where the joint is."""
    s.turns = turns
    s.position = (s.raw - _offset(regs)) & (TURN - 1)
    s.pose = s.position + TURN * turns
    s.filtered = s.pose
    s.speed = 0
    for k in range(WINDOW_TICKS):
        s.poses[k] = s.pose
        s.errors_back[k] = 0
    _put_position(regs, s)  # at once: LeRobot writes an offset and reads within the same millisecond
    _stay(s)


@njit(cache=True)
def _sense(regs: Bytes, s: np.record, raw: int) -> None:
    """Sample the encoder, count turns, filter, measure the speed. A failing encoder repeats its last one."""
    if s.encoder_fault:
        s.errors |= ENCODER
    else:
        s.errors &= ~ENCODER
        s.raw = (TURN - raw) & (TURN - 1) if regs[at.PHASE] & PHASE_ENCODER else raw
        if not s.seeded:
            s.seeded = 1
            _seed(regs, s, s.turns)
        position = (s.raw - _offset(regs)) & (TURN - 1)
        jump = position - s.position
        if jump > WRAP_JUMP:
            s.turns -= 1
        elif jump < -WRAP_JUMP:
            s.turns += 1
        s.position = position
    s.filtered = FILTER_OLD * s.filtered + FILTER_NEW * (s.position + TURN * s.turns)
    s.pose = int(np.floor(s.filtered + 0.5))
    s.speed = (s.pose - s.poses[s.window_at]) * SPEED_UNIT_STEPS_S
    s.poses[s.window_at] = s.pose


@njit(cache=True)
def _acceleration(regs: Bytes) -> float:
    """[steps/s^2]"""
    units = int(regs[at.ACCELERATION])
    if units == 0:
        units = int(regs[at.MAX_ACCELERATION]) * int(regs[at.ACCELERATION_FACTOR])
    return units * ACCELERATION_UNIT_STEPS_S2 if units else 1e9


@njit(cache=True)
def _goal_speed(regs: Bytes) -> float:
    """Goal_Velocity in steps/s, within the fastest profile."""
    speed = float(_signed(regs, at.GOAL_SPEED, 15))
    if not regs[at.PHASE] & PHASE_UNIT:
        speed *= SPEED_UNIT_STEPS_S
    fastest = float(regs[at.FASTEST]) * SPEED_UNIT_STEPS_S
    return min(max(speed, -fastest), fastest)


@njit(cache=True)
def _profile(regs: Bytes, s: np.record) -> None:
    """Move the set-point towards the target: trapezoid of speed within the speed and acceleration registers.

    The fastest speed from which the set-point can still stop after d steps, in steps of dt at deceleration a,
    is sqrt((a dt / 2)^2 + 2 a d) - a dt / 2.
    """
    change = _acceleration(regs) * TICK_S
    limit = abs(_goal_speed(regs))
    if limit == 0.0 and regs[at.PHASE] & PHASE_FASTEST:
        limit = float(regs[at.FASTEST]) * SPEED_UNIT_STEPS_S
    distance = s.target - s.setpoint
    can_stop = np.sqrt(change * change / 4 + 2 * change / TICK_S * abs(distance)) - change / 2
    wanted = min(limit, can_stop)
    if distance < 0:
        wanted = -wanted
    s.profile_speed += min(max(wanted - s.profile_speed, -change), change)
    step = s.profile_speed * TICK_S
    if abs(distance) <= abs(step) + 0.01 and abs(s.profile_speed) <= 2 * change:
        s.setpoint = s.target
        s.profile_speed = 0.0
    else:
        s.setpoint += step


@njit(cache=True)
def _position_duty(regs: Bytes, s: np.record) -> int:
    """PID on the error e behind the dead zone.

    duty = e P / 4 + (change of e in 20 ms) D / 8 + (sum of e, each ms) I / 500, and the startup force.
    """
    error = s.pose - int(np.floor(s.setpoint + 0.5))
    error = max(error - int(regs[at.CW_DEAD]), 0) + min(error + int(regs[at.CCW_DEAD]), 0)
    s.error_sum += error
    integral = s.error_sum * int(regs[at.I]) / 500
    bound = 4.0 * int(regs[at.INTEGRAL_LIMIT])
    if bound and abs(integral) > bound:
        integral = min(max(integral, -bound), bound)
        s.error_sum -= error  # stop winding up
    change = error - s.errors_back[s.window_at]
    s.errors_back[s.window_at] = error
    duty = int(error * int(regs[at.P]) / 4 + change * int(regs[at.D]) / 8 + integral)
    if duty > 0:
        duty += int(regs[at.STARTUP])
    elif duty < 0:
        duty -= int(regs[at.STARTUP])
    return duty


@njit(cache=True)
def _velocity_duty(regs: Bytes, s: np.record) -> int:
    """PI on the speed in units of 50 steps/s [?]; the wanted speed follows the acceleration register."""
    change = _acceleration(regs) * TICK_S
    s.profile_speed += min(max(_goal_speed(regs) - s.profile_speed, -change), change)
    error = (s.speed - s.profile_speed) / SPEED_UNIT_STEPS_S
    bound = 1e6 / max(int(regs[at.VELOCITY_I]), 1)  # the integral alone may ask for full duty, not more
    s.error_sum = min(max(s.error_sum + error, -bound), bound)
    return int(error * int(regs[at.VELOCITY_P]) / 10 + s.error_sum * int(regs[at.VELOCITY_I]) / 1000)


@njit(cache=True)
def _wanted_duty(regs: Bytes, s: np.record) -> int:
    mode = regs[at.MODE]
    duty = 0
    if mode in (POSITION_MODE, STEP_MODE):
        _profile(regs, s)
        duty = _position_duty(regs, s)
    elif mode == VELOCITY_MODE:
        duty = _velocity_duty(regs, s)
    elif mode == PWM_MODE:
        duty = _signed(regs, at.GOAL_PWM, 10)  # as measured: positive to smaller counts, unlike velocity mode
    limit = min(_word(regs, at.TORQUE_LIMIT), MAX_DUTY)
    return min(max(duty, -limit), limit)


@njit(cache=True)
def _watch_voltage(regs: Bytes, s: np.record, volts: int) -> None:
    """Too low counts at once, too high after a while, in range clears at once. `volts` in 0.1 V."""
    s.overvoltage_ticks = s.overvoltage_ticks + 1 if volts > regs[at.MAX_VOLTS] else 0
    if volts < regs[at.MIN_VOLTS] or s.overvoltage_ticks >= OVERVOLTAGE_TICKS:
        s.errors |= VOLTAGE
    elif s.overvoltage_ticks == 0:
        s.errors &= ~VOLTAGE


@njit(cache=True)
def _watch_heat(regs: Bytes, s: np.record, celsius: float) -> None:
    s.hot_ticks = s.hot_ticks + 1 if celsius > regs[at.MAX_CELSIUS] else 0
    if s.hot_ticks >= HOT_TICKS:
        s.errors |= OVERHEAT
    elif celsius < int(regs[at.MAX_CELSIUS]) - HOT_HYSTERESIS_C:
        s.errors &= ~OVERHEAT


@njit(cache=True)
def _watch_current(regs: Bytes, s: np.record, units: int) -> None:
    """Latches: the bit goes only when the current is low and the torque on. `units` of 6.5 mA, no sign."""
    limit = _word(regs, at.MAX_CURRENT)
    ticks = int(regs[at.CURRENT_TIME]) * 10
    if limit == 0 or ticks == 0 or units < limit:
        s.current_ticks = 0
        if regs[at.TORQUE] == 1 or limit == 0 or ticks == 0:
            s.errors &= ~OVERCURRENT
        return
    s.current_ticks += 1
    if s.current_ticks >= ticks:
        s.errors |= OVERCURRENT
        if regs[at.UNLOAD] & OVERCURRENT:
            regs[at.TORQUE] = 0


@njit(cache=True)
def _watch_overload(regs: Bytes, s: np.record, duty: int) -> int:
    """High duty without motion for too long trips it; backing off the goal or torque off clears it.

    Returns the duty that is left.
    """
    left = int(regs[at.OVERLOAD_LEFT]) * 10
    if s.overload_sign and duty * s.overload_sign < left:
        s.overload_sign = 0
        s.overload_ticks = 0
    if not s.overload_sign:
        if abs(duty) <= int(regs[at.OVERLOAD_DUTY]) * 10:
            s.overload_ticks = 0
        elif s.overload_ticks == 0 or abs(s.pose - s.overload_from) > OVERLOAD_MOVE:
            s.overload_ticks = 1
            s.overload_from = s.pose
        else:
            s.overload_ticks += 1
            if s.overload_ticks >= int(regs[at.OVERLOAD_TIME]) * 10:
                s.overload_sign = 1 if duty > 0 else -1
    if not s.overload_sign and not s.overload_forced:
        s.errors &= ~OVERLOAD
        return duty
    s.errors |= OVERLOAD
    if not regs[at.UNLOAD] & OVERLOAD:
        return duty
    return s.overload_sign * left if s.overload_sign else min(max(duty, -left), left)


@njit(cache=True)
def _report(regs: Bytes, s: np.record, volts: int, celsius: float, amps: float) -> None:
    """Fill the registers that the bus reads."""
    mode = regs[at.MODE]
    shown_speed = s.speed if abs(s.speed) >= int(regs[at.STILL_SPEED]) * SPEED_UNIT_STEPS_S else 0
    profiled = mode in (POSITION_MODE, STEP_MODE)
    moving = shown_speed != 0 or (profiled and s.setpoint != s.target)
    _put_position(regs, s)
    _put(regs, at.PRESENT_SPEED, shown_speed, 15)
    _put(regs, at.PRESENT_LOAD, s.duty, 10)
    _put(regs, at.PRESENT_CURRENT, -int(np.rint(amps / CURRENT_UNIT_A)), 15)  # [?] the sign of Present_Load
    _put(regs, at.PRESENT_GOAL, int(np.floor(s.setpoint + 0.5)), 15)
    _put(regs, at.PROFILE_SPEED, int(np.rint(s.profile_speed)), 15)
    regs[at.PRESENT_VOLTS] = min(max(volts, 0), 255)
    regs[at.PRESENT_CELSIUS] = min(max(int(celsius), 0), 255)
    regs[at.MOVING] = 1 if moving else 0
    regs[at.STATUS] = s.errors


@njit(cache=True)
def _boot(regs: Bytes, saved: Bytes, s: np.record) -> None:
    """Power-up: the saved EEPROM area, memory cleared, torque off, locked. What was not saved is lost."""
    for k in range(SIZE):
        regs[k] = saved[k] if EEPROM[k] else 0
    regs[at.TORQUE_LIMIT] = regs[at.MAX_TORQUE]
    regs[at.TORQUE_LIMIT + 1] = regs[at.MAX_TORQUE + 1]
    regs[at.LOCK] = 1
    s.seeded = 0
    s.errors = 0
    s.duty = 0
    s.hot_ticks = 0
    s.overvoltage_ticks = 0
    s.current_ticks = 0
    s.overload_ticks = 0
    s.overload_sign = 0
    s.down_ticks = 0
    _seed(regs, s, 0)


@njit(cache=True)
def _tick_one(
    regs: Bytes, saved: Bytes, s: np.record, raw: int, volts: float, celsius: float, amps: float
) -> int:
    """One servo, one millisecond; `s.duty` is the duty. Returns the state of the bridge."""
    if volts < BROWNOUT_V:
        s.down_ticks = BOOT_TICKS
    if s.down_ticks > 0:
        s.down_ticks -= 1
        s.duty = 0
        if s.down_ticks == 0:
            _boot(regs, saved, s)
        return FREE
    _sense(regs, s, raw)
    decivolts = int(np.floor(volts * 10 + 0.5))
    _watch_voltage(regs, s, decivolts)
    _watch_heat(regs, s, celsius)
    _watch_current(regs, s, int(np.rint(abs(amps) / CURRENT_UNIT_A)))
    cut = s.errors & int(regs[at.UNLOAD]) & (VOLTAGE | ENCODER | OVERHEAT)
    s.duty = 0
    bridge = FREE
    if regs[at.TORQUE] == 1 and not cut:
        s.duty = _watch_overload(regs, s, _wanted_duty(regs, s))
        bridge = DRIVE
    else:
        _stay(s)
        s.errors_back[s.window_at] = 0
        s.overload_sign = 0
        s.overload_ticks = 0
        s.errors = s.errors | OVERLOAD if s.overload_forced else s.errors & ~OVERLOAD
        if regs[at.TORQUE] == 2 and not cut:
            bridge = BRAKE
    s.window_at = (s.window_at + 1) % WINDOW_TICKS
    _report(regs, s, decivolts, celsius, amps)
    return bridge


@njit(cache=True)
def tick(
    registers: Bytes,
    saved: Bytes,
    servos: NDArray[np.void],
    raw_steps: NDArray[np.int32],
    supply_v: Floats,
    temperature_c: Floats,
    current_a: Floats,
    duty: Floats,
    bridge: NDArray[np.int8],
) -> None:
    """One millisecond of every servo.

    Shapes: registers, saved (n, 87) uint8; servos (n,) SERVO; the others (n,).

    Reads raw_steps, supply_v, temperature_c, current_a; writes duty (-1..1, positive towards larger counts)
    and bridge.
    """
    for i in range(servos.shape[0]):
        s = servos[i]
        bridge[i] = _tick_one(
            registers[i],
            saved[i],
            s,
            int(raw_steps[i]),
            supply_v[i] + s.extra_volts,
            temperature_c[i] + s.extra_celsius,
            current_a[i] + s.extra_amps,
        )
        sign = 1 if registers[i, at.PHASE] & PHASE_MOTOR else -1
        duty[i] = sign * s.duty / 1000.0


@njit(cache=True)
def _touches(first: int, end: int, register: int) -> bool:
    return first < register + 2 and end > register


@njit(cache=True)
def _accept_goal(regs: Bytes, s: np.record, first: int, end: int) -> None:
    """Latch a goal that was written and turn the torque on; the mode says which register is the goal."""
    mode = regs[at.MODE]
    if (mode == VELOCITY_MODE and _touches(first, end, at.GOAL_SPEED)) or (
        mode == PWM_MODE and _touches(first, end, at.GOAL_PWM)
    ):
        regs[at.TORQUE] = 1
    if not _touches(first, end, at.GOAL) or mode not in (POSITION_MODE, STEP_MODE):
        return
    regs[at.TORQUE] = 1
    goal = _signed(regs, at.GOAL, 15) * max(int(regs[at.RESOLUTION]), 1)
    if mode == STEP_MODE:
        s.target += goal
        return
    lowest, highest = _word(regs, at.MIN_LIMIT), _word(regs, at.MAX_LIMIT)
    s.target = min(max(goal, lowest), highest) if lowest != highest else goal


@njit(cache=True)
def write(registers: Bytes, saved: Bytes, servos: NDArray[np.void], i: int, address: int, data: Bytes) -> int:
    """Write `data` (uint8) from `address` on, skip read-only bytes, then do what the bytes ask for.

    Returns how many half-words of flash were programmed: EEPROM bytes that changed while Lock was 0.
    """
    regs, image, s = registers[i], saved[i], servos[i]
    servo_id = regs[at.ID]
    mode, offset, phase, locked = regs[at.MODE], _offset(regs), regs[at.PHASE], regs[at.LOCK]
    end = min(address + data.shape[0], SIZE)
    for k in range(address, end):
        if WRITABLE[k]:
            regs[k] = data[k - address]
    if regs[at.ID] > LAST_ID:
        regs[at.ID] = servo_id  # 254 is everybody's and 255 the packet's header: no servo takes them
    if regs[at.BAUD] > 7:
        regs[at.BAUD] = 0
    if regs[at.MAX_ACCELERATION]:
        regs[at.ACCELERATION] = min(regs[at.ACCELERATION], regs[at.MAX_ACCELERATION])

    if regs[at.MODE] != mode:
        for k in (at.TORQUE, at.ACCELERATION, at.GOAL_SPEED, at.GOAL_SPEED + 1):
            regs[k] = 0
        _seed(regs, s, 0)
    elif _offset(regs) != offset or regs[at.PHASE] != phase:
        _seed(regs, s, 0)  # [?] turns are forgotten too, so that a fresh calibration cannot unwind
    _accept_goal(regs, s, address, end)

    programmed, last = 0, -1
    if not locked:
        for k in range(address, end):
            if EEPROM[k] and image[k] != regs[k]:
                image[k] = regs[k]
                if k // 2 != last:
                    programmed += 1
                    last = k // 2
    return programmed


@njit(cache=True)
def boot(registers: Bytes, saved: Bytes, servos: NDArray[np.void], i: int) -> None:
    """Power up servo `i`."""
    _boot(registers[i], saved[i], servos[i])


@njit(cache=True)
def seed(registers: Bytes, servos: NDArray[np.void], i: int, turns: int) -> None:
    """Let servo `i` start anew from its last sample, with so many turns counted."""
    _seed(registers[i], servos[i], turns)
