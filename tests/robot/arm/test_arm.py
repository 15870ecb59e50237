"""SO101 on the mock arm: connecting without touching, holding, letting go, and LeRobot's side of it."""

import builtins
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest
from lerobot.cameras.zmq import ZMQCameraConfig
from lerobot.robots import make_robot_from_config
from lerobot.robots.config import RobotConfig
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.utils.errors import DeviceNotConnectedError
from numpy.typing import ArrayLike, NDArray

from so101_robot.arm import cameras as arm_cameras
from so101_robot.arm.arm import KEYS, SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import so101_bus
from so101_robot.bus.protocol import Errors, Instruction
from so101_robot.bus.so101_bus import SO101Bus
from so101_robot.errors import (
    BusError,
    BusTimeoutError,
    CalibrationError,
    CameraError,
    ConfigError,
    PortError,
    UnsafeActionError,
)
from so101_robot.guard.guard import Guard, GuardLimits
from so101_robot.guard.rig import DEFAULT_JOINTS, JointRules, Rig, save
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepLink, LockstepSerial
from so101_robot.mock.serve.mock_process import MockProcess
from so101_robot.mock.servo.memory import EEPROM
from so101_robot.mock.servo.servo import Bridge
from so101_robot.motion.soft_start import SOFT_SPEED

FAST = MockConfig(width=16, height=12, renderer="ray", realtime_factor=0.0)
RAISED = np.array([10.0, -40.0, 40.0, 30.0, 20.0, 50.0])


class TracedArm(MockArm):
    """A mock arm that remembers what it was asked to change."""

    def __init__(self, config: MockConfig = FAST) -> None:
        super().__init__(config)
        self.changes: list[bytes] = []

    def exchange(self, data: bytes) -> Any:
        if data[4] not in (Instruction.PING, Instruction.READ, Instruction.SYNC_READ):
            self.changes.append(data)
        return super().exchange(data)

    def register(self, name: str) -> list[int]:
        return [self.servos.get(index, name) for index in range(6)]


@dataclass
class Command:
    """What a `lerobot-*` command parses."""

    robot: RobotConfig


@pytest.fixture
def arm() -> Iterator[TracedArm]:
    one = TracedArm()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("the arm asked a question")

    monkeypatch.setattr(builtins, "input", asked)


def robot_on(arm: MockArm, **config: Any) -> SO101:
    return SO101(SO101Config(mock=arm.config, **config), arm)


def connected(arm: MockArm, **config: Any) -> SO101:
    robot = robot_on(arm, **config)
    robot.connect()
    return robot


def drive(robot: SO101, goal: np.ndarray, seconds: float = 2.0) -> None:
    """Command `goal` at 30 Hz for a while."""
    start = robot.read().position
    ticks = round(30 * seconds)
    for tick in range(ticks):
        share = min(1.0, 2 * (tick + 1) / ticks)
        robot.command(start + share * (goal - start))
        robot.clock.sleep_until(robot.clock.now_s() + 1 / 30)


# connecting


def test_connecting_to_a_free_arm_leaves_it_free_and_where_it_is(arm: TracedArm):
    arm.advance_to(1_000_000)
    before = arm.joint_rad.copy()
    robot = connected(arm)
    assert arm.register("Torque_Enable") == [0] * 6
    assert (arm.bridge == Bridge.FREE).all()
    np.testing.assert_allclose(arm.joint_rad, before, atol=0.01)
    robot.disconnect()


def test_a_standing_arm_does_not_sag_while_it_is_connected_and_configured_again(
    arm: TracedArm, monkeypatch: pytest.MonkeyPatch
):
    first = connected(arm)
    drive(first, RAISED)
    first.disconnect(release=False)
    for index in range(6):
        arm.servos.set(index, "I_Coefficient", 3)  # something to write in every servo
        arm.servos.set(index, "Phase", 12 | 16)
    before = arm.joint_rad.copy()
    lowest = before.copy()
    exchange = arm.exchange

    def watched(data: bytes) -> Any:
        np.minimum(lowest, arm.joint_rad, out=lowest)
        assert (arm.bridge == Bridge.DRIVE).all()
        return exchange(data)

    with monkeypatch.context() as patch:
        patch.setattr(arm, "exchange", watched)
        second = connected(arm)
    assert np.abs(arm.joint_rad - before).max() < math.radians(0.5)
    assert np.abs(lowest - before).max() < math.radians(0.5)
    assert arm.register("I_Coefficient") == [0] * 6
    second.disconnect()


