"""The command: comparing and restoring, one readable message for a mistake, and a script at its prompts."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from so101_calibration import files
from so101_calibration.cli import CALIBRATE
from so101_calibration.errors import ImplausibleError, InputEndedError
from so101_calibration.servos import command as servos
from so101_calibration.servos import compare
from so101_calibration.servos.journal import journal_path
from so101_calibration.servos.line import Line
from so101_calibration.servos.steps import MIDDLE
from so101_calibration.servos.terminal import Terminal
from so101_robot.bus.calibration import JointCalibration
from so101_robot.bus.registers import BY_NAME
from so101_robot.joints import JOINTS
from so101_robot.mock.arm import MockArm

from .conftest import Scripted


@pytest.fixture
def file(line: Line, path: Path) -> dict[str, JointCalibration]:
    """The file of this arm."""
    calibration = compare.stored(line.rows())
    files.write_whole(path, files.dump(calibration))
    return calibration


def test_a_check_of_an_arm_with_its_file_finds_nothing(
    line: Line, path: Path, file: dict[str, JointCalibration], operator: Scripted
) -> None:
    assert servos.check(line, path, operator, as_json=False) == 0
    assert "is the calibration in the servos" in operator.text


def test_a_check_says_what_a_difference_means_in_degrees_and_writes_nothing(
    arm: MockArm, line: Line, path: Path, file: dict[str, JointCalibration], operator: Scripted,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arm.servos.set(2, "Homing_Offset", -114)
    before = arm.servos.saved.tobytes(), path.read_text()
    assert servos.check(line, path, operator, as_json=False) == 1
    assert "+10.0 " in operator.text
    assert "Nothing was changed" in operator.text
    assert servos.check(line, path, operator, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert not said["agree"]
    assert said["joints"]["elbow_flex"]["zero_deg"] == pytest.approx(114 * 360 / 4095, abs=1e-3)
    assert said["joints"]["gripper"]["same"]
    assert (arm.servos.saved.tobytes(), path.read_text()) == before


def test_an_arm_that_stands_where_it_cannot_is_another_arm(
    arm: MockArm, line: Line, path: Path, file: dict[str, JointCalibration], operator: Scripted
) -> None:
    arm.plant._steps[5] = 500  # type: ignore[attr-defined]
    arm.advance_to(arm.now_us + 50_000)
    assert servos.check(line, path, operator, as_json=False) == 1
    assert "servo 6 (gripper): it is at 500, 81 deg outside its range" in operator.text
    assert "ends [deg]" in operator.text  # not eaten as markup


def test_a_file_is_put_into_the_servos_after_a_yes_only(
    arm: MockArm, line: Line, path: Path, file: dict[str, JointCalibration], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    wanted = file | {"elbow_flex": file["elbow_flex"]._replace(homing_offset=77)}
    other.write_text(files.dump(wanted))
    before = arm.servos.saved.tobytes(), path.read_text()
    assert servos.restore(line, str(other), path, Scripted(answer=False), set()) == 1
    assert (arm.servos.saved.tobytes(), path.read_text()) == before
    operator = Scripted()
    assert servos.restore(line, str(other), path, operator, set()) == 0
    assert "1 of 30 registers differ" in operator.text
    assert compare.stored(line.rows()) == files.read(path) == wanted
    assert [files.read(copy) for copy in (tmp_path / "backups").iterdir()] == [file]
    assert servos.restore(line, str(other), path, operator, set()) == 0
    assert len(list((tmp_path / "backups").iterdir())) == 1  # nothing new, nothing to keep


def test_what_lerobot_left_unsaved_survives_power_off_afterwards(
    arm: MockArm, line: Line, path: Path, operator: Scripted
) -> None:
    """LeRobot writes a file that it was told to use with Lock = 1: the servos forget it, and it asks at every start."""
    line.write(3, BY_NAME["Homing_Offset"], 321)
    assert arm.servos.get(2, "Lock") == 1
    assert servos.restore(line, "eeprom", path, operator, set()) == 0
    arm.servos.boot(2)
    assert compare.stored(line.rows())["elbow_flex"].homing_offset == 321


def test_a_lost_file_comes_back_from_the_servos(line: Line, path: Path, operator: Scripted) -> None:
    assert servos.restore(line, "eeprom", path, operator, set()) == 0
    assert files.read(path) == compare.stored(line.rows())


def test_a_file_with_lerobots_half_turn_is_refused_with_the_way_out(
    arm: MockArm,
    line: Line,
    path: Path,
    file: dict[str, JointCalibration],
    tmp_path: Path,
    operator: Scripted,
) -> None:
    before = arm.servos.saved.tobytes()
    bad = tmp_path / "bad.json"
    bad.write_text(files.dump(file | {"elbow_flex": file["elbow_flex"]._replace(homing_offset=2048)}))
    with pytest.raises(ImplausibleError, match=r"elbow_flex: homing offset 2048.*calibrate again"):
        servos.restore(line, str(bad), path, operator, set())
    assert arm.servos.saved.tobytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fly", "no command 'fly'; possible: servos, ids, ports, pair, check, cameras"),
        ("servos --robot.port=/dev/nowhere --robot.id=a", "port /dev/nowhere does not exist"),
        ("servos --robot.port=/dev/nowhere", "--robot.id is missing"),
        ("servos --robot.port=mock --allow=nonsense", "possible: model, firmware"),
        ("servos --robot.port=mock --check --from=x", "use one of them"),
        ("servos --robot.port=mock --check --robot.id=../x", "cannot name a file"),
        ("ids --robot.port=mock --motor=knee", "possible: shoulder_pan"),
        ("check --robot.port=mock --robot.cameras=[1]", "expected is {name:"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CALIBRATE.main(words.split()) == 2
    assert message in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert CALIBRATE.main([]) == 0
    assert "drift" in capsys.readouterr().out


@pytest.fixture
def script() -> Callable[[str], Terminal]:
    def terminal(text: str) -> Terminal:
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        return Terminal(fd=read)

    return terminal


def test_a_script_answers_every_prompt_with_a_line(script: Callable[[str], Terminal]) -> None:
    terminal = script("\n\nmaybe\nY\nn\n")
    looks: list[int] = []
    for _ in range(2):
        terminal.until_done(MIDDLE, lambda: looks.append(1) or "")
    assert terminal.confirm("really?")
    assert not terminal.confirm("and this?")
    assert looks


def test_a_script_that_ends_early_is_an_error_and_not_an_answer(script: Callable[[str], Terminal]) -> None:
    terminal = script("y\ny")  # a line without its end is none
    assert terminal.confirm("first?")
    with pytest.raises(InputEndedError, match="input ended at 'second"):
        terminal.confirm("second?")
    with pytest.raises(InputEndedError):
        script("").until_done(MIDDLE, lambda: "")


def test_keys_count_at_once_on_a_terminal_and_not_before_the_question() -> None:
    ours, theirs = os.openpty()
    terminal = Terminal(fd=theirs)
    assert terminal.interactive
    terminal.until_done(MIDDLE, lambda: str(os.write(ours, b"\n")))
    os.write(ours, b"y")  # typed before the question was there: no answer to it
    time.sleep(0.5)  # the kernel hands it over when it has time for that
    later = threading.Timer(0.5, lambda: os.write(ours, b"n"))
    later.start()
    assert not terminal.confirm("really?")
    later.join()
    os.close(ours)
    os.close(theirs)


def test_a_calibration_has_all_joints_in_lerobots_order(line: Line) -> None:
    assert tuple(compare.stored(line.rows())) == JOINTS


def test_what_an_earlier_write_left_is_looked_at_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "left.json"
    journal_path(left).write_text("no journal")
    here = ["--robot.port=mock", "--robot.id=left", f"--robot.calibration_dir={tmp_path}", "--yes"]
    assert CALIBRATE.main(["servos", *here, f"--from={servos.FROM_EEPROM}"]) != 0
    assert "should be the journal of a calibration and is not" in capsys.readouterr().err
    assert not left.exists()


def test_from_eeprom_keeps_the_drive_mode_that_only_the_file_has(
    line: Line, path: Path, file: dict[str, JointCalibration]
) -> None:
    mirrored = file | {"gripper": file["gripper"]._replace(drive_mode=1)}
    path.write_text(files.dump(mirrored))
    operator = Scripted()
    assert servos.check(line, path, operator, as_json=False) == 0
    assert "drive_mode 1" in operator.text  # shown, and no difference: a servo has none
    assert servos.restore(line, "eeprom", path, operator, set()) == 0
    assert "0 of 30 registers differ" in operator.text
    assert "gripper keeps drive_mode 1" in operator.text
    assert files.read(path) == mirrored


def test_from_eeprom_without_a_file_says_which_drive_mode_it_takes(
    line: Line, path: Path, operator: Scripted
) -> None:
    assert servos.restore(line, "eeprom", path, operator, set()) == 0
    assert "servos do not store drive_mode" in operator.text
    assert files.read(path)["gripper"].drive_mode == 0


def test_from_eeprom_takes_the_drive_mode_that_an_earlier_lerobot_kept_elsewhere(
    line: Line, tmp_path: Path, operator: Scripted
) -> None:
    path = tmp_path / "so_follower" / "arm.json"
    rows = compare.stored(line.rows())
    rows["gripper"] = rows["gripper"]._replace(drive_mode=1)
    files.write_whole(tmp_path / "so100_follower" / "arm.json", files.dump(rows))
    assert servos.restore(line, "eeprom", path, operator, set()) == 0
    assert files.read(path)["gripper"].drive_mode == 1


def test_a_calibration_of_an_earlier_lerobot_is_named_and_taken_over_on_demand(
    arm: MockArm,
    line: Line,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, old = (tmp_path / folder / "arm.json" for folder in ("so_follower", "so101_follower"))
    files.write_whole(old, files.dump(compare.stored(line.rows())))
    line.name = "/dev/arm"
    monkeypatch.setattr(servos, "open_line", lambda port, mock: contextlib.nullcontext(line))
    flags = ["--robot.port=/dev/arm", "--robot.id=arm", f"--robot.calibration_dir={path.parent}"]
    assert CALIBRATE.main(["servos", *flags, "--check"]) == 2
    said = capsys.readouterr().err
    assert f"there is no calibration at {path}; {old} is one of this name" in said
    take_over = said.split("`")[1].split()
    assert take_over[:2] == ["so101-calibrate", "servos"]
    assert not path.exists()
    assert CALIBRATE.main([*take_over[1:], "--yes"]) == 0
    assert files.read(path) == files.read(old)
    assert CALIBRATE.main(["servos", *flags, "--check"]) == 0


def test_a_calibrated_follower_is_to_be_tested_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["servos", "--robot.port=mock", f"--robot.calibration_dir={tmp_path}"]
    monkeypatch.setattr(servos, "calibrate", lambda *_: 1)
    assert CALIBRATE.main(asked) == 1
    assert "next:" not in capsys.readouterr().out
    monkeypatch.setattr(servos, "calibrate", lambda *_: 0)
    assert CALIBRATE.main(asked) == 0
    said = capsys.readouterr().out
    assert f"so101-calibrate check --robot.port=mock --robot.calibration_dir={tmp_path}" in said
