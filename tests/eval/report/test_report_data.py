"""Report data: numbers by a second way, the same for shuffled records, and only labels change with names."""

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import report_records as made
from so101_eval.errors import ConfigError, RecordError
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.report import report_data
from so101_eval.report.data.contrasts import rate_of
from so101_eval.report.data.describe import milestones, placement, throughput, times
from so101_eval.report.data.reliance import correlation, read_reliance
from so101_eval.report.data.table import Cell, Table
from so101_eval.statistics import e_path, wilson

NOMINAL = Cell("simulation", "palletize-2", "v1", "nominal", 0)


def outcomes(arm: str, verdicts: str, train_seed: int | None = None, **changes: Any) -> list[EpisodeRecord]:
    """An episode a letter: + success, - failure, ? nobody knows."""
    known = {"+": True, "-": False, "?": None}
    return [
        made.episode(arm, known[letter], 1000 + scene, train_seed, **changes)
        for scene, letter in enumerate(verdicts)
    ]


def two_arms(b: str, a: str) -> list[EpisodeRecord]:
    return outcomes("baseline", b) + outcomes("ours", a)


@pytest.fixture(scope="module")
def small() -> list[EpisodeRecord]:
    cells = {("nominal", 0): 0.0, ("camera-pose", 2): -1.0}
    return made.made_up({"baseline": 0.0, "ours": 1.5, "third": 0.2}, 8, (0, 1), cells)


def test_two_checkpoints_are_compared_by_mcnemar():
    data = report_data(two_arms("+++++----------", "+++++++++++++--"))
    (found,) = data["contrasts"]
    assert found["pairs"] == {"both": 5, "first_only": 8, "second_only": 0, "neither": 2}
    assert found["difference"] == pytest.approx(8 / 15)
    assert found["p_value"] == pytest.approx(stats.binomtest(8, 8).pvalue)
    assert found["verdict"] == "better"
    assert data["sentence"]["headline"].startswith("ours succeeds more often than baseline: +53 points")
    assert "checkpoints, not ways to train" in data["sentence"]["reach"][0]


def test_what_cannot_be_told_apart_is_never_called_equal():
    data = report_data(two_arms("+-+-+-+-+-", "+-+-+-+-++"))
    assert data["sentence"]["headline"].startswith("Could not tell ours and baseline apart")
    assert "was detectable" in data["sentence"]["headline"]
    assert "equal" not in json.dumps(data["sentence"])
    assert data["contrasts"][0]["verdict"] == "open"


def test_the_worse_arm_is_named_last_and_the_interval_turned_round():
    data = report_data(two_arms("+++++++++++++--", "+++++----------"))
    assert data["sentence"]["headline"].startswith("baseline succeeds more often than ours: +53 points")


def test_three_training_seeds_speak_of_checkpoints_whatever_the_numbers():
    records = [r for seed in range(3) for r in outcomes("baseline", "+-" + "-" * 18, seed)]
    records += [r for seed in range(3) for r in outcomes("ours", "+" * 19 + "-", seed)]
    data = report_data(records)
    assert data["contrasts"][0]["verdict"] == "better"
    assert data["sentence"]["headline"].startswith("The 3 checkpoints of ours succeed more often")
    assert "cannot go below p = 0.1" in data["sentence"]["reach"][0]
    assert data["contrasts"][0]["smallest_p"] == pytest.approx(2 / math.comb(6, 3))


def test_five_training_seeds_speak_of_the_way_to_train():
    records = [r for seed in range(5) for r in outcomes("baseline", "+-" + "-" * 18, seed)]
    records += [r for seed in range(5) for r in outcomes("ours", "+" * 19 + "-", seed)]
    data = report_data(records)
    assert data["sentence"]["headline"].startswith("ours succeeds more often than baseline")
    assert data["contrasts"][0]["permutation_p"] == pytest.approx(2 / math.comb(10, 5))


