"""What the files beside an arm decide: which way its gripper closes, where its roll ends, and where a file may be."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lerobot.motors.feetech import FeetechMotorsBus

from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import so101_bus
from so101_robot.bus.calibration import OLDER_FOLDERS
from so101_robot.errors import CalibrationError, ConfigError, UnsafeActionError
from so101_robot.guard import measured_ends
from so101_robot.guard.measured_ends import MeasuredEnds
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepLink, LockstepSerial
from so101_robot.mock.physics.plant import IdealPlant
from so101_robot.motion.soft_start import SoftStart

PORT = "/dev/the_arm"
ROLL = JOINTS.index("wrist_roll")
STARTS = [0.0, -90.0, 90.0, 60.0, 0.0, 40.0]


@dataclass
class Bench:
    """A mock arm behind a serial port, and LeRobot's calibration folder."""

    arm: MockArm
    root: Path

    @property
    def file(self) -> Path:
        return self.root / "robots" / "so_follower" / "arm.json"

    def write(self, path: Path | None = None, **gripper: int) -> Path:
        path = self.file if path is None else path
        rows = self.arm.calibration_fields
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**rows, "gripper": {**rows["gripper"], **gripper}}))
        return path

    def robot(self) -> SO101:
        return SO101(SO101Config(port=PORT, id="arm", calibration_dir=self.file.parent))

    def connected(self) -> SO101:
        robot = self.robot()
        robot.connect()
        return robot


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    arm = MockArm(MockConfig(realtime_factor=0), plant=IdealPlant())
    monkeypatch.setattr(so101_bus, "open_locked", lambda port: (LockstepSerial(arm), LockstepLink(arm)))
    return Bench(arm, tmp_path)


# which way the gripper closes


@pytest.mark.parametrize("drive_mode", [0, 1])
def test_lerobots_driver_and_ours_agree_on_a_gripper_of_either_drive_mode(bench: Bench, drive_mode: int):
    bench.write(drive_mode=drive_mode)
    robot = bench.connected()
    bus: FeetechMotorsBus = robot.bus
    ends = bench.arm.calibration_fields["gripper"]
    for percent in (0.0, 25.0, 80.0, 100.0):
        goal = [0.0, 0.0, 0.0, 0.0, 0.0, percent]
        robot.command(goal)
        ours = bench.arm.servos.get(GRIPPER, "Goal_Position")
        FeetechMotorsBus.sync_write(bus, "Goal_Position", dict(zip(JOINTS, goal, strict=True)))
        assert bench.arm.servos.get(GRIPPER, "Goal_Position") == ours
        share = (ours - ends["range_min"]) / (ends["range_max"] - ends["range_min"]) * 100
        assert share == pytest.approx(100 - percent if drive_mode else percent, abs=0.1)
        bench.arm.advance_to(bench.arm.now_us + 3_000_000)
        theirs = FeetechMotorsBus.sync_read(bus, "Present_Position")
        np.testing.assert_allclose(robot.read().position, [theirs[joint] for joint in JOINTS], atol=1e-9)
        assert robot.read().position[GRIPPER] == pytest.approx(percent, abs=2.0)
    robot.disconnect()


# where the roll ends


def ends(bench: Bench, lower_deg: float, upper_deg: float, homing_offset: int = 0) -> Path:
    path = measured_ends.beside(bench.file)
    path.write_text(measured_ends.in_yaml(MeasuredEnds(homing_offset, lower_deg, upper_deg)))
    return path


def sent(robot: SO101, roll_deg: float) -> float:
    """Where the roll was sent for a goal, from 5 degrees below it."""
    assert robot.guard is not None
    start = [*STARTS[:ROLL], roll_deg - 5.0, STARTS[GRIPPER]]
    robot.guard.reset(np.clip(start, robot.guard.lower, robot.guard.upper))
    action = dict(zip(robot.action_features, [*start[:ROLL], roll_deg, start[GRIPPER]], strict=True))
    return robot.send_action(action)["wrist_roll.pos"]


