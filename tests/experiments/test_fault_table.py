"""The fault table: every row can be injected, the rule can fail, and an interrupted table goes on."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.faults import judging, ours, table
from experiments.faults.record import Record
from experiments.faults.report import markdown
from experiments.faults.rows import BY_NAME, ROWS
from experiments.faults.sketch import Sketch
from experiments.faults.stage import Stage
from experiments.faults.traced import Motion, Order

BEGIN, END = "<!-- fault table -->", "<!-- end of fault table -->"
GOOD = Record("NaN once", "so101-run", 0, "went on", "", 0.03, 0.1, 65.0, 0.0, 4.0, 0.0, 200, 0, 6)
SILENT = BY_NAME["a servo silent for a second"]


def motion(joint_deg: list[float], able: bool = True, free: bool = False) -> Motion:
    """The second joint's way, a sample every 10 ms."""
    n = len(joint_deg)
    joints = np.zeros((n, 6))
    joints[:, 1] = np.radians(joint_deg)
    heights = np.zeros((n, 7))
    heights[:, 5] = 0.2 - np.arange(n) * 0.01
    flags = np.full((n, 6), able), np.full((n, 6), free)
    return Motion(np.linspace(0.0, 0.01 * (n - 1), n), joints, *flags, heights)


def test_every_row_has_a_name_of_its_own_and_can_be_injected():
    assert len(BY_NAME) == len(ROWS) > 70
    stage = Stage(0)
    for row in ROWS:
        row.inject(stage, 3.0, stage.rng)


def test_a_leap_counts_only_where_the_servo_is_able():
    way = [0.0, 0, 0, 10, 10, 10, 10]
    assert judging.largest_speed(motion(way)) == pytest.approx(333.3, abs=1)
    assert judging.largest_speed(motion(way, able=False)) == 0.0


def test_height_is_lost_by_the_driver_only_after_it_let_go():
    limp = motion([0.0] * 20, free=True)
    assert judging.let_fall(limp, []) == 0.0
    assert judging.let_fall(limp, [Order(0.1, "let go", 3)]) == pytest.approx(90.0)
    assert judging.fell(limp, [], 0.05) == pytest.approx(140.0)
    assert judging.fell(limp, [Order(0.1, "let go", 3)], 0.05) == pytest.approx(40.0)


def test_outside_the_range_is_outside():
    ranges = np.radians([[-10.0, 10.0]] * 6)
    assert judging.beyond(motion([0.0, 12.5]), ranges) == pytest.approx(2.5)
    assert judging.beyond(motion([0.0, -9.0]), ranges) == 0.0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"speed_deg_s": 300.0}, "leapt"),
        ({"beyond_deg": 2.0}, "left its range"),
        ({"let_fall_mm": 31.0}, "let the arm fall"),
        ({"drove_s": 0.4}, "drove on"),
        ({"wrong_deg": 12.0}, "took a joint"),
        ({"missing": 1}, "lost 1 ticks"),
    ],
)
def test_every_part_of_the_rule_can_fail(wrong: dict[str, float], words: str):
    assert judging.judge(GOOD, SILENT, touched=True) == []
    assert words in judging.judge(replace(GOOD, **wrong), SILENT, touched=True)[0]


def test_what_a_row_allows_is_allowed():
    start = BY_NAME["a servo of another model"]
    assert judging.judge(GOOD, start, touched=False) == []
    assert judging.judge(GOOD, start, touched=True) == ["drove an arm that was to be refused"]
    twice, full = BY_NAME["Ctrl-C, and again after a second"], BY_NAME["the disk is full"]
    assert judging.judge(replace(GOOD, let_fall_mm=90.0), twice, touched=True) == []
    assert judging.judge(replace(GOOD, missing=9), full, touched=True) == []


def test_pictures_of_the_stage_differ_by_camera_and_move_with_the_arm():
    sketch = Sketch(32, 24)
    first, moved = np.zeros(20), np.full(20, 0.05)
    assert not np.array_equal(sketch.render(first, "front"), sketch.render(moved, "front"))
    own = np.abs(sketch.render(first, "front").astype(float) - sketch.render(moved, "front")).mean()
    other = np.abs(sketch.render(first, "front").astype(float) - sketch.render(first, "wrist")).mean()
    assert other > 1.5 * own
    assert sketch.render(first, "front").min() > 40


