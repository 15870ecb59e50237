"""`so101-calibrate servos --leader`: the same flow for the arm that a person moves, where LeRobot looks for it."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from lerobot.teleoperators.so_leader import SO101Leader
from lerobot.utils.constants import TELEOPERATORS

from so101_calibration import files
from so101_calibration.cli import CALIBRATE
from so101_calibration.errors import ImplausibleError
from so101_calibration.servos import command as servos
from so101_calibration.servos import plausible
from so101_calibration.servos.compare import stored
from so101_calibration.servos.line import Line
from so101_calibration.servos.steps import SQUEEZE, Step, StepKind
from so101_robot.bus.calibration import JointCalibration
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.mock.arm import MockArm
from so101_robot.preflight.calibration import NOMINAL_DEG

from ..conftest import Scripted

TRIGGER_SHARE = 0.5
"""Of the jaws' range: what a finger's trigger has."""


def turn(arm: MockArm, index: int, degrees: float) -> None:
    """A hand on a free shaft."""
    arm.plant._steps[index] = 2047 + degrees * 4096 / 360  # type: ignore[attr-defined]
    arm.advance_to(arm.now_us + 20_000)


def leading_hand(arm: MockArm) -> Scripted:
    """Moves each joint to its ends, the last one by half as far as jaws go."""

    def act(step: Step, look: int) -> None:
        if step.joint is None:
            return
        index = JOINTS.index(step.joint)
        half = NOMINAL_DEG[step.joint] / 2 * (TRIGGER_SHARE if index == GRIPPER else 1.0)
        if step.kind is StepKind.CLOSE:
            turn(arm, index, -half)
        else:
            turn(
                arm, index, float(np.interp(look, [0, 10, 20, 40, 50, 60], [0, -half, -half, half, half, 0]))
            )

    return Scripted(act=act)


@pytest.fixture
def person(arm: MockArm, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """At a leader on a serial port, with a LeRobot folder of its own."""
    person = leading_hand(arm)
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    monkeypatch.setattr(servos, "open_line", lambda port, mock: contextlib.nullcontext(line))
    monkeypatch.setattr(servos, "operator_for", lambda options, mock, line: person)
    return person


def test_the_file_is_where_lerobot_looks_for_a_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    assert files.lerobot_folder(leader=True) == tmp_path / TELEOPERATORS / SO101Leader.name


def test_a_leader_is_calibrated_and_left_without_torque_and_its_trigger_need_not_open_like_jaws(
    arm: MockArm, line: Line, person: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm.servos.set(1, "Torque_Enable", 1)
    asked = ["servos", "--leader", "--robot.port=/dev/leader", "--robot.id=mine"]
    assert CALIBRATE.main(asked) == 0
    path = tmp_path / "teleoperators" / "so_leader" / "mine.json"
    assert set(json.loads(path.read_text())) == set(JOINTS)
    assert [child.name for child in path.parent.iterdir()] == ["mine.json"], (
        "no stops: nothing drives a leader"
    )
    assert SQUEEZE.text in person.text
    assert [arm.servos.get(index, "Torque_Enable") for index in range(6)] == [0] * 6
    assert CALIBRATE.main([*asked, "--check"]) == 0
    # the same arm as a follower: nothing is found, and its gripper would be refused
    assert CALIBRATE.main([word for word in [*asked, "--check"] if word != "--leader"]) == 2
    assert "robots/so_follower/mine.json" in capsys.readouterr().err
    with pytest.raises(ImplausibleError, match="gripper: covers 55 deg"):
        servos.calibrate(line, tmp_path / "follower.json", leading_hand(arm), set())


def test_a_trigger_that_hardly_moves_is_refused_of_a_leader_too() -> None:
    rows = {
        joint: JointCalibration(number, 0, 0, 2047 - steps, 2047 + steps)
        for number, joint, steps in zip(range(1, 7), JOINTS, (1250, 1130, 1100, 1080, 1800, 150), strict=True)
    }
    (found,) = plausible.of_calibration(rows, leader=True)
    assert (found.subject, found.kind) == ("gripper", "small")
    assert (
        plausible.of_calibration(rows | {"gripper": JointCalibration(6, 0, 0, 1747, 2347)}, leader=True) == []
    )


def test_an_older_leaders_file_is_named_with_the_command_that_takes_it_over(
    line: Line, person: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "teleoperators" / "so101_leader" / "mine.json"
    files.write_whole(older, files.dump(stored(line.rows())))
    asked = ["servos", "--leader", "--robot.port=/dev/leader", "--robot.id=mine", "--check"]
    assert CALIBRATE.main(asked) == 2
    assert f"so101-calibrate servos --leader --robot.port='{line.name}'" in capsys.readouterr().err
