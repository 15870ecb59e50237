"""Warm-up, the controller and the ceiling that gives way: by formula, and as they behave."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from so101_policy.errors import RegularizerError
from so101_policy.regularizer.schedules import PIWeight, Relaxation, RunningMean, warm_up

YES, NO = torch.tensor(True), torch.tensor(False)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0), (4999, 0), (5000, 0), (7500, 0.005), (10000, 0.01), (20000, 0.01)]
)
def test_warm_up_is_a_ramp(step: int, expected: float) -> None:
    assert 0.01 * warm_up(torch.tensor(step), 5000, 10000).item() == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (9, 0), (10, 1), (11, 1)])
def test_a_warm_up_without_length_is_a_jump(step: int, expected: float) -> None:
    assert warm_up(torch.tensor(step), 10, 10).item() == expected


def test_a_running_mean_has_no_pull_towards_its_start() -> None:
    mean = RunningMean(0.9)
    assert mean.value.item() == 0
    for n in range(1, 20):
        mean.add(0.1, YES)
        mean.add(123.0, NO)
        assert mean.value.item() == pytest.approx(0.1)
        assert mean.count.item() == n


def test_a_running_mean_is_the_weighted_mean_of_what_came_in() -> None:
    mean, values = RunningMean(0.7), [1.0, 4.0, -2.0, 0.5]
    for value in values:
        mean.add(torch.tensor(value), YES)
    weights = [0.7 ** (len(values) - 1 - i) for i in range(len(values))]
    expected = sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)
    assert mean.value.item() == pytest.approx(expected)


def test_a_constant_error_raises_the_weight_by_ki_a_step_above_its_proportional_part() -> None:
    pi = PIWeight(kp=0.5, ki=0.01, largest=1.0)
    assert pi.value.item() == 0
    for n in range(1, 30):
        pi.move(torch.tensor(0.1), YES)
        assert pi.value.item() == pytest.approx(0.05 + 0.001 * n)


def test_a_share_below_its_ceiling_from_the_start_is_left_alone() -> None:
    pi = PIWeight(0.5, 0.01, 1.0)
    for _ in range(10):
        pi.move(torch.tensor(-0.1), YES)
        assert pi.value.item() == 0
    assert pi.integral.item() == 0


def test_the_weight_never_exceeds_its_limit_and_does_not_wind_up() -> None:
    pi = PIWeight(0.5, 0.5, largest=0.3)
    for _ in range(50):
        pi.move(torch.tensor(1.0), YES)
        assert pi.value.item() <= 0.3 + 1e-7
    for _ in range(30):
        pi.move(torch.tensor(-1.0), YES)
    assert pi.value.item() == 0


def test_a_step_without_queries_moves_no_controller() -> None:
    pi = PIWeight(0.5, 0.01, 1.0)
    pi.move(torch.tensor(0.1), YES)
    before = {name: x.clone() for name, x in pi.state_dict().items()}
    pi.move(torch.tensor(9.0), NO)
    assert all(torch.equal(x, before[name]) for name, x in pi.state_dict().items())


def settled_share(weight_of: Callable[[float], float], pull: float, steps: int = 4000) -> float:
    """One share, r = sigmoid(z): the task's loss falls by `pull` per share, the regularizer's rises by weight."""
    z = 1.1  # r = .75
    for _ in range(steps):
        r = 1 / (1 + math.exp(-z))
        z -= 5 * (weight_of(r) - pull) * r * (1 - r)
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize("pull", [0.002, 0.006, 0.02, 0.1])
def test_the_controller_reaches_the_ceiling_whatever_the_task_pulls_where_a_fixed_weight_does_not(
    pull: float,
) -> None:
    pi = PIWeight(kp=0.2, ki=0.001, largest=1.0)

    def controlled(r: float) -> float:
        pi.move(torch.tensor(r - 0.35), YES)
        return pi.value.item()

    assert settled_share(controlled, pull) == pytest.approx(0.35, abs=0.01)
    assert pi.value.item() == pytest.approx(pull, rel=0.1)  # it has found the slope of the task's loss
    if pull != 0.002:
        assert settled_share(lambda r: 0.005 * (r > 0.35), pull) > 0.95


def formula(ratio: float) -> float:
    return min(max((ratio - 1.1) / (1.3 - 1.1), 0), 1)


def relaxed_to(relaxation: Relaxation, ratio: float) -> float:
    """The relaxation after the running mean of the held-out loss has settled at `ratio` times its best of 1."""
    for _ in range(40):
        relaxation.observe(ratio, YES)
    return relaxation.value.item()


def test_the_ceiling_gives_way_as_the_held_out_loss_leaves_its_best() -> None:
    relaxation = Relaxation(1.1, 1.3)
    for ratio in (1.0, 1.05, 1.1, 1.15, 1.2, 1.29, 1.3, 1.6):
        assert relaxed_to(relaxation, ratio) == pytest.approx(formula(ratio), abs=1e-4), ratio


def test_the_ceiling_comes_back_later_than_it_gave_way() -> None:
    relaxation = Relaxation(1.1, 1.3)
    relaxed_to(relaxation, 1.0)
    assert relaxed_to(relaxation, 1.2) == pytest.approx(0.5, abs=1e-4)
    for ratio in (1.15, 1.11, 1.18, 1.2, 1.1001):  # chatter within the gap
        assert relaxed_to(relaxation, ratio) == pytest.approx(0.5, abs=1e-3), ratio
    assert relaxed_to(relaxation, 1.05) == pytest.approx(0.25, abs=1e-3)
    assert relaxed_to(relaxation, 1.0) == pytest.approx(0, abs=1e-3)


def test_held_out_losses_before_the_end_of_the_warm_up_are_no_reference() -> None:
    relaxation = Relaxation(1.1, 1.3)
    for _ in range(20):
        relaxation.observe(0.01, NO)
    assert relaxation.value.item() == 0
    assert relaxation.best.item() == math.inf
    for _ in range(40):
        relaxation.observe(1.0, YES)
    assert relaxation.best.item() < 1
    relaxation = Relaxation(1.1, 1.3)
    relaxation.observe(1.0, YES)
    assert relaxation.best.item() == pytest.approx(1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_held_out_loss_that_is_no_number_is_refused_and_changes_nothing(loss: float) -> None:
    relaxation = Relaxation(1.1, 1.3)
    with pytest.raises(RegularizerError, match="held-out loss is"):
        relaxation.observe(loss, YES)
    assert relaxation.held_out.count.item() == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30))
def test_the_relaxation_stays_between_its_two_lines(losses: list[float]) -> None:
    relaxation = Relaxation(1.1, 1.3)
    for loss in losses:
        relaxation.observe(loss, YES)
        ratio = (relaxation.held_out.value / relaxation.best).item()
        assert ratio >= 1 - 1e-6
        assert formula(ratio) - 1e-5 <= relaxation.value.item() <= formula(ratio + 0.1) + 1e-5
