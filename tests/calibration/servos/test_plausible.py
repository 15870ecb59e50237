"""What is refused, and with which reason."""

import re

import pytest

from so101_calibration.servos import plausible
from so101_calibration.servos.line import Line
from so101_robot.bus.calibration import JointCalibration
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm
from so101_robot.preflight.findings import Finding, Level

GOOD = {
    name: JointCalibration(servo_id, 0, 500, low, high)
    for name, servo_id, low, high in zip(
        JOINTS, SERVO_IDS, (795, 909, 945, 966, 0, 1421), (3299, 3185, 3149, 3128, 4095, 2673), strict=True
    )
}


def kinds(found: list[Finding]) -> list[str]:
    assert all(finding.level is Level.STOP for finding in found)
    return [finding.kind for finding in found]


def test_a_calibration_of_an_so101_is_accepted() -> None:
    assert plausible.of_calibration(GOOD) == []


@pytest.mark.parametrize(
    ("joint", "change", "kind"),
    [
        ("elbow_flex", {"homing_offset": 2048}, "homing"),
        ("elbow_flex", {"homing_offset": -2048}, "homing"),
        ("elbow_flex", {"range_min": 2, "range_max": 4090}, "wrap"),
        ("elbow_flex", {"range_min": -20}, "wrap"),
        ("elbow_flex", {"range_max": 4096}, "wrap"),
        ("elbow_flex", {"range_min": 3149}, "wrap"),
        ("elbow_flex", {"range_max": 2000}, "small"),
        ("gripper", {"range_max": 3400}, "large"),
        ("wrist_roll", {"range_min": 2000}, "small"),
        ("gripper", {"id": 5}, "ids"),
        ("gripper", {"drive_mode": 3}, "drive_mode"),
    ],
)
def test_what_cannot_be_is_named(joint: str, change: dict[str, int], kind: str) -> None:
    found = plausible.of_calibration(GOOD | {joint: GOOD[joint]._replace(**change)})
    assert kinds(found) == [kind]
    assert joint in found[0].text


def test_a_calibration_of_another_robot_is_none_of_an_so101() -> None:
    found = plausible.of_calibration({"knee": GOOD["gripper"]})
    assert kinds(found) == ["ids"]
    assert "knee" in found[0].text


def test_a_sound_arm_has_no_findings(line: Line) -> None:
    assert plausible.of_servos(line.rows()) == []


@pytest.mark.parametrize(
    ("limit", "volts", "words"),
    [(80, 12.0, "7.4 V servo .* 12.0 V.* unplug it now"), (140, 5.0, "12 V servo .* 5.0 V.* weak")],
)
def test_the_wrong_supply_is_told_by_the_kind_of_servo(
    arm: MockArm, line: Line, limit: int, volts: float, words: str
) -> None:
    for index in range(6):
        arm.servos.set(index, "Max_Voltage_Limit", limit)
    rows = line.rows()
    rows[:, 62] = round(volts * 10)
    found = plausible.of_servos(rows)
    assert kinds(found) == ["supply"] * 6
    assert all(re.search(words, finding.text) for finding in found)


def test_a_bad_contact_is_told_from_a_wrong_supply(line: Line) -> None:
    rows = line.rows()
    rows[4, 62] = 105
    (found,) = plausible.of_servos(rows)
    assert "servo 5 (wrist_roll): 10.5 V" in found.text
    assert "bad contact" in found.text


def test_another_model_is_named(arm: MockArm, line: Line) -> None:
    arm.servos.set(5, "Model_Number", 2825)
    (found,) = plausible.of_servos(line.rows())
    assert found.kind == "model"
    assert "servo 6 (gripper): model 2825" in found.text
