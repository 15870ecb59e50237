"""At the edge: nothing, one, all alike, all successes, and numbers that cannot be. Right, or refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from so101_eval.statistics import (
    Pairs,
    StatisticsError,
    barnard,
    clopper_pearson,
    cluster_bootstrap,
    decide,
    detectable_difference,
    detectable_unpaired,
    detectable_watched,
    difference_interval,
    discordance,
    e_value,
    e_value_mean,
    e_value_one_sided,
    garwood,
    holm,
    jeffreys,
    largest_phi,
    mcnemar_exact,
    mcnemar_mid_p,
    mcnemar_power,
    mean_e_value,
    mean_interval,
    mean_sequence,
    newcombe,
    newcombe_paired,
    pairs_needed,
    pairs_needed_exactly,
    permutation_test,
    posterior_density,
    sequential_power,
    sign_flip_test,
    smallest_permutation_p,
    tango,
    unpaired_needed,
    unpaired_power,
    wilson,
)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1, 0.5, 1e308, 10**30])
def test_counts_that_cannot_be_are_refused_everywhere(wrong: Any):
    """Also where they are handed over by a caller that was not checked by types."""
    for ask in (
        lambda: wilson(0, wrong),
        lambda: wilson(wrong, 2_000_000),
        lambda: garwood(wrong, 1.0),
        lambda: mcnemar_exact(wrong, 0),
        lambda: mcnemar_mid_p(0, wrong),
        lambda: tango(0, 0, wrong),
        lambda: newcombe((0, wrong), (0, 1)),
        lambda: barnard((0, 1), (0, wrong)),
        lambda: e_value(wrong, 0),
        lambda: decide([True], [False], planned_pairs=wrong),
        lambda: mcnemar_power(wrong, 0.2, 0.1),
        lambda: unpaired_power(wrong, 1, 0.2, 0.1),
        lambda: detectable_watched(wrong, 0.2),
        lambda: sequential_power(0.2, 0.1, wrong),
        lambda: smallest_permutation_p(wrong),
        lambda: newcombe_paired(Pairs(1, 1, 1, wrong)),
    ):
        with pytest.raises(StatisticsError):
            ask()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 1.1, 1e308])
def test_probabilities_that_cannot_be_are_refused_everywhere(wrong: float):
    for ask in (
        lambda: discordance(wrong, 0.5),
        lambda: discordance(0.5, wrong),
        lambda: discordance(0.5, 0.5, phi=wrong if wrong != -0.1 else -1.1),
        lambda: largest_phi(wrong, 0.5),
        lambda: pairs_needed(wrong, 0.1),
        lambda: pairs_needed(0.3, 0.1, power=wrong),
        lambda: pairs_needed(0.3, 0.1, alpha=wrong),
        lambda: unpaired_needed(wrong, 0.5),
        lambda: unpaired_power(9, 9, 0.5, wrong),
        lambda: detectable_unpaired(9, 9, wrong),
        lambda: detectable_difference(9, wrong),
        lambda: sequential_power(wrong, 0.0, 9),
        lambda: mean_interval([wrong]),
        lambda: e_value_mean([0.5], wrong),
        lambda: mean_sequence([], alpha=wrong),
        lambda: holm([wrong]),
        lambda: posterior_density(1, 2, np.array([wrong])),
        lambda: cluster_bootstrap(np.ones((2, 2)), np.ones((2, 2)), alpha=wrong),
    ):
        with pytest.raises(StatisticsError):
            ask()


def test_nothing_is_no_evidence():
    """No pair, no telling pair, no difference: p-values are 1, e-values are 1."""
    assert mcnemar_exact(0, 0) == mcnemar_mid_p(0, 0) == 1
    assert e_value(0, 0) == e_value_one_sided(0, 0) == e_value_mean([], 0.3) == 1
    assert e_value_mean([], 0.3, "greater") == pytest.approx(1)
    assert mcnemar_power(0, 0.3, 0.1) == 0
    assert Pairs.from_outcomes([], []) == (0, 0, 0, 0)
    with pytest.raises(StatisticsError, match="pairs 0: expected 1 or more"):
        _ = Pairs(0, 0, 0, 0).difference


def test_one_pair_is_little_evidence():
    assert mcnemar_exact(1, 0) == 1
    assert mcnemar_mid_p(1, 0) == 0.5
    assert e_value(1, 0) == 1
    assert barnard((1, 1), (0, 1)) == pytest.approx(stats.barnard_exact([[1, 0], [0, 1]]).pvalue)
    assert sign_flip_test([0.3]) == permutation_test([0.3], [0.1]) == 1
    assert difference_interval([1.0]) == pytest.approx((2 * mean_interval([1.0]).low - 1, 1.0))
    assert 1.0 / (2 * mean_interval([1.0]).low) == pytest.approx(20)  # one outcome 1: E(m) = 1 / (2 m)


@given(n=st.integers(1, 60))
@example(n=400)
def test_all_successes_and_all_failures_leave_the_other_side_open(n: int):
    for interval in (wilson, clopper_pearson, jeffreys):
        assert interval(n, n).high == 1
        assert interval(0, n).low == 0
        assert interval(n, n).low == pytest.approx(1 - interval(0, n).high)
        assert 0 < interval(n, n).low < 1
    assert barnard((n, n), (n, n)) == pytest.approx(1)
    assert 0 < newcombe((n, n), (n, n)).high < 1
    assert newcombe((n, n), (n, n)) == pytest.approx(newcombe((0, n), (0, n)).mirrored())
    # closed form without telling pairs: n d / (1 - d) = z^2
    assert tango(0, 0, n).high == pytest.approx(wilson(0, n).high)
    assert newcombe_paired(Pairs(n, 0, 0, 0)).covers(0)
    low, high = mean_interval([1.0] * n)
    assert (low, high) == (pytest.approx((20 * (n + 1)) ** (-1 / n)), 1)  # m^-n / (n + 1) = 20


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e308, -1e308, 1e-308])
def test_equal_numbers_are_no_difference(value: float):
    """Whatever rounding does to their mean, and whatever their unit."""
    assert permutation_test([value] * 3, [value] * 4) == 1
    assert sign_flip_test([0.0] * 6) == 1
    assert permutation_test([0.1 + 0.2] * 3, [0.3] * 3) == 1  # equal but for rounding
    assert permutation_test([value] * 4, [-value] * 4) == pytest.approx(2 / math.comb(8, 4))
    assert sign_flip_test([value] * 6) == 2 / 64


def test_two_samples_do_not_depend_on_the_unit():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, 4), rng.normal(1, 1, 5)
    for unit in (1e-300, 1e-3, 1e300):
        assert permutation_test(first * unit, second * unit) == permutation_test(first, second)
        assert sign_flip_test(first * unit) == sign_flip_test(first)


def test_a_family_of_e_values_may_have_an_infinite_one():
    assert mean_e_value([math.inf, 1.0]) == math.inf
    assert mean_e_value([1.7e308, 1.7e308]) == pytest.approx(1.7e308)
    for wrong in ([], [-1.0], [math.nan]):
        with pytest.raises(StatisticsError, match="e-value"):
            mean_e_value(wrong)
    assert list(holm([])) == []


@given(both=st.integers(0, 10**5), neither=st.integers(0, 10**5), only=st.integers(0, 3))
def test_many_pairs_that_agree_have_an_interval(both: int, neither: int, only: int):
    pairs = Pairs(both, only, 0, neither)
    if pairs.total:
        low, high = newcombe_paired(pairs)
        assert -1 <= low <= pairs.difference <= high <= 1


@pytest.mark.parametrize("alpha", [1e-12, 1e-6, 0.5, 1 - 1e-12])
def test_extreme_levels_are_exact(alpha: float):
    z = stats.norm.isf(alpha / 2)
    assert wilson(3, 5, alpha) == pytest.approx(
        ((3 + z**2 / 2) / (5 + z**2) - z / (5 + z**2) * math.sqrt(6 / 5 + z**2 / 4),
         (3 + z**2 / 2) / (5 + z**2) + z / (5 + z**2) * math.sqrt(6 / 5 + z**2 / 4)), rel=1e-9
    )  # fmt: skip
    assert clopper_pearson(3, 5, alpha) == pytest.approx(
        (stats.beta.ppf(alpha / 2, 3, 3), stats.beta.isf(alpha / 2, 4, 2)), rel=1e-9
    )
    assert garwood(2, 1.0, alpha).high == pytest.approx(stats.chi2.isf(alpha / 2, 6) / 2, rel=1e-9)


def test_power_below_the_level_needs_one_episode():
    """The formula squares a negative root there: it asked for dozens."""
    assert pairs_needed(0.3, 0.1, power=0.001, alpha=0.05) == 1
    assert unpaired_needed(0.6, 0.5, power=0.001, alpha=0.05) == 1


def test_certain_rates_have_their_numbers():
    assert pairs_needed_exactly(1.0, 0.0) == 6  # 2 / 2^6 <= 0.05 < 2 / 2^5
    assert mcnemar_power(6, 1.0, 0.0) == pytest.approx(1)
    assert unpaired_power(4, 4, 1.0, 0.0) == pytest.approx(1)
    assert sequential_power(1.0, 0.0, 10).pairs_for(0.99) == 8


def test_a_difference_that_nobody_can_find_is_refused_at_once():
    with pytest.raises(StatisticsError, match="more than 100000 episodes"):
        pairs_needed_exactly(0.3, 0.299)
    with pytest.raises(StatisticsError, match="more than 100000 episodes"):
        unpaired_needed(0.5, 0.5 + 1e-9)


def test_as_many_episodes_as_one_likes_are_compared_without_memory_for_all_tables():
    assert barnard((500_000, 1_000_000), (500_000, 1_000_000)) == pytest.approx(1)
    assert barnard((501_000, 1_000_000), (500_000, 1_000_000)) == pytest.approx(0.157, abs=1e-3)


def test_pairs_beyond_the_planned_ones_must_be_pairs_too():
    with pytest.raises(StatisticsError, match="5 against 6 episodes"):
        decide([True] * 5, [True] * 6, planned_pairs=3)


def test_a_correlation_that_no_policies_have_is_told_with_what_is_possible():
    with pytest.raises(StatisticsError, match=r"possible is -0\.667 to 1\.000"):
        discordance(0.6, 0.6, phi=-0.9)
