"""When to ask the policy for the next chunk of actions, and how chunks join.

A policy answers one observation with T actions, one a tick. Three ways to play them:

- **synchronous**: play `n_action_steps`, hold the arm, ask, play the next chunk from its first action. What
  LeRobot's `select_action` does, except that the loop keeps ticking while the answer is on its way.
- **asynchronous**: ask early enough, going by the latency measured so far, that the answer is there before
  the chunk is used up. The chunk is joined on time: actions of ticks that have passed are skipped, and a
  short linear cross-fade takes up the difference between the two plans. A policy that can be *guided* is told what is
  left of its plan when it is asked, and its next chunk begins as that goes on (real-time chunking); there is no
  cross-fade then.
- **ensembled**: ask whenever the policy is free, and play the weighted mean of every chunk that covers the
  tick (temporal ensembling, Zhao et al. 2023, Algorithm 2; the weights are LeRobot's). A late chunk takes part
  from the actions of the present tick on.

Where asynchronous plans meet, no joint steps farther than inside the plans (`step_bound.py`).

Action i of a chunk observed at tick k belongs to tick k+i. Ticks without an action (*starved*: the arm
holds its last command) do not count: the arm waited, so the plan waits with it. That one rule also starts
the first chunk, and every synchronous chunk, at its first action. Nothing here waits; a `Worker`
(workers.py) computes inline or in a thread.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from so101_policy.inference.seen import Ahead
from so101_robot.chunks.inference import Inference, Observation, Worker
from so101_robot.chunks.step_bound import StepBound, longest_steps
from so101_robot.chunks.workers import SAME_TIME_S

ChunkMode = Literal["synchronous", "asynchronous", "ensembled"]
CHUNK_MODES: tuple[ChunkMode, ...] = ("synchronous", "asynchronous", "ensembled")

CROSSFADE_S = 0.13
"""Default length of the cross-fade between two chunks: four ticks at 30 Hz, short against any motion of the
arm."""

LATENCY_FORGETTING = 0.1
"""How fast the latency estimate comes down after a slow inference [share of the difference per inference].
It goes up at once."""


Driver = Literal["policy", "human", "handover", "hold"]
"""Who drives where a person may take over: the policy, the person's leader; nobody, while the leader is brought to the
follower; nobody, before and after."""


class Planned(NamedTuple):
    """What the scheduler wants on one tick."""

    action: NDArray[np.float64] | None
    """(6,) LeRobot units; None: nothing to play, hold the last command."""
    inference: Inference | None
    """The answer that arrived on this tick."""
    source: Literal["chunk", "hold"]
    index_in_chunk: int
    """-1 while holding."""
    chunk_tick: int
    """The tick on which the newest chunk that takes part was observed; -1 while holding."""
    age_s: float
    """Age of the observation behind the action; NaN while holding."""
    end: NDArray[np.float64] | None = None
    """(6,) the policy's own action, where it is slower than the loop and `action` is a point on the way there."""
    driver: Driver | None = None
    """Who drives; None: nobody can take over, so it is what plays."""
    wanted: NDArray[np.float64] | None = None
    """(6,) what the person asked for, where `action` is that with a disturbance: the way back, which is recorded."""

    @property
    def by_policy(self) -> bool:
        """It is the policy's plan, or that of what plays in its place."""
        return self.driver in (None, "policy")


NOTHING = Planned(None, None, "hold", -1, -1, math.nan)
"""There is nothing to play."""


class Scheduler(Protocol):
    """Decides on every tick what the arm should do next."""

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        """The action for `tick`. Calls `observe` only if an inference is due. Raises what the policy
        raised."""
        ...

    def wait(self) -> None:
        """The action of this tick was not sent: the plan stands still until the next."""
        ...

    def reset(self) -> None:
        """Forget all plans, also the one being computed: the next action comes from an observation made
        from now on."""
        ...

    def close(self) -> None: ...


class _Chunk(NamedTuple):
    actions: NDArray[np.float64]
    start: int
    """Plan tick of the first action."""
    source: Inference


