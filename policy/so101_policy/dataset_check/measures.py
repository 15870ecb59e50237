"""Episodes in numbers, and those that differ from the others.

A measure of an episode is unusual when it is `UNUSUAL` times further from the median than episodes usually are (median
absolute deviation, scaled to a standard deviation), and by a share of the median that a person would notice.

Shapes: N frames, E episodes, J joints.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_policy.dataset_check.description import ACTION, STATE
from so101_policy.dataset_check.numbers import STILL_DEG, Used, idle_frames
from so101_policy.units import LikelyUnits, one_degree

UNUSUAL = 5.0
MAD_TO_STD = 1.4826
"""Of a normal distribution."""
LEAST_SHARE = 0.25
"""Of the median, by which an unusual episode differs at least."""
MIN_EPISODES = 6
"""With fewer, none is unusual."""

MEASURES = {
    "length": "s",
    "path": "deg",
    "speed": "deg/s",
    "pauses": "share",
    "start": "deg",
    "repeated readings": "share",
}
"""Name -> unit. `path`: of all joints together; `speed`: its mean while something moves; `start`: how far the first
state is from the usual one; `repeated readings`: the state did not change although the action did."""


class Measures(NamedTuple):
    """Of each episode that is used."""

    episodes: list[int]
    frames: list[int]
    idle_N: NDArray[np.bool_]
    values: dict[str, list[float]]


class Unusual(NamedTuple):
    """One episode in one measure."""

    episode: int
    measure: str
    value: float
    median: float


def measures_of(used: Used, unit: LikelyUnits) -> Measures:
    """All measures of all episodes."""
    scale, fps = one_degree(unit), used.about.fps
    state_NJ, action_NJ = used.column(STATE), used.column(ACTION)
    idle_N = idle_frames(used, scale)
    spans = list(used.spans())
    usual_start = np.median(np.stack([state_NJ[span.start] for span in spans]), axis=0)
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    for span in spans:
        steps = np.abs(np.diff(state_NJ[span], axis=0)) / scale
        moving_s = max(1, int((~idle_N[span]).sum())) / fps
        asked = np.abs(np.diff(action_NJ[span], axis=0)).max(axis=1, initial=0.0) > STILL_DEG * scale
        same = (steps == 0).all(axis=1) & asked
        found = (
            (span.stop - span.start) / fps,
            float(steps.sum()),
            float(steps.sum()) / moving_s,
            float(idle_N[span].mean()),
            float(np.abs(state_NJ[span.start] - usual_start).max()) / scale,
            float(same.mean()) if len(same) else 0.0,
        )
        for name, value in zip(MEASURES, found, strict=True):
            values[name].append(value)
    episodes = [int(used.episode_N[span.start]) for span in spans]
    return Measures(episodes, [span.stop - span.start for span in spans], idle_N, values)


def unusual(measures: Measures) -> list[Unusual]:
    """The episodes that differ from the others, the most unusual first."""
    if len(measures.episodes) < MIN_EPISODES:
        return []
    found: list[tuple[float, Unusual]] = []
    least = {"pauses": 0.2, "start": 5.0, "repeated readings": 0.05}
    for name, values in measures.values.items():
        values_E = np.array(values)
        median = float(np.median(values_E))
        usual = MAD_TO_STD * float(np.median(np.abs(values_E - median)))
        floor = max(LEAST_SHARE * abs(median), least.get(name, 1e-9))
        off_E = np.abs(values_E - median)
        for e in np.flatnonzero((off_E > UNUSUAL * usual) & (off_E > floor)).tolist():
            times = float(off_E[e]) / max(usual, floor / UNUSUAL)
            found.append((times, Unusual(measures.episodes[e], name, float(values_E[e]), median)))
    return [each for _, each in sorted(found, key=lambda pair: -pair[0])]
