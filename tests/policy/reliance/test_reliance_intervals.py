"""Intervals over episodes hold what they promise on data whose truth is known."""

import numpy as np
import pytest

from so101_policy.reliance.intervals import Bootstrap, expanded_tail, t_quantile


@pytest.mark.parametrize(
    ("freedom", "published"), [(4, 2.7764), (9, 2.2622), (15, 2.1314), (29, 2.0452), (99, 1.9842)]
)
def test_student_t_equals_the_published_table(freedom: int, published: float):
    assert t_quantile(0.975, freedom) == pytest.approx(published, rel=2e-3)


def test_the_tail_is_wider_for_few_episodes_and_normal_for_many():
    assert expanded_tail(5) < expanded_tail(20) < expanded_tail(10_000) == pytest.approx(0.025, abs=1e-4)


def test_means_and_ratios_equal_those_by_hand_and_leave_out_what_is_no_number():
    bootstrap = Bootstrap([0, 0, 1, 2], resamples=50)
    mean = bootstrap.mean([1.0, 3.0, np.nan, 5.0])
    assert (mean.value, mean.frames, mean.episodes) == (3.0, 3, 2)
    assert bootstrap.ratio([1.0, 1.0, 2.0, 0.0], [2.0, 2.0, 4.0, 8.0]).value == 4 / 16


def test_each_draw_equals_the_mean_over_the_pairs_of_the_drawn_episodes():
    episode, donor = np.array([0, 0, 1, 1, 2, 2]), np.array([2, 4, 0, 5, 1, 3])
    value = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    bootstrap = Bootstrap(episode, resamples=40)
    draws = bootstrap.mean(value, donor).draws_R
    for weights, draw in zip(bootstrap._weights_RE, draws, strict=True):
        counts = [int(weights[episode[i]] * weights[episode[donor[i]]]) for i in range(6)]
        drawn = np.repeat(value, counts)
        np.testing.assert_allclose(draw, drawn.mean() if len(drawn) else np.nan)


def test_a_constant_has_an_interval_of_no_width():
    estimate = Bootstrap(np.repeat(np.arange(6), 5)).mean(np.ones(30)).estimate()
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_nothing_to_divide_by_and_too_few_episodes_are_told_apart():
    nothing = Bootstrap([0, 1, 2]).ratio([0.0] * 3, [0.0] * 3).estimate()
    assert (nothing.value, nothing.low) == (None, None)
    few = Bootstrap([0, 0, 1]).mean([1.0, 2.0, 3.0]).estimate()
    assert few.value == 2.0
    assert few.low is None


def coverage(
    paired: bool, between: float, runs: int = 300, E: int = 16, per_episode: int = 8
) -> tuple[float, float]:
    """Share of intervals that hold the true mean 0; and the same when only the frames' own episodes are drawn."""
    rng, hits, naive_hits = np.random.default_rng(0), 0, 0
    episode = np.repeat(np.arange(E), per_episode)
    for run in range(runs):
        effect = rng.normal(0, between, E)
        value = effect[episode] + rng.normal(0, 1, len(episode))
        donor = (np.arange(len(episode)) + per_episode * rng.integers(1, E, len(episode))) % len(episode)
        value = value + (effect[episode[donor]] if paired else 0)
        bootstrap = Bootstrap(episode, seed=run, resamples=300)
        estimate = bootstrap.mean(value, donor if paired else None).estimate()
        naive = bootstrap.mean(value).estimate()
        assert estimate.low is not None
        assert estimate.high is not None
        assert naive.low is not None
        assert naive.high is not None
        hits += estimate.low <= 0 <= estimate.high
        naive_hits += naive.low <= 0 <= naive.high
    return hits / runs, naive_hits / runs


def test_intervals_of_clustered_means_cover_the_truth():
    share, _ = coverage(paired=False, between=1.0)
    assert 0.92 <= share <= 0.985


def test_intervals_of_pairs_cover_the_truth_where_drawing_frames_alone_does_not():
    share, naive = coverage(paired=True, between=1.0)
    assert share >= 0.92
    assert naive < 0.85


def test_differences_are_compared_draw_by_draw():
    rng = np.random.default_rng(0)
    episode, common = np.repeat(np.arange(10), 4), np.repeat(rng.normal(0, 5, 10), 4)
    bootstrap = Bootstrap(episode)
    a, b = bootstrap.mean(common), bootstrap.mean(common + 1)
    estimate = b.minus(a).estimate()
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))
