"""One servo's firmware against its published behaviour: registers and side effects, loops, protections."""

import os
import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_robot.bus.protocol import Errors
from so101_robot.bus.registers import BY_NAME, encode
from so101_robot.errors import ConfigError
from so101_robot.mock.servo import firmware
from so101_robot.mock.servo.servo import PAGE_ERASE_US, Bridge, Servos

NO_LOAD_STEPS_S = 3140  # 46 rpm
MOTOR_S = 0.03


class Bench:
    """One servo with a first-order motor on its output, or with its horn held (`free` False)."""

    def __init__(self, raw: int = 2048, free: bool = True) -> None:
        self.servos = Servos((1,))
        self.raw = np.array([raw], np.int32)
        self.volts, self.celsius, self.amps = np.array([12.0]), np.array([30.0]), np.zeros(1)
        self.duty, self.bridge = np.zeros(1), np.zeros(1, np.int8)
        self.free = free
        self.pose, self.speed = float(raw), 0.0
        self.run(1)

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.servos.tick(self.raw, self.volts, self.celsius, self.amps, self.duty, self.bridge)
            if self.free and self.bridge[0] == Bridge.DRIVE:
                self.speed += (self.duty[0] * NO_LOAD_STEPS_S - self.speed) * 0.001 / MOTOR_S
                self.turn_to(self.pose + self.speed * 0.001)

    def turn_to(self, pose: float) -> None:
        self.pose = pose
        self.raw[0] = round(pose) % 4096

    def carry_to(self, pose: float, step: int = 10) -> None:
        """Turn the horn by hand, slowly enough for the turn counter."""
        while abs(pose - self.pose) > step:
            self.turn_to(self.pose + np.sign(pose - self.pose) * step)
            self.run(1)
        self.turn_to(pose)
        self.run(30)

    def write(self, name: str, value: int) -> None:
        register = BY_NAME[name]
        self.servos.write(0, register.address, encode(register, value))

    def __getitem__(self, name: str) -> int:
        return self.servos.get(0, name)

    @property
    def errors(self) -> Errors:
        return Errors(self["Status"])


# --- goals and torque


def test_a_goal_turns_the_torque_on_and_the_joint_goes_there() -> None:
    bench = Bench(2048)
    bench.write("Goal_Position", 3000)
    assert bench["Torque_Enable"] == 1
    bench.run(1500)
    assert abs(bench["Present_Position"] - 3000) <= 2
    assert bench["Moving"] == 0
    assert bench["Present_Goal"] == 3000


def test_torque_on_holds_where_the_joint_is_and_not_at_a_stale_goal() -> None:
    bench = Bench(2048)
    bench.write("Goal_Position", 3000)
    bench.write("Torque_Enable", 0)
    bench.carry_to(1000)
    bench.write("Torque_Enable", 1)
    bench.run(300)
    assert bench["Goal_Position"] == 3000
    assert abs(bench["Present_Position"] - 1000) <= 2


def test_without_torque_the_bridge_is_free_and_with_2_it_brakes() -> None:
    bench = Bench()
    assert bench.bridge[0] == Bridge.FREE
    bench.write("Torque_Enable", 2)
    bench.run(1)
    assert bench.bridge[0] == Bridge.BRAKE
    assert bench.duty[0] == 0


def test_the_goal_is_clamped_to_the_limits_and_the_reading_is_not() -> None:
    bench = Bench(500)
    bench.write("Min_Position_Limit", 1000)
    bench.write("Max_Position_Limit", 3000)
    assert bench["Present_Position"] == 500
    bench.write("Goal_Position", 200)
    bench.run(600)
    assert abs(bench["Present_Position"] - 1000) <= 2


def test_equal_limits_do_not_clamp() -> None:
    bench = Bench(500)
    bench.write("Max_Position_Limit", 0)
    bench.write("Goal_Position", 700)
    bench.run(600)
    assert abs(bench["Present_Position"] - 700) <= 2


# --- profile and loops


