"""One rate: against scipy, statsmodels and published tables; and the rates of rare events."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.rates import confint_poisson

from so101_eval.statistics import (
    Interval,
    StatisticsError,
    between_events,
    clopper_pearson,
    cohen_kappa,
    garwood,
    jeffreys,
    posterior_density,
    rate_ratio,
    raw_agreement,
    wilson,
)

INTERVALS = [wilson, clopper_pearson, jeffreys]
COUNTS = st.integers(0, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # source: Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_the_published_one(successes: int, trials: int, low: float, high: float):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (17, 20), (14, 20), (130, 500)])
def test_intervals_agree_with_scipy_and_statsmodels(successes: int, trials: int):
    for alpha in (0.05, 0.1, 0.01):
        test = stats.binomtest(successes, trials)
        for interval, name in ((wilson, "wilson"), (clopper_pearson, "exact")):
            mine = interval(successes, trials, alpha)
            assert mine == pytest.approx(tuple(test.proportion_ci(1 - alpha, method=name)), abs=1e-9)
        names = {wilson: "wilson", clopper_pearson: "beta", jeffreys: "jeffreys"}
        for interval, name in names.items():
            if interval is jeffreys and successes in (0, trials):
                continue  # ours reaches the end, theirs not quite
            theirs = proportion_confint(successes, trials, alpha, method=name)
            assert interval(successes, trials, alpha) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("interval", INTERVALS)
@given(counts=COUNTS)
def test_failures_mirror_successes(interval: Callable[..., Interval], counts: tuple[int, int]):
    successes, trials = counts
    low, high = interval(successes, trials)
    mirrored = interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert 0 <= low <= (successes / trials if trials else 0) <= high <= 1


@given(counts=COUNTS.filter(lambda c: 0 < c[0] < c[1]))
def test_clopper_pearson_ends_where_the_exact_tests_reject(counts: tuple[int, int]):
    successes, trials = counts
    low, high = clopper_pearson(successes, trials)
    assert stats.binom.sf(successes - 1, trials, low) == pytest.approx(0.025, abs=1e-9)
    assert stats.binom.cdf(successes, trials, high) == pytest.approx(0.025, abs=1e-9)


@given(counts=COUNTS.filter(lambda c: c[1] > 0), rate=st.floats(0.001, 0.999))
def test_wilson_contains_exactly_what_its_score_test_does_not_reject(counts: tuple[int, int], rate: float):
    successes, trials = counts
    z = (successes / trials - rate) / math.sqrt(rate * (1 - rate) / trials)
    if abs(abs(z) - 1.959964) > 1e-4:
        assert wilson(successes, trials).covers(rate) == (abs(z) < 1.959964)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson, jeffreys])
def test_nothing_tried_tells_nothing(interval: Callable[..., Interval]):
    assert interval(0, 0) == (0.0, 1.0)


def test_the_posterior_is_scipys_beta():
    rates = np.linspace(0, 1, 11)
    assert posterior_density(17, 20, rates) == pytest.approx(stats.beta(18, 4).pdf(rates))
    assert posterior_density(0, 5, rates)[0] == pytest.approx(6.0)


@pytest.mark.parametrize(("successes", "trials"), [(21, 20), (-1, 20), (0, -1)])
@pytest.mark.parametrize("interval", [wilson, clopper_pearson, jeffreys])
def test_impossible_counts_are_refused(interval: Callable[..., Interval], successes: int, trials: int):
    with pytest.raises(StatisticsError, match=f"{successes}/{trials}: successes are from 0 to"):
        interval(successes, trials)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_impossible_levels_are_refused(alpha: float):
    for interval in INTERVALS:
        with pytest.raises(StatisticsError, match="alpha"):
            interval(1, 2, alpha)


@pytest.mark.parametrize(("events", "exposure"), [(0, 3.0), (1, 1.0), (7, 120.0), (250, 40.0)])
def test_garwood_agrees_with_chi_squared_and_statsmodels(events: int, exposure: float):
    low, high = garwood(events, exposure)
    assert low == pytest.approx(stats.chi2.ppf(0.025, 2 * events) / 2 / exposure if events else 0)
    assert high == pytest.approx(stats.chi2.ppf(0.975, 2 * events + 2) / 2 / exposure)
    if events:
        assert (low, high) == pytest.approx(confint_poisson(events, exposure, method="exact-c"))


def test_no_event_in_three_hundred_boxes_is_the_rule_of_three():
    assert garwood(0, 300, alpha=0.1).high == pytest.approx(3 / 300, rel=0.002)
    assert between_events(0, 300) == (pytest.approx(300 / 3.689, rel=1e-3), math.inf)


def test_the_ratio_of_rates_is_swapped_by_swapping_and_ends_where_the_binomial_test_rejects():
    low, high = rate_ratio((5, 100.0), (12, 90.0))
    assert rate_ratio((12, 90.0), (5, 100.0)) == pytest.approx((1 / high, 1 / low))
    for ratio in (low, high):
        share = ratio * 100 / (ratio * 100 + 90)
        tail = min(stats.binom.cdf(5, 17, share), stats.binom.sf(4, 17, share))
        assert tail == pytest.approx(0.025)
    assert rate_ratio((0, 1.0), (0, 1.0)) == (0.0, math.inf)


@pytest.mark.parametrize("exposure", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_needs_exposure(exposure: float):
    with pytest.raises(StatisticsError, match="exposure"):
        garwood(1, exposure)


def test_kappa_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, (2, 50)).tolist()
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    assert cohen_kappa(first, second) == pytest.approx(cohens_kappa(table, return_results=True).kappa)
    assert raw_agreement(first, second) == np.trace(table) / 50
    assert cohen_kappa([True, False], [True, False]) == 1
    assert cohen_kappa([True, True], [True, True]) is None
    with pytest.raises(StatisticsError, match="2 against 1 scores"):
        cohen_kappa([1, 2], [1])
