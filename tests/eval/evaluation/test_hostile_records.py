"""Records from elsewhere, damaged: one message that names file and line, or a report that can be made of them."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import report_records as made
from damage import JUNK, SEEDED, damage_text
from so101_eval.cli import EVAL
from so101_eval.errors import RecordError
from so101_eval.evaluation.records import EPISODES, RUN, as_csv, as_eval_info, check_together, read_episodes
from so101_eval.report import report_data
from so101_eval.report.data.reliance import read_reliance

RECORDS = made.made_up(
    {"baseline": 0.0, "other": 1.0}, 2, cells={("nominal", 0): 0.0, ("camera-pose", 2): -1.0}
)
LINES = [record.to_json() for record in RECORDS]


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / EPISODES
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(LINES[0]) | fields)


def score(**fields: Any) -> str:
    return changed(score=json.loads(LINES[0])["score"] | fields)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (score(failure={"time_s": 1.0, "kind": "mystery", "phase": "carry"}), "no event 'mystery' in phase 'carry'"),
        (score(failure="drop"), "score.failure is 'drop'"),
        (score(boxes=3), "score.boxes is 3, expected a list"),
        (score(boxes=[{}]), "score.boxes[0] has other fields than expected; missing: box, slot"),
        (score(credit="high"), "score.credit is 'high', expected a number"),
        (score(drops=1.5), "score.drops is 1.5"),
        (score(success=1), "score.success is 1, expected true or false"),
        (changed(success="yes"), "success is 'yes'"),
        (changed(policy="a\x1b[2Jb"), "policy is 'a\\x1b[2Jb', expected a name"),
        (changed(policy="x" * 201), "expected a name of at most 200 characters"),
        (changed(variant="a\u202eb"), "variant is 'a\\u202eb', expected a name"),
        (changed(policy=""), "policy is '', expected a name"),
        (changed(ticks=-1), "ticks is -1, expected 0 or more"),
        (changed(level=1e308), "level is 1e+308, expected a whole number"),
        (changed(duration_s=1e308), "duration_s is 1e+308"),
        (changed(duration_s=float("nan")), "NaN is not a finite number"),
        (changed(timing={}), "timing.wall_s is None"),
        (changed(timing=[]), "timing is [], expected names with values"),
        (changed(versions={"lerobot": 6}), "versions.lerobot is 6"),
        (changed(shares={"state": "all"}), "shares.state is 'all'"),
        (changed(interventions={"speed": -0.5}), "interventions.speed is -0.5"),
        (changed(end=[[[[1]]]]), "end is [[[[1]]]]"),
        (changed(media={"video": 1}), "media.video is 1"),
        ("[" * 100_000, "nested 100000 deep"),
        ('{"schema": 1, "x": "' + "y" * 5_000_000 + '"}', "expected at most 4000000"),
        ('{"seed": ' + "9" * 5000 + "}", "4300"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_one_message_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
):
    path = written(tmp_path, [LINES[1], line])
    assert EVAL.main(["report", str(tmp_path), "--no_videos"]) == 2
    said = capsys.readouterr().err
    assert f"{path}, line 2: this is no episode: " in said
    assert message in said
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert len(said) < 1000


OURS = {"junk": (*JUNK, 3, -0.5, "nominal", "x" * 20_000), "depths": (5, 40, 400)}


def check_lines(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    lines = list(LINES)
    at = rng.randrange(len(lines))
    lines[at] = damage_text(lines[at], rng, **OURS)
    path = written(folder, lines)
    try:
        records = read_episodes(path)
        check_together(records)  # a name or a version that was damaged makes another of it
    except RecordError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith(
            (
                f"{path}, line ",
                "a task that this",
                "records of two",
                "one name, two",
                "policies met different",
                "the episode ",
            )
        )
        assert len(refused) < 1000
        return
    for text in (as_csv(records), json.dumps(as_eval_info(records), allow_nan=False)):
        assert text
    json.dumps(report_data(records), allow_nan=False)


def test_the_name_of_another_task_is_refused(tmp_path: Path):
    """A report draws the places of the task."""
    records = read_episodes(written(tmp_path, LINES))
    with pytest.raises(
        RecordError, match="a task that this version does not know: 'nominal'; expected one of pal"
    ):
        report_data([dataclasses.replace(record, task="nominal") for record in records])


@pytest.mark.parametrize("seed", [11371, 52764, 20006, 20649, 22064])
def test_what_was_found_by_damaging_stays_mended(tmp_path: Path, seed: int):
    """A share of attention that is a number in a table's place, a task that there is not, kinds and
    events of five thousand letters, a slot that the task does not have."""
    check_lines(tmp_path, seed)


@settings(max_examples=60, derandomize=True, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_sixty_damaged_files_are_refused_or_told(tmp_path: Path, seed: int):
    check_lines(tmp_path, seed)


@pytest.mark.slow
@settings(max_examples=1000, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_a_thousand_damaged_files(tmp_path: Path, seed: int):
    check_lines(tmp_path, seed)


@settings(max_examples=60, derandomize=True, **SEEDED)
@given(seed=st.integers(0, 2**32))
def test_damaged_probes_are_refused_or_told(tmp_path: Path, seed: int):
    path = tmp_path / "reliance.json"
    path.write_text(damage_text(json.dumps(made.reliance_file(RECORDS)), random.Random(seed), **OURS))
    try:
        found = read_reliance(path)
    except RecordError as error:
        refused = str(error)
    else:
        refused, _ = "", json.dumps(report_data(RECORDS, [found]), allow_nan=False)
    assert not refused or refused.startswith(f"{path} is no reliance.json of so101-reliance: ")
    assert len(refused) < 1000


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "3", '{"schema": 1}', '{"schema": 1, "plan": []}', "[" * 2000, "\xff"]
)
def test_a_damaged_run_json_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str):
    written(tmp_path, [dataclasses.replace(RECORDS[0], variant="x").to_json()])
    (tmp_path / RUN).write_bytes(text.encode("latin-1"))
    assert EVAL.main(["report", str(tmp_path), "--no_videos"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said
    assert RUN in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["3\n", "{\n", '{"step": 1}\n[1]\n', "\xff\n"])
def test_damaged_figures_of_a_training_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
):
    written(tmp_path, LINES)
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("latin-1"))
    assert EVAL.main(["report", str(tmp_path), "--no_videos", f"--training=x={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'metrics.jsonl'}, line " in said
    assert said.count("\n") == 1
