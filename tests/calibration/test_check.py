"""The self-test: what it measures on an arm with physics, and what it calls bad."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from so101_calibration import check
from so101_calibration.cameras import rates as camera_rates
from so101_calibration.cli import CALIBRATE
from so101_calibration.errors import ServoError
from so101_calibration.servos import compare, motion_test
from so101_calibration.servos.journal import journal_path
from so101_calibration.servos.line import Line, open_line
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.frames import MockFrames
from so101_robot.preflight.findings import Finding, Level, verdict
from so101_robot.state import Frame


@pytest.fixture
def standing() -> Iterator[tuple[MockArm, Line]]:
    """An arm in a world, parked, free."""
    arm = MockArm(MockConfig(realtime_factor=0, random_mount=True, seed=1, camera_fps=20))
    with open_line("mock", arm) as line:
        yield arm, line


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_sound_arm_passes_and_is_left_as_it_was(standing: tuple[MockArm, Line]) -> None:
    arm, line = standing
    before = arm.joint_rad.copy()
    items = by_name(check.examine(line, compare.stored(line.rows()), move=True))
    assert verdict(list(items.values())) is Level.OK
    arm.advance_to(arm.now_us + 2_000)  # a servo looks at its registers every millisecond
    assert arm.driven_joints() == []
    assert arm.joint_rad == pytest.approx(before, abs=0.06)
    for joint in JOINTS:
        backlash = items[f"{joint} backlash"].value
        tracking = items[f"{joint} tracking"].value
        assert backlash is not None
        assert tracking is not None
        assert 0 <= backlash < 1.5
        assert 0.3 < tracking < 3.5
    cycle = items["bus cycle"].value
    assert cycle == pytest.approx(2.5, abs=0.3)  # 14 bytes there, 6 times 37 back and their slots, at 10 us


def test_a_joint_that_is_held_up_stops_the_motion(standing: tuple[MockArm, Line]) -> None:
    arm, line = standing
    rows = line.rows()
    arm.add_fault({"fault": "overload", "servo": 2})
    arm.advance_to(arm.now_us + 20_000)
    with pytest.raises(ServoError, match="shoulder_lift: overload"):
        motion_test.motions(line, compare.stored(rows))
    assert arm.driven_joints() == []


def test_nothing_moves_unless_it_was_allowed(standing: tuple[MockArm, Line]) -> None:
    arm, line = standing
    items = by_name(check.examine(line, None, move=False))
    assert items["motion"] == Finding(Level.WARN, "motion", "", "not tried")
    assert items["calibration file"].level is Level.WARN
    assert arm.driven_joints() == []


def test_a_failure_keeps_the_arm_from_moving(arm: MockArm, line: Line) -> None:
    arm.servos.set(0, "Firmware_Minor_Version", 9)
    items = by_name(check.examine(line, None, move=True))
    assert items["firmware"].level is Level.STOP
    assert "not tried, because" in items["motion"].text
    assert verdict(list(items.values())) is Level.STOP
    assert arm.driven_joints() == []


def test_a_file_that_is_not_in_the_servos_fails_with_degrees(arm: MockArm, line: Line) -> None:
    file = compare.stored(line.rows())
    file["elbow_flex"] = file["elbow_flex"]._replace(homing_offset=114)
    item = by_name(check.examine(line, file, move=False))["calibration file"]
    assert item.level is Level.STOP
    assert "elbow_flex: homing_offset 114, in the servo 0 (its zero is off by +10.0 deg)" in item.text


def test_a_silent_servo_is_the_only_finding(arm: MockArm, line: Line) -> None:
    arm.servos.reboot(4, 10**9)
    (item,) = check.examine(line, None, move=True)
    assert item.level is Level.STOP
    assert "servo 5 (wrist_roll) did not answer" in item.text


def test_a_camera_that_keeps_its_rate_passes(standing: tuple[MockArm, Line]) -> None:
    arm, line = standing
    source = Stamps(arm)
    item = camera_rates.watch(source, line.clock, 20.0, watch_s=1.0)
    assert item.level is Level.OK
    assert item.value == pytest.approx(20.0, abs=0.1)
    assert camera_rates.watch(source, line.clock, 30.0, watch_s=1.0).level is Level.STOP


def test_a_camera_that_stands_still_fails(standing: tuple[MockArm, Line]) -> None:
    arm, line = standing
    arm.add_fault({"fault": "camera_stall", "camera": "front"})
    item = camera_rates.watch(Stamps(arm), line.clock, 20.0, watch_s=1.0)
    assert item.level is Level.STOP
    assert "new pictures in" in item.text


class Stamps(MockFrames):
    """The front camera's times without its pictures, which take long to draw."""

    def __init__(self, arm: MockArm) -> None:
        super().__init__("front", arm)
        self._captures = arm.captures

    def latest(self, now_s: float) -> Frame:
        import numpy as np

        capture = self._captures()["front"]
        return Frame(np.zeros((1, 1, 3), np.uint8), capture.time_us * 1e-6, capture.sequence, None)


def test_the_report_is_for_programs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_rates, "examine", lambda cameras, mock: [])
    code = CALIBRATE.main(["check", "--robot.port=mock", "--no_motion", f"--json={tmp_path / 'r.json'}"])
    report = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert report["verdict"] == "warn"
    assert report["items"][0] == {
        "name": "servos",
        "verdict": "pass",
        "text": "1 to 6 answer",
        "value": None,
        "unit": "",
    }


@pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARN, 0), (Level.STOP, 1)])
def test_only_a_failure_ends_the_command_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], level: Level, code: int
) -> None:
    monkeypatch.setattr(
        camera_rates, "examine", lambda cameras, mock: [Finding(level, "camera front", "", "20 frames/s")]
    )
    assert CALIBRATE.main(["check", "--robot.port=mock", "--no_motion", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["verdict"] == ("fail" if code else "warn")  # motion: not tried


class Answers:
    """A person whose answer to every question is this."""

    def __init__(self, answer: bool) -> None:
        self._answer = answer

    def say(self, text: str) -> None: ...

    def confirm(self, question: str) -> bool:
        return self._answer


@pytest.mark.parametrize("answer", [False, True])
def test_nothing_moves_without_a_yes(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked_to_move: list[bool] = []
    monkeypatch.setattr(check.servos, "operator_for", lambda *_: Answers(answer))
    monkeypatch.setattr(check, "examine", lambda line, calibration, move: asked_to_move.append(move) or [])
    monkeypatch.setattr(camera_rates, "examine", lambda cameras, mock: [])
    assert CALIBRATE.main(["check", "--robot.port=mock", "--json"]) == 0
    assert asked_to_move == [answer]


def test_a_calibration_that_was_cut_off_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(camera_rates, "examine", lambda cameras, mock: [])
    monkeypatch.setattr(check, "examine", lambda line, calibration, move: [])
    journal_path(tmp_path / "left.json").write_text("{}")
    here = [f"--robot.calibration_dir={tmp_path}", "--no_motion", "--json"]
    assert CALIBRATE.main(["check", "--robot.port=mock", "--robot.id=right", *here]) == 0
    capsys.readouterr()
    assert CALIBRATE.main(["check", "--robot.port=mock", "--robot.id=left", *here]) == 1
    assert "was cut off while it was written" in capsys.readouterr().out
