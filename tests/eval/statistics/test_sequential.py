"""Looking after every pair: closed forms, a second way for each, and what they promise where there is nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from experiments import null_simulations as null
from so101_eval.statistics import (
    StatisticsError,
    decide,
    difference_interval,
    difference_sequence,
    e_path,
    e_value,
    e_value_mean,
    e_value_one_sided,
    log_e_two_samples,
    log_e_value,
    mean_interval,
    mean_sequence,
    sequential_power,
)

COUNT = st.integers(0, 150)
CREDITS = st.lists(st.integers(0, 14).map(lambda k: k / 14), min_size=1, max_size=40)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 2), (13, 1), (20, 31)])
def test_the_e_value_is_the_integral_over_all_bets(wins: int, losses: int):
    def capital(u: float) -> float:
        return (2 * u) ** wins * (2 * (1 - u)) ** losses

    assert e_value(wins, losses) == pytest.approx(integrate.quad(capital, 0, 1)[0])
    assert e_value_one_sided(wins, losses) == pytest.approx(2 * integrate.quad(capital, 0.5, 1)[0])
    share = stats.beta.sf(0.5, wins + 1, losses + 1)
    assert e_value_one_sided(wins, losses) == pytest.approx(2 * e_value(wins, losses) * share)


@given(wins=COUNT, losses=COUNT)
def test_the_two_sided_e_value_is_the_mean_of_the_one_sided_ones_and_does_not_know_names(
    wins: int, losses: int
):
    both = e_value_one_sided(wins, losses) + e_value_one_sided(losses, wins)
    assert e_value(wins, losses) == pytest.approx(both / 2)
    assert e_value(wins, losses) == e_value(losses, wins)


@given(wins=COUNT, losses=COUNT)
def test_capital_is_fair_where_there_is_no_difference(wins: int, losses: int):
    """The next telling pair leaves it as it is on average: a martingale."""
    after = (e_value(wins + 1, losses) + e_value(wins, losses + 1)) / 2
    assert after == pytest.approx(e_value(wins, losses))


def test_very_clear_evidence_does_not_overflow():
    assert e_value(3000, 0) == math.inf
    assert float(log_e_value(3000, 0)) == pytest.approx(3000 * math.log(2) - math.log(3001))
    assert e_value_one_sided(0, 3000) == 0


@given(order=st.permutations([(True, False)] * 6 + [(False, True)] * 2 + [(True, True)] * 4))
def test_the_order_of_pairs_does_not_matter(order: list[tuple[bool, bool]]):
    first, second = zip(*order, strict=True)
    assert e_path(first, second)[-1] == pytest.approx(math.log(e_value(6, 2)))
    differences = [float(a) - float(b) for a, b in order]
    assert difference_interval(differences) == pytest.approx(
        difference_interval(sorted(differences)), abs=1e-12
    )


def test_a_study_ends_at_the_first_crossing_and_not_before():
    first, second = [True] * 12, [False] * 12
    assert e_value(7, 0) == pytest.approx(16)
    assert e_value(8, 0) == pytest.approx(28.44, abs=0.01)
    found = decide(first, second, planned_pairs=100)
    assert (found.winner, found.pairs, found.finished) == ("first", 8, True)
    assert decide(second, first, planned_pairs=100).winner == "second"
    assert decide(first[:7], second[:7], planned_pairs=100).finished is False
    inconclusive = decide(first[:7], second[:7], planned_pairs=7)
    assert (inconclusive.winner, inconclusive.finished) == (None, True)
    assert decide([], [], planned_pairs=5) == (None, 0, 1.0, False)


def test_unpaired_outcomes_are_refused():
    with pytest.raises(StatisticsError, match="2 against 1 episodes"):
        decide([True, True], [True], planned_pairs=5)
    with pytest.raises(StatisticsError, match="wins -1"):
        e_value(-1, 0)
    with pytest.raises(StatisticsError, match=r"outcome 1\.2"):
        mean_interval([0.1, 1.2])
    with pytest.raises(StatisticsError, match="difference -2"):
        difference_interval([-2.0])
    with pytest.raises(StatisticsError, match="nan is not a finite number"):
        mean_interval([math.nan])


@settings(max_examples=50)
@given(outcomes=CREDITS, mean=st.floats(0.02, 0.98))
def test_the_e_value_of_a_mean_is_the_integral_over_all_bets(outcomes: list[float], mean: float):
    x = np.array(outcomes)

    def capital(u: float) -> float:
        return float(np.prod(x * u / mean + (1 - x) * (1 - u) / (1 - mean)))

    two_sided, _ = integrate.quad(capital, 0, 1, limit=200)
    one_sided, _ = integrate.quad(capital, mean, 1, limit=200)
    assert e_value_mean(outcomes, mean) == pytest.approx(two_sided, rel=1e-6)
    assert e_value_mean(outcomes, mean, "greater") == pytest.approx(one_sided / (1 - mean), rel=1e-6)


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_the_mean_of_wins_and_losses_at_one_half_is_the_closed_form(wins: int, losses: int):
    outcomes = [1.0] * wins + [0.0] * losses
    assert e_value_mean(outcomes, 0.5) == pytest.approx(e_value(wins, losses))
    assert e_value_mean(outcomes, 0.5, "greater") == pytest.approx(e_value_one_sided(wins, losses))


@settings(max_examples=50)
@given(wins=st.integers(0, 30), losses=st.integers(0, 30), ties=st.integers(0, 30))
def test_zero_is_outside_the_interval_exactly_when_the_e_value_decides(wins: int, losses: int, ties: int):
    low, high = difference_interval([1.0] * wins + [-1.0] * losses + [0.0] * ties)
    assert (low > 0 or high < 0) == (e_value(wins, losses) >= 20)


@settings(max_examples=50)
@given(outcomes=CREDITS, mean=st.floats(0.01, 0.99))
def test_the_interval_contains_exactly_the_means_that_are_not_rejected(outcomes: list[float], mean: float):
    low, high = mean_interval(outcomes)
    evidence = e_value_mean(outcomes, mean)
    if abs(evidence - 20) > 1e-6:
        assert (low <= mean <= high) == (evidence < 20)
    assert low <= np.mean(outcomes) <= high


@settings(max_examples=50)
@given(outcomes=CREDITS)
def test_the_interval_is_reflected_with_the_outcomes(outcomes: list[float]):
    low, high = mean_interval(outcomes)
    assert mean_interval([1 - x for x in outcomes]) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_path_of_intervals_ends_in_the_interval():
    differences = np.random.default_rng(1).choice([1.0, 0.0, -1.0, 0.25], 60)
    low, high = difference_sequence(differences)
    assert (low[-1], high[-1]) == pytest.approx(difference_interval(differences), abs=1e-12)
    assert (low[9], high[9]) == pytest.approx(difference_interval(differences[:10]), abs=1e-12)
    assert mean_interval([]) == (0, 1)
    assert [len(end) for end in mean_sequence([])] == [0, 0]


def test_the_interval_of_successes_is_the_beta_binomial_one():
    """Ends where B(w+1, l+1) / (p^w (1-p)^l) = 20."""
    for p in mean_interval([1.0] * 17 + [0.0] * 3):
        assert stats.beta.pdf(p, 18, 4) == pytest.approx(1 / 20)


def test_two_samples_are_a_martingale_on_every_path():
    """All outcomes of three blocks, weighted with a common rate, leave the capital at 1 on average."""
    blocks = [[(i >> shift) & 1 for shift in range(6)] for i in range(64)]
    outcomes = np.array(blocks, dtype=np.float64)
    capital = np.exp(log_e_two_samples(outcomes[:, :3], outcomes[:, 3:])[:, -1])
    for rate in (0.2, 0.5, 0.9):
        likely = np.prod(np.where(outcomes > 0, rate, 1 - rate), axis=1)
        assert float(likely @ capital) <= 1 + 1e-12


@pytest.fixture(scope="module")
def alarms() -> dict[tuple[str, str], float]:
    """10,000 studies, watched after every pair."""
    rows = null.false_alarms(10_000)
    return {(row.rule, row.setting): row.share for row in rows}


def test_watching_every_pair_gives_few_false_alarms_with_e_values(alarms: dict[tuple[str, str], float]):
    for (rule, setting), share in alarms.items():
        if rule == "e-value, every pair":
            assert share <= 0.025, setting
        elif rule in ("two-sample e-value, every pair", "exact McNemar, once", "Barnard, once"):
            assert share <= 0.05, (rule, setting)


@pytest.mark.parametrize(
    ("rule", "rate", "published"),
    [  # of 20,000 studies: facts of the evaluation protocol, section 3b
        ("exact McNemar, every pair", "50%", 0.17),
        ("exact McNemar, every pair", "80%", 0.14),
        ("exact McNemar, every 10 pairs", "50%", 0.11),
        ("exact McNemar, every 10 pairs", "80%", 0.09),
        ("e-value, every pair", "50%", 0.02),
        ("e-value, every pair", "80%", 0.02),
    ],
)
def test_why_not_to_peek_with_mcnemar(
    alarms: dict[tuple[str, str], float], rule: str, rate: str, published: float
):
    assert alarms[rule, f"both succeed {rate}, independent"] == pytest.approx(published, abs=0.01)


def test_simulated_false_alarms_are_the_summed_ones(alarms: dict[tuple[str, str], float]):
    for rate, name in ((0.5, "50%"), (0.8, "80%")):
        alone = rate * (1 - rate)
        watched = sequential_power(alone, alone, 100)
        assert watched.first[-1] == pytest.approx(watched.second[-1])
        simulated = alarms["e-value, every pair", f"both succeed {name}, independent"]
        assert simulated == pytest.approx(watched.first[-1] + watched.second[-1], abs=0.005)


@pytest.mark.slow
def test_confidence_sequences_and_permutations_keep_their_level_in_ten_thousand_studies():
    for row in (*null.sequence_misses(), *null.permutation_alarms()):
        assert row.share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / row.repetitions), row


def test_confidence_sequences_keep_their_level():
    assert all(row.share <= 0.05 for row in null.sequence_misses(1000))


@pytest.mark.slow
def test_intervals_cover_over_the_whole_grid():
    guaranteed = {"clopper_pearson": 0.95, "Garwood": 0.95, "cluster bootstrap": 0.95}
    close = {
        "wilson": 0.9,
        "jeffreys": 0.86,
        "Tango": 0.935,
        "Newcombe, paired": 0.93,
        "Newcombe, separate": 0.92,
    }
    rows = (
        *null.rate_coverages(),
        *null.paired_coverages(),
        *null.unpaired_coverages(),
        *null.garwood_coverages(),
        *null.bootstrap_coverages(),
    )
    for row in rows:
        assert row.least >= {**guaranteed, **close}[row.interval], row
        assert row.mean >= 0.945, row


def test_intervals_cover_over_a_small_grid():
    for row in (*null.rate_coverages((20, 100)), *null.paired_coverages((15,)), *null.garwood_coverages(5.0)):
        assert row.mean >= 0.945, row
        assert row.least >= (0.95 if row.interval in ("clopper_pearson", "Garwood") else 0.89), row


def test_the_command_prints_its_tables_and_refuses_no_repetitions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("rate", "paired", "unpaired", "garwood"):
        monkeypatch.setattr(
            null, f"{name}_coverages", lambda: [null.Coverage("an interval", "20", 0.95, 0.96)]
        )
    assert null.main(["--repetitions", "20", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "| e-value, every pair | both succeed 50%, independent |" in said
    assert "| an interval | 20 | 95.0% | 96.0% |" in said
    assert null.main(["--repetitions", "20", "--seed", "3"]) == 0
    assert capsys.readouterr().out == said
    assert null.main(["--repetitions", "0"]) == 2
    assert capsys.readouterr().err == "null_simulations: --repetitions 0: expected 1 or more\n"