def test_the_second_connect_writes_nothing(arm: TracedArm):
    connected(arm).disconnect(release=False)
    arm.changes.clear()
    connected(arm).disconnect(release=False)
    assert arm.changes == []


def test_servos_are_set_as_lerobot_sets_them(arm: TracedArm):
    connected(arm).disconnect(release=False)
    other = TracedArm()
    follower = SO101Follower(SO101FollowerConfig(port="mock", id="x"))
    bus = SO101Bus("mock", other.calibration, lambda: (LockstepSerial(other), LockstepLink(other)))
    bus.connect()
    follower.bus = bus
    follower.configure()
    kept = np.where(EEPROM == 1, arm.servos.registers != other.servos.registers, False)
    assert not kept.any()
    assert arm.register("Acceleration") == other.register("Acceleration") == [254] * 6
    assert arm.register("Torque_Limit") == [1000] * 5 + [500]  # LeRobot's comes with the next power-up
    assert arm.register("Lock") == [1] * 6
    other.close()


def test_gains_come_from_the_configuration(arm: TracedArm):
    connected(arm, position_p_coefficient=24, position_d_coefficient=8).disconnect()
    assert arm.register("P_Coefficient") == [24] * 6
    assert arm.register("D_Coefficient") == [8] * 6


def test_a_calibration_that_is_not_in_the_arm_is_told_joint_by_joint_and_nothing_is_written(arm: TracedArm):
    arm.servos.set(2, "Homing_Offset", -77)
    with pytest.raises(CalibrationError) as caught:
        connected(arm)
    lines = str(caught.value).splitlines()
    assert (
        lines[1]
        .strip()
        .startswith("elbow_flex: homing_offset 0, in the servo -77 (its zero is off by +6.8 deg)")
    )
    assert len(lines) == 3
    assert arm.changes == []


def test_an_arm_without_calibration_is_not_touched():
    arm = TracedArm(MockConfig(width=16, height=12, calibrated=False))
    with pytest.raises(CalibrationError, match="no calibration"):
        connected(arm)
    assert arm.changes == []
    arm.close()


def test_a_missing_servo_is_named_and_the_arm_is_not_touched(arm: TracedArm):
    arm.servos.set(3, "ID", 9)
    with pytest.raises(
        BusTimeoutError, match=r"servo 4 \(wrist_flex\) did not answer.* answering ids: 1, 2, 3, 5, 6"
    ):
        connected(arm)
    assert arm.changes == []


def test_servos_of_another_kind_are_named_and_the_arm_is_not_touched(arm: TracedArm):
    arm.servos.set(2, "Model_Number", 1029)
    with pytest.raises(BusError, match=r"servo 3 \(elbow_flex\)"):
        connected(arm)
    assert arm.changes == []


def test_a_camera_that_does_not_open_leaves_the_arm_untouched(arm: TracedArm):
    camera = {"type": "opencv", "index_or_path": "/dev/video99", "width": 64, "height": 48, "fps": 30}
    robot = SO101(
        draccus.decode(RobotConfig, {"type": "so101", "cameras": {"front": camera}}),  # pyright: ignore
        arm,
    )
    with pytest.raises(CameraError, match="'front'"):
        robot.connect()
    assert arm.changes == []
    assert not robot.is_connected


def test_a_port_that_does_not_exist_is_one_clear_error(tmp_path: Path):
    robot = SO101(SO101Config(port="/dev/ttyACM99", calibration_dir=tmp_path))
    with pytest.raises(PortError, match="/dev/ttyACM99 does not exist"):
        robot.connect()
    robot.disconnect()


def test_a_broken_calibration_file_is_one_clear_error(tmp_path: Path):
    (tmp_path / "arm.json").write_text("{broken")
    with pytest.raises(CalibrationError, match=r"arm\.json is not a calibration file"):
        SO101(SO101Config(port="/dev/ttyACM99", id="arm", calibration_dir=tmp_path))


def test_a_forgotten_id_is_answered_with_the_calibrations_that_exist(arm: TracedArm, tmp_path: Path):
    from so101_robot.bus import setup as startup

    (tmp_path / "blue.json").write_text(json.dumps({}))
    rows = np.array([np.frombuffer(arm.servos.read(i, 0, 87), np.uint8) for i in range(6)])
    with pytest.raises(
        CalibrationError, match=r"^--robot\.id is missing: .*; that folder has blue .*--robot\.id"
    ):
        startup.check_calibration({}, rows, tmp_path / "None.json", "calibrate")


