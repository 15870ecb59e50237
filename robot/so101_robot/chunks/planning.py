"""How a policy is played: its rate, how its chunks join, and how late its answers are.

One place makes a scheduler of that, for a run on an arm and for an episode of an evaluation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.history import LookingBack
from so101_robot.chunks.inference import Worker
from so101_robot.chunks.interpolation import Interpolated, ticks_per_action
from so101_robot.chunks.scheduler import CROSSFADE_S, ChunkMode, Scheduler
from so101_robot.chunks.scheduler import make_scheduler as make_chunk_scheduler

MOCK_LATENCY_S = 0.1
"""Inference latency on the mock arm's clock, if none is stated: a small ACT on a laptop's processor."""


class Playing(NamedTuple):
    """How a policy is played."""

    fps: float = 30.0
    """Actions per second that the policy was trained on."""
    loop_fps: float = 30.0
    """Ticks per second."""
    mode: ChunkMode = "asynchronous"
    n_action_steps: int = 1
    """Actions of a chunk that are played before the next one takes over."""
    latency_s: float = MOCK_LATENCY_S
    """On simulated time: from an observation until its actions can be used."""
    ensemble_coefficient: float | None = None
    """Of temporal ensembling; None: the original work's."""
    crossfade_s: float = CROSSFADE_S
    n_obs_steps: int = 1
    """Moments that the policy is shown, one action apart."""
    guided_ticks: int = 0
    """Actions of its plan by which a policy is guided that joins its chunks itself; 0: they are cross-faded."""

    @property
    def every(self) -> int:
        """Ticks per action. Raises ConfigError for a rate that the loop's cannot be divided by."""
        return ticks_per_action(self.fps, self.loop_fps)


def make_scheduler(
    playing: Playing, worker: Worker, standing: Callable[[], NDArray[np.float64]]
) -> Scheduler:
    """The scheduler that plays a policy.

    Args:
        playing: how.
        worker: computes the answers.
        standing: (6,) where the arm has been told to be, for a policy that is slower than the loop.

    Raises:
        ConfigError: the policy's rate does not go with the loop's.
    """
    every, coefficient = playing.every, playing.ensemble_coefficient
    scheduler = make_chunk_scheduler(
        playing.mode,
        worker,
        fps=playing.fps,
        n_action_steps=playing.n_action_steps,
        crossfade_s=playing.crossfade_s,
        guided_ticks=playing.guided_ticks,
        **({} if coefficient is None else {"ensemble_coefficient": coefficient}),
    )
    if playing.n_obs_steps > 1:
        scheduler = LookingBack(scheduler, playing.n_obs_steps)
    return scheduler if every == 1 else Interpolated(scheduler, every, standing)
