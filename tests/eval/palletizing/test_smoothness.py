"""SPARC and log dimensionless jerk against what can be computed on paper and what was published."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import simpson

from so101_eval.errors import ConfigError
from so101_eval.palletizing.score import smoothness
from so101_eval.palletizing.score.smoothness import Carries, log_dimensionless_jerk, sparc, speeds


def minimum_jerk(rate_hz: float, duration_s: float = 1.0, peak: float = 1.0) -> NDArray[np.float64]:
    t = np.arange(round(rate_hz * duration_s) + 1) / (rate_hz * duration_s)
    return peak * 16 * t**2 * (1 - t) ** 2


def test_the_jerk_of_a_minimum_jerk_reach_is_that_of_the_formula() -> None:
    # v = 30 t^2 (1-t)^2: integral of v''^2 = 720, peak 1.875, so 720 / 1.875^2 = 204.8
    assert log_dimensionless_jerk(minimum_jerk(2000), 2000) == pytest.approx(-math.log(204.8), abs=0.005)


@pytest.mark.parametrize("samples", [5, 6, 7, 8, 31, 32])
def test_the_integral_is_that_of_scipy(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = np.random.default_rng(samples).random(samples)
    ours = log_dimensionless_jerk(speed, 30.0)
    monkeypatch.setattr(smoothness, "_simpson", simpson)
    assert ours == pytest.approx(log_dimensionless_jerk(speed, 30.0), abs=1e-12)


DURATIONS_S = (1 / 3, 0.4, 0.5, 17 / 30, 0.7, 1.0, 1.5, 2.0, 3.0, 10.0)


@pytest.mark.parametrize("duration_s", DURATIONS_S)
def test_the_jerk_of_a_reach_at_30_hz_does_not_depend_on_how_quick_it_is(duration_s: float) -> None:
    """It was -5.00 for half a second and -5.27 for three: the quicker policy looked smoother."""
    found = log_dimensionless_jerk(minimum_jerk(30, duration_s), 30)
    assert found == pytest.approx(-math.log(204.8), abs=0.004)


@pytest.mark.parametrize("duration_s", DURATIONS_S)
@pytest.mark.parametrize("far_m", [0.05, 0.3])
def test_the_jerk_of_a_carry_at_30_hz_does_not_depend_on_how_quick_it_is(
    duration_s: float, far_m: float
) -> None:
    """From positions, as the score has them: their differences add ends of their own."""
    carries = Carries()
    for part in np.arange(round(30 * duration_s) + 1) / round(30 * duration_s):
        way = far_m * (10 * part**3 - 15 * part**4 + 6 * part**5)
        carries.see(np.array([0.2 + 0.6 * way, 0.8 * way, 0.1]), carrying=True)
    carries.see(np.zeros(3), carrying=False)
    _, jerk = carries.smoothness(30)
    assert jerk == pytest.approx(-math.log(204.8), abs=0.03)


def test_a_profile_at_constant_speed_has_no_jerk_and_one_that_only_rises_has_its_peak_at_the_end() -> None:
    assert log_dimensionless_jerk([0.2] * 9, 30) == math.inf
    t = np.linspace(0, 1, 31)  # v = t^3: v'' = 6 t, integral of its square 12, peak 1
    assert log_dimensionless_jerk(t**3, 30) == pytest.approx(-math.log(12), abs=1e-6)


def test_the_jerk_of_a_sine_reach_is_that_of_the_formula() -> None:
    # v = sin(pi t): v'' = -pi^2 v, integral of v''^2 = pi^4 / 2, peak 1
    t = np.linspace(0, 1, 4001)
    assert log_dimensionless_jerk(np.sin(np.pi * t), 4000) == pytest.approx(
        -math.log(np.pi**4 / 2), abs=0.005
    )


def test_the_spectral_arc_of_one_smooth_reach_is_the_published_value() -> None:
    # a single reach: about -1.4 (Balasubramanian et al. 2015, Fig. 2 and its reference implementation)
    assert sparc(minimum_jerk(100), 100) == pytest.approx(-1.41, abs=0.02)


def arc_by_brute_force(speed: NDArray[np.float64], rate_hz: float) -> float:
    """The definition, with the Fourier integral summed term by term on a fine grid."""
    n = len(speed)
    frequency_hz = np.arange(0, 10, rate_hz / 2 ** (math.ceil(math.log2(n)) + 4))
    spectrum = np.abs(np.exp(-2j * np.pi * np.outer(frequency_hz, np.arange(n) / rate_hz)) @ speed)
    spectrum /= spectrum[0]
    end = np.flatnonzero(spectrum >= 0.05)[-1]
    x = frequency_hz[: end + 1] / frequency_hz[end]
    return -sum(math.hypot(x[i + 1] - x[i], spectrum[i + 1] - spectrum[i]) for i in range(end))


def test_the_spectral_arc_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    for rate_hz in (30.0, 100.0):
        speed = np.abs(np.cumsum(rng.normal(size=90))) + 0.1
        assert sparc(speed, rate_hz) == pytest.approx(arc_by_brute_force(speed, rate_hz), rel=1e-9)


@pytest.mark.parametrize("measure", [sparc, log_dimensionless_jerk])
def test_smoothness_depends_on_neither_distance_nor_duration(measure: object) -> None:
    assert callable(measure)
    reference = measure(minimum_jerk(100), 100)
    assert measure(minimum_jerk(100, peak=7.0), 100) == pytest.approx(reference, rel=1e-9)
    assert measure(minimum_jerk(50, duration_s=2.0), 50) == pytest.approx(reference, abs=0.03)


@pytest.mark.parametrize("measure", [sparc, log_dimensionless_jerk])
def test_a_reach_in_pieces_and_a_trembling_one_are_less_smooth(measure: object) -> None:
    assert callable(measure)
    smooth = minimum_jerk(100, 2.0)
    pieces = np.concatenate([minimum_jerk(100, 0.6), np.zeros(20), minimum_jerk(100, 0.6)])
    trembling = np.abs(smooth + 0.15 * np.sin(2 * np.pi * 6 * np.arange(len(smooth)) / 100))
    assert measure(pieces, 100) < measure(smooth, 100) - 0.1
    assert measure(trembling, 100) < measure(smooth, 100) - 0.02


def test_speed_of_a_circle_is_its_radius_times_its_rate() -> None:
    angle = 2.0 * np.arange(100) / 50
    path = 0.1 * np.stack([np.cos(angle), np.sin(angle), np.zeros(100)], axis=1)
    np.testing.assert_allclose(speeds(path, 50)[1:-1], 0.2, rtol=1e-3)


@pytest.mark.parametrize("measure", [sparc, log_dimensionless_jerk])
@pytest.mark.parametrize(
    ("speed", "rate_hz"),
    [
        ([1.0, 2.0, 1.0], 30),
        ([0.0] * 20, 30),
        ([1.0, float("nan")] * 9, 30),
        (minimum_jerk(30), 0),
        ([[1.0] * 9], 30),
    ],
)
def test_what_has_no_smoothness_is_an_error(measure: object, speed: object, rate_hz: float) -> None:
    assert callable(measure)
    with pytest.raises(ConfigError):
        measure(speed, rate_hz)


def test_a_carry_without_any_jerk_does_not_make_a_record_that_nobody_can_read() -> None:
    """Its measure is infinite, which JSON does not have."""
    carries = Carries()
    for tick in range(30):
        carries.see(np.array([tick / 4, 0.0, 0.0]), carrying=True)
    carries.see(np.zeros(3), carrying=False)
    assert carries.smoothness(4.0) == (None, None)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200])
def test_speeds_of_any_size_are_as_smooth(scale: float) -> None:
    speed = minimum_jerk(30)
    assert log_dimensionless_jerk(speed * scale, 30) == pytest.approx(log_dimensionless_jerk(speed, 30))
    assert sparc(speed * scale, 30) == pytest.approx(sparc(speed, 30))
