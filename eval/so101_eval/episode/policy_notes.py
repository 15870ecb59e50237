"""What an evaluation notes of a policy while the loop plays it: how often it was asked, how long that took, what it
looked at."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from so101_eval.episode.episode import FPS
from so101_eval.errors import ConfigError
from so101_robot.chunks.planning import MOCK_LATENCY_S, Playing
from so101_robot.chunks.scheduler import CHUNK_MODES
from so101_robot.errors import ConfigError as RateError
from so101_robot.loop.tick import Tick

if TYPE_CHECKING:
    from so101_policy.attention.shares import AttentionShares

LATENCY_S = MOCK_LATENCY_S
"""Stated latency where none is given: `so101-run`'s on the mock arm."""
AUTO = "auto"
CHUNKS = (AUTO, *CHUNK_MODES)


def check_rate(fps: float) -> None:
    """Raises `ConfigError` for a policy's rate that the control loop cannot be divided by."""
    try:
        _ = Playing(fps=fps, loop_fps=FPS).every
    except RateError as problem:
        possible = ", ".join(str(n) for n in range(1, int(FPS) + 1) if FPS % n == 0)
        raise ConfigError(
            f"a policy at {fps:g} actions per second: the arm has {FPS:g} ticks per second, so possible "
            f"are {possible}"
        ) from problem


class PolicyNotes:
    """Of one episode; `on_tick` wants to hear of every tick."""

    def __init__(self) -> None:
        self._shares: list[AttentionShares] = []
        self.inferences = 0
        self.policy_s = 0.0
        """Wall time in forward passes."""
        self.held_ticks = 0
        """Ticks without an action that is ready."""

    def on_tick(self, tick: Tick) -> None:
        """Note what the policy did on it."""
        if tick.planned is None:
            return
        self.held_ticks += tick.planned.action is None
        answer = tick.planned.inference
        if answer is None:
            return
        self.inferences += 1
        self.policy_s += answer.compute_s
        if answer.shares is not None:
            self._shares.append(answer.shares)

    def shares(self) -> dict[str, Any] | None:
        """Attention shares, mean over the inferences; None if there were none."""
        return mean_shares(self._shares)


def mean_shares(shares: "Sequence[AttentionShares]") -> dict[str, Any] | None:
    """Figure by figure, cameras and base rates included; None of none."""
    return _mean([share.as_dict() for share in shares]) if shares else None


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: _mean([row[name] for row in rows])
        if isinstance(value, Mapping)
        else float(np.mean([row[name] for row in rows]))
        for name, value in rows[0].items()
    }
