"""How smooth a motion was: spectral arc length and log dimensionless jerk of a speed profile.

Both are without dimension and do not depend on how far or how fast a hand went; larger (nearer to zero) is
smoother. They are made for one reach, so a long attempt is judged carry by carry. From a third of a second at 30 Hz on,
a minimum-jerk reach has the same log dimensionless jerk within 0.03, however long it takes.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_eval.errors import ConfigError

CUTOFF_HZ = 10.0
"""Human and teleoperated motion has next to nothing above. source: Balasubramanian et al. 2012, omega_c =
20 pi."""
AMPLITUDE_THRESHOLD = 0.05  # of the normalised spectrum. source: Balasubramanian et al. 2015
PADDING = 4  # powers of two by which the spectrum is padded. source: as above
FEWEST = 5  # samples, with three second differences inside: as many as it takes to go on to the ends


def sparc(speed: ArrayLike, rate_hz: float) -> float:
    """Spectral arc length of a speed profile (n,) sampled at `rate_hz`.

    The length of the curve (w / w_c, |V(w)| / |V(0)|), negative, up to the frequency w_c above which the
    spectrum stays below the threshold, at most `CUTOFF_HZ`. A single reach gives about -1.4 to -1.6.
    Source: Balasubramanian, Melendez-Calderon, Roby-Brami, Burdet, "On the analysis of movement smoothness",
    J. NeuroEng. Rehabil. 12:112 (2015), eq. 7 and 8.

    Raises:
        ConfigError: fewer than 5 samples, a rate that is not positive, or a hand that did not move.
    """
    profile = _profile(speed, rate_hz)
    size = 2 ** (math.ceil(math.log2(len(profile))) + PADDING)
    frequency_hz = np.arange(size // 2 + 1) * (rate_hz / size)
    amplitude = np.abs(np.fft.rfft(profile, size))
    amplitude = amplitude / amplitude[0]
    below_cutoff = frequency_hz <= CUTOFF_HZ
    frequency_hz, amplitude = frequency_hz[below_cutoff], amplitude[below_cutoff]
    last = int(np.flatnonzero(amplitude >= AMPLITUDE_THRESHOLD)[-1]) + 1
    if last < 2:
        return 0.0
    steps = np.diff(frequency_hz[:last]) / (frequency_hz[last - 1] - frequency_hz[0])
    return -float(np.sum(np.hypot(steps, np.diff(amplitude[:last]))))


def log_dimensionless_jerk(speed: ArrayLike, rate_hz: float) -> float:
    """Log dimensionless jerk of a speed profile (n,) sampled at `rate_hz`.

    -ln( T^3 / v_peak^2 * integral of (d^2 v / dt^2)^2 dt ) with T the duration. The smoothest profile that
    starts and ends at rest and at zero acceleration (minimum jerk) gives -ln(204.8) = -5.32.
    Source: Balasubramanian et al. (2015), eq. 4, as in Hogan and Sternad, J. Mot. Behav. 41 (2009).

    That profile bends most at its ends, where differences end a sample early, and its peak is rarely on a sample. A
    quick reach has few samples, so both are worked out by parabolas; else it would look smoother than a slow one.

    Raises:
        ConfigError: as for `sparc`.
    """
    profile = _profile(speed, rate_hz)
    jerk = _to_the_ends(np.diff(profile, 2)) * rate_hz**2
    duration_s = (len(profile) - 1) / rate_hz
    scale = duration_s**3 / _peak(np.abs(profile)) ** 2
    dimensionless = scale * _simpson(jerk**2) / rate_hz
    return -math.log(dimensionless) if dimensionless > 0 else math.inf


def _to_the_ends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """With one more value at either end, on the parabola through the last three."""
    first, last = (3 * a - 3 * b + c for a, b, c in (values[:3], values[:-4:-1]))
    return np.array([first, *values, last])


def _simpson(values: NDArray[np.float64]) -> float:
    """Integral over samples (n,) one apart, n >= 3, by Simpson's rule; of an even number the last interval by the
    parabola through the last three (Cartwright, J. Math. Sci. Math. Educ. 12, 2017, eq. 8), as scipy.integrate.simpson.

    By hand because that import takes every run half a second.
    """
    pairs = values if len(values) % 2 else values[:-1]
    area = (pairs[0] + pairs[-1] + 4 * pairs[1:-1:2].sum() + 2 * pairs[2:-1:2].sum()) / 3
    if len(values) % 2 == 0:
        area += (5 * values[-1] + 8 * values[-2] - values[-3]) / 12
    return float(area)


def _peak(speed: NDArray[np.float64]) -> float:
    """Top of the parabola through the largest value and its neighbours; that value itself where it is at an end."""
    at = int(np.argmax(speed))
    if at in (0, len(speed) - 1):
        return float(speed[at])
    before, top, after = speed[at - 1 : at + 2]
    bend = 2 * top - before - after
    return float(top + (before - after) ** 2 / (8 * bend)) if bend > 0 else float(top)


def speeds(positions_m: ArrayLike, rate_hz: float) -> NDArray[np.float64]:
    """Speed (n,) [m/s] of a path (n, 3) [m] sampled at `rate_hz`."""
    velocity = np.gradient(np.asarray(positions_m, dtype=float), 1.0 / rate_hz, axis=0)
    return np.linalg.norm(velocity, axis=1)


def _profile(speed: ArrayLike, rate_hz: float) -> NDArray[np.float64]:
    profile = np.asarray(speed, dtype=float)
    if profile.ndim != 1 or len(profile) < FEWEST:
        raise ConfigError(f"smoothness takes at least {FEWEST} speeds in a row, got an array {profile.shape}")
    if not rate_hz > 0:
        raise ConfigError(f"a rate of {rate_hz} samples per second; it must be above 0")
    largest = float(np.max(np.abs(profile)))
    if not math.isfinite(largest) or largest == 0:
        raise ConfigError("smoothness of a hand that did not move, or of speeds that are not numbers")
    profile = (
        profile / largest
    )  # neither measure depends on it, and squares of very small or large ones would
    if not abs(float(np.sum(profile))) > 0:
        raise ConfigError("smoothness of a hand that went as far back as forth")
    return profile


SHORTEST = 2 * FEWEST
"""[ticks] A shorter carry is a lift and a fall, and says nothing."""


class Carries:
    """Pieces of a path, sampled once a tick."""

    def __init__(self) -> None:
        self.done: list[NDArray[np.float64]] = []
        """Finished carries, (n, 3) [m] each."""
        self._now: list[NDArray[np.float64]] = []

    def see(self, point_m: NDArray[np.float64], carrying: bool) -> None:
        """Where the hand (3,) is a tick later."""
        if carrying:
            self._now.append(point_m)
        elif self._now:
            self.done.append(np.array(self._now))
            self._now = []

    def smoothness(self, rate_hz: float) -> tuple[float, float] | tuple[None, None]:
        """SPARC and log dimensionless jerk, means over the carries; None, None if nothing was carried."""
        profiles = [speeds(path, rate_hz) for path in self.done if len(path) >= SHORTEST and rate_hz > 0]
        values = np.array(
            [
                (sparc(speed, rate_hz), log_dimensionless_jerk(speed, rate_hz))
                for speed in profiles
                if speed.sum() > 0
            ]
        )
        values = (
            values[np.isfinite(values).all(axis=1)] if len(values) else values
        )  # no jerk at all has no logarithm
        if not len(values):
            return None, None
        spectral, jerk = values.mean(axis=0).tolist()
        return spectral, jerk
