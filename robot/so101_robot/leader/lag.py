"""How long after the leader the follower moves, measured from a run.

Two numbers. *To the servos*: from the question to the leader until the goal is on the follower's wire; that is the
program's part. *To the joints*: the delay by which the follower's measured motion is most like the leader's, which
includes the servos and the arm. It is found by brute force: the leader's path is shifted by 0 to 500 ms, and the shift
with the smallest distance to the follower's path (constant offsets of a joint taken out) is the answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.faults.fault import Mode
from so101_robot.leader.source import LeaderSource
from so101_robot.loop.tick import Tick
from so101_robot.message import Message

MOST_S, STEP_S = 0.5, 0.002
"""Largest delay that is looked for, and how finely."""

MOVED_DEG = 5.0
"""A joint of which the standard deviation is smaller says nothing about delays [deg, percent]."""

FEWEST = 60
"""Ticks, below which nothing is said."""


class Sample(NamedTuple):
    """One tick on which the follower follows."""

    leader_s: float
    leader: NDArray[np.float64]
    follower_s: float
    follower: NDArray[np.float64]


class LagMeter:
    """Observer that compares the two arms on every tick.

    Args:
        source: what plays.
        now_s: the loop's clock.
        known: gets the figures when the run is over.
    """

    name = "lag"

    def __init__(self, source: LeaderSource, now_s: Callable[[], float], known: dict[str, Any]) -> None:
        self._source, self._now_s, self._known = source, now_s, known
        self._samples: list[Sample] = []
        self._to_servos_s: list[float] = []

    def on_tick(self, tick: Tick) -> None:
        source = self._source
        if tick.phase != "run" or source.reading is None or not source.fresh:
            return
        if tick.sent is not None:
            self._to_servos_s.append(self._now_s() - source.reading.asked_s)
        disturbed = tick.planned is not None and tick.planned.wanted is not None
        if tick.mode is Mode.RUNNING and source.caught_up and not disturbed:
            asked_s, _, position = source.reading
            self._samples.append(Sample(asked_s, position, tick.state.time_s, tick.state.position))

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None:
        self._known["leader"] = self.figures()

    def figures(self) -> dict[str, Any]:
        """For the summary; milliseconds, None where it cannot be said."""
        to_servos = np.array(self._to_servos_s) * 1e3
        percentiles = np.percentile(to_servos, (50, 95, 99)).round(3).tolist() if to_servos.size else None
        lag_s = delay_s(self._samples)
        return {
            "to_servos_ms": None
            if percentiles is None
            else dict(zip(("p50", "p95", "p99"), percentiles, strict=True)),
            "to_joints_ms": None if lag_s is None else round(lag_s * 1e3, 1),
            "following_ticks": len(self._samples),
            "missed_reads": self._source.missed,
            "beyond_the_range": dict(self._source.beyond),
        }


def delay_s(samples: list[Sample]) -> float | None:
    """The delay [s] of the follower's path behind the leader's; None: too few ticks, too little motion, or no best
    delay within the range."""
    if len(samples) < FEWEST:
        return None
    leader_s = np.array([sample.leader_s for sample in samples])
    leader = np.array([sample.leader for sample in samples])
    follower_s = np.array([sample.follower_s for sample in samples])
    follower = np.array([sample.follower for sample in samples])
    moved = np.flatnonzero(leader.std(axis=0) > MOVED_DEG)
    later = follower_s >= leader_s[0] + MOST_S
    if not moved.size or np.count_nonzero(later) < FEWEST // 2:
        return None
    delays = np.arange(0.0, MOST_S + STEP_S / 2, STEP_S)
    distances = np.zeros_like(delays)
    for joint in moved.tolist():
        path = follower[later, joint]
        for number, delay in enumerate(delays.tolist()):
            off = path - np.interp(follower_s[later] - delay, leader_s, leader[:, joint])
            distances[number] += np.var(off)
    best = int(np.argmin(distances))
    return None if best in (0, len(delays) - 1) else float(delays[best])


def in_words(figures: dict[str, Any]) -> str:
    """For a person."""
    to_servos, to_joints = figures["to_servos_ms"], figures["to_joints_ms"]
    if to_servos is None:
        return "the leader did not drive the follower"
    servos = f"{to_servos['p50']:.1f} ms to the servos (95 %: {to_servos['p95']:.1f})"
    joints = (
        "too little motion to say how long to the joints"
        if to_joints is None
        else f"{to_joints:.0f} ms to the joints"
    )
    lines = [f"from leader to follower: {servos}, {joints}"]
    if figures["missed_reads"]:
        lines.append(f"the leader missed {figures['missed_reads']} reads")
    for joint, ticks in figures["beyond_the_range"].items():
        lines.append(f"{joint}: the leader was beyond the follower's range on {ticks} ticks")
    return "\n".join(lines)