def test_five_seeds_of_which_one_carries_everything_decide_nothing():
    records = [r for seed in range(5) for r in outcomes("baseline", "-" * 20, seed)]
    records += [r for seed in range(5) for r in outcomes("ours", ("+" if seed == 0 else "-") * 20, seed)]
    assert report_data(records)["contrasts"][0]["verdict"] == "open"


def test_a_p_value_over_seeds_is_below_alpha_exactly_when_the_interval_leaves_out_0(
    small: list[EpisodeRecord],
):
    for found in report_data(small)["contrasts"]:
        low, high = found["interval"]
        assert not (found["p_value"] <= 0.05 and low <= 0 <= high)


def test_one_checkpoint_has_wilsons_interval():
    rate = rate_of(Table(outcomes("ours", "+++-")).outcomes(Table(outcomes("ours", "+++-")).arms[0], NOMINAL))
    assert rate is not None
    assert rate.interval == wilson(3, 4)


def test_the_evidence_of_checkpoints_is_the_e_process_of_pairs():
    b, a = "-+--+-+---", "++-+++-+++"
    (path,) = report_data(two_arms(b, a))["evidence"]
    expected = e_path([x == "+" for x in a], [x == "+" for x in b]) / math.log(10)
    assert path["log10_e"] == pytest.approx(expected.tolist(), abs=1e-5)


def test_scenes_without_a_verdict_count_for_nobody_and_are_listed():
    data = report_data(two_arms("+-+-?", "++?-+"))
    assert data["contrasts"][0]["scenes"] == 3
    told = {row["what"]: row["episodes"] for row in data["integrity"]["exclusions"]}
    assert told["baseline: no verdict (the camera was lost)"] == 1
    assert told["ours, nominal: no partner in baseline"] == 1


def test_one_arm_alone_is_a_rate_with_its_interval():
    data = report_data(outcomes("ours", "+++-"))
    low, high = wilson(3, 4)
    assert data["sentence"]["headline"] == (
        f"ours succeeded in 3 of 4 episodes (95 % interval {100 * low:.0f} to {100 * high:.0f} %)."
    )
    assert data["contrasts"] == data["evidence"] == []


def test_no_order_of_records_changes_a_bit(small: list[EpisodeRecord]):
    shuffled = small.copy()
    random.Random(3).shuffle(shuffled)
    reliance = made.reliance_file(small)
    expected = json.dumps(report_data(small, [reliance]))
    assert json.dumps(report_data(shuffled, [reliance])) == expected
    later = [dataclasses.replace(record, timing={"wall_s": 99.0}) for record in small]
    assert json.dumps(report_data(later, [reliance])) == expected


def test_other_names_change_nothing_but_labels(small: list[EpisodeRecord]):
    names = {"baseline": "zz-one", "ours": "aa-two", "third": "mm-three"}
    renamed = [
        dataclasses.replace(
            record, arm=names[record.arm], policy=record.policy.replace(record.arm, names[record.arm])
        )
        for record in small
    ]
    text = json.dumps(report_data(small, baseline="baseline"))
    for old, new in names.items():
        text = text.replace(old, new)
    # "baseline" is also a word of the report's own
    assert json.loads(text) == json.loads(
        json.dumps(report_data(renamed, baseline="zz-one")).replace("baseline", "zz-one")
    )


def test_letters_are_shared_by_those_that_could_not_be_told_apart():
    data = report_data(two_arms("-" * 15, "+" * 15) + outcomes("third", "+" * 14 + "-"))
    assert {row["arm"]: row["letters"] for row in data["letters"]["of"]} == {
        "baseline": "b", "ours": "a", "third": "a",
    }  # fmt: skip


def test_boxes_per_hour_are_good_boxes_in_robot_time():
    records = outcomes("ours", "++-")
    good = sum(bool(box["good"]) for record in records for box in record.score["boxes"])
    hours = sum(record.score["robot_s"] for record in records) / 3600
    row = throughput(records)[0]
    assert row["value"][0] == pytest.approx(good / hours)
    assert row["value"][1] == pytest.approx(stats.chi2.ppf(0.025, 2 * good) / 2 / hours)
    assert row["value"][2] == pytest.approx(stats.chi2.ppf(0.975, 2 * good + 2) / 2 / hours)