def test_the_profile_keeps_speed_and_acceleration() -> None:
    bench = Bench(500)
    bench.write("Acceleration", 20)  # 2000 steps/s^2
    bench.write("Goal_Velocity", 800)
    bench.write("Goal_Position", 3000)
    speeds: list[int] = []
    goals: list[int] = []
    while bench["Moving"] or not speeds:
        bench.run(1)
        speeds.append(bench["Goal_Position_2"])
        goals.append(bench["Present_Goal"])
        assert len(speeds) < 6000
    assert max(speeds) == 800
    assert np.abs(np.diff(speeds)).max() <= 6  # 2 steps/s per ms, and the stop from at most 6
    assert max(goals) == 3000
    # trapezoid: 0.4 s up, 0.4 s down, 320 steps in them, the rest at 800
    assert len(goals) == pytest.approx(1000 * (0.8 + (2500 - 320) / 800), abs=15)


def test_acceleration_0_is_the_fastest() -> None:
    bench = Bench(500)
    bench.write("Goal_Position", 3000)
    bench.run(50)
    assert bench["Goal_Position_2"] == 500  # 100 * 100 steps/s^2 for 50 ms
    bench.run(130)
    assert 1700 < bench["Goal_Position_2"] < 5000


def test_the_speed_unit_is_50_steps_without_phase_bit_2() -> None:
    bench = Bench(500)
    bench.write("Phase", 8)
    bench.write("Goal_Velocity", 10)
    bench.write("Goal_Position", 3000)
    bench.run(200)
    assert bench["Goal_Position_2"] == 500


def test_speed_0_means_stop_without_phase_bit_3() -> None:
    bench = Bench(500)
    bench.write("Phase", 4)
    bench.write("Goal_Position", 3000)
    bench.run(200)
    assert bench["Present_Goal"] == 500


@pytest.mark.parametrize(("p", "saturates_at"), [(32, 125), (16, 250)])
def test_the_duty_is_p_times_error_and_saturates_where_measured(p: int, saturates_at: int) -> None:
    bench = Bench(2048, free=False)
    bench.write("P_Coefficient", p)
    bench.write("D_Coefficient", 0)
    for error in (20, saturates_at - 30, saturates_at + 1):
        bench.write("Goal_Position", 2048 + error)
        bench.run(400)
        wanted = (error - 1) * p // 4 + 16  # dead zone 1, startup force 16
        assert bench["Present_Load"] == -min(wanted, 970)
        assert bench.duty[0] == pytest.approx(min(wanted, 970) / 1000)


def test_load_is_positive_towards_smaller_counts() -> None:
    bench = Bench(2048, free=False)
    bench.write("Goal_Position", 1948)
    bench.run(200)
    assert bench["Present_Load"] > 0 > bench.duty[0]


