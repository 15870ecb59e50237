"""Training seeds and many comparisons: against scipy, statsmodels, brute force and the smallest p-values there are."""

import math
from collections.abc import Iterator
from itertools import chain, combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from so101_eval.statistics import (
    StatisticsError,
    cluster_bootstrap,
    compact_letters,
    holm,
    mean_e_value,
    permutation_test,
    sign_flip_test,
    smallest_permutation_p,
)
from so101_eval.statistics.checks import FloatArray
from so101_eval.statistics.resampling import expanded_tail

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.100), (4, 0.0286), (5, 0.0079)])
def test_three_seeds_against_three_can_never_reach_five_percent(seeds: int, least: float):
    assert smallest_permutation_p(seeds) == pytest.approx(least, abs=5e-5)
    first, second = np.arange(seeds) + 100.0, np.arange(seeds) + 0.5
    assert permutation_test(first, second) == pytest.approx(smallest_permutation_p(seeds))


@pytest.mark.parametrize(("pairs", "least"), [(5, 0.0625), (6, 0.03125)])
def test_five_pairs_of_seeds_can_never_reach_five_percent(pairs: int, least: float):
    assert sign_flip_test(np.arange(1.0, pairs + 1)) == least


@settings(max_examples=8)  # SciPy takes 0.3 s for one
@given(data=st.data())
def test_permutation_tests_agree_with_scipy(data: st.DataObject):
    grid = st.integers(0, 20).map(lambda k: k / 20)
    first = data.draw(st.lists(grid, min_size=2, max_size=5))
    second = data.draw(st.lists(grid, min_size=2, max_size=5))

    def difference(a: FloatArray, b: FloatArray, axis: int = 0) -> FloatArray:
        return np.abs(np.mean(a, axis=axis) - np.mean(b, axis=axis))

    theirs = stats.permutation_test((first, second), difference, alternative="greater", n_resamples=np.inf)
    assert permutation_test(first, second) == pytest.approx(theirs.pvalue)
    assert permutation_test(second, first) == pytest.approx(permutation_test(first, second))


def test_sign_flips_agree_with_every_pattern_tried():
    differences = np.array([0.3, 0.1, -0.2, 0.4, 0.0, 0.25])
    sums = [abs(sum(d if bit else -d for d, bit in zip(differences, bits, strict=True))) for bits in _bits(6)]
    expected = np.mean([total >= abs(differences.sum()) - 1e-12 for total in sums])
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test(-differences) == pytest.approx(expected)
    assert sign_flip_test([0.0, 0.0]) == 1


def test_many_seeds_are_sampled_and_p_is_never_zero():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.5, 1, 30), rng.normal(0, 1, 30)
    sampled, t_test = permutation_test(first, second), stats.ttest_ind(first, second).pvalue
    assert sampled == pytest.approx(t_test, abs=0.01)
    assert permutation_test(first, second) == sampled  # seeded
    assert permutation_test(first + 100, second) == pytest.approx(1 / 20_001)
    assert sign_flip_test(first) == pytest.approx(stats.ttest_1samp(first, 0).pvalue, abs=0.01)


def test_the_bootstrap_finds_the_spread_of_seeds_and_scenes():
    """Without noise within a cell its variance is known: of seeds of both variants; scenes cancel in the difference."""
    rng = np.random.default_rng(4)
    scene = rng.normal(0, 5, 40)
    first, second = rng.normal(0.5, 1, (6, 1)) + scene, rng.normal(0, 1, (6, 1)) + scene
    found = cluster_bootstrap(first, second)
    spread = math.sqrt((first[:, 0].var() + second[:, 0].var()) / 6)
    z = stats.norm.isf(expanded_tail(6, 6, seeds_are_paired=False))
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.interval.high - found.interval.low == pytest.approx(2 * z * spread, rel=0.06)
    assert (found.first_seeds, found.second_seeds, found.scenes) == (6, 6, 40)
    assert cluster_bootstrap(first, second).interval == found.interval
    assert cluster_bootstrap(second, first).interval == pytest.approx(found.interval.mirrored(), abs=0.2)


