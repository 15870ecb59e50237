"""From the hand that rolls the wrist to its stops, through `so101-calibrate servos`, to what the guard lets pass."""

import math
from pathlib import Path

import numpy as np
import pytest

from so101_calibration.cli import CALIBRATE
from so101_calibration.servos import command as servos
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.bus import so101_bus
from so101_robot.joints import FULL_TURN_JOINT, JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.lockstep import LockstepLink, LockstepSerial

ROLL = JOINTS.index(FULL_TURN_JOINT)


def test_stops_that_the_simulated_hand_met_are_where_the_guard_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MockConfig(
        random_mount=True, calibrated=False, realtime_factor=0, camera_fps=0.001, scene="table"
    )
    arm = MockArm(config)
    monkeypatch.setattr(servos, "new_mock", lambda *_, **__: arm)
    assert arm.hand is not None
    arm.hand.range_rad = arm.hand.range_rad.copy()
    arm.hand.range_rad[ROLL] = np.radians((-131.0, 142.0))  # where this arm's printed stops are
    here = ["--robot.id=arm", f"--robot.calibration_dir={tmp_path}"]
    assert CALIBRATE.main(["servos", "--robot.port=mock", *here]) == 0

    monkeypatch.setattr(so101_bus, "open_locked", lambda port: (LockstepSerial(arm), LockstepLink(arm)))
    robot = SO101(SO101Config(port="/dev/the_arm", id="arm", calibration_dir=tmp_path))
    robot.connect()
    assert robot.guard is not None
    pushed = math.degrees(0.03)  # the hand leans on what it takes for a stop
    assert robot.guard.lower[ROLL] == pytest.approx(-131.0 - pushed, abs=1.0)
    assert robot.guard.upper[ROLL] == pytest.approx(142.0 + pushed, abs=1.0)
    start = np.array([0.0, -90.0, 90.0, 60.0, 138.0, 40.0])
    robot.guard.reset(start)
    start[ROLL] = 148.0
    sent = robot.send_action(dict(zip(robot.action_features, start.tolist(), strict=True)))
    assert sent["wrist_roll.pos"] <= robot.guard.upper[ROLL]
    robot.disconnect()
