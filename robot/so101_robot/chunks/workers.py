"""Where an inference is computed: inline, with a stated latency, or in a background thread.

A worker computes one inference at a time and is asked for it (`poll`), so the control loop never waits. The
scheduler in `scheduler.py` decides when to submit.
"""

import math
import threading
import time

import numpy as np

from so101_robot.chunks.inference import Guide, Inference, Observation, Predict
from so101_robot.clock import Clock
from so101_robot.process.realtime import lower_priority

SAME_TIME_S = 1e-6
"""Two instants of a simulated clock closer than this are the same: its ticks are sums of floating-point
periods."""


class InlineWorker:
    """Computes on submit; the answer appears `latency_s` after its observation.

    For a simulated clock: computing takes none of its time, so the latency that the arm sees is the stated
    one, on any machine. It counts from the observation's own time, which is that of its tick: reading the arm takes
    a millisecond, and a latency of three ticks would last four.
    """

    def __init__(self, predict: Predict, latency_s: float = 0.0, guide: Guide | None = None) -> None:
        self._predict, self._guide = predict, guide
        self._latency_s = latency_s
        self._answer: Inference | None = None
        self._ready_s = math.inf

    @property
    def busy(self) -> bool:
        return self._answer is not None

    def submit(self, observation: Observation, tick: int) -> None:
        answer = _infer(self._predict, self._guide, observation, tick)
        self._ready_s = observation.time_s + self._latency_s
        self._answer = answer._replace(latency_s=self._latency_s)

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

    def __init__(self, predict: Predict, clock: Clock, guide: Guide | None = None) -> None:
        self._predict, self._guide = predict, guide
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
        lower_priority()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._closed or self._job is None:
                    return
                (observation, tick), self._job = self._job, None
            answer = self._try(observation, tick)
            with self._changed:
                self._answer = answer

    def _try(self, observation: Observation, tick: int) -> Inference | Exception:
        try:
            answer = _infer(self._predict, self._guide, observation, tick)
        except Exception as problem:  # whatever a policy raises belongs to the loop, which makes the arm safe
            return problem
        return answer._replace(latency_s=self._clock.now_s() - observation.time_s)


def _infer(predict: Predict, guide: Guide | None, observation: Observation, tick: int) -> Inference:
    """Ask the policy; the latency is the caller's to fill in. What raises where its answer is taken apart is the
    policy's failure too, and one that wants to end the program ends itself only.

    Raises:
        Exception: whatever the policy does.
    """
    started = time.perf_counter()
    try:
        if guide is not None:
            guide(observation.ahead)
        before = [observation.before] if observation.before else []
        prediction = predict(observation.state, observation.images, *before)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as problem:  # SystemExit, and what generators and tasks are ended by
        raise RuntimeError(f"it raised {type(problem).__name__}({problem})") from problem
    actions = np.asarray(prediction.actions, dtype=np.float64)
    computing_s = time.perf_counter() - started
    spread = getattr(prediction, "spread", None)  # of a policy that draws its answers
    shares, maps = prediction.shares, prediction.maps
    raw = getattr(prediction, "raw", None)  # of one that is guided
    return Inference(actions, shares, tick, observation.time_s, 0.0, computing_s, maps, raw, spread)