@pytest.mark.parametrize(("register", "side"), [("CCW_Dead_Zone", 1), ("CW_Dead_Zone", -1)])
def test_an_error_within_the_dead_zone_drives_nothing(register: str, side: int) -> None:
    bench = Bench(2048, free=False)
    bench.write(register, 10)
    bench.write("Goal_Position", 2048 + 10 * side)
    bench.run(200)
    assert bench["Present_Load"] == 0
    bench.write("Goal_Position", 2048 + 11 * side)
    bench.run(200)
    assert bench["Present_Load"] == -side * (32 // 4 + 16)


def test_phase_turns_the_motor_and_the_encoder_round() -> None:
    bench = Bench(1000, free=False)
    bench.write("Phase", 12 | 1)
    bench.write("Goal_Position", 1100)
    bench.run(200)
    assert bench["Present_Load"] < 0
    assert bench.duty[0] < 0
    bench.write("Phase", 12 | 128)
    bench.run(1)
    assert bench["Present_Position"] == 3096


def test_the_goal_is_multiplied_by_the_angular_resolution() -> None:
    bench = Bench(1000)
    bench.write("Angular_Resolution", 2)
    bench.write("Goal_Position", 700)
    bench.run(1000)
    assert bench["Present_Goal"] == 1400


def test_the_torque_limit_bounds_the_duty() -> None:
    bench = Bench(2048, free=False)
    bench.write("Torque_Limit", 300)
    bench.write("Goal_Position", 4000)
    bench.run(200)
    assert bench["Present_Load"] == -300


def test_the_integral_grows_and_the_integral_limit_stops_it() -> None:
    bench = Bench(2048, free=False)
    bench.write("I_Coefficient", 10)
    bench.write("Integral_Limit", 20)  # 80 units of 0.1 %
    bench.write("Goal_Position", 2053)  # error 4 behind the dead zone: 4 * 10 / 500 per ms
    bench.run(100)
    early = -bench["Present_Load"]
    bench.run(2000)
    late = -bench["Present_Load"]
    assert 32 + 16 < early < late
    assert late == 32 + 16 + 80


def test_the_d_term_brakes_a_moving_joint() -> None:
    loads: list[int] = []
    for d in (0, 32):
        bench = Bench(2048, free=False)
        bench.write("D_Coefficient", d)
        bench.write("Goal_Position", 2248)
        bench.run(500)
        bench.carry_to(2148, step=1)
        for _ in range(30):
            bench.turn_to(bench.pose + 1)
            bench.run(1)
        loads.append(-bench["Present_Load"])
    assert loads[0] - loads[1] == pytest.approx(20 * 32 / 8, abs=5)  # 20 counts in 20 ms


@pytest.mark.parametrize("goal", [1000, -600])
def test_velocity_mode_reaches_the_speed_in_multiples_of_50(goal: int) -> None:
    bench = Bench(2048)
    bench.write("Operating_Mode", 1)
    bench.write("Goal_Velocity", goal)
    assert bench["Torque_Enable"] == 1
    bench.run(1500)
    assert bench["Present_Velocity"] == pytest.approx(goal, abs=100)
    assert bench["Present_Velocity"] % 50 == 0
    assert bench["Moving"] == 1
    bench.write("Goal_Velocity", 0)
    bench.run(1500)
    assert bench["Moving"] == 0


def test_pwm_mode_applies_goal_time_as_duty() -> None:
    bench = Bench(2048)
    bench.write("Operating_Mode", 2)
    bench.write("Goal_Time", -400)
    assert bench["Torque_Enable"] == 1
    bench.run(5)
    assert bench.duty[0] == 0.4  # measured on real servos: positive goes to smaller counts
    bench.write("Goal_Time", 1000)
    bench.run(5)
    assert bench.duty[0] == -0.97


@pytest.mark.parametrize("lock", [0, 1])
@pytest.mark.parametrize(("written", "kept"), [(0, 0), (253, 253), (254, 1), (255, 1)])
def test_an_id_that_no_servo_can_have_is_not_taken(lock: int, written: int, kept: int) -> None:
    servos = Servos([1])
    servos.set(0, "Lock", lock)
    servos.write(0, BY_NAME["ID"].address, bytes([written]))
    assert servos.ids == (kept,)


def test_step_mode_moves_by_the_goal() -> None:
    bench = Bench(2048)
    bench.write("Operating_Mode", 3)
    bench.write("Goal_Position", 300)
    bench.run(800)
    bench.write("Goal_Position", -100)
    bench.run(800)
    assert abs(bench["Present_Position"] - 2248) <= 2


def test_an_unknown_mode_drives_nothing() -> None:
    bench = Bench(2048)
    bench.write("Operating_Mode", 9)
    bench.write("Torque_Enable", 1)
    bench.write("Goal_Position", 4000)
    bench.run(100)
    assert bench.duty[0] == 0


# --- register rules


def test_read_only_bytes_in_a_block_are_skipped() -> None:
    bench = Bench()
    before = bench.servos.read(0, 0, 5)
    bench.servos.write(0, 0, bytes((9, 9, 9, 9, 9, 7)))
    assert bench.servos.read(0, 0, 5) == before
    assert bench["ID"] == 7
    bench.servos.write(0, 56, bytes(20))
    assert bench["Present_Position"] == 2048


def test_reads_and_writes_end_with_the_register_file() -> None:
    servos = Servos((1,))
    assert len(servos.read(0, 80, 20)) == 7
    assert servos.read(0, 90, 4) == b""
    servos.write(0, 86, b"\x05\x06\x07")
    servos.write(0, 200, b"\x05")
    assert servos.get(0, "Acceleration_Multiplier") == 5


def test_acceleration_is_clamped_in_its_register() -> None:
    bench = Bench()
    bench.write("Acceleration", 254)
    assert bench["Acceleration"] == 100
    bench.write("Maximum_Acceleration", 254)
    bench.write("Acceleration", 254)
    assert bench["Acceleration"] == 254
    bench.write("Maximum_Acceleration", 0)
    bench.write("Acceleration", 255)
    assert bench["Acceleration"] == 255


def test_a_baud_code_that_does_not_exist_becomes_0() -> None:
    bench = Bench()
    bench.write("Baud_Rate", 8)
    assert bench["Baud_Rate"] == 0


def test_a_changed_mode_resets_and_the_same_mode_does_nothing() -> None:
    bench = Bench()
    bench.write("Acceleration", 50)
    bench.write("Goal_Velocity", 500)
    bench.write("Torque_Enable", 1)
    bench.write("Operating_Mode", 0)
    assert (bench["Acceleration"], bench["Goal_Velocity"], bench["Torque_Enable"]) == (50, 500, 1)
    bench.write("Operating_Mode", 1)
    assert (bench["Acceleration"], bench["Goal_Velocity"], bench["Torque_Enable"]) == (0, 0, 0)


def test_what_was_written_while_locked_is_lost_at_power_off() -> None:
    bench = Bench()
    bench.write("P_Coefficient", 16)
    bench.write("Lock", 0)
    bench.write("D_Coefficient", 7)
    bench.write("Lock", 1)
    bench.write("I_Coefficient", 3)
    assert (bench["P_Coefficient"], bench["D_Coefficient"], bench["I_Coefficient"]) == (16, 7, 3)
    bench.servos.boot(0)
    assert (bench["P_Coefficient"], bench["D_Coefficient"], bench["I_Coefficient"]) == (32, 7, 0)


def test_power_up_forgets_goals_torque_and_turns_and_locks() -> None:
    bench = Bench()
    bench.write("Lock", 0)
    bench.write("Max_Torque_Limit", 500)
    bench.write("Goal_Position", 3000)
    bench.write("Goal_Velocity", 100)
    assert bench["Torque_Limit"] == 1000
    bench.servos.boot(0)
    assert bench["Torque_Limit"] == 500
    assert [bench[name] for name in ("Torque_Enable", "Goal_Position", "Goal_Velocity", "Lock")] == [
        0,
        0,
        0,
        1,
    ]


def test_flash_takes_its_time_only_for_what_changed_and_now_and_then_a_page_swap() -> None:
    bench = Bench()
    bench.write("P_Coefficient", 16)
    assert bench.servos.flash_us[0] == 0  # locked
    bench.write("Lock", 0)
    bench.servos.write(0, 21, bytes((40, 33)))
    assert bench.servos.flash_us[0] == 100  # two half-words: 20-21 and 22-23
    bench.servos.write(0, 21, bytes((40, 33)))
    assert bench.servos.flash_us[0] == 0
    slowest = 0
    for value in range(300):
        bench.write("P_Coefficient", value % 2)
        slowest = max(slowest, int(bench.servos.flash_us[0]))
    assert slowest > PAGE_ERASE_US


def test_a_delayed_write_waits_for_its_action() -> None:
    bench = Bench()
    bench.servos.write_later(0, 42, encode(BY_NAME["Goal_Position"], 2500))
    assert (bench["Async_Write_Pending"], bench["Goal_Position"]) == (1, 0)
    bench.servos.action(0)
    assert (bench["Async_Write_Pending"], bench["Goal_Position"], bench["Torque_Enable"]) == (0, 2500, 1)
    bench.write("Torque_Enable", 0)
    bench.servos.action(0)  # nothing pending
    assert bench["Torque_Enable"] == 0


def test_reset_restores_the_backup_but_keeps_the_id() -> None:
    bench = Bench()
    bench.write("Lock", 0)
    bench.write("P_Coefficient", 20)
    bench.servos.back_up(0)
    bench.write("ID", 9)
    bench.write("P_Coefficient", 50)
    bench.write("Homing_Offset", 100)
    bench.servos.reset(0)
    assert (bench["ID"], bench["P_Coefficient"], bench["Homing_Offset"]) == (9, 20, 0)
    assert bench["Lock"] == 1


def test_a_register_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"no register 'Torque'.*Torque_Enable"):
        Servos().get(0, "Torque")