class _PlanClock:
    """Counts the ticks on which a plan was played, asks the worker, and takes in its answers."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.now = 0
        self._tick = -1
        self._playing = False
        self._asked_at = 0
        self._void_until = -1

    def advance(self, tick: int) -> None:
        if self._playing:
            self.now += tick - self._tick
        self._tick = tick

    def ask(self, observation: Observation) -> None:
        self.worker.submit(observation, self._tick)
        self._asked_at = self.now

    def collect(self, now_s: float) -> _Chunk | None:
        answer = self.worker.poll(now_s)
        if answer is None or answer.observed_tick <= self._void_until:
            return None
        return _Chunk(answer.actions, self._asked_at, answer)

    def wait(self) -> None:
        self._playing = False

    def void(self) -> None:
        self._void_until = self._tick
        self._playing = False

    def planned(
        self, action: NDArray[np.float64] | None, chunk: _Chunk | None, arrived: _Chunk | None, now_s: float
    ) -> Planned:
        self._playing = action is not None
        inference = None if arrived is None else arrived.source
        if action is None or chunk is None:
            return NOTHING._replace(inference=inference)
        origin = chunk.source
        index = self.now - chunk.start
        return Planned(action, inference, "chunk", index, origin.observed_tick, now_s - origin.observed_s)


class ChunkScheduler:
    """Plays one chunk after the other, synchronously or asynchronously.

    `n_action_steps` is how much of a chunk is played before the next one takes over (LeRobot's meaning). If
    the next one is late, an asynchronous scheduler plays on into the rest of the chunk before it lets the
    arm hold.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        fps: float,
        n_action_steps: int,
        asynchronous: bool = True,
        crossfade_s: float = CROSSFADE_S,
        guided_ticks: int = 0,
    ) -> None:
        self._plan = _PlanClock(worker)
        self._fps = fps
        self._n_action_steps = n_action_steps
        self._asynchronous = asynchronous
        self._guided_ticks = guided_ticks if asynchronous else 0
        self._crossfade_ticks = 0 if guided_ticks or not asynchronous else round(crossfade_s * fps)
        self._chunk: _Chunk | None = None
        self._steps = np.zeros(0)
        self._step_bound = StepBound(fps)
        self._latency_s = 0.0

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        plan = self._plan
        plan.advance(tick)
        arrived = self._join(plan.collect(now_s))
        if not plan.worker.busy and self._due():
            plan.ask(observe()._replace(ahead=self._ahead()))
            arrived = arrived or self._join(plan.collect(now_s))
        action = self._action()
        if action is not None:
            action = self._step_bound.follow(action, plan.now)
        return plan.planned(action, self._chunk, arrived, now_s)

    def wait(self) -> None:
        self._plan.wait()

    def reset(self) -> None:
        self._chunk = None
        self._step_bound.forget()
        self._plan.void()

    def close(self) -> None:
        self._plan.worker.close()

    def _due(self) -> bool:
        if self._chunk is None:
            return True
        used = self._plan.now - self._chunk.start
        return used + self._lead_ticks() >= min(self._n_action_steps, len(self._chunk.actions))

    def _lead_ticks(self) -> int:
        """How many ticks before the end of a chunk the next one has to be asked for."""
        if not self._asynchronous:
            return 0
        until_looked_for = 1
        return self._latency_ticks() + until_looked_for + max(self._crossfade_ticks, self._guided_ticks)

    def _latency_ticks(self) -> int:
        return math.ceil(self._latency_s * self._fps - SAME_TIME_S)

    def _ahead(self) -> Ahead | None:
        """What is left of the plan, for a policy that is guided by it."""
        if not self._guided_ticks or self._chunk is None or self._chunk.source.raw is None:
            return None
        rest = self._chunk.source.raw[self._plan.now - self._chunk.start :]
        return Ahead(rest, self._latency_ticks()) if len(rest) else None

    def _join(self, chunk: _Chunk | None) -> _Chunk | None:
        """Let `chunk` take over from now on."""
        if chunk is None:
            return None
        latency_s = chunk.source.latency_s
        self._latency_s = max(latency_s, self._latency_s + LATENCY_FORGETTING * (latency_s - self._latency_s))
        steps = longest_steps(self._to_play(chunk))
        if self._chunk is not None and self._asynchronous:
            self._step_bound.join(np.maximum(self._steps, steps), self._plan.now + self._crossfade_ticks)
            chunk = crossfade(self._chunk, chunk, self._plan.now, self._crossfade_ticks)
        self._chunk, self._steps = chunk, steps
        return chunk

    def _to_play(self, chunk: _Chunk) -> NDArray[np.float64]:
        """(n, 6) the actions of a chunk that takes over now, as far as they are likely to be played."""
        first = self._plan.now - chunk.start
        return chunk.actions[first : max(self._n_action_steps, first + self._crossfade_ticks + 2)]

    def _action(self) -> NDArray[np.float64] | None:
        if self._chunk is None:
            return None
        index = self._plan.now - self._chunk.start
        end = len(self._chunk.actions) if self._asynchronous else self._n_action_steps
        return self._chunk.actions[index] if index < min(end, len(self._chunk.actions)) else None


