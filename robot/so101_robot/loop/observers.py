"""What the loop reports about each tick, and to whom: log, dashboard, recorder, Rerun.

Observers only look on. One that fails is dropped with one message, without any effect on the arm; one that is slow
goes behind a `Background` queue, which drops ticks (and counts them) rather than let the loop wait.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from so101_robot.errors import describe
from so101_robot.loop.tick import Observer, Tick
from so101_robot.message import Message, Severity

_log = logging.getLogger(__name__)


class ObserverFailure(NamedTuple):
    """An observer that was dropped."""

    observer: str
    """Its name."""
    problem: Exception


@runtime_checkable
class NoticesFailures(Protocol):
    """An observer that is told, beside the message to the person, when another one is dropped."""

    def on_failure(self, failure: ObserverFailure) -> None: ...


class Observers:
    """Tells all observers; an exception drops the observer that raised it, with one message."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = list(observers)

    def on_tick(self, tick: Tick) -> None:
        self._tell(lambda observer: observer.on_tick(tick))

    def on_message(self, message: Message) -> None:
        self._tell(lambda observer: observer.on_message(message))

    def close(self) -> None:
        self._tell(lambda observer: observer.close())
        self._observers.clear()

    def _tell(self, call: Callable[[Observer], None]) -> None:
        for observer in tuple(self._observers):
            try:
                call(observer)
            except Exception as problem:  # whatever goes wrong in an observer must not reach the arm
                self._observers.remove(observer)
                text = f"{observer.name} failed and is off for the rest of the run: {describe(problem)}"
                _log.warning(text, exc_info=_log.isEnabledFor(logging.DEBUG))
                self.on_message(Message(text, Severity.WARNING))
                self._tell_failure(ObserverFailure(observer.name, problem))

    def _tell_failure(self, failure: ObserverFailure) -> None:
        def tell(observer: Observer) -> None:
            if isinstance(observer, NoticesFailures):
                observer.on_failure(failure)

        self._tell(tell)


class Background:
    """Runs a slow observer in a thread of its own, behind a queue of `capacity` ticks.

    When the queue is full a tick is dropped and counted in `dropped`. `close` lets the thread finish what
    is queued; with `patience_s` (for what only shows the run, and keeps nothing) it gives up after that time.
    """

    def __init__(self, observer: Observer, *, capacity: int, patience_s: float | None = None) -> None:
        self.name = observer.name
        self.dropped = 0
        self.failure: Exception | None = None
        """Why the observer did not get to its end; None: it did, or has not been closed yet."""
        self._observer = observer
        self._patience_s = patience_s
        self._queue: queue.Queue[Tick | Message | None] = queue.Queue(capacity)
        self._problem: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=observer.name, daemon=True)
        self._thread.start()

    def on_tick(self, tick: Tick) -> None:
        self._raise_problem()
        try:
            self._queue.put_nowait(tick)
        except queue.Full:
            self.dropped += 1

    def on_message(self, message: Message) -> None:
        self._raise_problem()
        if not self._queue.full():  # only this thread puts, so there is room
            self._queue.put_nowait(message)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=self._patience_s)
            self._thread.join(self._patience_s)
        if self._thread.is_alive():
            self._problem = TimeoutError(f"{self.name} did not take the rest of the run")
        try:
            self._observer.close()  # also of one that has failed: it may have something to give back
        except Exception as problem:
            self.failure = self._problem or problem
            raise
        self.failure = self._problem
        self._raise_problem()
        if self.dropped:
            _log.warning("%s was too slow and missed %d ticks", self.name, self.dropped)

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._problem is not None:
                continue  # keep emptying the queue, so that `close` does not block
            try:
                if isinstance(item, Message):
                    self._observer.on_message(item)
                else:
                    self._observer.on_tick(item)
            except Exception as problem:  # raised again in the loop's thread, where the observer is dropped
                self._problem = problem


class Stopwatch:
    """Wall time of the stages of a tick."""

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap, or since the start, was spent on `stage`; several laps add up."""
        now = time.perf_counter()
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + (now - self._since) * 1e3
        self._since = now
