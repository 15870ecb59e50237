"""The expert's success table: its interval, its command line, and that it says what is wrong with a request."""

import json
from pathlib import Path

import pytest
from so101_eval.expert_table import Cell, attempts, main, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # source: Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_published_one(successes: int, trials: int, low: float, high: float):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_nothing_tried_tells_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_table_has_a_row_per_task_and_scenario_and_every_score_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scores = tmp_path / "scores.jsonl"
    asked = ["--task", "palletize-1", "--scenario", "nominal", "randomised", "--episodes", "1"]
    assert main([*asked, "--json", str(scores)]) == 0
    said = capsys.readouterr().out
    assert "nominal 0" in said
    assert "randomised 2" in said
    assert said.count("1/1") >= 2
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    assert [(row["scenario"], row["level"], row["success"]) for row in rows] == [
        ("nominal", 0, True),
        ("randomised", 2, True),
    ]


@pytest.mark.slow
def test_two_processes_find_what_one_finds():
    cells = [Cell("palletize-1", "nominal", 0), Cell("palletize-2", "randomised", 2)]
    alone = sorted(run.score.to_json() for run in attempts(cells, range(3), jobs=1))
    together = sorted(run.score.to_json() for run in attempts(cells, range(3), jobs=2))
    assert alone == together


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--task", "palletize-9"], "there is no task 'palletize-9'; available: palletize-1"),
        (["--scenario", "fog"], "there is no scenario 'fog'; available: nominal"),
        (["--scenario", "randomised", "--level", "4"], "no level 4; possible are 0, 1, 2, 3"),
        (["--json", "/proc/none/scores.jsonl"], "/proc/none/scores.jsonl"),
        (["--first-seed", "-1"], "seed -1"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main([*asked, "--episodes", "1"]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
