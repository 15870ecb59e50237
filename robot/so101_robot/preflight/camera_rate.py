"""Does a camera deliver what it was configured for? The verdict on the times of its pictures, a pure function.

Whoever measures decides how long: three seconds in `so101-calibrate check`, a second before a run.
"""

from collections.abc import Sequence

import numpy as np

from so101_robot.preflight.findings import Finding, Level

SLOW, TOO_SLOW = 0.95, 0.8
"""Share of the configured rate below which is a warning, a failure."""
JITTER_WARN, JITTER_FAIL = 0.15, 0.5
"""Standard deviation of the time between two pictures, as a share of that time."""

FEWEST = 3
"""Pictures that say something about a rate."""


def judge_rate(
    check: str, subject: str, stamps_s: Sequence[float], watched_s: float, expected_fps: float | None
) -> Finding:
    """The finding on one camera; its value is the rate [1/s].

    Args:
        check: name of the finding's check.
        subject: the camera, where the check does not name it.
        stamps_s: when each new picture was taken [s], in order.
        watched_s: how long was watched [s].
        expected_fps: what it is configured for; None: not said, and only its jitter is judged.
    """
    if len(stamps_s) < FEWEST:
        found = f"{len(stamps_s)} new pictures in {watched_s:g} s"
        asked = "pictures" if expected_fps is None else f"{expected_fps:g} frames/s"
        remedy = "check its cable and hub"
        return Finding(Level.STOP, check, subject, found, asked, remedy, len(stamps_s) / watched_s, "1/s")
    gaps_s = np.diff(stamps_s)
    mean_s = float(gaps_s.mean())
    fps, jitter = 1 / mean_s, float(gaps_s.std()) / mean_s
    share = 1.0 if not expected_fps else fps / expected_fps
    bad = share < TOO_SLOW or jitter > JITTER_FAIL
    poor = share < SLOW or jitter > JITTER_WARN
    found = f"{fps:.1f} frames/s, jitter {jitter * mean_s * 1e3:.1f} ms, longest gap {gaps_s.max():.3f} s"
    rate = round(fps, 3)
    if not (bad or poor):
        return Finding(Level.OK, check, subject, found, value=rate, unit="1/s")
    asked = "even gaps" if share >= SLOW or not expected_fps else f"{expected_fps:g} frames/s, as configured"
    remedy = (
        "give it a USB port of its own, more light, or a smaller size; or configure the rate that it delivers"
    )
    return Finding(Level.STOP if bad else Level.WARN, check, subject, found, asked, remedy, rate, "1/s")