@pytest.mark.parametrize("paired", [False, True])
def test_equal_scenes_drawn_together_give_the_bootstrap_of_single_scenes(paired: bool):
    """Against rows and columns drawn one by one; 0 and 1 make few kinds of columns."""
    rng = np.random.default_rng(0)
    first, second = ((rng.random((3, 30)) < rate).astype(float) for rate in (0.7, 0.4))
    differences: list[float] = []
    for _ in range(8000):
        columns, rows = rng.integers(30, size=30), rng.integers(3, size=(2, 3))
        others = rows[0] if paired else rows[1]
        differences.append(first[rows[0]][:, columns].mean() - second[others][:, columns].mean())
    tail = expanded_tail(3, 3, seeds_are_paired=paired)
    found = cluster_bootstrap(first, second, seeds_are_paired=paired)
    assert found.scenes == 30
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.interval == pytest.approx(np.quantile(differences, [tail, 1 - tail]), abs=0.04)


def test_paired_seeds_take_out_what_they_share():
    rng = np.random.default_rng(5)
    seed_luck = rng.normal(0, 1, (6, 1))
    first, second = seed_luck + rng.normal(0.2, 0.1, (6, 50)), seed_luck + rng.normal(0, 0.1, (6, 50))
    apart, together = (cluster_bootstrap(first, second, seeds_are_paired=paired) for paired in (False, True))
    assert apart.interval.covers(0)
    assert together.interval.low > 0.1


def test_expanded_percentiles_are_hesterbergs():
    """n = 10 at 95 %: alpha / 2 = 0.0086 instead of 0.025 (his table for one sample)."""
    assert expanded_tail(10, 10, seeds_are_paired=True) == pytest.approx(0.0086, abs=5e-5)


def test_one_checkpoint_is_not_a_method():
    with pytest.raises(StatisticsError, match="one checkpoint per variant compares checkpoints, not methods"):
        cluster_bootstrap(np.ones((1, 5)), np.ones((3, 5)))
    with pytest.raises(StatisticsError, match="5 against 4 scenes"):
        cluster_bootstrap(np.ones((2, 5)), np.ones((2, 4)))
    with pytest.raises(StatisticsError, match="3 against 2 seeds"):
        cluster_bootstrap(np.ones((3, 5)), np.ones((2, 5)), seeds_are_paired=True)
    with pytest.raises(StatisticsError, match="nan"):
        cluster_bootstrap(np.full((2, 5), np.nan), np.ones((2, 5)))


@settings(max_examples=6)  # statsmodels takes 0.3 s for Holm's
@given(p_values=P_VALUES)
def test_adjusted_p_values_agree_with_statsmodels(p_values: list[float]):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(p_values=P_VALUES, order=st.randoms())
def test_adjusted_p_values_follow_their_claims(p_values: list[float], order: Random):
    where = list(range(len(p_values)))
    order.shuffle(where)
    assert holm([p_values[i] for i in where]) == pytest.approx(holm(p_values)[where])


def test_the_fifteen_p_values_of_benjamini_and_hochberg():
    """Their table of 1995: at 0.05 three claims with Holm's."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert int((holm(p_values) <= 0.05).sum()) == 3


def test_e_values_of_a_family():
    assert mean_e_value([10.0, 30.0, 2.0]) == 14


@pytest.mark.parametrize("p_values", [[0.5, 1.2], [-0.1], [math.nan]])
def test_impossible_p_values_are_refused(p_values: list[float]):
    with pytest.raises(StatisticsError, match="p-value"):
        holm(p_values)


@settings(max_examples=60)
@given(data=st.data(), count=st.integers(1, 6))
def test_names_share_a_letter_exactly_when_they_are_not_different(data: st.DataObject, count: int):
    names = [f"policy{i}" for i in range(count)]
    pairs = list(combinations(names, 2))
    different = data.draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    letters = compact_letters(names, lambda a, b: (a, b) in different)
    for a, b in pairs:
        assert bool(set(letters[a]) & set(letters[b])) == ((a, b) not in different)
    # and no letter says what others say: they are the largest groups without a difference
    groups = {
        frozenset(n for n in names if letter in letters[n]) for letter in set("".join(letters.values()))
    }
    alike = [frozenset(g) for g in _subsets(names) if g and not different & set(combinations(g, 2))]
    assert groups == {g for g in alike if not any(g < other for other in alike)}


def test_the_best_policy_has_letter_a():
    letters = compact_letters(["best", "middle", "worst"], lambda a, b: {a, b} == {"best", "worst"})
    assert letters == {"best": "a", "middle": "ab", "worst": "b"}
    assert compact_letters([], lambda a, b: True) == {}
    with pytest.raises(StatisticsError, match="each may occur once"):
        compact_letters(["a", "a"], lambda a, b: True)


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def _bits(count: int) -> list[list[int]]:
    return [[number >> i & 1 for i in range(count)] for number in range(2**count)]
