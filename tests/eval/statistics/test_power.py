"""Planning: the protocol's tables, and exact sums against simulation and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial
from statsmodels.stats.proportion import power_proportions_2indep

from so101_eval.statistics import (
    StatisticsError,
    Watched,
    detectable_difference,
    detectable_unpaired,
    detectable_watched,
    discordance,
    largest_phi,
    log_e_value,
    mcnemar_exact,
    mcnemar_power,
    pairs_needed,
    pairs_needed_exactly,
    sequential_power,
    unpaired_needed,
    unpaired_power,
)


@pytest.mark.parametrize(
    ("first_only", "second_only", "pairs"),
    [
        (0.20, 0.10, 234),
        (0.25, 0.10, 120),
        (0.30, 0.10, 77),
        (0.40, 0.10, 42),
        (0.30, 0.05, 42),
        (0.20, 0.05, 85),
    ],
)
def test_connors_pairs_are_those_of_the_protocol(first_only: float, second_only: float, pairs: int):
    assert pairs_needed(first_only, second_only) == pairs
    assert pairs_needed(second_only, first_only) == pairs
    assert 0.75 < mcnemar_power(pairs, first_only, second_only) < 0.8  # the exact test wants some more
    enough = pairs_needed_exactly(first_only, second_only)
    assert pairs < enough < 1.15 * pairs
    assert mcnemar_power(enough, first_only, second_only) >= 0.8


@pytest.mark.parametrize(
    ("second", "first", "shared", "decided", "pairs"),
    [  # of 20,000 simulated studies: facts of the evaluation protocol, section 2D, 100 pairs
        (0.6, 0.75, True, 0.59, 75),
        (0.6, 0.75, False, 0.32, 86),
        (0.6, 0.8, True, 0.87, 57),
        (0.6, 0.8, False, 0.61, 72),
        (0.7, 0.9, True, 0.94, 51),
        (0.7, 0.9, False, 0.79, 63),
        (0.6, 0.9, True, 1.00, 31),
        (0.6, 0.9, False, 0.99, 38),
        (0.4, 0.9, True, 1.00, 17),
        (0.4, 0.9, False, 1.00, 19),
    ],
)
def test_a_watched_study_does_what_the_protocol_says(
    second: float, first: float, shared: bool, decided: float, pairs: int
):
    watched = _watched(first, second, 0.6 if shared else 0.0, 100)
    assert watched.first[-1] + watched.second[-1] == pytest.approx(decided, abs=0.013)
    assert watched.mean_pairs(100) == pytest.approx(pairs, abs=0.8)


def test_twice_the_pairs_lift_the_small_difference():
    watched = _watched(0.75, 0.6, 0.6, 200)
    assert watched.first[-1] == pytest.approx(0.92, abs=0.01)
    assert _watched(0.75, 0.6, 0.0, 200).first[-1] == pytest.approx(0.64, abs=0.01)
    assert watched.first[100] == pytest.approx(_watched(0.75, 0.6, 0.6, 100).first[-1])


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8])
def test_equal_policies_are_told_apart_by_mistake_in_one_to_two_and_a_half_percent(rate: float):
    for shared in (0.0, 0.6):
        watched = _watched(rate, rate, shared, 100)
        assert 0.01 < watched.first[-1] + watched.second[-1] < 0.025


def test_watching_agrees_with_a_simulation():
    rng = np.random.default_rng(7)
    draws = rng.choice([1, -1, 0], (20_000, 60), p=[0.35, 0.15, 0.5])
    wins, losses = np.cumsum(draws == 1, axis=1), np.cumsum(draws == -1, axis=1)
    crossed = log_e_value(wins, losses) >= np.log(20)
    stopped = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 60)
    ahead = (wins > losses)[np.arange(20_000), stopped - 1] & crossed.any(axis=1)
    watched = sequential_power(0.35, 0.15, 60)
    assert watched.first[-1] == pytest.approx(ahead.mean(), abs=0.01)
    assert watched.mean_pairs(60) == pytest.approx(stopped.mean(), abs=0.3)
    assert watched.pairs_for(0.3) == int(np.argmax(watched.first >= 0.3))
    assert watched.pairs_for(0.999) is None


@settings(max_examples=25)
@given(pairs=st.integers(1, 14), first_only=st.floats(0.01, 0.5), second_only=st.floats(0.01, 0.5))
def test_the_power_of_mcnemar_is_the_sum_over_all_outcomes(pairs: int, first_only: float, second_only: float):
    likely = multinomial(pairs, [first_only, second_only, 1 - first_only - second_only])
    power = sum(
        likely.pmf([w, l, pairs - w - l])
        for w in range(pairs + 1)
        for l in range(pairs + 1 - w)  # noqa: E741
        if mcnemar_exact(w, l) <= 0.05
    )
    assert mcnemar_power(pairs, first_only, second_only) == pytest.approx(power, abs=1e-12)


def test_what_is_detectable_is_found_with_the_power_and_a_little_less_is_not():
    difference = detectable_difference(100, 0.3)
    assert difference is not None
    assert mcnemar_power(100, (0.3 + difference) / 2, (0.3 - difference) / 2) >= 0.8
    assert mcnemar_power(100, (0.3 - 0.002 + difference) / 2, (0.3 + 0.002 - difference) / 2) < 0.8
    watched = detectable_watched(100, 0.3)
    assert watched is not None
    assert watched > difference  # the price of looking
    assert detectable_difference(4, 0.5) is None
    separate = detectable_unpaired(20, 20, 0.775)
    assert separate is not None
    assert unpaired_power(20, 20, 0.775 + separate / 2, 0.775 - separate / 2) >= 0.8


def test_separate_scenes_agree_with_statsmodels():
    for better, worse in ((0.75, 0.6), (0.9, 0.6), (0.5, 0.3)):
        episodes = unpaired_needed(better, worse)
        theirs = power_proportions_2indep(better - worse, worse, episodes, return_results=False)
        assert theirs == pytest.approx(0.8, abs=0.01)
        assert unpaired_power(episodes, episodes, better, worse) == pytest.approx(0.8, abs=0.03)
    assert unpaired_power(2000, 2000, 0.65, 0.6) == pytest.approx(
        power_proportions_2indep(0.05, 0.6, 2000, return_results=False), abs=0.005
    )


def test_correlation_moves_probability_from_telling_pairs():
    assert discordance(0.75, 0.6) == pytest.approx((0.3, 0.15))
    first_only, second_only = discordance(0.75, 0.6, 0.3)
    both = 0.75 - first_only
    assert (both - 0.75 * 0.6) / np.sqrt(0.75 * 0.25 * 0.6 * 0.4) == pytest.approx(0.3)
    assert first_only - second_only == pytest.approx(0.15)
    assert discordance(0.75, 0.6, largest_phi(0.75, 0.6)) == pytest.approx((0.15, 0.0), abs=1e-12)
    with pytest.raises(StatisticsError, match=r"phi 0\.9: .* possible is -0\.471 to 0\.707"):
        discordance(0.75, 0.6, 0.9)


def test_impossible_plans_are_refused():
    with pytest.raises(StatisticsError, match="difference 0"):
        pairs_needed(0.2, 0.2)
    with pytest.raises(StatisticsError, match="power 1:"):
        pairs_needed(0.3, 0.2, power=1.0)
    with pytest.raises(StatisticsError, match=r"P\(exactly one succeeds\) 1\.2"):
        mcnemar_power(10, 0.6, 0.6)
    with pytest.raises(StatisticsError, match="difference 0"):
        unpaired_needed(0.5, 0.5)
    assert mcnemar_power(10, 0.0, 0.0) == 0


def _watched(first: float, second: float, shared: float, pairs: int) -> Watched:
    """On a share of scenes both policies draw the same difficulty, on the others each its own."""
    first_only = (1 - shared) * first * (1 - second) + shared * max(0.0, first - second)
    second_only = (1 - shared) * second * (1 - first) + shared * max(0.0, second - first)
    return sequential_power(first_only, second_only, pairs)
