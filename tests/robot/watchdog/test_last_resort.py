"""What is done with an arm whose runner is gone, on the mock arm in lockstep."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from so101_robot.bus import registers, small_bus
from so101_robot.bus.identity import Identity
from so101_robot.bus.small_bus import SmallBus
from so101_robot.errors import PortError
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepClock, LockstepLink
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.watchdog.last_resort import Action, LastResort, Report
from so101_robot.watchdog.slow_park import AT_HOME_STEPS, HOLD_AT_GOAL_STEPS, ArmFacts

HOME = (2048, 1300, 2700, 2400, 2048, 2100)
SPEED = 400.0


def the_arm(mock: MockArm) -> ArmFacts:
    rows = list(mock.calibration_fields.values())
    return ArmFacts(
        home_steps=HOME,
        lower_steps=tuple(row["range_min"] for row in rows),
        upper_steps=tuple(row["range_max"] for row in rows),
        identities=tuple(
            Identity(registers.homing_word(row["homing_offset"]), row["range_min"], row["range_max"])
            for row in rows
        ),
    )


class Bench:
    """An arm that was driven until now: torque on, goals at where it stands."""

    def __init__(self, plant: IdealPlant | None = None, torque: bool = True) -> None:
        self.mock = MockArm(MockConfig(), plant=plant or IdealPlant(raw_steps=2150))
        self.clock = LockstepClock(self.mock, pace=0)
        self.bus = SmallBus(LockstepLink(self.mock))
        self.mock.advance_to(20_000)
        if torque:
            present = self.positions()
            self.bus.write_all(small_bus.GOAL_POSITION, dict(zip(SERVO_IDS, present, strict=True)))
            self.clock.sleep_until(self.clock.now_s() + 0.2)

    def carry_out(self, action: Action, arm: ArmFacts | None = None, **options: Any) -> Report:
        return LastResort(arm or the_arm(self.mock), self.clock, SPEED, **options).carry_out(action, self.bus)

    def get(self, name: str) -> list[int]:
        return [self.mock.servos.get(index, name) for index in range(6)]

    def positions(self) -> list[int]:
        return self.get("Present_Position")

    def fault(self, **entry: Any) -> None:
        self.mock.add_fault(entry)


def fastest(bench: Bench) -> list[float]:
    """Speeds of the fastest joint, as the physics goes on [steps/s], filled while the arm moves."""
    speeds: list[float] = []
    sleep = bench.clock.sleep_until
    last = [bench.clock.now_s(), np.array(bench.positions())]

    def watch(time_s: float) -> None:
        sleep(time_s)
        now_s, now = bench.clock.now_s(), np.array(bench.positions())
        if now_s - last[0] > 0.01:
            speeds.append(float(np.abs(now - last[1]).max()) / (now_s - last[0]))
            last[:] = [now_s, now]

    bench.clock.sleep_until = watch  # type: ignore[method-assign]
    return speeds


@pytest.mark.parametrize(
    ("ours", "names"),
    [
        (small_bus.LIMITS, ("Min_Position_Limit", "Max_Position_Limit")),
        (small_bus.PHASE, ("Phase",)),
        (small_bus.HOMING_OFFSET, ("Homing_Offset",)),
        (small_bus.TORQUE_ENABLE, ("Torque_Enable",)),
        (small_bus.GOAL_POSITION, ("Goal_Position",)),
        (small_bus.GOAL_VELOCITY, ("Goal_Velocity",)),
        (small_bus.STATE, ("Torque_Enable", "Status")),
    ],
)
def test_addresses_are_those_of_the_register_table(ours: tuple[int, int], names: tuple[str, ...]):
    first, last = registers.BY_NAME[names[0]], registers.BY_NAME[names[-1]]
    assert ours == (first.address, last.end - first.address)


def test_a_look_says_what_the_registers_say():
    bench = Bench()
    bench.mock.servos.set(2, "Goal_Velocity", 321)
    bench.fault(fault="overload", servo=4)
    bench.clock.sleep_until(bench.clock.now_s() + 0.05)
    servos = bench.bus.read_state()
    assert [servo.present_steps for servo in servos.values()] == bench.positions()
    assert [servo.goal_steps for servo in servos.values()] == bench.get("Goal_Position")
    assert [servo.temperature_c for servo in servos.values()] == bench.get("Present_Temperature")
    assert servos[3].speed_limit == 321
    assert "overload" in servos[4].errors.describe()
    assert all(servo.torque for servo in servos.values())


def test_held_is_held_and_nothing_moves():
    bench = Bench()
    before = bench.positions()
    report = bench.carry_out("hold")
    assert (report.done, report.text) == (True, "held")
    assert bench.get("Torque_Enable") == [1] * 6
    assert np.abs(np.subtract(bench.positions(), before)).max() <= 1
    assert [joint["torque"] for joint in report.joints.values() if joint] == [True] * 6


@pytest.mark.parametrize("action", ["hold", "park"])
def test_an_arm_that_is_free_stays_free(action: Action):
    bench = Bench(torque=False)
    report = bench.carry_out(action)
    assert report.done
    assert "free" in report.text
    assert bench.get("Torque_Enable") == [0] * 6


def test_a_joint_that_fell_limp_holds_where_it_is():
    bench = Bench()
    bench.bus.write(3, small_bus.TORQUE_ENABLE, 0)
    bench.mock.servos.set(2, "Goal_Position", 1500)  # stale
    before = bench.positions()
    assert bench.carry_out("hold").done
    assert bench.get("Torque_Enable") == [1] * 6
    assert np.abs(np.subtract(bench.positions(), before)).max() <= 3


def test_a_body_joint_that_is_away_from_its_goal_is_held_where_it_is():
    """It was on its way when the runner died, or pushes on a stop. A gripper goes on pressing what it holds."""
    bench = Bench()
    start = bench.positions()
    away = small_bus.GOAL_POSITION
    bench.bus.write_all(away, {2: start[1] + 40, 3: start[2] + 300, 6: start[5] + 300})
    bench.carry_out("hold")
    goals = bench.get("Goal_Position")
    assert goals[1] == start[1] + 40  # droops, as under a load
    assert abs(goals[2] - start[2]) < 60
    assert goals[5] == start[5] + 300


def test_a_joint_with_a_broken_encoder_is_told_to_stay_where_it_says_it_is():
    bench = Bench()
    bench.fault(fault="encoder_fault", servo=2, for_s=1000.0)
    bench.clock.sleep_until(bench.clock.now_s() + 0.05)
    bench.bus.write(2, small_bus.GOAL_POSITION, 2600)
    bench.carry_out("hold")
    assert bench.get("Goal_Position")[1] == bench.get("Present_Position")[1] != 2600


def test_parked_is_at_home_and_free_and_it_was_slow():
    bench = Bench()
    speeds = fastest(bench)
    report = bench.carry_out("park")
    assert (report.done, report.text) == (True, "parked and released")
    assert np.abs(np.subtract(bench.positions(), HOME)).max() <= AT_HOME_STEPS
    assert bench.get("Torque_Enable") == [0] * 6
    assert bench.get("Goal_Velocity") == [0] * 6
    assert 0.8 * SPEED < max(speeds) < 1.3 * SPEED


def test_parked_may_mean_held_at_home():
    bench = Bench()
    report = bench.carry_out("park", release_when_parked=False)
    assert (report.done, report.text) == (True, "parked and held")
    assert bench.get("Torque_Enable") == [1] * 6


def test_on_the_way_the_servos_themselves_are_slow():
    bench = Bench()
    limits: list[int] = []
    sleep = bench.clock.sleep_until

    def watch(time_s: float) -> None:
        limits.extend(bench.get("Goal_Velocity"))
        sleep(time_s)

    bench.clock.sleep_until = watch  # type: ignore[method-assign]
    bench.carry_out("park")
    assert max(limits) == 1.5 * SPEED
    assert limits.count(600) > 0.9 * len(limits)


def test_an_arm_that_was_on_its_way_stops_before_it_goes_home():
    bench = Bench()
    bench.bus.write_all(small_bus.GOAL_POSITION, dict.fromkeys(SERVO_IDS, 3000))
    bench.clock.sleep_until(bench.clock.now_s() + 0.03)
    before = bench.positions()
    positions: list[list[int]] = []
    sleep = bench.clock.sleep_until

    def watch(time_s: float) -> None:
        sleep(time_s)
        positions.append(bench.positions())

    bench.clock.sleep_until = watch  # type: ignore[method-assign]
    assert bench.carry_out("park").done
    assert np.subtract(positions, before)[:, 0].max() < 100  # home is below for this one


def test_a_silent_servo_does_not_move_and_neither_do_the_others():
    bench = Bench()
    before = bench.positions()
    bench.fault(fault="silent_servo", servo=4, for_s=1000.0)
    report = bench.carry_out("park")
    assert not report.done
    assert "not parked, because servo 4 (wrist_flex) does not answer" in report.text
    assert np.abs(np.subtract(bench.positions(), before)).max() <= 1
    assert report.joints["wrist_flex"] is None


@pytest.mark.parametrize("action", ["hold", "park", "release"])
def test_nobody_answers(action: Action):
    bench = Bench()
    for servo_id in SERVO_IDS:
        bench.fault(fault="silent_servo", servo=servo_id, for_s=1000.0)
    report = bench.carry_out(action)
    assert not report.done


def test_another_arm_is_not_moved():
    bench = Bench()
    before = bench.positions()
    arm = the_arm(bench.mock)
    bench.mock.servos.set(1, "Homing_Offset", 77)
    bench.mock.servos.set(1, "Homing_Offset", 0)
    bench.mock.servos.set(1, "Max_Position_Limit", 3333)
    report = bench.carry_out("park", arm)
    assert not report.done
    assert "another arm: servo 2 (shoulder_lift)" in report.text
    assert np.abs(np.subtract(bench.positions(), before)).max() <= 1


def test_a_joint_outside_its_range_is_not_moved():
    bench = Bench(IdealPlant(raw_steps=100))
    report = bench.carry_out("park")
    assert not report.done
    assert "outside its range" in report.text


class Stuck(IdealPlant):
    """Joint 2 meets something on its way down."""

    WALL = 1800

    def tick(self, duty: Any, bridge: Any) -> None:
        super().tick(duty, bridge)
        if self._steps[1] < self.WALL:
            self._steps[1], self._steps_s[1] = self.WALL, 0.0
            self.raw_steps[1] = self.WALL


def test_a_blocked_joint_ends_the_way_home_and_stops_pushing():
    bench = Bench(Stuck(raw_steps=2150))
    report = bench.carry_out("park")
    assert not report.done
    assert "servo 2 (shoulder_lift) is" in report.text
    assert "degrees behind" in report.text
    assert bench.get("Torque_Enable") == [1] * 6
    assert bench.get("Goal_Position")[1] == pytest.approx(Stuck.WALL, abs=3)
    assert bench.get("Goal_Velocity") == [0] * 6


def test_an_overloaded_servo_ends_the_way_home():
    bench = Bench()
    bench.fault(fault="overload", servo=6, at_s=bench.clock.now_s() + 0.5)
    report = bench.carry_out("park")
    assert not report.done
    assert "servo 6 (gripper): overload" in report.text


def test_released_is_free_and_a_silent_servo_keeps_no_other_from_it():
    bench = Bench()
    assert bench.carry_out("release").done
    assert bench.get("Torque_Enable") == [0] * 6
    bench = Bench()
    bench.fault(fault="silent_servo", servo=2, for_s=1000.0)
    report = bench.carry_out("release")
    assert not report.done
    assert "servo 2 (shoulder_lift) may still be under torque" in report.text
    assert [bench.get("Torque_Enable")[i] for i in (0, 2, 3, 4, 5)] == [0] * 5


def test_a_port_that_goes_away_on_the_way_home_is_no_end():
    bench = Bench()
    resort = LastResort(the_arm(bench.mock), bench.clock, SPEED)
    sleep, end_s = bench.clock.sleep_until, bench.clock.now_s() + 0.6

    def unplug(time_s: float) -> None:
        sleep(time_s)
        bench.mock.port_is_out = bench.clock.now_s() > end_s

    bench.clock.sleep_until = unplug  # type: ignore[method-assign]
    with pytest.raises(PortError):
        resort.carry_out("park", bench.bus)
    assert bench.get("Goal_Velocity") == [600] * 6
    bench.clock.sleep_until = sleep  # type: ignore[method-assign]
    bench.mock.port_is_out = False
    assert resort.carry_out("park", SmallBus(LockstepLink(bench.mock))).done
    assert bench.get("Goal_Velocity") == [0] * 6


def test_a_servo_that_reboots_on_the_way_is_not_ordered_to_leap():
    """A goal turns its torque on, and what it had been told about speed is forgotten."""
    bench = Bench()
    bench.fault(fault="reboot", servo=3, at_s=bench.clock.now_s() + 0.8)
    report = bench.carry_out("park")
    assert not report.done
    assert "servo 3 (elbow_flex) lost its torque" in report.text
    assert bench.get("Torque_Enable") == [1] * 6
    assert np.abs(np.subtract(bench.get("Goal_Position"), bench.positions()))[2] <= HOLD_AT_GOAL_STEPS


def test_a_servo_that_falls_silent_on_the_way_ends_it():
    bench = Bench()
    bench.fault(fault="silent_servo", servo=5, at_s=bench.clock.now_s() + 0.8, for_s=1000.0)
    report = bench.carry_out("park")
    assert not report.done
    assert "not parked, because servo 5 (wrist_roll) does not answer" in report.text
    before = bench.positions()
    bench.clock.sleep_until(bench.clock.now_s() + 1.0)
    assert np.abs(np.subtract(bench.positions(), before)).max() <= 3


def test_lost_replies_on_the_way_are_survived():
    bench = Bench()
    bench.fault(fault="silent_servo", servo=5, every=10)
    assert bench.carry_out("park").done


def test_the_report_is_plain_data():
    facts: Mapping[str, Any] = Bench().carry_out("hold").as_json()
    assert set(facts) == {"done", "text", "joints"}
    assert set(facts["joints"]) == set(JOINTS)
    assert facts["joints"]["gripper"]["errors"] == "no error"