def test_the_median_s_interval_is_the_sign_test_turned_round():
    median = times(outcomes("ours", "+" * 20))["median_s"]
    seconds = sorted(record.score["robot_s"] for record in outcomes("ours", "+" * 20))
    assert median == [
        pytest.approx(np.median(seconds)),
        seconds[5],
        seconds[14],
    ]  # Conover's table A3: n = 20, 5
    assert times(outcomes("ours", "+" * 5))["median_s"] is None


def test_a_funnel_never_widens():
    rows = milestones(outcomes("ours", "+-+--+--"))
    passed = [row["passed"] for row in rows]
    assert passed == sorted(passed, reverse=True)
    assert rows[0]["boxes"] == 16


def test_every_box_is_on_the_plan_or_counted_beside_it():
    found = placement(outcomes("ours", "+-+--+--"))
    assert len(found["points"]) + found["away"] + found["unmeasured"] == 16
    assert found["good"] == sum(point[2] for point in found["points"])


def test_discordant_pairs_are_episodes_that_only_one_won():
    data = report_data(two_arms("+-+-----", "++-+++++"))
    pairs = data["choices"]["pairs"]
    assert {(pair["winner"], pair["of"]) for pair in pairs} == {("ours", 6), ("baseline", 1)}
    for pair in pairs:
        assert pair["first"]["seed"] == pair["second"]["seed"]
        assert pair["first"]["success"] != pair["second"]["success"]


def test_the_worst_are_those_with_the_fewest_milestones():
    records = outcomes("ours", "+-+--+--")
    credits = sorted(record.score["credit"] for record in records)
    shown = report_data(records)["choices"]["worst"]
    assert [episode["credit"] for episode in shown] == pytest.approx(credits[:5])


def test_a_rank_correlation_is_spearman_s_and_few_checkpoints_have_none():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=12), rng.normal(size=12)
    found = correlation(x, y, 12)
    assert found["value"] == pytest.approx(stats.spearmanr(x, y)[0])
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert correlation(x[:5], y[:5], 5) == {"n": 5, "effective": 5, "value": None, "interval": None}


def test_probes_are_joined_to_policies_by_their_hash(small: list[EpisodeRecord]):
    file = made.reliance_file(small)
    for policy in file["policies"]:
        policy["name"] = "called otherwise"
    rows = report_data(small, [file])["reliance"]["policies"]
    assert all(row["probes"]["cue conflict"]["value"] is not None for row in rows)


def test_runs_that_do_not_belong_together_are_refused():
    other = [dataclasses.replace(record, versions={"code": "other"}) for record in outcomes("ours", "+-")]
    with pytest.raises(RecordError, match="two versions"):
        report_data(outcomes("baseline", "+-") + other)
    with pytest.raises(ConfigError, match="possible: baseline, ours"):
        report_data(two_arms("+-", "+-"), baseline="best")
    with pytest.raises(ConfigError, match="no episode"):
        report_data([])


def test_what_is_no_reliance_file_is_refused(tmp_path: Path):
    path = tmp_path / "reliance.json"
    path.write_text('{"schema": 9, "policies": []}')
    with pytest.raises(RecordError, match="schema"):
        read_reliance(path)


def test_seeds_that_all_agree_still_leave_an_interval():
    records = [r for arm in ("baseline", "ours") for seed in range(3) for r in outcomes(arm, "+" * 10, seed)]
    data = report_data(records)
    assert data["rates"][0]["interval"] == pytest.approx(list(wilson(30, 30)))
    low, high = data["contrasts"][0]["interval"]
    assert low < -0.1
    assert high > 0.1
    assert data["contrasts"][0]["verdict"] == "open"