def crossfade(old: _Chunk, new: _Chunk, now: int, ticks: int) -> _Chunk:
    """`new`, whose `ticks` actions from plan tick `now` on come over linearly from those of `old`.

    Where `old` has ended, its last action stands for it: that is where the arm holds.
    """
    first = now - new.start
    count = max(0, min(ticks, len(new.actions) - first))
    if count == 0:
        return new
    at = np.minimum(now - old.start + np.arange(count), len(old.actions) - 1)
    weight = (np.arange(1, count + 1) / (ticks + 1))[:, None]
    actions = new.actions.copy()
    actions[first : first + count] = (1 - weight) * old.actions[at] + weight * actions[first : first + count]
    return new._replace(actions=actions)


class EnsembledScheduler:
    """Plays the weighted mean of all chunks that cover a tick, w_i = exp(-coefficient * i) with i = 0 the
    oldest.

    Source of the formula: Zhao et al. 2023 (arXiv 2304.13705), Algorithm 2. With an answer on every tick
    this is LeRobot's `ACTTemporalEnsembler`; with a slower policy the mean runs over the chunks there are, and
    where one comes or goes no joint steps farther than inside them.
    """

    def __init__(self, worker: Worker, *, fps: float, coefficient: float) -> None:
        self._plan = _PlanClock(worker)
        self._coefficient = coefficient
        self._chunks: list[_Chunk] = []
        self._step_bound = StepBound(fps)
        self._late = False

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        plan = self._plan
        plan.advance(tick)
        arrived = self._take(plan.collect(now_s))
        if not plan.worker.busy:
            plan.ask(observe())
            arrived = arrived or self._take(plan.collect(now_s))
        covering = [chunk for chunk in self._chunks if plan.now < chunk.start + len(chunk.actions)]
        if arrived is not None:
            self._late = arrived.source.observed_tick != tick
        if self._late and (arrived is not None or len(covering) < len(self._chunks)):
            self._bound()
        self._chunks = covering
        action = self._mean()
        if action is not None:
            action = self._step_bound.follow(action, plan.now)
        return plan.planned(action, covering[-1] if covering else None, arrived, now_s)

    def wait(self) -> None:
        self._plan.wait()

    def reset(self) -> None:
        self._chunks.clear()
        self._step_bound.forget()
        self._plan.void()

    def close(self) -> None:
        self._plan.worker.close()

    def _take(self, chunk: _Chunk | None) -> _Chunk | None:
        if chunk is not None:
            self._chunks.append(chunk)
        return chunk

    def _bound(self) -> None:
        """Not farther in a tick than inside the chunks, those included that ended just now."""
        before = max(0, self._plan.now - 1)
        rests = [chunk.actions[max(0, before - chunk.start) :] for chunk in self._chunks]
        self._step_bound.join(np.max([longest_steps(rest) for rest in rests], axis=0), self._plan.now)

    def _mean(self) -> NDArray[np.float64] | None:
        if not self._chunks:
            return None
        actions = np.stack([chunk.actions[self._plan.now - chunk.start] for chunk in self._chunks])
        weights = np.exp(-self._coefficient * np.arange(len(actions)))
        return (weights @ actions) / weights.sum()


def make_scheduler(
    mode: ChunkMode,
    worker: Worker,
    *,
    fps: float,
    n_action_steps: int,
    ensemble_coefficient: float = 0.01,
    crossfade_s: float = CROSSFADE_S,
    guided_ticks: int = 0,
) -> Scheduler:
    """The scheduler called `mode`.

    Args:
        mode: one of `CHUNK_MODES`.
        worker: computes.
        fps: actions per second, so ticks per second of the scheduler.
        n_action_steps: how much of a chunk is played before the next one takes over.
        ensemble_coefficient: 0.01 is that of the original ACT work.
        crossfade_s: length of the cross-fade between two chunks.
        guided_ticks: the policy is guided by so many actions of its plan (LeRobot's `execution_horizon`), and nothing
            is cross-faded; 0: it is not. Asynchronous alone.
    """
    if mode == "ensembled":
        return EnsembledScheduler(worker, fps=fps, coefficient=ensemble_coefficient)
    return ChunkScheduler(
        worker,
        fps=fps,
        n_action_steps=n_action_steps,
        asynchronous=mode == "asynchronous",
        crossfade_s=crossfade_s,
        guided_ticks=guided_ticks,
    )