# the loop's side


def test_a_state_has_a_time_positions_and_health_every_nth_time(arm: TracedArm):
    robot = connected(arm, health_every=3)
    robot._reads = 0
    states = [robot.read() for _ in range(4)]
    assert [state.health is not None for state in states] == [True, False, False, True]
    assert all(state.answered.all() for state in states)
    assert states[1].time_s > states[0].time_s
    health = states[0].health
    assert health is not None
    assert (health.voltage_v > 5).all()
    robot.disconnect()


def test_a_command_moves_the_arm_there_and_returns_what_was_sent(arm: TracedArm):
    robot = connected(arm)
    sent = robot.command(RAISED)
    np.testing.assert_allclose(sent, RAISED, atol=0.13)
    drive(robot, RAISED, 3.0)
    np.testing.assert_allclose(robot.read().position, RAISED, atol=6.0)
    robot.disconnect()


def test_a_command_is_cut_to_the_calibrated_range_and_never_not_a_number(arm: TracedArm):
    robot = connected(arm)
    lower, upper = robot.joint_limits()
    np.testing.assert_allclose(robot.command([500.0] * 6), upper, atol=0.1)
    np.testing.assert_allclose(robot.command([-500.0] * 6), lower, atol=0.1)
    arm.changes.clear()
    with pytest.raises(UnsafeActionError):
        robot.command([math.nan] * 6)
    assert arm.changes == []
    robot.disconnect()


def test_holding_a_free_arm_takes_it_where_it_is(arm: TracedArm):
    robot = connected(arm)
    arm.advance_to(arm.now_us + 500_000)
    before = robot.read().position
    held = robot.hold()
    np.testing.assert_allclose(held, before, atol=0.2)
    assert arm.register("Torque_Enable") == [1] * 6
    arm.advance_to(arm.now_us + 500_000)
    np.testing.assert_allclose(robot.read().position, before, atol=3.0)
    robot.disconnect()


def test_holding_a_moving_arm_stops_it_and_holding_again_does_not_let_it_sink(arm: TracedArm):
    robot = connected(arm)
    drive(robot, RAISED)
    robot.command(RAISED + np.array([60.0, 0, 0, 0, 0, 0]))
    arm.advance_to(arm.now_us + 150_000)
    held = robot.hold()
    assert held[0] < RAISED[0] + 40
    arm.advance_to(arm.now_us + 1_000_000)
    np.testing.assert_allclose(robot.read().position[0], held[0], atol=8.0)
    before = robot.read().position
    for _ in range(10):
        robot.hold()
        arm.advance_to(arm.now_us + 100_000)
    np.testing.assert_allclose(robot.read().position, before, atol=1.5)
    robot.disconnect()


def test_after_a_hold_the_guard_goes_on_from_where_the_arm_is_held(arm: TracedArm):
    robot = connected(arm)
    drive(robot, RAISED)  # past the guard: it still takes the arm to be where it was connected
    held = robot.hold()
    assert robot.guard is not None
    np.testing.assert_array_equal(robot.guard.last_command, held)
    robot.disconnect()


def test_the_limits_of_the_rigs_file_reach_the_guard(arm: TracedArm, tmp_path: Path):
    file = tmp_path / "rig.yaml"
    rules = {**DEFAULT_JOINTS, "shoulder_pan": JointRules(lower=-5.0, upper=5.0)}
    save(Rig(joints=rules), file)
    robot = connected(arm, rig=file)
    assert robot.guard is not None
    assert (robot.guard.lower[0], robot.guard.upper[0]) == (-5.0, 5.0)
    robot.disconnect()


def test_a_joint_with_a_dead_encoder_is_held_where_it_says_it_is_and_not_at_a_goal_nearby(arm: TracedArm):
    robot = connected(arm)
    drive(robot, RAISED)
    robot.command(RAISED + np.array([3.0, 0, 0, 0, 0, 0]))
    arm.add_fault({"fault": "encoder_fault", "servo": 1})
    arm.advance_to(arm.now_us + 5_000)
    reported = robot.read().position[0]
    assert abs(robot.hold()[0] - reported) < 0.1
    assert abs(reported - RAISED[0] - 3.0) > 1.0
    robot.disconnect()


