"""What so101-bench refuses, as a person at the bench meets it: one message, exit code 2, and nothing has moved."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import untrained
from real_sessions import Sitting, play
from real_studies import POSE, locked, small_study
from so101_eval.cli import BENCH, EVAL
from so101_eval.errors import ConfigError
from so101_eval.real_study.commands.rehearse import rehearse
from so101_eval.real_study.design.lock import lock, writing
from so101_eval.real_study.design.study import STUDY, write_study
from so101_eval.real_study.events.journal import EVENTS
from so101_eval.real_study.unblinding.unblind import unblind

ARM = "--robot.port=/dev/no-such-arm"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message."""
    capsys.readouterr()
    assert BENCH.main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("so101-bench") >= 1
    return said


def test_a_study_that_was_edited_after_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "s"
    study = locked(folder)
    (folder / STUDY).write_text(replace(study, blocks=4).to_yaml())
    before = (folder / EVENTS).read_bytes()
    for command in (
        ["run", str(folder), ARM],
        ["unblind", str(folder)],
        ["score", str(folder), "--rater=eva"],
    ):
        assert "was edited after the study was locked" in refused(capsys, *command)
    assert (folder / EVENTS).read_bytes() == before


def test_two_sessions_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "s"
    locked(folder)
    with writing(folder):
        for command in (["run", str(folder), ARM], ["unblind", str(folder)]):
            assert "another so101-bench is at work" in refused(capsys, *command)


def test_a_study_that_was_unblinded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "s"
    locked(folder)
    play(folder)
    unblind(folder)
    assert "so no trial can be added" in refused(capsys, "run", str(folder), ARM)
    assert "does not score any more" in refused(capsys, "score", str(folder), "--rater=eva")


def test_a_study_that_is_none_or_not_locked_or_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "is no study" in refused(capsys, "run", str(tmp_path), ARM)
    folder = tmp_path / "s"
    folder.mkdir()
    write_study(folder, small_study())
    assert "is not locked yet: so101-bench lock" in refused(capsys, "run", str(folder), ARM)
    assert lock(folder)
    assert "is locked already" in refused(capsys, "lock", str(folder))
    flags = ["--policies", "a=hold", "b=hold", "--task=palletize-1", "--start_pose", *map(str, POSE)]
    assert "is there already" in refused(capsys, "init", str(folder), *flags)


def test_an_arm_that_is_not_there_is_no_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "s"
    locked(folder)
    assert "/dev/no-such-arm" in refused(capsys, "run", str(folder), ARM)
    assert len((folder / EVENTS).read_text().splitlines()) == 1
    assert "--robot.port is missing" in refused(capsys, "run", str(folder))


def test_policies_that_want_other_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    one, other = untrained(tmp_path / "one"), untrained(tmp_path / "other", px=64)
    flags = ["--task=palletize-1-small", "--starts=2", "--fps=30", "--start_pose", *map(str, POSE)]
    said = refused(capsys, "init", str(tmp_path / "s"), "--policies", f"a={one}", f"b={other}", *flags)
    assert "All policies of a run see the same" in said
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("count", [1, 7])
def test_one_policy_or_seven(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int):
    names = [f"p{number}=hold" for number in range(count)]
    flags = ["--task=palletize-1", "--starts=2", "--start_pose", *map(str, POSE)]
    assert "expected 2 to 6" in refused(capsys, "init", str(tmp_path / "s"), "--policies", *names, *flags)


@pytest.mark.parametrize("count", [3, 6])
def test_three_and_six_policies_each_against_the_first(tmp_path: Path, count: int):
    folder = tmp_path / "s"
    locked(folder, small_study(blocks=12, policies=count, practice=1))
    with writing(folder) as (study, journal):
        sitting = Sitting(
            study, folder, journal, succeeds=lambda block, policy: policy == 1 or block % 2 == 0
        )
        sitting.run()
    question = next(view.question for view in sitting.operator.views if view.screen == "block")
    assert question == f"Which trial was the first policy of the {count}?"
    summary = unblind(folder)
    assert [one.trials for one in summary.of_policies] == [12] * count
    assert len(summary.verdict.compared) == count - 1
    assert summary.verdict.compared[0].mean == 0.5
    assert all(found.mean == 0 and found.verdict == "open" for found in summary.verdict.compared[1:])
    if count < 6:
        return  # one page is enough
    assert EVAL.main(["report", str(folder), "--no_videos"]) == 0
    data = json.loads((folder / "report" / "report.json").read_text())
    assert len(data["variants"]) == count
    assert [row["variant"] for row in data["hand"]], "the hand is told of"


@pytest.mark.slow
def test_six_policies_are_driven_on_the_simulated_arm(tmp_path: Path):
    folder = tmp_path / "s"
    folder.mkdir()
    write_study(folder, replace(small_study(blocks=1, policies=6), time_limit_s=0.3))
    lock(folder)
    state = rehearse(folder)
    assert len(state.trials) == 6
    assert len({trial.slot for trial in state.trials.values()}) == 6
    unblind(folder)
    with pytest.raises(ConfigError, match="so no trial can be added"):
        rehearse(folder)