# --- homing and turns


def test_homing_subtracts_modulo_a_turn() -> None:
    bench = Bench(628)
    bench.write("Homing_Offset", 904)
    bench.run(1)
    assert bench["Present_Position"] == 3820


@given(st.integers(0, 4095), st.integers(0, 0xFFFF))
@settings(max_examples=40, deadline=None)
def test_any_homing_word_gives_raw_minus_offset_modulo_4096(raw: int, word: int) -> None:
    bench = Bench(raw)
    bench.servos.write(0, 31, word.to_bytes(2, "little"))
    bench.run(2)
    sign = -1 if word & 0x800 else 1
    offset = sign * ((word & 0x7FF) + (2048 if word & 0x1000 else 0)) if word < 8192 else 0
    assert bench["Present_Position"] == (raw - offset) % 4096


def test_a_new_offset_shows_at_once() -> None:
    bench = Bench(628)
    bench.write("Homing_Offset", 904)
    assert bench["Present_Position"] == 3820


def test_a_new_offset_moves_nothing() -> None:
    bench = Bench(2048)
    bench.write("Torque_Enable", 1)
    bench.run(20)
    bench.write("Homing_Offset", 700)
    bench.run(200)
    assert bench.raw[0] == 2048
    assert bench["Present_Position"] == bench["Present_Goal"] == 1348


