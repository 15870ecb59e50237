"""`so101-calibrate pair`: which of two arms is off, as far as stops and eyes can tell, and what they cannot tell."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from so101_calibration import files
from so101_calibration.cli import CALIBRATE
from so101_calibration.servos import compare
from so101_calibration.servos.line import open_line
from so101_calibration.two_arms import pair
from so101_calibration.two_arms.judgement import Judged, Stop, Who, agree, judge
from so101_calibration.two_arms.simulated_hands import SimulatedHands
from so101_robot.bus.calibration import Calibration, JointCalibration
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.preflight.calibration import NOMINAL_DEG

from ..conftest import Scripted


def arm_with(widths: dict[str, float] | None = None) -> Calibration:
    """A calibration with ranges of these widths [deg], else of the drawing's."""
    half = {joint: (NOMINAL_DEG | (widths or {}))[joint] * 4095 / 720 for joint in JOINTS}
    return {
        joint: JointCalibration(i, 0, 0, round(2047 - half[joint]), round(2047 + half[joint]))
        for i, joint in enumerate(JOINTS, start=1)
    }


FOLLOWER = arm_with()
HALF = {joint: row.span_deg / 2 for joint, row in FOLLOWER.items()}
STOPS = {
    "shoulder_pan": Stop(HALF["shoulder_pan"], HALF["shoulder_pan"], 0),
    "shoulder_lift": Stop(-HALF["shoulder_lift"], -HALF["shoulder_lift"], -1),
    "elbow_flex": Stop(HALF["elbow_flex"], HALF["elbow_flex"], 1),
    "wrist_flex": Stop(-HALF["wrist_flex"], -HALF["wrist_flex"], -1),
}
MIDDLE = dict.fromkeys(JOINTS, (1.0, -2.0))


def judged(
    joint: str,
    *,
    stop: tuple[float, float] | None = None,
    middle: tuple[float, float] | None = None,
    leader: Calibration = FOLLOWER,
    closed: tuple[float, float] = (1.0, 2.0),
) -> Judged:
    """What is found where one thing is not as it should be."""
    stops = STOPS if stop is None else STOPS | {joint: Stop(*stop, STOPS[joint].end)}
    found = judge(FOLLOWER, leader, stops, MIDDLE if middle is None else MIDDLE | {joint: middle}, closed)
    assert [one.joint for one in found if one.joint != joint and one.who is not Who.NEITHER] == []
    return next(one for one in found if one.joint == joint)


def test_two_arms_that_read_their_ends_at_their_stops_mean_the_same() -> None:
    assert agree(judge(FOLLOWER, FOLLOWER, STOPS, MIDDLE, (1.0, 2.0)))


@pytest.mark.parametrize(
    ("found", "who", "why"),
    [
        (judged("elbow_flex", stop=(HALF["elbow_flex"], 85.0)), Who.LEADER, "the leader reads 12 deg short of"),
        (judged("elbow_flex", stop=(110.0, HALF["elbow_flex"])), Who.FOLLOWER, "follower reads 13 deg beyond"),
        (judged("shoulder_lift", stop=(-80.0, -85.0)), Who.BOTH, "20 deg short of"),
        (judged("shoulder_lift", stop=(-10.0, -12.0)), Who.UNKNOWN, "neither was near its stop"),
        (judged("shoulder_pan", stop=(110.0, -110.0)), Who.UNKNOWN, "count in opposite directions"),
        (judged("wrist_flex", middle=(2.0, 14.0)), Who.UNKNOWN, "the poses were not the same"),
        (judged("wrist_roll", middle=(2.0, 14.0)), Who.LEADER, "the leader +14 deg"),
        (judged("wrist_roll", middle=(-9.0, 9.0)), Who.BOTH, "the follower reads -9"),
        (judged("wrist_roll", middle=(-4.0, 4.0)), Who.UNKNOWN, "judged by eye"),
        (judged("gripper", closed=(3.0, 97.0)), Who.LEADER, "mounted mirrored"),
        (judged("gripper", closed=(20.0, 3.0)), Who.FOLLOWER, "reads 20 %"),
    ],
)  # fmt: skip
def test_a_stop_tells_which_arm_is_off_and_what_cannot_be_told_is_said(
    found: Judged, who: Who, why: str
) -> None:
    assert (found.who, why in found.why) == (who, True), found


