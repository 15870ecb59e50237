"""Where an inference is computed: inline, with a stated latency, or in a background thread.

A worker computes one inference at a time and is asked for it (`poll`), so the control loop never waits. The
scheduler in `chunks.py` decides when to submit.
"""

import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .clock import Clock
from .quiet import step_back

if TYPE_CHECKING:
    from so101_policy.attention import AttentionShares
    from so101_policy.attention_maps import Maps
    from so101_policy.checkpoint import Prediction

SAME_TIME_S = 1e-6
"""Two instants of a simulated clock closer than this are the same: its ticks are sums of floating-point
periods."""


class Observation(NamedTuple):
    """What the policy is shown."""

    time_s: float
    state: NDArray[np.float64]
    """(6,) LeRobot units."""
    images: dict[str, NDArray[np.uint8]]
    """(h, w, 3) RGB per camera."""


class Inference(NamedTuple):
    """One answer of the policy."""

    actions: NDArray[np.float64]
    """(T, 6) LeRobot units."""
    shares: "AttentionShares | None"
    observed_tick: int
    observed_s: float
    latency_s: float
    """From the observation until the loop could have it, in the robot's time."""
    compute_s: float = 0.0
    """What the forward pass took on this machine."""
    maps: "Maps | None" = None
    """Where the policy looked in each camera's picture, if it was loaded to tell."""


class Predict(Protocol):
    """`so101_policy.checkpoint.ActPolicy.predict`, or anything like it."""

    def __call__(
        self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]
    ) -> "Prediction": ...


class Worker(Protocol):
    """Computes one inference at a time."""

    @property
    def busy(self) -> bool:
        """An observation was submitted and its answer has not been polled."""
        ...

    def submit(self, observation: Observation, tick: int) -> None: ...

    def poll(self, now_s: float) -> Inference | None:
        """The answer, once, if it is there at `now_s`. Raises what the policy raised."""
        ...

    def close(self) -> None: ...


class InlineWorker:
    """Computes on submit; the answer appears `latency_s` of the clock's time later.

    For a simulated clock: computing takes none of its time, so the latency that the arm sees is the stated
    one, on any machine.
    """

    def __init__(self, predict: Predict, clock: Clock, latency_s: float = 0.0) -> None:
        self._predict = predict
        self._clock = clock
        self._latency_s = latency_s
        self._answer: Inference | None = None
        self._ready_s = math.inf

    @property
    def busy(self) -> bool:
        return self._answer is not None

    def submit(self, observation: Observation, tick: int) -> None:
        started = time.perf_counter()
        prediction = self._predict(observation.state, observation.images)
        self._ready_s = self._clock.now_s() + self._latency_s
        self._answer = Inference(
            np.asarray(prediction.actions, dtype=np.float64),
            prediction.shares,
            tick,
            observation.time_s,
            self._ready_s - observation.time_s,
            time.perf_counter() - started,
            prediction.maps,
        )

    def poll(self, now_s: float) -> Inference | None:
        if self._answer is None or now_s < self._ready_s - SAME_TIME_S:
            return None
        answer, self._answer = self._answer, None
        return answer

    def close(self) -> None:
        self._answer = None


class ThreadWorker:
    """Computes in a background thread, for an arm that does not wait.

    Where both want the same core, the loop goes first. An exception of the policy ends the thread's work on
    that observation and is raised by the next `poll`, in the loop.
    """

    def __init__(self, predict: Predict, clock: Clock) -> None:
        self._predict = predict
        self._clock = clock
        self._changed = threading.Condition()
        self._job: tuple[Observation, int] | None = None
        self._answer: Inference | Exception | None = None
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._busy

    def submit(self, observation: Observation, tick: int) -> None:
        with self._changed:
            self._job = (observation, tick)
            self._busy = True
            self._changed.notify()

    def poll(self, now_s: float) -> Inference | None:
        with self._changed:
            if self._answer is None:
                return None
            answer, self._answer = self._answer, None
            self._busy = self._job is not None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Forget the work that is left. A forward pass under way is not waited for longer than a second."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        step_back()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._closed or self._job is None:
                    return
                (observation, tick), self._job = self._job, None
            answer = self._infer(observation, tick)
            with self._changed:
                self._answer = answer

    def _infer(self, observation: Observation, tick: int) -> Inference | Exception:
        started = time.perf_counter()
        try:
            prediction = self._predict(observation.state, observation.images)
        except Exception as problem:  # whatever a policy raises belongs to the loop, which makes the arm safe
            return problem
        return Inference(
            np.asarray(prediction.actions, dtype=np.float64),
            prediction.shares,
            tick,
            observation.time_s,
            self._clock.now_s() - observation.time_s,
            time.perf_counter() - started,
            prediction.maps,
        )