def test_a_roll_is_sent_no_farther_than_its_measured_stops(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.write()
    ends(bench, -150.0, 166.0)
    monkeypatch.setattr(SoftStart, "follow", lambda _, asked, *__: asked)  # pyright: ignore[reportUnknownLambdaType]
    robot = bench.connected()
    assert robot.guard is not None
    assert (robot.guard.lower[ROLL], robot.guard.upper[ROLL]) == (-150.0, 166.0)
    assert sent(robot, 175.0) <= 166.0
    assert sent(robot, 164.0) == pytest.approx(
        164.0, abs=0.1
    )  # beyond the 160 of an arm that was not measured
    robot.disconnect()


@pytest.mark.parametrize("written", [None, 5])
def test_without_stops_of_this_calibration_a_roll_is_sent_no_farther_than_160(
    bench: Bench, written: int | None
):
    bench.write()
    if written is not None:
        ends(bench, -100.0, 170.0, homing_offset=written)  # of another one: the homing offset differs
    robot = bench.connected()
    assert sent(robot, 175.0) == pytest.approx(160.0, abs=0.1)
    robot.disconnect()


def test_the_limits_file_comes_before_the_measured_stops(bench: Bench):
    bench.write()
    ends(bench, -150.0, 166.0)
    bench.file.with_name("arm.limits.yaml").write_text("joints: {wrist_roll: {upper: 90}}")
    robot = bench.connected()
    assert robot.guard is not None
    assert (robot.guard.lower[ROLL], robot.guard.upper[ROLL]) == (-150.0, 90.0)
    robot.disconnect()


@pytest.mark.parametrize(
    "text", ["wrist_roll: 3", "- 1", "wrist_roll: {homing_offset: 0, lower_deg: 5, upper_deg: 9}"]
)
def test_a_wrong_file_of_stops_is_named_and_the_arm_not_driven(bench: Bench, text: str):
    bench.write()
    path = measured_ends.beside(bench.file)
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{path}: .*expected"):
        bench.connected()


def test_an_action_far_beyond_the_measured_stops_is_not_sent(bench: Bench):
    bench.write()
    ends(bench, -125.0, 125.0)
    robot = bench.connected()
    with contextlib.suppress(UnsafeActionError):  # cut or refused
        action = dict(zip(robot.action_features, [*STARTS[:ROLL], 175.0, 40.0], strict=True))
        assert robot.send_action(action)["wrist_roll.pos"] <= 125.0
    present = bench.arm.calibration_fields["wrist_roll"]
    middle = (present["range_min"] + present["range_max"]) / 2
    assert (bench.arm.servos.get(ROLL, "Goal_Position") - middle) * 360 / 4095 <= 125.0
    robot.disconnect()


# where a file may be


@pytest.mark.parametrize("folder", OLDER_FOLDERS)
def test_a_calibration_where_an_earlier_lerobot_kept_it_is_named_with_the_command(bench: Bench, folder: str):
    old = bench.write(bench.root / "robots" / folder / "arm.json")
    with pytest.raises(CalibrationError) as error:
        bench.connected()
    said = str(error.value)
    assert f"there is no calibration at {bench.file}" in said
    command = f"so101-calibrate servos --robot.port={PORT} --robot.id=arm --robot.calibration_dir={bench.file.parent}"
    assert f"`{command} --from={old}`" in said
    assert not bench.file.exists()  # never taken over in silence
    assert bench.arm.servos.get(0, "Torque_Enable") == 0


def test_an_earlier_calibration_under_another_name_is_told_too(bench: Bench):
    bench.write(bench.root / "robots" / "so100_follower" / "blue.json")
    with pytest.raises(
        CalibrationError, match=r"so100_follower, of an earlier LeRobot, has blue .*so101-calibrate servos"
    ):
        bench.connected()


def test_a_leaders_calibration_is_never_a_followers(bench: Bench):
    bench.write(bench.root / "teleoperators" / "so101_leader" / "arm.json")
    with pytest.raises(CalibrationError) as error:
        bench.connected()
    assert "so101_leader" not in str(error.value)
