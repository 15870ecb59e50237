"""A calibration is written whole or not at all, wherever it is cut off."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from so101_calibration import files
from so101_calibration.errors import FileError, InterruptedWriteError, ServoError
from so101_calibration.servos import compare, journal
from so101_calibration.servos.line import Line
from so101_robot.bus.calibration import JointCalibration
from so101_robot.errors import PortError
from so101_robot.joints import JOINTS, SERVO_IDS
from so101_robot.mock.arm import MockArm

NOW = datetime(2026, 3, 4, 5, 6, 7)


def new(shift: int = 0) -> dict[str, JointCalibration]:
    return {
        name: JointCalibration(i, 0, 100 * i + shift - 1500, 700 + i + shift, 3300 - i - shift)
        for name, i in zip(JOINTS, SERVO_IDS, strict=True)
    }


class Killed(BaseException):
    """As a signal that cannot be caught: nobody gets to undo anything."""


class Cut:
    """A link that ends everything at the n-th request; `kill` leaves no chance to write again."""

    def __init__(self, link: Any, after: int, error: type[BaseException]) -> None:
        self.link, self.after, self.error = link, after, error

    def transact(self, request: bytes, reply_size: int, timeout_s: float) -> bytes:
        self.after -= 1
        if self.after == 0 or (self.after < 0 and self.error is not KeyboardInterrupt):
            raise self.error("cut off")
        return self.link.transact(request, reply_size, timeout_s)

    def send(self, request: bytes) -> None:
        self.link.send(request)

    def close(self) -> None:
        self.link.close()


def saved(arm: MockArm) -> bytes:
    """What the servos will know after power-off."""
    return arm.servos.saved.tobytes()


def requests_of_a_write(arm: MockArm, line: Line, path: Path) -> int:
    before = arm.wire.transactions
    journal.write(line, new(), path, NOW)
    return arm.wire.transactions - before


def test_servos_flash_and_file_have_what_was_written(arm: MockArm, line: Line, path: Path) -> None:
    journal.write(line, new(), path, NOW)
    assert compare.stored(line.rows()) == new()
    assert files.read(path) == new()
    for index in range(6):
        arm.servos.boot(index)  # what was not saved is gone
    assert compare.stored(line.rows()) == new()
    assert all(arm.servos.get(i, "Lock") == 1 for i in range(6))
    assert not journal.journal_path(path).exists()


def test_the_old_file_is_kept_with_its_date(line: Line, path: Path) -> None:
    assert journal.write(line, new(), path, NOW) is None
    backup = journal.write(line, new(7), path, NOW)
    assert backup is not None
    assert backup.name == "arm.2026-03-04_050607_000000.json"
    assert files.read(backup) == new()
    assert files.read(path) == new(7)
    assert [file.name for file in path.parent.glob("*.json")] == ["arm.json"]  # LeRobot lists these as robots


@pytest.mark.parametrize("error", [KeyboardInterrupt, PortError])
def test_a_write_that_is_interrupted_is_undone_or_completed_at_the_next_start(
    arm: MockArm, line: Line, path: Path, error: type[BaseException]
) -> None:
    count = requests_of_a_write(arm, line, path)
    before, text = saved(arm), path.read_text()
    skip = 12  # reading all registers comes first
    for after in range(skip + 1, count, 17):
        link = line._link  # pyright: ignore[reportPrivateUsage]
        line._link = Cut(link, after, error)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(InterruptedWriteError) as caught:
            journal.write(line, new(after), path, NOW)
        line._link = link  # pyright: ignore[reportPrivateUsage]
        if error is KeyboardInterrupt:
            assert "as before" in str(caught.value)
            assert saved(arm) == before
            assert path.read_text() == text
            assert journal.recover(line, path, NOW) is None
        else:
            assert "next `so101-calibrate servos`" in str(caught.value)
            told = journal.recover(line, path, NOW)
            assert told is not None
            assert ("as before" if after == skip + 1 else "complete now") in told
            assert compare.stored(line.rows()) == files.read(path) == new(0 if after == skip + 1 else after)
            journal.write(line, new(), path, NOW)
            before, text = saved(arm), path.read_text()


def test_after_kill_9_at_any_request_the_next_start_makes_servos_and_file_agree(
    arm: MockArm, line: Line, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = requests_of_a_write(arm, line, path)
    monkeypatch.setattr(journal, "_undo", _die)
    now, early = new(), 0
    for after in range(13, count, 11):
        link = line._link  # pyright: ignore[reportPrivateUsage]
        line._link = Cut(link, after, Killed)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Killed):
            journal.write(line, new(after), path, NOW)
        line._link = link  # pyright: ignore[reportPrivateUsage]
        for index in range(6):
            arm.servos.boot(index)
        told = journal.recover(line, path, NOW)
        assert told is not None
        if "as before" in told:
            early += 1
            assert compare.stored(line.rows()) == files.read(path) == now
        else:
            assert "complete now" in told
            assert compare.stored(line.rows()) == files.read(path) == new(after)
            now = new(after)
        assert journal.recover(line, path, NOW) is None
    assert 1 <= early <= 4  # torque, lock, mode and feedback of the first servo were as they should be


def _die(line: Line, entry: journal.Journal, error: BaseException) -> str:
    """A killed process undoes nothing."""
    raise error


def test_a_journal_of_another_arm_is_not_written_into_this_one(
    arm: MockArm, line: Line, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_undo", _die)
        patch.setattr(line, "write", lambda *_: (_ for _ in ()).throw(ServoError("cut off")))
        with pytest.raises(ServoError):
            journal.write(line, new(), path, NOW)
    arm.servos.set(3, "Homing_Offset", 1234)
    before = saved(arm)
    with pytest.raises(InterruptedWriteError, match=r"another arm.*Homing_Offset of servo 4"):
        journal.recover(line, path, NOW)
    assert saved(arm) == before


def test_torque_is_off_before_an_offset_changes(arm: MockArm, line: Line, path: Path) -> None:
    """A new offset under torque would let the joint jump to its old goal."""
    line.command([2047] * 6)
    journal.write(line, new(), path, NOW)
    assert not np.any(line.sample().torque)


def test_a_folder_that_cannot_be_written_costs_nothing(arm: MockArm, line: Line, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = saved(arm)
    with pytest.raises(FileError, match="cannot write"):
        journal.write(line, new(), tmp_path / "file" / "arm.json", NOW)
    assert saved(arm) == before


def test_multi_turn_feedback_and_another_mode_are_part_of_what_a_calibration_sets(
    arm: MockArm, line: Line, path: Path
) -> None:
    arm.servos.set(1, "Phase", 0x1C)
    arm.servos.set(2, "Operating_Mode", 1)
    journal.write(line, new(), path, NOW)
    assert arm.servos.get(1, "Phase") == 0x0C
    assert arm.servos.get(2, "Operating_Mode") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"changes": [{"servo_id": 9, "register": "Phase", "before": "00", "after": "01"}]},
        {"changes": [{"servo_id": 1, "register": "Torque_Enable", "before": "00", "after": "01"}]},
        {"changes": [{"servo_id": 1, "register": "Phase", "before": "00", "after": "0102"}]},
        {"changes": [{"servo_id": 1, "register": "Phase", "before": 0, "after": None}]},
        {"changes": [3]},
        {"changes": None},
        {"after": "no calibration"},
        {"after": 7},
        {"more": 1},
    ],
)
def test_a_journal_that_no_calibration_wrote_is_refused_and_nothing_is_written(
    arm: MockArm, line: Line, path: Path, change: dict[str, object]
) -> None:
    before = arm.servos.saved.tobytes()
    good = {"path": str(path), "before": None, "after": files.dump(new()), "changes": []}
    place = journal.journal_path(path)
    place.write_text(json.dumps(good | change))
    with pytest.raises(FileError, match=f"{place} should be the journal of a calibration"):
        journal.recover(line, path, NOW)
    place.write_text("[" * 5000)
    with pytest.raises(FileError, match="nested"):
        journal.recover(line, path, NOW)
    assert arm.servos.saved.tobytes() == before
    assert not path.exists()