def test_a_gripper_that_holds_something_is_not_opened_by_holding_the_arm(
    arm: TracedArm, monkeypatch: pytest.MonkeyPatch
):
    robot = connected(arm)
    drive(robot, RAISED)
    goal = RAISED.copy()
    goal[5] = RAISED[5] - 25.0
    sent = robot.command(goal)  # the jaws have not moved yet, as if there were a box between them
    assert robot.hold()[5] == sent[5]
    now = robot.bus.read_state(False, robot.clock.now_s())
    now.errors[5] |= Errors.OVERCURRENT
    monkeypatch.setattr(robot.bus, "read_state", lambda health, now_s: now)
    assert robot.hold()[5] > sent[5] + 5.0
    robot.disconnect()


def test_an_arm_outside_its_range_can_be_held_but_then_nothing_passes_the_guard(arm: TracedArm):
    robot = connected(arm)
    robot.hold()
    lower, upper = robot.joint_limits()
    lower[1] = -60.0  # as if it stood 40 degrees outside
    robot.guard = Guard(robot.config.limits, lower, upper)
    robot.hold()
    assert arm.register("Torque_Enable") == [1] * 6
    with pytest.raises(UnsafeActionError, match="not told where the arm is"):
        robot.send_action(dict.fromkeys(robot.action_features, 0.0))
    robot.disconnect()


def test_released_at_home_the_arm_does_not_fall(arm: TracedArm):
    robot = connected(arm)
    drive(robot, robot.home, 3.0)
    parked = robot.read().position
    robot.release()
    arm.advance_to(arm.now_us + 2_000_000)
    np.testing.assert_allclose(robot.read().position, parked, atol=2.0)
    robot.disconnect()


def test_a_silent_servo_is_marked_and_the_others_can_be_held_and_released(arm: TracedArm):
    robot = connected(arm)
    drive(robot, RAISED)
    arm.servos.set(2, "ID", 9)
    state = robot.read()
    assert state.answered.tolist() == [True, True, False, True, True, True]
    assert np.isfinite(state.position).all()
    robot.hold()
    with pytest.raises(BusTimeoutError, match=r"servo 3 \(elbow_flex\)"):
        robot.get_observation()
    result = robot.release()
    assert [joint for joint, trouble in result.items() if trouble] == ["elbow_flex"]
    assert [arm.servos.get(i, "Torque_Enable") for i in (0, 1, 3, 4, 5)] == [0] * 5
    robot.disconnect()


def test_disconnect_lets_go_may_be_called_twice_and_can_leave_the_arm_standing(arm: TracedArm):
    robot = connected(arm)
    robot.hold()
    robot.disconnect(release=False)
    assert arm.register("Torque_Enable") == [1] * 6
    robot.connect()
    robot.disconnect()
    robot.disconnect()
    assert arm.register("Torque_Enable") == [0] * 6
    assert set(robot.release().values()) == {"not connected"}
    with pytest.raises(DeviceNotConnectedError):
        robot.read()


def test_frames_have_times_on_the_arms_clock_and_grow_in_number(arm: TracedArm):
    robot = connected(arm)
    first = robot.frames()
    assert set(first) == {"front", "wrist"}
    robot.clock.sleep_until(robot.clock.now_s() + 0.2)
    second = robot.frames()
    for name, frame in second.items():
        assert frame.image.shape == (12, 16, 3)
        assert 0 <= robot.clock.now_s() - frame.captured_s <= 1 / 30 + 1e-6
        assert frame.sequence > first[name].sequence
        assert frame.renderer == "ray"
    robot.disconnect()


def test_home_is_inside_the_calibrated_range(arm: TracedArm):
    robot = connected(arm, home=[0, -170, 0, 0, 0, 120])
    lower, upper = robot.joint_limits()
    assert robot.home[1] == lower[1]
    assert robot.home[5] == upper[5] == 100.0
    robot.disconnect()


# LeRobot's side


def test_lerobot_finds_the_robot_by_its_type_and_parses_its_flags():
    flags = ["type=so101", "port=mock", "mock.width=32", "limits.margin_deg=2", "home=[0,0,0,0,0,0]"]
    config = draccus.parse(Command, args=[f"--robot.{flag}" for flag in flags]).robot
    assert isinstance(config, SO101Config)
    assert (config.mock.width, config.limits.margin_deg) == (32, 2.0)
    robot = make_robot_from_config(config)
    assert isinstance(robot, SO101)
    assert robot.observation_features["front"] == (96, 32, 3)
    assert list(robot.action_features) == [f"{joint}.pos" for joint in JOINTS]
    assert robot.calibration_dir.name == "so_follower"


