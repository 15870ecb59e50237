"""The expert's success table: its rows, its file, its command line, and that it says what is wrong with a request."""

import dataclasses
from pathlib import Path

import pytest

from experiments import expert_table
from experiments.expert_table import Cell, Run, attempts, main, stored

ASKED = ["--task", "palletize-1", "--scenario", "nominal", "randomised"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a table with an attempt a row."""
    out = tmp_path_factory.mktemp("table") / "runs.jsonl"
    assert main([*ASKED, "--episodes", "1", "--out", str(out)]) == 0
    return out


def test_the_table_has_a_row_per_task_and_scenario_and_every_attempt_is_kept(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    runs = stored(kept)
    assert [run.key for run in runs] == [
        (Cell("palletize-1", "nominal", 0), 0),
        (Cell("palletize-1", "randomised", 2), 0),
    ]
    assert all(run.score.success for run in runs)
    assert [Run.from_json(run.to_json()) for run in runs] == runs
    monkeypatch.setattr(expert_table, "run_expert", lambda *_: pytest.fail("it was played already"))
    assert main([*ASKED, "--episodes", "1", "--out", str(kept)]) == 0
    table = [line.split(" | ") for line in capsys.readouterr().out.strip().splitlines()]
    assert [row[1] for row in table] == ["scenario", "---", "nominal", "randomised 2"]
    assert [row[2] for row in table[2:]] == ["1/1", "1/1"]
    assert {len(row) for row in table} == {len(expert_table.HEAD)}


def test_an_interrupted_table_goes_on_and_loses_at_most_the_line_that_was_cut_off(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out, whole = tmp_path / "runs.jsonl", kept.read_text()
    out.write_text(whole + whole[:100])
    first = stored(kept)[0]
    played: list[int] = []

    def play(work: tuple[Cell, int]) -> Run:
        if len(played) == 1:
            raise KeyboardInterrupt
        played.append(work[1])
        return first._replace(score=dataclasses.replace(first.score, seed=work[1]))

    monkeypatch.setattr(expert_table, "_attempt", play)
    asked = ["--task", "palletize-1", "--episodes", "3", "--out", str(out)]
    assert main(asked) == 130
    assert "interrupted after 2 attempts; the same command again goes on" in capsys.readouterr().err
    played[:] = [-1, -2]
    assert main(asked) == 0
    assert played == [-1, -2, 2]
    assert "| 3/3 |" in capsys.readouterr().out
    assert out.read_text().startswith(whole)
    assert [run.score.seed for run in stored(out)] == [0, 0, 1, 2]


def test_a_file_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for text in ("precious\n", "precious", '{"score": 3}\n'):
        out = tmp_path / "mine.txt"
        out.write_text(text)
        assert main([*ASKED, "--out", str(out)]) == 2
        complaint = capsys.readouterr().err
        assert "choose another --out" in complaint
        assert complaint.count("\n") == 1
        assert out.read_text() == text


@pytest.mark.slow
def test_two_processes_find_what_one_finds():
    cells = [Cell("palletize-1", "nominal", 0), Cell("palletize-2", "randomised", 2)]
    work = [(cell, seed) for cell in cells for seed in range(3)]
    alone = sorted(run.score.to_json() for run in attempts(work, jobs=1))
    together = sorted(run.score.to_json() for run in attempts(work, jobs=2))
    assert alone == together


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--task", "palletize-9"], "there is no task 'palletize-9'; available: palletize-1"),
        (["--scenario", "fog"], "there is no scenario 'fog'; available: nominal"),
        (["--scenario", "randomised", "--level", "4"], "no level 4; possible are 0, 1, 2, 3"),
        (["--out", "/proc/none/runs.jsonl"], "/proc/none/runs.jsonl"),
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
