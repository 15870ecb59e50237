"""A policy as it is deployed, as a controller of an attempt: asked by a chunk scheduler, late by a stated latency.

What happens on a tick is what `so101_robot.loop.loop` does: the scheduler of `so101-run` decides when the policy is
asked and how chunks join, the guard judges what comes out, and when the guard holds the arm the plan waits and is void
after a while. Two things are different. Time is that of the lockstep clock, on which an answer is there exactly the
stated latency after the tick of its observation, whatever the machine. And a tick without an action that is ready asks
for the last one again. A policy that was trained on fewer frames a second than the arm has ticks plans at its own rate
(`so101_robot.chunks.interpolation`), as in the recordings of `so101-demos`.

Pictures are rendered when the policy is asked, not before.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from so101_eval.episode.episode import FPS, Bench, Observation, Tick
from so101_eval.errors import ConfigError
from so101_robot.chunks.inference import Observation as Seen
from so101_robot.chunks.inference import Predict
from so101_robot.chunks.interpolation import Interpolated, ticks_per_action
from so101_robot.chunks.scheduler import MODES, Mode, Planned, make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.errors import ConfigError as RateError
from so101_robot.loop.loop import VOID_PLAN_S

if TYPE_CHECKING:
    from so101_policy.attention.shares import AttentionShares

LATENCY_S = 0.1
"""Stated latency where none is given: `so101-run`'s on the mock arm."""
AUTO = "auto"
CHUNKS = (AUTO, *MODES)


class Playing(NamedTuple):
    """How a policy is played."""

    fps: float = FPS
    """Actions per second that the policy was trained on."""
    mode: Mode = "asynchronous"
    n_action_steps: int = 1
    """Actions of a chunk that are played before the next one takes over."""
    latency_s: float = LATENCY_S
    """From an observation until its actions can be used."""
    ensemble_coefficient: float | None = None

    @property
    def every(self) -> int:
        """Control ticks per action. Raises `ConfigError` for a rate that the control loop cannot be divided by."""
        try:
            return ticks_per_action(self.fps, FPS)
        except RateError as problem:
            possible = ", ".join(str(n) for n in range(1, int(FPS) + 1) if FPS % n == 0)
            raise ConfigError(
                f"a policy at {self.fps:g} actions per second: the arm has {FPS:g} ticks per second, so possible "
                f"are {possible}"
            ) from problem


class PolicyController:
    """Drives one attempt by a policy; `on_tick` wants to hear of every tick.

    Args:
        bench: with everything laid out and connected.
        predict: the policy: joints and pictures -> a chunk of actions.
        playing: how.
    """

    def __init__(self, bench: Bench, predict: Predict, playing: Playing) -> None:
        guard = bench.robot.guard
        assert guard is not None  # it is connected
        start = guard.last_command
        assert start is not None
        self._guard = guard
        self._clock = _TickClock(bench.robot.clock.now_s())
        self._begin_s = self._clock.now_s()
        coefficient = playing.ensemble_coefficient
        scheduler = make_scheduler(
            playing.mode,
            InlineWorker(predict, self._clock, playing.latency_s),
            fps=playing.fps,
            n_action_steps=playing.n_action_steps,
            **({} if coefficient is None else {"ensemble_coefficient": coefficient}),
        )
        self._scheduler = Interpolated(scheduler, playing.every, self._standing)
        self._tick = -1
        self._command = start
        self._goal: NDArray[np.float64] | None = None
        self._stopped, self._void = False, False
        self._stopped_since_s: float | None = None
        self._shares: list[AttentionShares] = []
        self.inferences = 0
        self.policy_s = 0.0
        """Wall time in forward passes."""
        self.held_ticks = 0
        """Ticks without an action that is ready."""

    def __call__(self, observation: Observation) -> NDArray[np.float64]:
        """The joint target (6,) for this tick; where nothing is planned, the one before."""
        self._tick += 1
        self._clock.time_s = self._begin_s + observation.time_s
        planned = self._scheduler.next(self._tick, self._clock.now_s(), lambda: self._see(observation))
        self._note(planned)
        # while nothing is planned too: what the guard refused stays refused until there is a new plan
        self._command = self._scheduler.command
        return self._command

    def _standing(self) -> NDArray[np.float64]:
        """Where the arm has been told to be, for a line that begins anew."""
        return self._goal if self._stopped and self._goal is not None else self._command

    def on_tick(self, tick: Tick) -> None:
        """While the guard holds the arm the plan waits, then it is void: as in `so101_robot.loop.loop`."""
        if tick.asked is None or tick.verdict is None:
            return
        self._stopped = tick.sent is None
        if tick.sent is not None:
            self._goal, self._stopped_since_s = tick.sent, None
            return
        time_s = tick.observation.time_s
        self._scheduler.wait()
        if self._stopped_since_s is None:
            self._stopped_since_s = time_s
        if time_s - self._stopped_since_s >= VOID_PLAN_S and not self._void:
            self._void = True
            self._scheduler.reset()
        if self._goal is not None:
            # the next step starts at the goal in force, and is not longer for the time spent holding
            self._guard.reset(self._goal)

    def shares(self) -> dict[str, Any] | None:
        """Attention shares, mean over the inferences; None if there were none."""
        return mean_shares(self._shares)

    def _see(self, observation: Observation) -> Seen:
        return Seen(self._clock.now_s(), observation.state.position, observation.images())

    def _note(self, planned: Planned) -> None:
        if planned.action is None:
            self.held_ticks += 1
        elif self._void:  # a new plan
            self._void, self._stopped_since_s = False, None
        answer = planned.inference
        if answer is None:
            return
        self.inferences += 1
        self.policy_s += answer.compute_s
        if answer.shares is not None:
            self._shares.append(answer.shares)


class _TickClock:
    """Stands still within a tick. On the arm's own clock the reading of the joints takes a millisecond, and a
    latency of three ticks would last four."""

    def __init__(self, time_s: float) -> None:
        self.time_s = time_s

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        raise AssertionError("nothing that computes inline may wait")


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
