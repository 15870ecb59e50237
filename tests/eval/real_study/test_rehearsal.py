"""From init to report on the mock arm, with the two policies that come with the package and nobody at the bench."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from so101_eval.cli import BENCH, EVAL
from so101_eval.evaluation.records import read_runs
from so101_eval.real_study.design.lock import read_locked
from so101_eval.real_study.design.study import read_study, write_study
from so101_eval.real_study.session.runner import TRIALS
from so101_robot.runs.clip import CLIP
from so101_robot.runs.log import RUN, TICKS, read_ticks

LIMIT_S = 9.5
"""Of a trial: these policies succeed in 8 s, or not in the task's 15 either."""
POLICIES = ("--policies", "base=demo:stock", "rec=demo:recommended")


@pytest.mark.timeout(600)
def test_three_blocks_from_init_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "study"
    flags = [str(folder), *POLICIES, "--task=palletize-1-small", "--starts=3", "--practice=0"]
    assert BENCH.main(["init", *flags]) == 0
    study = read_study(folder)
    write_study(folder, replace(study, time_limit_s=LIMIT_S))
    assert BENCH.main(["lock", str(folder)]) == 0
    assert BENCH.main(["rehearse", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "REHEARSAL on the mock arm, not a result. 3 of 3 planned blocks" in said
    assert len(list((folder / "events.jsonl").read_text().splitlines())) == 1, "the study itself is untouched"
    rehearsal = folder / "rehearsal"
    records = read_runs([rehearsal])
    assert [record.kind for record in records] == ["rehearsal"] * 6
    assert {record.policy for record in records} == {"base", "rec"}
    study, state = read_locked(rehearsal)
    assert {record.scene_sha256 is not None and record.seed for record in records} == {0, 1, 2}
    for code in state.trials:
        trial = rehearsal / TRIALS / code
        assert {path.name for path in trial.iterdir()} >= {
            RUN,
            TICKS,
            CLIP,
            "reset_front.png",
            "end_front.png",
        }
        text = (trial / RUN).read_text() + (trial / TICKS).read_text()
        for spec in study.policies:
            assert spec.sha256[:12] not in text
            assert str(spec.path) not in text
        ticks = [tick for tick in read_ticks(trial / TICKS) if "phase" in tick]  # the last line is a message
        assert ticks[0]["phase"] == "approach", (
            "all begin at the study's start pose, from where the arm rests"
        )
        assert ticks[-1]["phase"] == "home"
        answers = [tick["inference"] for tick in ticks if "inference" in tick]
        assert answers
        assert all(answer["shares"] is None and answer["compute_ms"] is None for answer in answers)
    latencies = {
        answer["latency_ms"]
        for code in state.trials
        for tick in read_ticks(rehearsal / TRIALS / code / TICKS)
        if (answer := tick.get("inference"))
    }
    assert len(latencies) == 1, "one latency for all"
    assert EVAL.main(["report", str(rehearsal), "--no_videos"]) == 0
    data = json.loads((rehearsal / "report" / "report.json").read_text())
    assert data["sentence"]["headline"].startswith("Rehearsal on the mock arm, not a result")
    assert BENCH.main(["run", str(folder), "--robot.port=mock"]) == 2
    assert "is no real arm" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twelve_blocks_of_two_boxes(tmp_path: Path):
    folder = tmp_path / "study"
    flags = [str(folder), *POLICIES, "--task=palletize-2", "--starts=12", "--practice=1"]
    assert BENCH.main(["init", *flags]) == 0
    assert BENCH.main(["rehearse", str(folder)]) == 0
    assert len(read_runs([folder / "rehearsal"])) == 24
