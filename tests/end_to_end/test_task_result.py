"""`so101-run` on the mock arm says what became of the boxes, on the terminal and in its summary."""

import json
from pathlib import Path

import pytest

from so101_robot.cli import RUN

FLAGS = ("--duration_s=0.5", "--robot.mock.realtime_factor=0", "--dashboard=off")


def test_a_run_that_had_no_time_says_that_the_box_was_not_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert RUN.main([*FLAGS, f"--output_dir={tmp_path / 'run'}"]) == 0
    assert "box not placed: " in capsys.readouterr().out
    task = json.loads((tmp_path / "run" / "summary.json").read_text())["task"]
    assert task["name"] == "palletize-1-small"
    assert task["success"] is False
    assert [box["good"] for box in task["boxes"]] == [False]


def test_where_there_is_no_task_nothing_is_said_of_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = (*FLAGS, "--robot.mock.scene=table", f"--output_dir={tmp_path / 'run'}")
    assert RUN.main(flags) == 0
    assert "placed" not in capsys.readouterr().out
    assert "task" not in json.loads((tmp_path / "run" / "summary.json").read_text())
