"""so101-eval compare and so101-eval plan: the sentence, the tables, and one message for what cannot be."""

import re

import pytest

from so101_eval.cli import EVAL
from so101_eval.commands.plan import Design, detectable, needed
from so101_eval.statistics import Pairs, barnard, mcnemar_power, newcombe, tango
from so101_eval.statistics.compare import Count, compare_counts, compare_pairs

FIELD = ["--both", "12", "--only_first", "5", "--only_second", "2", "--neither", "1"]


def test_two_counts_that_cannot_be_told_apart(capsys: pytest.CaptureFixture[str]):
    assert EVAL.main(["compare", "17/20", "14/20"]) == 0
    first_line, *_ = capsys.readouterr().out.splitlines()
    assert first_line == (
        "no difference was detected; +34 points would probably have been. first 17/20, second 14/20: +15 points, "
        "95 % interval -11 to +39 points (Barnard p = 0.29)."
    )


def test_two_counts_that_can(capsys: pytest.CaptureFixture[str]):
    assert EVAL.main(["compare", "20/40", "36/40", "--names", "baseline", "regularized"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "regularized is better. baseline 20/40, regularized 36/40: -40 points, 95 % interval "
    )
    assert "One checkpoint of each policy compares" in said


@pytest.mark.parametrize(
    "asked",
    [
        FIELD,
        ["17/20", "14/20", "--both", "12"],
        ["17/20", "14/20", "--only_first", "5"],
        ["17/20", "14/20", "--only_second", "2"],
        ["17/20", "14/20", "--neither", "1"],
        ["17/20", "14/20", *FIELD],
    ],
)
def test_pairs_can_be_told_in_any_way(asked: list[str], capsys: pytest.CaptureFixture[str]):
    assert EVAL.main(["compare", *asked]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "no difference was detected; +37 points would probably have been. first 17/20, second 14/20: +15 points"
    )
    assert "both 12, first only 5, second only 2, neither 1" in said
    assert "p = 0.453, mid-p = 0.289" in said


def test_a_watched_study_is_decided_by_its_e_value(capsys: pytest.CaptureFixture[str]):
    pairs = Pairs(20, 13, 1, 3)
    assert compare_pairs(pairs, watched=True).winner == "first"
    assert EVAL.main(["compare", "33/37", "21/37", "--both", "20", "--watched"]) == 0
    assert "(e = 78, needed 20)." in capsys.readouterr().out.splitlines()[0]
    # six telling pairs, all won: enough for a fixed number of pairs, not for one who looked
    few = Pairs(4, 6, 0, 4)
    assert compare_pairs(few).winner == "first"
    looked = compare_pairs(few, watched=True)
    assert looked.winner is None
    assert looked.interval.covers(0)
    assert looked.sentence().startswith("no difference was detected")


def test_a_comparison_rests_on_the_statistics():
    counts = compare_counts(Count(17, 20), Count(14, 20))
    assert counts.interval == newcombe((17, 20), (14, 20))
    assert counts.evidence == f"Barnard p = {barnard((17, 20), (14, 20)):.2g}"
    assert compare_pairs(Pairs(12, 5, 2, 1)).interval == tango(5, 2, 20)


def test_hardly_any_episodes_are_not_called_equal(capsys: pytest.CaptureFixture[str]):
    assert EVAL.main(["compare", "--both", "2", "--only_first", "1", "--only_second", "0"]) == 0
    assert "no difference was detected; with so few episodes none could have been" in capsys.readouterr().out
    assert EVAL.main(["compare", "0/20", "0/20"]) == 0
    assert capsys.readouterr().out.startswith("no difference was detected; +")


def test_names_are_exchanged_by_exchanging_counts():
    one, other = compare_pairs(Pairs(10, 15, 2, 3)), compare_pairs(Pairs(10, 2, 15, 3))
    assert (one.winner, other.winner) == ("first", "second")
    assert other.interval == pytest.approx(one.interval.mirrored())
    assert one.evidence == other.evidence


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["21/20", "14/20"], "21/20: there cannot be more successes than episodes"),
        (["0/0", "14/20"], "0/0: nothing was tried"),
        (["17", "14/20"], "'17': expected SUCCESSES/EPISODES, such as 17/20"),
        (["-1/20", "3/20"], "unrecognized arguments: -1/20"),
        (["17/20"], "1 count(s): expected two"),
        (["17/20", "14/20", "3/20"], "3 count(s): expected two"),
        ([], "nothing to compare"),
        (["17/20", "14/20", "--both", "16"], "both can succeed on 11 to 14 scenes"),
        (["17/20", "14/20", "--both", "12", "--neither", "2"], "cannot have both 12, neither 2"),
        (["17/20", "14/25", "--both", "12"], "17/20 and 14/25: pairs need as many episodes"),
        (["--both", "12"], "need --both, --only_first and --only_second"),
        (["--both", "-1", "--only_first", "3", "--only_second", "2"], "both -1: expected 0 or more"),
        (["17/20", "14/20", "--watched"], "--watched needs pairs"),
        (["17/20", "14/20", "--alpha", "5"], "alpha 5: expected a number between 0 and 1"),
        (["17/20", "14/20", "--power", "1"], "power 1: expected a number between 0 and 1"),
    ],
)
def test_impossible_input_is_refused_in_one_line(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert EVAL.main(["compare", *asked]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("so101-eval: ")
    assert said in complaint
    assert complaint.count("\n") == 1


def test_a_plan_answers_first(capsys: pytest.CaptureFixture[str]):
    assert EVAL.main(["plan", "--base", "60%", "--difference", "0.15", "--episodes", "30"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == (
        "0.75 against 0.6 (+15 points) takes 120 episodes of each policy on common scenes (phi 0.3; 166 if phi is 0), "
        "152 on separate ones; watched after every pair, plan 184 and use 109 on average."
    )
    assert re.search(r"│\s+\+20 │\s+82 │", said)
    assert re.search(r"│\s+30 │", said)
    assert "3 against 3 never reach p < 0.1, 5 against 5 reach 0.008 at best" in said


def test_planned_numbers_do_what_they_promise():
    design = Design(base=0.6, phi=0.0, power=0.8, alpha=0.05)
    found = needed(design, 0.2)
    assert mcnemar_power(found.paired, 0.32, 0.12) >= 0.8
    assert found.correlated == found.paired
    assert found.mean is not None
    assert found.planned is not None
    assert found.mean < found.paired < found.planned
    shown = detectable(design, found.paired)
    assert shown.paired == pytest.approx(0.2, abs=0.0011)
    assert shown.watched is not None
    assert shown.watched > 0.2
    assert detectable(design, 5).paired is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--base", "160"], "--base 160: expected 0 to 1, or 0% to 100%"),
        (["--base", "most"], "--base 'most': expected a share such as 0.15 or 15%"),
        (
            ["--base", "0.9", "--difference", "0.2"],
            "base rate + difference 1.1: a probability is from 0 to 1",
        ),
        (["--difference", "0"], "no number of episodes shows a difference that is not there"),
        (["--phi", "1.5"], "--phi 1.5: expected 0"),
        (["--episodes", "0"], "--episodes 0: expected 1 to 100000"),
        (["--power", "0"], "--power 0: expected a number between 0 and 1"),
        (["--alpha", "1"], "--alpha 1: expected a number between 0 and 1"),
    ],
)
def test_impossible_plans_are_refused_in_one_line(
    asked: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert EVAL.main(["plan", *asked]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("so101-eval: ")
    assert said in complaint
    assert complaint.count("\n") == 1
