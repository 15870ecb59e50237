"""When a study is decided: against other ways to count the same."""

import itertools
import math

import numpy as np
import pytest

from so101_eval.errors import ConfigError
from so101_eval.real_study.rule.planning import detectable, power_of, simulate, stops_at
from so101_eval.real_study.rule.rule import compare, decide, log_e_path, look, planned_p
from so101_eval.statistics import e_value, e_value_mean, sequential_power


def test_the_planned_test_counts_all_coin_sequences():
    """By brute force: every sequence of signs, with the e-value on the way."""
    x = np.array([1, 0, 1, 1, -1, 1, 1, 0, 1, 1.0])
    sizes, level = np.abs(x)[x != 0], 0.05
    hits = total = 0
    for signs in itertools.product((-1, 1), repeat=len(sizes)):
        path = sizes * signs
        crosses = any(
            e_value(int((path[:n] > 0).sum()), int((path[:n] < 0).sum())) >= 1 / level
            for n in range(1, len(path) + 1)
        )
        hits += crosses or abs(path.sum()) >= abs(x.sum())
        total += 1
    assert planned_p(x, level) == pytest.approx(hits / total)


def test_credit_takes_the_same_test_as_success_where_they_are_the_same_numbers():
    x = np.array([1, 1, -1, 1, 1, 1, 1.0])
    exact = planned_p(x, 0.05)
    near = np.where(np.arange(len(x)) == 0, 0.999, x)  # no longer binary: drawn, not counted
    assert planned_p(near, 0.05) == pytest.approx(exact, abs=0.05)


def test_the_path_of_the_e_value_is_that_of_the_statistics_room():
    x = np.array([0.5, -0.25, 0.75, 0.0, 1.0, 0.3])
    expected = [math.log(e_value_mean(((1 + x[:n]) / 2).tolist(), 0.5)) for n in range(1, len(x) + 1)]
    assert log_e_path(x[None])[0] == pytest.approx(expected, abs=1e-9)


def test_crossing_and_planned_test_together_keep_the_level():
    """Exactly, for 12 discordant blocks: the sum over all sequences of coins."""
    level, n, wrong = 0.05, 12, 0
    for signs in itertools.product((-1.0, 1.0), repeat=n):
        wrong += decide(np.array(signs), n, level).verdict != "open"
    assert 0.0 < wrong / 2**n <= level


def test_the_level_is_shared_by_all_comparisons():
    lead = [[0.0, 1.0]] * 8
    assert look(lead, 20).stop == "decided"
    assert look([[0.0, 1.0, 0.0]] * 8, 20).compared[0].verdict == "open", "E = 28 is not 20 (k - 1) = 40"
    three = [[0.0, 1.0, 0.0]] * 9
    verdict = look(three, 20)
    assert [found.verdict for found in verdict.compared] == ["better", "open"]
    assert verdict.stop is None
    four = look([[0.0, 1.0, 1.0, 1.0]] * 8, 20)
    assert four.stop is None, "E = 28 is not 20 (k - 1) = 60"


def test_a_study_stops_at_its_planned_number():
    even = [[0.0, 1.0], [1.0, 0.0]] * 3
    verdict = look(even, 6)
    assert verdict.stop == "planned"
    assert verdict.compared[0].verdict == "open"
    assert verdict.compared[0].p_value == 1.0
    assert look(even[:5], 6).compared[0].p_value is None


def test_swapping_the_names_mirrors_the_verdict():
    outcomes = [[1.0, 0.0]] + [[0.0, 1.0]] * 11
    forth = look(outcomes, 20).compared[0]
    back = look([row[::-1] for row in outcomes], 20).compared[0]
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert forth.e_value == pytest.approx(back.e_value)
    assert forth.interval.low == pytest.approx(-back.interval.high)


def test_blocks_after_the_crossing_change_nothing():
    lead = np.ones(8)
    later = np.concatenate([lead, -np.ones(5)])
    assert compare(later, 20, 0.05).verdict == compare(lead, 20, 0.05).verdict == "better"
    assert compare(later, 20, 0.05).crossed_at == compare(lead, 20, 0.05).crossed_at


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(ConfigError, match="planned"):
        look([[0.0, 1.0]], 0)
    with pytest.raises(ConfigError, match="two policies"):
        look([[0.0]], 3)
    assert look([], 3).stop is None


def test_power_is_at_least_that_of_the_e_value_alone():
    """The planned test adds to it; the e-value's own power is computed exactly elsewhere."""
    mine = power_of(30, 0.4, studies=300)
    alone = float(sequential_power(0.45, 0.05, 30, 0.05).first[-1])
    assert mine.power > alone - 0.1
    assert mine.mean_blocks < 30


def test_more_blocks_find_more():
    assert power_of(8, 0.5, studies=200).power < power_of(30, 0.5, studies=200).power
    assert power_of(20, 0.4, "credit", studies=40).power > 0.5
    assert detectable(6) is None


def test_a_simulated_study_has_the_rates_that_were_asked_for():
    rng = np.random.default_rng(0)
    table = np.concatenate(list(simulate(rng, 200, 50, 0.3, "success", 3, 0.5, 0.3)))
    assert table.mean(axis=0) == pytest.approx([0.5, 0.5, 0.8], abs=0.02)
    assert stops_at(np.array([[0.0, 1.0]] * 20), 0.05) == 8