def test_of_two_arms_that_differ_at_right_stops_the_one_with_an_unlikely_range_is_off() -> None:
    narrow, wide = arm_with({"elbow_flex": 160.0}), arm_with({"elbow_flex": 178.0})
    assert judged("elbow_flex", stop=(HALF["elbow_flex"], 80.0), leader=narrow).who is Who.LEADER
    found = judge(wide, narrow, STOPS | {"elbow_flex": Stop(89.0, 80.0, 1)}, MIDDLE, (0.0, 0.0))[2]
    assert found.who is Who.LEADER
    nearly = arm_with({"elbow_flex": 165.0})
    found = judge(wide, nearly, STOPS | {"elbow_flex": Stop(89.0, 82.5, 1)}, MIDDLE, (0.0, 0.0))[2]
    assert found.who is Who.UNKNOWN


# the command -----


def compared(*changes: Callable[[MockArm, MockArm], None]) -> tuple[int, str]:
    """The whole comparison of two simulated arms, after something was changed; exit code and words."""
    config = MockConfig(seed=5, random_mount=True, realtime_factor=0, scene="table", camera_fps=0.001)
    arms = [MockArm(config), MockArm(config, leader=True)]
    for change in changes:
        change(*arms)
    display = Scripted()
    with ExitStack() as stack:
        lines = [stack.enter_context(open_line("mock", arm)) for arm in arms]
        hands = SimulatedHands(arms, lines, display)
        options = pair.parser().parse_args(["--robot.port=mock", "--teleop.port=mock"])
        code = pair.compare_arms(*pair._arms(options, lines, hands), hands)
        assert [line.sample().torque.any() for line in lines] == [False, False]
    return code, display.text


@pytest.mark.slow
def test_two_right_arms_are_found_to_be_the_same() -> None:
    code, said = compared()
    assert code == 0, said
    assert "Leader and follower mean the same" in said
    assert said.count("the same") >= 6


def test_a_horn_that_slipped_is_found_at_the_arm_that_has_it_and_both_are_left_without_torque() -> None:
    def slipped(follower: MockArm, leader: MockArm) -> None:
        leader.servos.set(2, "Homing_Offset", leader.servos.get(2, "Homing_Offset") - 150)
        follower.servos.set(3, "Torque_Enable", 1)

    code, said = compared(slipped)
    assert code == 1
    assert "elbow_flex: the leader is off. At its stop the leader reads 13 deg beyond the end" in said
    assert said.count(" is off.") == 1
    assert said.startswith("Hold the arm")


def test_exchanged_ports_files_that_do_not_fit_and_missing_names_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path))
    config = MockConfig(seed=5, random_mount=True, realtime_factor=0, camera_fps=0.001)
    arms = {"/dev/a": MockArm(config), "/dev/b": MockArm(config, leader=True)}
    monkeypatch.setattr(pair, "open_line", lambda port, mock: open_line("mock", arms[port]))
    with open_line("mock", arms["/dev/a"]) as a, open_line("mock", arms["/dev/b"]) as b:
        stored = [compare.stored(line.rows()) for line in (a, b)]
    for leader, rows in ((False, stored[0]), (True, stored[1])):
        files.write_whole(files.path_of("x", leader=leader), files.dump(rows))
    asked = ["pair", "--robot.id=x", "--teleop.id=x"]
    cases = {
        ("--robot.port=/dev/b", "--teleop.port=/dev/a"): "the ports are exchanged",
        ("--robot.port=/dev/b", "--teleop.port=/dev/b"): "are one port",
        ("--robot.port=mock", "--teleop.port=/dev/b"): "both are mock or none is",
    }
    for ports, words in cases.items():
        assert CALIBRATE.main([*asked, *ports]) == 2
        assert words in capsys.readouterr().err
    assert CALIBRATE.main(["pair", "--robot.port=/dev/a", "--teleop.port=/dev/b"]) == 2
    assert "--robot.id is missing" in capsys.readouterr().err
    files.write_whole(files.path_of("x", leader=True), files.dump(stored[0]))
    assert CALIBRATE.main([*asked, "--robot.port=/dev/a", "--teleop.port=/dev/b"]) == 2
    assert "the leader's servos have another calibration than its file" in capsys.readouterr().err
