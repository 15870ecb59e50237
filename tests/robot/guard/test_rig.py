"""The file of limits: what it says, what is wrong with it, where it is looked for."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from so101_robot.errors import ConfigError
from so101_robot.guard.limits import GuardLimits, ages_of, motion_of
from so101_robot.guard.rig import DEFAULT_JOINTS, Rig, beside, find, in_yaml, load, main, save
from so101_robot.joints import JOINTS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my_arm.limits.yaml"


def test_what_is_saved_is_loaded_again(file: Path):
    rules = {**DEFAULT_JOINTS, "wrist_roll": replace(DEFAULT_JOINTS["wrist_roll"], lower=-90.0, zero_deg=1.5)}
    rig = Rig(
        rules,
        table_m=None,
        workspace_m=((-0.1, 0.4), (-0.3, 0.3), (0.0, 0.5)),
        self_collision=False,
        stop_c=65.0,
    )
    save(rig, file)
    assert load(file) == rig
    save(Rig(), file)
    assert load(file) == Rig()
    assert file.read_text().count("#") > 10


def test_what_is_not_said_is_at_its_default(file: Path):
    file.write_text("joints:\n  gripper: {speed: 50}\ntable_m: 0.01\n")
    rig = load(file)
    assert rig.table_m == 0.01
    assert rig.joints["gripper"] == replace(DEFAULT_JOINTS["gripper"], speed=50)
    assert rig.joints["elbow_flex"] == DEFAULT_JOINTS["elbow_flex"]
    file.write_text("")
    assert load(file) == Rig()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tabel_m: 0", "the file: tabel_m is not known; possible are joints"),
        (
            "joints: {elbow: {speed: 3}}",
            "joints: elbow is not known; possible are shoulder_pan, shoulder_lift",
        ),
        ("joints: {gripper: {sped: 3}}", "gripper: sped is not known; possible are lower, upper, speed"),
        ("joints: {gripper: 3}", "gripper: found 3, needed is a table"),
        ("joints: {gripper: {speed: fast}}", "gripper: speed = 'fast'; possible is a number"),
        ("joints: {gripper: {speed: null}}", "gripper: speed = None; possible is a number"),
        ("joints: {gripper: {speed: -1}}", "gripper: speed = -1; possible is a number"),
        ("joints: {gripper: {speed: .nan}}", "gripper: speed = nan; possible is a number"),
        ("joints: {elbow_flex: {lower: 5, upper: 5}}", "elbow_flex: lower = 5 is not below upper = 5"),
        ("joints: {elbow_flex: {current_ma: 2700}}", "current_ma = 2700; possible is up to 2700"),
        ("table_m: true", "table_m = True; possible is a number from -1 to 1"),
        ("table_m: 20", "table_m = 20; possible is a number from -1 to 1"),
        ("stop_c: 60", "slow_c = 60.0 is not below stop_c = 60"),
        ("self_collision: 1", "self_collision = 1; possible are true and false"),
        ("workspace_m: [0, 1]", "workspace_m: found [0, 1], needed is a table with x, y, z"),
        (
            "workspace_m: {x: [0, 1], y: [0, 1]}",
            "workspace_m: z = None; needed is [lowest, highest] in metres",
        ),
        ("workspace_m: {x: [1, 0], y: [0, 1], z: [0, 1]}", "workspace_m: x = [1, 0]; the first is not below"),
        ("workspace_m: {x: [a, 0], y: [0, 1], z: [0, 1]}", "workspace_m: x = 'a'; possible is a number"),
        ("- 1", "the file: found [1], needed is a table"),
        ("a: {", "is not YAML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong_and_what_is_possible(file: Path, text: str, says: str):
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_cannot_be_read_or_written_is_said_so(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary"):
        with pytest.raises(ConfigError, match="cannot read"):
            load(path)
    with pytest.raises(ConfigError, match="cannot write"):
        save(Rig(), tmp_path / "nowhere" / "file")


def test_it_is_looked_for_beside_the_calibration_or_where_it_was_asked_for(tmp_path: Path):
    calibration = tmp_path / "my_arm.json"
    assert find(calibration) == (Rig(), None)
    assert find(None) == (Rig(), None)
    save(Rig(table_m=0.03), beside(calibration))
    assert beside(calibration) == tmp_path / "my_arm.limits.yaml"
    assert find(calibration) == (Rig(table_m=0.03), beside(calibration))
    other = tmp_path / "other.yaml"
    with pytest.raises(
        ConfigError, match=r"there is no file .*other\.yaml; `python -m so101_robot\.guard\.rig"
    ):
        find(calibration, other)
    save(Rig(table_m=0.04), other)
    assert find(calibration, other) == (Rig(table_m=0.04), other)


def test_the_defaults_of_file_and_flags_are_the_same():
    motion = motion_of(GuardLimits(), Rig())
    flags = GuardLimits()
    assert motion.speed.tolist() == [flags.joint_speed_deg_s] * 5 + [flags.gripper_speed_percent_s]
    assert motion.step.tolist() == [flags.joint_step_deg] * 5 + [flags.gripper_step_percent]
    assert motion.acceleration.tolist() == (
        [flags.joint_acceleration_deg_s2] * 5 + [flags.gripper_acceleration_percent_s2]
    )
    assert ages_of(flags, Rig()) == (flags.max_state_age_s, flags.max_frame_age_s)
    assert ages_of(GuardLimits(max_frame_age_s=0.3), Rig(frame_age_s=0.2, state_age_s=0.05)) == (0.05, 0.3)


def test_every_limit_has_its_word_in_the_file():
    text = in_yaml(Rig())
    for name in (*vars(Rig()), *vars(DEFAULT_JOINTS["gripper"]), *JOINTS):
        assert f"{name}:" in text


def test_the_command_writes_a_file_once_and_then_checks_it(file: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(file)]) == 0
    assert load(file) == Rig()
    file.write_text("table_m: 0.1")
    assert main([str(file)]) == 0
    assert file.read_text() == "table_m: 0.1"
    file.write_text("table_m: high")
    assert main([str(file)]) == 2
    out, err = capsys.readouterr()
    assert "has the default limits" in out
    assert err == f"so101_robot.guard.rig: {file}: table_m = 'high'; possible is a number from -1 to 1\n"
    assert main([]) == 2
    assert main(["--help"]) == 0


def test_the_spelling_of_0_1_still_writes_the_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["rig", str(file)])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("so101_robot.rig", run_name="__main__")
    assert load(file) == Rig()
