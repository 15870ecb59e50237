"""The arm beside its simulation in the report, and the hand beside the box: paired by start, with intervals."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

import report_records as made
from so101_eval.errors import RecordError
from so101_eval.evaluation.records import EpisodeRecord
from so101_eval.report import report_data
from so101_eval.report.page import render
from so101_eval.statistics import Pairs, prediction_powered, tango


def episodes(
    variant: str, verdicts: list[bool], kind: str, grasps: list[Any] | None = None
) -> list[EpisodeRecord]:
    found = [made.episode(variant, good, 1000 + scene) for scene, good in enumerate(verdicts)]
    grasp = grasps or [None] * len(found)
    return [dataclasses.replace(one, kind=kind, grasp=g) for one, g in zip(found, grasp, strict=True)]


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], list[bool]]:
    """16 starts on the arm, 60 in the simulation, which knows which are hard and is too kind."""
    rng = np.random.default_rng(8)
    found: dict[tuple[str, str], list[bool]] = {}
    for variant, skill in (("baseline", 0.4), ("ours", 0.7)):
        luck = rng.random(60)
        found[variant, "real"] = (luck[:16] < skill).tolist()
        found[variant, "simulation"] = (luck < skill + 0.15).tolist()
    return found


@pytest.fixture(scope="module")
def data(outcomes: dict[tuple[str, str], list[bool]]) -> dict[str, Any]:
    return report_data([one for key, found in outcomes.items() for one in episodes(key[0], found, key[1])])


def test_gaps_are_of_the_same_starts_alone(data: dict[str, Any], outcomes: dict[tuple[str, str], list[bool]]):
    gaps = {gap["variant"]: gap for gap in data["sim_to_real"]["gaps"]}
    for variant in ("baseline", "ours"):
        arm, model = outcomes[variant, "real"], outcomes[variant, "simulation"][:16]
        pairs = Pairs.from_outcomes(arm, model)
        assert gaps[variant]["starts"] == 16
        assert gaps[variant]["gap"] == pytest.approx((sum(arm) - sum(model)) / 16)
        assert gaps[variant]["interval"] == list(tango(pairs.first_only, pairs.second_only, 16))
        assert gaps[variant]["rows"][3] == [1003, float(arm[3]), float(model[3])]


def test_the_difference_is_given_with_and_without_the_simulation(
    data: dict[str, Any], outcomes: dict[tuple[str, str], list[bool]]
):
    values = {key: np.array(found, float) for key, found in outcomes.items()}
    d = values["ours", "real"] - values["baseline", "real"]
    f = values["ours", "simulation"] - values["baseline", "simulation"]
    found = prediction_powered(d, f[:16], f[16:])
    row = next(row for row in data["sim_to_real"]["differences"] if row["what"] == "success")
    assert (row["paired"], row["further"]) == (16, 44)
    assert (row["plain"], row["estimate"], row["lam"]) == pytest.approx(
        (found.plain, found.estimate, found.lam)
    )
    assert row["worth"] > 1
    assert {row["what"] for row in data["sim_to_real"]["differences"]} == {"success", "credit"}
    assert data["sentence"]["headline"].startswith(("ours", "No difference")), "the arm alone decides"
    assert data["main"].endswith("real")


def test_without_both_kinds_nothing_is_compared(outcomes: dict[tuple[str, str], list[bool]]):
    for kind in ("real", "simulation"):
        one = report_data(
            [e for key, found in outcomes.items() if key[1] == kind for e in episodes(*key[:1], found, kind)]
        )
        assert one["sim_to_real"] == {"gaps": [], "differences": [], "alpha": 0.05}


def test_too_few_starts_say_why_there_is_no_estimate():
    records = [
        e for variant in ("baseline", "ours") for kind in ("real", "simulation")
        for e in episodes(variant, [True, False, variant == "ours"], kind)
    ]  # fmt: skip
    data = report_data(records)
    row = data["sim_to_real"]["differences"][0]
    assert "measured" in row["why_not"]
    assert "interval" not in row
    assert "arm-and-simulation" in render(data)


def test_the_page_shows_both_and_a_page_of_one_kind_neither(data: dict[str, Any]):
    page = render(data)
    assert 'id="arm-and-simulation"' in page
    assert "ours − baseline: with the simulation" in page
    assert 'id="hand"' not in page
    assert 'id="arm-and-simulation"' not in render(report_data(episodes("ours", [True] * 4, "real")))


def grasp(x_mm: float, y_mm: float, follows: float) -> dict[str, Any]:
    hand = [follows * x_mm, follows * y_mm]
    return {
        "box": 0,
        "box_mm": [x_mm, y_mm],
        "hand_mm": hand,
        "off_mm": float(np.hypot(x_mm, y_mm)) * (1 - follows),
    }


def test_how_far_the_hand_follows_the_box_is_one_number_with_its_interval():
    rng = np.random.default_rng(2)
    places = rng.uniform(-30, 30, (12, 2)).tolist()
    records = [
        *episodes("baseline", [True] * 12, "real", [grasp(x, y, 0.5) for x, y in places]),
        *episodes(
            "ours", [True] * 12, "real", [*(grasp(x, y, 1.0) for x, y in places[:11]), {"why_not": "never"}]
        ),
        *episodes("third", [True] * 2, "real", [grasp(1, 1, 1.0), grasp(2, 2, 1.0)]),
    ]
    data = report_data(records)
    rows = {row["variant"]: row for row in data["hand"]}
    assert rows["baseline"]["follows_mm"] == pytest.approx(15, abs=0.1)
    assert rows["ours"]["follows_mm"] == pytest.approx(30, abs=0.1)
    assert (rows["ours"]["trials"], rows["ours"]["closed"]) == (12, 11)
    assert "at least 6" in rows["third"]["why_not"]
    page = render(data)
    assert 'id="hand"' in page
    assert "30 mm (30 to 30)" in page
    assert "third: the hand closed in 2 trials, at least 6 are needed." in page


@pytest.mark.parametrize("change", [{"box_mm": [1.0]}, {"hand_mm": "near"}, {"off_mm": None}])
def test_a_damaged_grasp_is_refused_where_the_record_is_read(change: dict[str, Any]):
    (record,) = episodes("ours", [True], "real", [grasp(1, 2, 1.0)])
    data = json.loads(record.to_json())
    assert EpisodeRecord.from_json(json.dumps(data)).grasp is not None
    data["grasp"] |= change
    with pytest.raises(RecordError, match="grasp"):
        EpisodeRecord.from_json(json.dumps(data))