@pytest.mark.parametrize("mode", [1, 2])
def test_velocity_and_pwm_mode_show_the_bare_encoder(mode: int) -> None:
    bench = Bench(628)
    bench.write("Homing_Offset", 904)
    bench.write("Operating_Mode", mode)
    bench.run(1)
    assert bench["Present_Position"] == 628


@pytest.mark.parametrize("raw", [0, 1, 628, 2047, 2048, 4095])
def test_torque_enable_128_calls_the_present_position_2048_and_saves_it(raw: int) -> None:
    bench = Bench(raw)
    bench.write("Torque_Enable", 128)
    assert bench["Torque_Enable"] == 0
    bench.run(1)
    assert bench["Present_Position"] == 2048
    bench.servos.boot(0)
    bench.run(1)
    assert bench["Present_Position"] == 2048


def test_calibration_takes_another_target() -> None:
    bench = Bench(100)
    bench.servos.calibrate(0, 3000)
    bench.run(1)
    assert bench["Present_Position"] == 3000


def test_a_hand_move_across_the_wrap_makes_the_next_goal_unwind_a_turn() -> None:
    bench = Bench(4000)
    bench.carry_to(4196)
    assert bench["Present_Position"] == 100
    bench.write("Goal_Position", 300)
    bench.run(4000)
    assert bench["Present_Position"] == pytest.approx(300, abs=2)
    assert bench.pose == pytest.approx(300, abs=2)  # not 4396, which would be near


def test_a_full_turn_is_not_counted_twice() -> None:
    bench = Bench(4000)
    bench.carry_to(4196)
    bench.carry_to(4000)
    bench.write("Goal_Position", 3900)
    bench.run(500)
    assert bench.pose == pytest.approx(3900, abs=2)


@pytest.mark.parametrize(("start", "end", "shown"), [(4000, 4196, 4196), (100, -100, -100)])
def test_with_phase_bit_4_the_reading_leaves_the_turn(start: int, end: int, shown: int) -> None:
    bench = Bench(start)
    bench.write("Phase", 12 | 16)
    bench.carry_to(end)
    assert bench["Present_Position"] == shown


def test_the_velocity_is_counts_in_20_ms_and_0_below_the_threshold() -> None:
    bench = Bench(1000)
    for _ in range(40):
        bench.turn_to(bench.pose + 1)
        bench.run(1)
    assert bench["Present_Velocity"] == 1000
    for _ in range(80):
        bench.turn_to(bench.pose + 0.05)
        bench.run(1)
    assert bench["Present_Velocity"] == 0  # 50 steps/s, below 2 * 50


# --- protections


def stall(goal: int = 4000) -> Bench:
    bench = Bench(2048, free=False)
    bench.write("Goal_Position", goal)
    return bench


