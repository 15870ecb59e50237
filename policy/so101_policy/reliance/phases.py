"""The phases of a pick-and-place demonstration, read off the commands: when the jaws close and open, and where.

An episode is a run of carries. The jaws' command is smoothed by a running median and turned into closed/open by a
threshold with hysteresis; the levels of closed and open are the whole dataset's, so a slow drift within an episode
makes no phase. Every closing with an opening after it is a carry. Then

    grasp     around a closing: the arm stays within `REST` of where the jaws closed, at most `REST_S` either way
    release   the same around the opening
    carry     between them
    approach  the jaws are free and a grasp is still to come
    return    the jaws are free and none is

What is no carry: jaws that are closed from the start (the arm at rest) and, once something was released, a last
closing that nothing opens again (the arm at rest again). In an episode without any release that last closing is a
grasp and is carried to the end, as in "pick it up". Without any closing an episode is all approach.

Shapes: T frames of an episode, J joints of the arm without the jaws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

PHASES = ("approach", "grasp", "carry", "release", "return")

SMOOTH_S = 0.3
"""Window of the running median: a spike shorter than half of it is no closing."""
CLOSED_BELOW, OPEN_ABOVE = 0.4, 0.6
"""Of the way from closed to open."""
LEVELS = (2.0, 98.0)
"""[%] Percentiles of the command that stand for closed and open."""
LEAST_TRAVEL = 3.0
"""[%] of the jaws' range, LeRobot's unit. Jaws that travel less do nothing that has phases."""
REST = 4.0
"""[deg] (or %, in datasets without degrees) per joint: hands and noise move less while the jaws work."""
REST_S = 1.0


class JawLevels(NamedTuple):
    """Commands that mean closed and open, in the dataset's unit."""

    closed: float
    open: float

    @classmethod
    def of(cls, commands: ArrayLike) -> "JawLevels":
        """The levels of all commands of a dataset."""
        closed, opened = np.percentile(np.asarray(commands, dtype=float), LEVELS)
        return cls(float(closed), float(opened))


class Carry(NamedTuple):
    """Frame in which the jaws close, and in which they open again (or the episode's length)."""

    closing: int
    opening: int


def phases_of(jaws_T: ArrayLike, arm_TJ: ArrayLike, fps: float, levels: JawLevels) -> NDArray[np.int64]:
    """(T,) index into `PHASES` of every frame of one episode.

    Args:
        jaws_T: commanded jaw opening, more is more open.
        arm_TJ: commanded joints of the arm.
        fps: frames per second.
        levels: of the dataset, `JawLevels.of`.
    """
    jaws = np.asarray(jaws_T, dtype=float)
    arm = running_median(np.asarray(arm_TJ, dtype=float), _window(fps, len(jaws)))
    carries = carries_of(jaws, fps, levels)
    phase = np.full(len(jaws), PHASES.index("approach"))
    for carry in carries:
        phase[carry.closing : carry.opening] = PHASES.index("carry")
    if carries:
        phase[carries[-1].opening :] = PHASES.index("return")
    for carry in carries:
        if carry.opening < len(jaws):
            phase[_stay(arm, carry.opening, fps, since=carry.closing)] = PHASES.index("release")
    for carry in carries:
        phase[_stay(arm, carry.closing, fps, until=carry.opening)] = PHASES.index("grasp")
    return phase


def carries_of(jaws_T: ArrayLike, fps: float, levels: JawLevels) -> list[Carry]:
    """When something was held, by the rule above."""
    jaws = np.asarray(jaws_T, dtype=float)
    if levels.open - levels.closed < LEAST_TRAVEL:
        return []
    openness = (running_median(jaws, _window(fps, len(jaws))) - levels.closed) / (levels.open - levels.closed)
    closed = hysteresis(openness, CLOSED_BELOW, OPEN_ABOVE)
    change = np.diff(closed.astype(int))
    closings = (np.flatnonzero(change > 0) + 1).tolist()
    openings = [
        opening for opening in (np.flatnonzero(change < 0) + 1).tolist() if closings and opening > closings[0]
    ]
    carries = [Carry(closing, opening) for closing, opening in zip(closings, openings, strict=False)]
    return carries or [Carry(closing, len(jaws)) for closing in closings]


def hysteresis(values: NDArray[np.float64], below: float, above: float) -> NDArray[np.bool_]:
    """True from where `values` fall below `below` until they rise above `above`; before the first: nearest to what."""
    decided = np.where(values < below, 1, np.where(values > above, 0, -1))
    known = np.flatnonzero(decided >= 0)
    if not len(known):
        return values < (below + above) / 2
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return decided[known[np.maximum(last, 0)]] == 1


def running_median(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Median over `window` (odd) frames along the first axis; the ends are padded with themselves."""
    half = window // 2
    padded = np.concatenate([values[:1].repeat(half, 0), values, values[-1:].repeat(half, 0)])
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window, axis=0), axis=-1)


def names_of(phases: Sequence[int] | NDArray[np.int64]) -> list[str]:
    return [PHASES[index] for index in phases]


def _window(fps: float, frames: int) -> int:
    return max(1, min(2 * round(SMOOTH_S * fps / 2) + 1, 2 * (frames // 2) - 1))


def _stay(
    arm: NDArray[np.float64], event: int, fps: float, since: int = 0, until: int | None = None
) -> slice:
    """The frames around `event` in which the arm stays where it is."""
    reach = round(REST_S * fps)
    start, stop = max(since, event - reach), min(len(arm) if until is None else until, event + reach + 1)
    away = np.abs(arm[start:stop] - arm[event]).max(axis=1, initial=0.0) > REST
    before, after = np.flatnonzero(away[: event - start]), np.flatnonzero(away[event - start :])
    return slice(
        start + int(before[-1]) + 1 if len(before) else start, event + int(after[0]) if len(after) else stop
    )
