"""The prediction-powered mean: against a regression, against no prediction at all, and its promise where nothing is."""

import numpy as np
import pytest

from so101_eval.statistics import StatisticsError, following, prediction_powered


def test_a_prediction_that_is_right_is_believed_and_narrows_the_interval():
    rng = np.random.default_rng(3)
    truth = rng.normal(0.2, 1.0, 1020)
    d, f, further = truth[:20] + rng.normal(0, 0.1, 20), truth[:20], truth[20:]

    found = prediction_powered(d, f, further)

    assert found.lam > 0.9
    assert found.worth > 10
    assert abs(found.estimate - 0.2) < 0.1
    assert abs(found.plain - 0.2) > 0.1, "these 20 starts were not like the others"


def test_a_prediction_that_is_always_off_by_the_same_changes_nothing():
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 1, 220)
    one = prediction_powered(truth[:20], truth[:20], truth[20:])
    off = prediction_powered(truth[:20], truth[:20] + 5, truth[20:] + 5)
    assert off.estimate == pytest.approx(one.estimate)
    assert off.interval == pytest.approx(one.interval)


def test_the_estimate_is_that_of_a_regression_where_all_starts_were_simulated():
    """With ever more further starts it is the regression's prediction at their mean (a second way to the same number),
    once the slope is that of the pairs: here the further starts have the same spread."""
    rng = np.random.default_rng(5)
    f = rng.normal(0, 1, 400)
    d = 0.5 * f + rng.normal(0, 0.3, 400)
    further = np.tile(f, 500) + 1.0
    slope, height = np.polyfit(f, d, 1)
    found = prediction_powered(d, f, further)
    spread = np.var(np.concatenate((f, further)), ddof=1) / np.var(f, ddof=1)
    assert spread == pytest.approx(1, abs=0.01)
    assert found.estimate == pytest.approx(slope * further.mean() + height, abs=0.01)


def test_a_prediction_that_says_nothing_or_the_contrary_leaves_the_plain_mean():
    d = np.array([1.0, 0, 0, 1, -1, 0, 1, 0])
    for predicted in (np.zeros(8), -d):
        found = prediction_powered(d, predicted, np.zeros(50))
        assert found.lam == 0
        assert found.estimate == found.plain == d.mean()
        assert found.interval == pytest.approx(found.plain_interval)
        assert found.worth == pytest.approx(1)


def test_what_cannot_be_estimated_is_refused_with_the_reason():
    with pytest.raises(StatisticsError, match="measured"):
        prediction_powered([1.0] * 3, [0.0] * 3, [0.0] * 9)
    with pytest.raises(StatisticsError, match="nothing says how far they vary"):
        prediction_powered([0.0] * 8, [1.0, 0, 0, 0, 0, 0, 0, 0], [0.0, 1.0])
    with pytest.raises(StatisticsError, match="as many of each"):
        prediction_powered([0.0, 1, 0, 1, 0, 1], [0.0] * 7, [0.0, 1.0])
    with pytest.raises(StatisticsError, match="further"):
        prediction_powered([0.0, 1, 0, 1, 0, 1], [0.0] * 6, [])


def test_intervals_hold_what_they_say_whether_the_simulation_is_right_or_wrong():
    """400 studies of 20 starts, differences of -1, 0 and 1: 5 % may miss, 8 % are more than luck allows."""
    rng = np.random.default_rng(6)
    for share in (0.0, 0.8):
        missed = 0
        for _ in range(400):
            d = rng.integers(-1, 2, 220).astype(float)
            f = np.where(rng.random(220) < share, d, rng.integers(-1, 2, 220)) + 0.3
            low, high = prediction_powered(d[:20], f[:20], f[20:]).interval
            missed += not low <= 0 <= high
        assert missed / 400 < 0.08


def test_a_hand_that_follows_half_way_is_found_and_one_that_stands_is_not():
    rng = np.random.default_rng(1)
    boxes = rng.uniform(-0.03, 0.03, (20, 2))
    noise = rng.normal(0, 0.002, (20, 2))

    half = following([tuple(b) for b in boxes], [tuple(h) for h in 0.5 * boxes + noise])
    none = following([tuple(b) for b in boxes], [tuple(h) for h in noise])

    assert half.interval is not None
    assert half.interval.low < 15.0 < half.interval.high
    assert half.interval.high - half.interval.low < 4.0
    assert "follows a box that starts 30 mm elsewhere by 14 mm" in str(half)
    assert none.interval is not None
    assert none.interval.low < 0.5
    assert none.interval.high < 3.0
    assert "at least 6" in following([(0.0, 0.0)], [(0.0, 0.0)]).why_not
    same = [(0.1, 0.1)] * 8
    assert "within 0 mm" in following(same, same).why_not