@pytest.mark.parametrize(
    "wrong",
    [{"home": [0.0] * 5}, {"home": [math.nan] * 6}, {"health_every": -1}, {"position_p_coefficient": 900}],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SO101Config(**wrong)


def test_lerobots_loop_runs_and_gets_what_its_features_promise(arm: TracedArm):
    robot = connected(arm)
    for _ in range(10):
        observation = robot.get_observation()
        assert set(observation) == set(robot.observation_features)
        goal = {key: observation[key] + 1.0 for key in robot.action_features}
        sent = robot.send_action(goal)
        assert set(sent) == set(robot.action_features)
        robot.clock.sleep_until(robot.clock.now_s() + 1 / 30)
    robot.disconnect()


def test_an_action_through_lerobot_passes_the_guard(arm: TracedArm):
    robot = connected(arm)
    here = robot.get_observation()
    far = {f"{joint}.pos": 90.0 for joint in JOINTS}
    sent = robot.send_action(far)
    assert 0 < abs(sent["shoulder_pan.pos"] - here["shoulder_pan.pos"]) <= 6.2
    with pytest.raises(UnsafeActionError, match=r"lacks gripper\.pos"):
        robot.send_action({key: value for key, value in far.items() if key != "gripper.pos"})
    robot.disconnect()


def test_an_action_that_the_guard_stops_takes_the_arm_where_it_is(arm: TracedArm):
    robot = connected(arm)
    robot.get_observation()
    assert arm.register("Torque_Enable") == [0] * 6
    robot.clock.sleep_until(robot.clock.now_s() + 1.0)
    for name in robot.frames():
        assert name  # the pictures are taken, and become old
    robot.clock.sleep_until(robot.clock.now_s() + 1.0)
    with pytest.raises(UnsafeActionError, match="the guard stopped the arm: frame too old"):
        robot.send_action(pose(robot.read().position))
    assert arm.register("Torque_Enable") == [1] * 6
    robot.disconnect()


def pose(values: ArrayLike) -> dict[str, float]:
    return dict(zip(KEYS, np.asarray(values).tolist(), strict=True))


@pytest.mark.parametrize(
    ("joint", "value", "words"),
    [
        ("wrist_roll", 195.0, r"wrist_roll is asked for at 195, 3[0-9.]+ out of range"),
        ("gripper", -30.0, "gripper is asked for at -30, 30 out of range"),
        ("shoulder_pan", 1e300, "shoulder_pan is asked for at 1e"),
        ("elbow_flex", math.nan, "action is not finite: elbow_flex"),
        ("elbow_flex", -math.inf, "action is not finite: elbow_flex"),
        ("elbow_flex", "left", "action is not finite: elbow_flex"),
    ],
)
def test_nonsense_of_a_foreign_loop_is_not_driven_but_held_and_said_once(
    arm: TracedArm, caplog: pytest.LogCaptureFixture, joint: str, value: Any, words: str
):
    robot = connected(arm)
    here = robot.read().position
    teleoperate(robot, here + np.eye(6)[0] * 10, 0.5)
    said = [record.message for record in caplog.records if "holds" in record.message]
    assert not said
    for _ in range(60):
        held = robot.send_action(pose(here) | {f"{joint}.pos": value})
        robot.clock.sleep_until(robot.clock.now_s() + 1 / 30)
    assert set(held) == set(KEYS)
    said = [record.message for record in caplog.records if "holds" in record.message]
    assert len(said) == 1
    assert re.search(words, said[0])
    assert np.abs(robot.read().position - list(held.values())).max() < 2.5
    assert arm.register("Torque_Enable") == [1] * 6
    teleoperate(robot, here, 1.0)  # goes on, and says it again
    robot.send_action(pose(here) | {f"{joint}.pos": value})
    assert len([record for record in caplog.records if "holds" in record.message]) == 2
    robot.disconnect()


def teleoperate(robot: SO101, goal: ArrayLike, for_s: float) -> NDArray[np.float64]:
    """A foreign loop that asks for one and the same pose; returns the positions, (n, 6), at 30 Hz."""
    positions: list[NDArray[np.float64]] = []
    begin_s = robot.clock.now_s()
    for tick in range(round(30 * for_s)):
        robot.get_observation()
        robot.send_action(pose(goal))
        robot.clock.sleep_until(begin_s + (tick + 1) / 30)
        positions.append(robot.read().position)
    return np.array(positions)


def test_a_leader_that_is_far_away_is_followed_slowly_at_first(arm: TracedArm):
    robot = connected(arm)
    here = robot.read().position
    goal = here + np.array([90.0, 0, 0, 0, 60.0, 0])
    way = teleoperate(robot, goal, 5.0)
    speeds = np.abs(way[3:] - way[:-3]).max(1) * 10
    assert speeds[:30].max() < 1.15 * SOFT_SPEED
    assert np.abs(way[-1] - goal).max() < 2.5
    back = teleoperate(robot, here, 1.0)  # it has caught up: as fast as the guard lets it
    assert np.abs(back[3:] - back[:-3]).max() * 10 > 100
    robot.clock.sleep_until(robot.clock.now_s() + 3.0)  # somebody takes the leader away meanwhile
    again = teleoperate(robot, goal, 1.0)
    assert np.abs(again[3:] - again[:-3]).max() * 10 < 1.15 * SOFT_SPEED
    robot.disconnect()


def test_calibrating_says_how_it_is_done():
    with pytest.raises(CalibrationError, match=r"so101-calibrate servos --robot\.port=/dev/tty"):
        SO101(SO101Config(port="/dev/ttyACM0", id="blue")).calibrate()


# a serial port


def test_the_arm_on_a_serial_port_with_cameras_from_the_network_observes_and_acts(
    monkeypatch: pytest.MonkeyPatch,
):
    patience_s = 30.0  # nothing here is about time, and the machine may be busy
    monkeypatch.setattr(so101_bus, "READ_TIMEOUT_S", patience_s)
    monkeypatch.setattr(so101_bus, "SLOW_TIMEOUT_S", patience_s)
    monkeypatch.setattr(arm_cameras, "FIRST_FRAME_S", patience_s)
    limits = GuardLimits(max_state_age_s=patience_s, max_frame_age_s=patience_s)
    with MockProcess(width=32, height=24, renderer="ray") as mock:
        cameras = {
            name: ZMQCameraConfig(
                "127.0.0.1",
                mock.zmq_port,
                name,
                width=32,
                height=24,
                fps=30,
                timeout_ms=round(1e3 * patience_s),
            )
            for name in ("front", "wrist")
        }
        where = {"port": mock.port, "calibration_dir": mock.calibration_dir, "id": mock.robot_id}
        robot = SO101(SO101Config(**where, cameras=cameras, limits=limits))
        robot.connect()
        with pytest.raises(PortError, match="is in use"):
            SO101(SO101Config(**where)).connect()
        first = robot.frames()["front"]
        for _ in range(10):
            observation = robot.get_observation()
            robot.send_action({key: observation[key] for key in robot.action_features})
            robot.clock.sleep_until(robot.clock.now_s() + 1 / 30)
        assert observation["wrist"].shape == (24, 32, 3)
        end_s = robot.clock.now_s() + patience_s
        while (frame := robot.frames()["front"]).sequence == first.sequence and robot.clock.now_s() < end_s:
            robot.clock.sleep_until(robot.clock.now_s() + 1 / 30)
        assert frame.sequence > first.sequence
        assert first.captured_s < frame.captured_s <= robot.clock.now_s()
        state = robot.read()
        assert state.answered.all()
        assert state.health is not None
        assert set(robot.release().values()) == {None}
        robot.disconnect()
        with pytest.raises(
            CalibrationError, match=rf"no calibration .*other\.json; that folder has {mock.robot_id} "
        ):
            SO101(SO101Config(**(where | {"id": "other"}))).connect()


def test_a_cable_that_is_pulled_is_a_port_error_and_leaving_the_arm_still_works():
    with MockProcess(cameras=False) as mock:
        robot = SO101(SO101Config(port=mock.port, calibration_dir=mock.calibration_dir, id=mock.robot_id))
        robot.connect()
        robot.hold()
        mock.call("unplug")
        with pytest.raises(PortError, match="is gone"):
            robot.read()
        assert all("is gone" in str(trouble) for trouble in robot.release().values())
        robot.disconnect()
        robot.disconnect()
