"""Common scenes, and separate ones: tests and intervals against published examples, scipy and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from so101_eval.statistics import (
    Pairs,
    StatisticsError,
    barnard,
    mcnemar_exact,
    mcnemar_mid_p,
    newcombe,
    newcombe_paired,
    tango,
    tango_z,
)
from so101_eval.statistics.unpaired import barnard_table

COUNT = st.integers(0, 40)
PAIRS = st.builds(Pairs, COUNT, COUNT, COUNT, COUNT).filter(lambda pairs: pairs.total > 0)


@pytest.mark.parametrize(
    ("pairs", "low", "high", "digits"),
    [
        # Fagerland, Lydersen and Laake, Recommended tests and intervals for paired binomial proportions, 2014
        (Pairs(1, 1, 7, 12), -0.517, -0.026, 3),
        # Agresti and Min, Simple improved confidence intervals for comparing matched proportions, 2005
        (Pairs(53, 16, 8, 9), -0.020, 0.207, 3),
        (Pairs(8, 3, 1, 2), -0.1670, 0.4327, 4),  # Tang, Tang and Carey, 2010
        (Pairs(7, 25, 2, 68), 0.139, 0.321, 3),  # Chang and others, Journal of Applied Statistics 51, 2024
    ],
)
def test_tango_is_the_published_one(pairs: Pairs, low: float, high: float, digits: int):
    mine = tango(pairs.first_only, pairs.second_only, pairs.total)
    assert tuple(round(end, digits) for end in mine) == (low, high)


def test_tango_at_90_percent_is_that_of_r():
    """PropCIs::scoreci.mp(25, 28, 618, conf.level = 0.9)."""
    assert tango(28, 25, 618, alpha=0.1) == pytest.approx((-0.0148, 0.0247), abs=5e-5)


@pytest.mark.parametrize(
    ("pairs", "low", "high", "digits"),
    [
        (Pairs(1, 1, 7, 12), -0.507, -0.026, 3),  # Fagerland, Lydersen and Laake, 2014
        (Pairs(20, 12, 2, 16), 0.0562, 0.3292, 4),  # Newcombe, Statistics in Medicine 17, 1998, method 10
        (Pairs(8, 3, 1, 2), -0.1574, 0.4136, 4),  # Tang, Tang and Carey, 2010
        (Pairs(7, 25, 2, 68), 0.133, 0.318, 3),  # Chang and others, 2024
    ],
)
def test_newcombes_method_10_is_the_published_one(pairs: Pairs, low: float, high: float, digits: int):
    assert tuple(round(end, digits) for end in newcombe_paired(pairs)) == (low, high)


@given(first_only=st.integers(0, 300), second_only=st.integers(0, 300))
def test_mcnemar_agrees_with_scipy_and_statsmodels(first_only: int, second_only: int):
    p_value = mcnemar_exact(first_only, second_only)
    telling = first_only + second_only
    if telling:
        assert p_value == pytest.approx(stats.binomtest(first_only, telling).pvalue)
        assert p_value == pytest.approx(mcnemar([[0, first_only], [second_only, 0]], exact=True).pvalue)
        likely = stats.binom.pmf(np.arange(telling + 1), telling, 0.5)
        observed = likely[first_only]
        mid_p = (
            likely[likely < observed * (1 - 1e-9)].sum() + 0.5 * likely[np.isclose(likely, observed)].sum()
        )
        assert mcnemar_mid_p(first_only, second_only) == pytest.approx(mid_p, abs=1e-7)
        score = mcnemar([[0, first_only], [second_only, 0]], exact=False, correction=False)
        assert tango_z(0.0, first_only, second_only, telling) ** 2 == pytest.approx(score.statistic)
    assert p_value == mcnemar_exact(second_only, first_only)


def test_mcnemar_and_its_mid_p_are_the_published_ones():
    """Fagerland, Lydersen and Laake, 2013: airway hyper-responsiveness (1, 7)."""
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)


@given(pairs=PAIRS)
def test_exchanging_the_names_mirrors_the_intervals(pairs: Pairs):
    swapped = pairs.swapped()
    mine, other = (tango(p.first_only, p.second_only, p.total) for p in (pairs, swapped))
    assert other == pytest.approx(mine.mirrored(), abs=1e-12)
    assert newcombe_paired(swapped) == pytest.approx(newcombe_paired(pairs).mirrored(), abs=1e-12)
    for interval in (mine, newcombe_paired(pairs)):
        assert -1 <= interval.low <= pairs.difference + 1e-9
        assert pairs.difference - 1e-9 <= interval.high <= 1


@given(pairs=PAIRS)
def test_exchanging_success_and_failure_mirrors_the_intervals(pairs: Pairs):
    failures = Pairs(pairs.neither, pairs.second_only, pairs.first_only, pairs.both)
    assert newcombe_paired(failures) == pytest.approx(newcombe_paired(pairs).mirrored(), abs=1e-9)
    assert failures.phi == pytest.approx(pairs.phi)


@given(pairs=PAIRS, difference=st.floats(-1, 1))
def test_tango_contains_exactly_what_its_test_does_not_reject(pairs: Pairs, difference: float):
    counts = pairs.first_only, pairs.second_only, pairs.total
    z = abs(tango_z(difference, *counts))
    if abs(z - 1.959964) > 1e-5:
        assert tango(*counts).covers(difference) == (z < 1.959964)


def test_the_score_uses_the_most_likely_probabilities_with_that_difference():
    """Found a second time by trying them all."""
    first_only, second_only, pairs, difference = 5, 2, 20, 0.1
    q = np.linspace(1e-6, (1 - difference) / 2 - 1e-6, 200_001)
    log_likelihood = first_only * np.log(q + difference) + second_only * np.log(q)
    log_likelihood += (pairs - first_only - second_only) * np.log(1 - 2 * q - difference)
    best = q[np.argmax(log_likelihood)]
    z = (first_only - second_only - pairs * difference) / math.sqrt(
        pairs * (2 * best + difference * (1 - difference))
    )
    assert tango_z(difference, first_only, second_only, pairs) == pytest.approx(z, abs=1e-4)


def test_pairs_are_counted_scene_by_scene():
    pairs = Pairs.from_outcomes([True, True, False, False, True], [True, False, True, False, True])
    assert pairs == Pairs(both=2, first_only=1, second_only=1, neither=1)
    assert (pairs.total, pairs.first, pairs.second, pairs.difference) == (5, 3, 3, 0.0)
    assert pairs.phi == pytest.approx(np.corrcoef([1, 1, 0, 0, 1], [1, 0, 1, 0, 1])[0, 1])
    assert Pairs(5, 0, 0, 0).phi == 0
    with pytest.raises(StatisticsError, match="1 against 2 episodes"):
        Pairs.from_outcomes([True], [True, False])


def test_impossible_pairs_are_refused():
    with pytest.raises(StatisticsError, match="pairs 3: expected 4 or more"):
        tango(2, 2, 3)
    with pytest.raises(StatisticsError, match="first only -1"):
        mcnemar_exact(-1, 2)
    with pytest.raises(StatisticsError, match="pairs 0"):
        newcombe_paired(Pairs(0, 0, 0, 0))
    with pytest.raises(StatisticsError, match=r"difference 1\.5"):
        tango_z(1.5, 1, 1, 4)


@settings(max_examples=40)
@given(data=st.data())
def test_newcombe_for_separate_scenes_agrees_with_statsmodels(data: st.DataObject):
    m, n = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    x, y = data.draw(st.integers(0, m)), data.draw(st.integers(0, n))
    mine = newcombe((x, m), (y, n))
    assert mine == pytest.approx(confint_proportions_2indep(x, m, y, n, method="newcomb"), abs=1e-9)
    assert newcombe((y, n), (x, m)) == pytest.approx(mine.mirrored())


@pytest.mark.parametrize(
    ("first", "second"), [((17, 20), (14, 20)), ((9, 12), (3, 15)), ((7, 34), (1, 34)), ((0, 5), (5, 5))]
)
def test_barnard_agrees_with_scipy(first: tuple[int, int], second: tuple[int, int]):
    table = [[first[0], second[0]], [first[1] - first[0], second[1] - second[0]]]  # groups in columns
    assert barnard(first, second) == pytest.approx(stats.barnard_exact(table, n=256).pvalue, abs=2e-4)
    assert barnard(second, first) == pytest.approx(barnard(first, second))
    # another order of tables, but never far away
    assert barnard(first, second) == pytest.approx(stats.boschloo_exact(table).pvalue, abs=0.05)


@pytest.mark.parametrize(("m", "n"), [(20, 20), (10, 35), (60, 60)])
def test_the_grid_of_common_rates_is_fine_enough(m: int, n: int):
    coarse, fine = barnard_table(m, n), barnard_table(m, n, 4096)
    assert np.all(coarse <= fine + 1e-12)
    assert np.max(fine - coarse) < 1e-3
    near = (fine > 0.01) & (fine < 0.1)
    assert np.max((fine - coarse)[near]) < 2e-4


def test_many_episodes_are_compared_by_the_normal_approximation():
    z = (0.75 - 0.7) / math.sqrt(2 * 0.725 * 0.275 / 2000)
    assert barnard((1500, 2000), (1400, 2000)) == pytest.approx(2 * stats.norm.sf(z))
    with pytest.raises(StatisticsError, match="0/0: nothing was tried"):
        barnard((0, 0), (1, 2))