@pytest.mark.parametrize(("goal", "sign"), [(4000, 1), (0, -1)])
def test_a_stalled_joint_is_limited_after_the_protection_time(goal: int, sign: int) -> None:
    bench = stall(goal)
    bench.run(1900)
    assert bench.errors == 0
    assert bench.duty[0] == sign * 0.97
    bench.run(300)
    assert bench.errors == Errors.OVERLOAD
    assert bench.duty[0] == sign * 0.2
    assert bench["Torque_Enable"] == 1


def test_a_moving_joint_is_not_overloaded() -> None:
    bench = stall()
    for _ in range(3000):
        bench.turn_to(bench.pose + 0.06)  # 60 steps/s: more than 50 in every protection time
        bench.run(1)
    assert bench.errors == 0


def test_overload_clears_when_the_goal_backs_off_or_the_torque_goes() -> None:
    bench = stall()
    bench.run(2200)
    bench.write("Goal_Position", 2050)
    bench.run(1000)  # the profile needs 0.9 s to come back
    assert bench.errors == 0
    bench.write("Goal_Position", 4000)
    bench.run(2500)
    assert bench.errors == Errors.OVERLOAD
    bench.write("Torque_Enable", 0)
    bench.run(1)
    assert bench.errors == 0


def test_overload_without_its_unloading_bit_only_reports() -> None:
    bench = stall()
    bench.write("Unloading_Condition", 0)
    bench.run(2200)
    assert bench.errors == Errors.OVERLOAD
    assert bench.duty[0] == 0.97


def test_lerobots_gripper_settings_trip_at_a_quarter_of_the_duty() -> None:
    bench = Bench(2048, free=False)
    bench.write("Overload_Torque", 25)
    bench.write("Goal_Position", 2090)  # about 34 %
    bench.run(2300)
    assert bench.errors == Errors.OVERLOAD


def test_over_current_lets_go_and_stays_until_the_torque_is_back() -> None:
    bench = stall()
    bench.amps[0] = 310 * 0.0065
    bench.run(1990)
    assert bench.errors == 0
    bench.run(20)
    assert bench.errors & Errors.OVERCURRENT
    assert bench["Torque_Enable"] == 0
    bench.amps[0] = 0
    bench.run(500)
    assert bench.errors == Errors.OVERCURRENT
    assert bench.bridge[0] == Bridge.FREE
    bench.write("Torque_Enable", 1)
    bench.run(2)
    assert bench.errors == 0


@pytest.mark.parametrize("name", ["Protection_Current", "Over_Current_Protection_Time"])
def test_over_current_protection_can_be_switched_off(name: str) -> None:
    bench = Bench()
    bench.write(name, 0)
    bench.amps[0] = 5
    bench.run(3000)
    assert bench.errors == 0


def test_a_hot_servo_goes_limp_and_holds_without_a_jump_when_it_has_cooled() -> None:
    bench = Bench(2048)
    bench.write("Goal_Position", 2500)
    bench.run(700)
    bench.celsius[0] = 71
    bench.run(49)
    assert bench.errors == 0
    bench.run(2)
    assert bench.errors == Errors.OVERHEAT
    assert bench.bridge[0] == Bridge.FREE
    bench.carry_to(1500)
    bench.celsius[0] = 65
    bench.run(10)
    assert bench.errors == Errors.OVERHEAT  # not yet 5 degrees below the limit
    bench.celsius[0] = 64
    bench.run(200)
    assert bench.errors == 0
    assert bench["Present_Position"] == pytest.approx(1500, abs=2)


def test_low_voltage_counts_at_once_high_voltage_after_51_ms_and_both_clear_at_once() -> None:
    bench = Bench()
    bench.write("Torque_Enable", 1)
    bench.volts[0] = 3.9
    bench.run(1)
    assert bench.errors == Errors.VOLTAGE
    assert bench.bridge[0] == Bridge.DRIVE  # bit 0 of Unloading_Condition is not set
    bench.volts[0] = 12
    bench.run(1)
    assert bench.errors == 0
    bench.volts[0] = 14.1
    bench.run(50)
    assert bench.errors == 0
    bench.run(1)
    assert bench.errors == Errors.VOLTAGE
    bench.volts[0] = 14
    bench.run(1)
    assert bench.errors == 0


