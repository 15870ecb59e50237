"""LeRobot's calibration files: format, folder, refusals."""

from pathlib import Path
from typing import Any, cast

import draccus
import pytest
from lerobot.motors import MotorCalibration
from lerobot.utils.constants import HF_LEROBOT_CALIBRATION

from so101_calibration import files
from so101_calibration.errors import FileError
from so101_robot.bus.calibration import JointCalibration

ONE = {"gripper": JointCalibration(6, 0, -1437, 1500, 2800)}


def test_lerobot_reads_what_was_written_and_the_other_way_round(path: Path) -> None:
    files.write_whole(path, files.dump(ONE))
    with open(path) as file, draccus.config_type("json"):
        theirs = draccus.load(cast("Any", dict[str, MotorCalibration]), file)
    assert theirs == {"gripper": MotorCalibration(6, 0, -1437, 1500, 2800)}
    with open(path, "w") as file, draccus.config_type("json"):
        draccus.dump(theirs, file, indent=4)
    assert files.read(path) == ONE
    assert path.read_text() == files.dump(ONE)  # to the byte: a second save changes nothing


def test_the_folder_is_lerobots() -> None:
    assert files.lerobot_folder() == HF_LEROBOT_CALIBRATION / "robots" / "so_follower"


def test_a_missing_file_names_those_that_are_there(path: Path) -> None:
    (path.parent / "left.json").write_text("{}")
    with pytest.raises(FileError, match="that folder has left"):
        files.read(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "no joints"),
        ("{", "Expecting"),
        ('{"gripper": {"id": 6}}', "expected are id, drive_mode"),
        (files.dump(ONE).replace("1500", "1500.5"), "range_min = 1500.5 is not a whole number"),
        (files.dump(ONE).replace("1500", "true"), "range_min = True is not a whole number"),
    ],
)
def test_a_file_that_is_no_calibration_says_why(path: Path, text: str, why: str) -> None:
    path.write_text(text)
    with pytest.raises(FileError, match=why):
        files.read(path)


@pytest.mark.parametrize("robot_id", ["", "../arm", "a/b", ".hidden"])
def test_an_id_that_is_no_file_name_is_refused(robot_id: str) -> None:
    with pytest.raises(FileError, match="cannot name a file"):
        files.path_of(robot_id)


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("old")

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", no_room)
    with pytest.raises(FileError, match="No space left"):
        files.write_whole(path, "new")
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("arm.json", "old")]
