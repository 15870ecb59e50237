"""What Python does on its own account does not make the loop late, and everything is put back."""

import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from so101_robot.process import realtime
from so101_robot.process.realtime import SWITCH_INTERVAL_S, CollectingClock, lower_priority, realtime_runtime


class Clock:
    """Time stands still but for sleeping."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.slept_at: list[float] = []

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        self.slept_at.append(time.perf_counter())
        self.time_s = max(self.time_s, time_s)


class Node:
    """Refers to itself, so that only the collection frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_python_has_it() -> Iterator[None]:
    before = gc.isenabled(), gc.get_threshold(), sys.getswitchinterval()
    yield
    assert (gc.isenabled(), gc.get_threshold(), sys.getswitchinterval()) == before
    assert gc.get_freeze_count() == 0


def litter(count: int) -> "list[weakref.ref[Node]]":
    return [weakref.ref(Node()) for _ in range(count)]


def test_inside_nothing_is_collected_but_while_the_loop_waits() -> None:
    with realtime_runtime(Clock()) as clock:
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 1000
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        left = litter(2000)
        assert all(each() is not None for each in left)
        clock.sleep_until(1.0)
        assert all(each() is None for each in left)
        assert clock.now_s() == 1.0
    assert gc.isenabled()


def test_everything_is_put_back_after_an_error_too() -> None:
    def fail() -> None:
        with realtime_runtime(Clock()):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_a_runtime_that_did_not_collect_does_not_start_to() -> None:
    gc.disable()
    try:
        with realtime_runtime(Clock()):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_there_is_no_collection_without_time_for_it_nor_without_need() -> None:
    with realtime_runtime(Clock()) as clock:
        litter(2000)
        clock.sleep_until(-1.0)  # late already
        assert clock.collections == [0, 0, 0]
        clock.sleep_until(0.001)  # in a millisecond
        assert clock.collections == [0, 0, 0]
        clock.sleep_until(1.0)
        assert clock.collections == [1, 0, 0]
        clock.sleep_until(2.0)
        assert clock.collections == [1, 0, 0]


def test_a_collection_that_took_long_waits_for_a_longer_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    collect, now_s = gc.collect, [0.0]

    def slow(generation: int = 2) -> int:
        now_s[0] += 0.02
        return collect(generation)

    with realtime_runtime(Clock()) as clock:
        monkeypatch.setattr(realtime.gc, "collect", slow)
        monkeypatch.setattr(realtime.time, "perf_counter", lambda: now_s[0])
        litter(1000)
        clock.sleep_until(0.1)
        litter(1000)
        clock.sleep_until(0.1 + 0.03)
        assert clock.collections == [1, 0, 0]
        clock.sleep_until(0.1 + 0.03 + 0.06)
        assert clock.collections == [2, 0, 0]
        monkeypatch.undo()


def test_a_loop_that_never_waits_collects_before_memory_grows() -> None:
    with realtime_runtime(Clock()) as clock:
        for _ in range(100):
            litter(800)
            clock.sleep_until(-1.0)
        assert clock.collections[0] >= 2
        assert gc.get_count()[0] < (realtime.OVERDUE + 2) * gc.get_threshold()[0]


def test_older_generations_have_their_turn() -> None:
    with realtime_runtime(Clock()) as clock:
        for tick in range(300):
            litter(800)
            clock.sleep_until(float(tick))
        young, middle, old = clock.collections
        assert young > 10 * middle > 0
        assert old >= 1


def test_a_clock_that_is_not_quiet_is_waited_by_as_before() -> None:
    clock = CollectingClock(inner := Clock())
    clock.sleep_until(3.0)
    assert clock.now_s() == inner.time_s == 3.0
    assert len(inner.slept_at) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness is the process's")
def test_a_computing_thread_steps_back_and_the_loops_does_not() -> None:
    found: list[int] = []

    def work() -> None:
        lower_priority()
        inner = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
        inner.start()
        inner.join()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before + realtime.NICENESS] * 2
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