def test_a_silent_servo_on_the_stage_is_noticed_and_the_arm_does_not_fall():
    record = ours.drive(SILENT, 3)
    assert record.unsafe == []
    assert record.ended == "went on"
    assert record.react_s is not None
    assert record.react_s < 0.05
    assert record.missing == 0
    assert record.ticks > 200
    assert record.free_at_end == 6


def test_the_same_seed_gives_the_same_repetition():
    row = BY_NAME["a servo of another model"]
    assert ours.drive(row, 5) == ours.drive(row, 5)


def test_ctrl_c_of_a_row_reaches_a_process_that_is_deaf_to_the_terminals(tmp_path: Path):
    out = tmp_path / "table.jsonl"
    asked = ["--row", "Ctrl-C", "--side", "so101-run", "--repetitions", "2", "--jobs", "2", "--out", str(out)]
    assert table.main(asked) == table.OK
    assert {json.loads(line)["ended"] for line in out.read_text().splitlines()} == {"let go at rest"}


@pytest.mark.slow
def test_ctrl_c_while_processes_play_ends_the_table_and_keeps_what_was_done(tmp_path: Path):
    """A process that is in the middle of a repetition takes SIGTERM for the wish to park, and plays on."""
    out = tmp_path / "table.jsonl"
    asked = [
        "--row",
        SILENT.name,
        "--side",
        "so101-run",
        "--repetitions",
        "500",
        "--jobs",
        "2",
        "--out",
        str(out),
    ]
    command = [sys.executable, "-m", "experiments.faults.table", *asked]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end_s = time.monotonic() + 100.0
        while not (out.exists() and out.stat().st_size) and time.monotonic() < end_s:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60.0)[1]
    assert process.returncode == table.INTERRUPTED
    assert "interrupted; the same command with --out goes on" in error
    assert all(json.loads(line)["unsafe"] == [] for line in out.read_text().splitlines())


def test_a_table_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    done: list[table.Task] = []

    def do(task: table.Task) -> Record:
        done.append(task)
        return replace(GOOD, row=task.row, side=task.side, seed=task.seed)

    monkeypatch.setattr(table, "do", do)
    out = tmp_path / "table.jsonl"
    arguments = ["--row", "NaN once", "NaN for good", "--out", str(out)]
    assert table.main([*arguments, "--repetitions", "2"]) == 0
    assert len(done) == 8
    out.write_text(out.read_text() + '{"row": "cut sho')
    assert table.main([*arguments, "--repetitions", "3", "--lerobot-repetitions", "2"]) == 0
    assert len(done) == 10
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 10
    assert "| NaN once | went on | 30 / 30 ms | 65 °/s | 0.0° | 4 mm | 0 | 3/3 |" in capsys.readouterr().out


def test_an_unsafe_repetition_of_ours_is_an_exit_code_and_one_of_theirs_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong: set[str] = set()
    monkeypatch.setattr(
        table,
        "do",
        lambda task: replace(
            GOOD, row=task.row, side=task.side, unsafe=["drove on for 3.0 s"] if task.side in wrong else []
        ),
    )
    arguments = ["--row", "NaN once", "--repetitions", "1"]
    wrong.add("lerobot")
    assert table.main(arguments) == 0
    wrong.add("so101-run")
    assert table.main(arguments) == 1
    assert "unsafe: NaN once" in capsys.readouterr().err


def test_a_row_that_does_not_exist_is_a_message_that_lists_the_rows(capsys: pytest.CaptureFixture[str]):
    assert table.main(["--row", "earthquake"]) == 2
    said = capsys.readouterr().err
    assert "earthquake" in said
    assert "NaN once" in said


def test_a_row_that_lerobot_has_nothing_of_says_so():
    row = BY_NAME["the recorder fails"]
    assert "has none" in markdown([row], [replace(GOOD, row=row.name)])


def test_the_table_goes_between_the_marks_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table, "do", lambda task: replace(GOOD, row=task.row, side=task.side))
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    for _ in range(2):
        assert table.main(["--row", "NaN once", "--repetitions", "1", "--markdown", str(page)]) == 0
        text = page.read_text()
        assert text.startswith(f"above\n{BEGIN}\n")
        assert text.endswith(f"{END}\nbelow\n")
        assert "old" not in text
        assert text.count("| NaN once |") == 1