@pytest.mark.parametrize(
    ("bit", "upset"),
    [
        (Errors.VOLTAGE, lambda bench: bench.volts.fill(3.9)),
        (Errors.ENCODER, lambda bench: bench.servos.encoder_fault(0, True)),
        (Errors.OVERHEAT, lambda bench: bench.celsius.fill(90.0)),
    ],
)
@pytest.mark.parametrize("unloading", [True, False])
def test_the_unloading_condition_decides_whether_a_fault_cuts_the_torque(
    bit: Errors, upset: Callable[[Bench], None], unloading: bool
) -> None:
    bench = Bench(2048, free=False)
    bench.write("Unloading_Condition", int(bit) if unloading else 0)
    bench.write("Goal_Position", 2148)
    bench.run(100)
    upset(bench)
    bench.run(60)
    assert bench.errors == bit
    assert (bench.bridge[0] == Bridge.FREE) == unloading
    assert (bench.duty[0] == 0) == unloading


def test_while_the_encoder_fails_the_position_is_frozen() -> None:
    bench = Bench(2048)
    bench.servos.encoder_fault(0, True)
    bench.carry_to(2060)
    assert (bench["Present_Position"], bench.errors) == (2048, Errors.ENCODER)
    bench.servos.encoder_fault(0, False)
    bench.run(1)
    assert (bench["Present_Position"], bench.errors) == (2060, 0)


def test_a_deep_sag_stops_the_processor_and_it_boots_with_the_torque_off() -> None:
    bench = Bench(2048)
    bench.write("P_Coefficient", 16)  # locked: lost
    bench.write("Goal_Position", 2100)
    bench.volts[0] = 2
    bench.run(5)
    assert bench.servos.is_down(0)
    assert bench.bridge[0] == Bridge.FREE
    bench.volts[0] = 12
    bench.run(firmware.BOOT_TICKS + 5)
    assert not bench.servos.is_down(0)
    assert (bench["Torque_Enable"], bench["P_Coefficient"]) == (0, 32)


def test_measurements_are_shown_in_their_units() -> None:
    bench = Bench()
    bench.volts[0], bench.celsius[0], bench.amps[0] = 11.84, 41.7, -0.65
    bench.run(1)
    assert (bench["Present_Voltage"], bench["Present_Temperature"], bench["Present_Current"]) == (
        118,
        41,
        100,
    )
    bench.servos.disturb(0, volts=1.0, celsius=10.0, amps=-0.65)
    bench.run(1)
    assert (bench["Present_Voltage"], bench["Present_Temperature"], bench["Present_Current"]) == (
        128,
        51,
        200,
    )


# --- robustness


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=1, max_size=12)), max_size=12), st.randoms()
)
@settings(max_examples=60, deadline=None)
def test_no_writes_drive_the_duty_out_of_bounds_or_the_firmware_astray(
    writes: list[tuple[int, bytes]], rng: random.Random
) -> None:
    bench = Bench()
    for address, data in writes:
        bench.servos.write(0, address, data)
        bench.turn_to(rng.randint(0, 4095))
        bench.run(3)
        assert -0.97 <= bench.duty[0] <= 0.97
        assert bench.bridge[0] in list(Bridge)
        assert bench.servos.read(0, 0, 5) == bytes((3, 10, 0, 9, 3))


SCENARIO = """
import numpy as np
from so101_robot.mock.servo.servo import Servos
servos = Servos()
n = len(servos)
raw = np.arange(n, dtype=np.int32) * 700
volts, celsius, amps, duty = np.full(n, 12.0), np.full(n, 30.0), np.zeros(n), np.zeros(n)
bridge = np.zeros(n, np.int8)
for k in range(40):
    if k == 10:
        for i in range(n):
            servos.write(i, 42, (2000).to_bytes(2, "little"))
    servos.tick(raw, volts, celsius, amps, duty, bridge)
    raw[:] = (raw + np.rint(duty * 3)) % 4096
digest = servos.digest()
"""


def test_plain_python_computes_what_the_compiled_firmware_computes() -> None:
    compiled: dict[str, str] = {}
    exec(SCENARIO, compiled)
    plain = subprocess.run(
        [sys.executable, "-c", f"{SCENARIO}print(digest)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    assert plain == compiled["digest"]
