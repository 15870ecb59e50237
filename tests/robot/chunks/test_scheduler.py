"""Chunk schedulers against a simulated clock, LeRobot's own temporal ensembler, and a slow policy."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot.policies.act.modeling_act import ACTTemporalEnsembler
from numpy.typing import NDArray

from chunk_doubles import Prediction, SimulatedClock
from so101_policy.inference.seen import Ahead
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import (
    ChunkScheduler,
    EnsembledScheduler,
    Planned,
    Scheduler,
    make_scheduler,
)
from so101_robot.chunks.workers import InlineWorker, ThreadWorker
from so101_robot.clock import WallClock
from so101_robot.errors import describe

FPS = 30.0
JOINTS = 6
Policy = Callable[[NDArray[np.float64], Mapping[str, NDArray[np.uint8]]], Any]


def play(
    scheduler: Scheduler, clock: SimulatedClock, ticks: int, skip: Collection[int] = ()
) -> list[Planned]:
    """Run ticks 0.. of a 30 Hz loop; the state that the policy is shown is the tick's number."""
    planned: list[Planned] = []
    for tick in range(ticks):
        clock.sleep_until(tick / FPS)
        if tick not in skip:
            planned.append(scheduler.next(tick, clock.now_s(), lambda: observed(clock)))
    return planned


def observed(clock: SimulatedClock) -> Observation:
    return Observation(clock.now_s(), np.full(JOINTS, clock.now_s() * FPS), {})


def counting(length: int) -> Policy:
    """Action i of the chunk observed at tick k is k + i/1000: it tells where it comes from."""

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        return Prediction((state + np.arange(length)[:, None] / 1000).astype(np.float64))

    return predict


def absolute(length: int) -> Policy:
    """Action i of the chunk observed at tick k is k + i: the tick that it belongs to."""

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        return Prediction((state + np.arange(length)[:, None]).astype(np.float64))

    return predict


def uneven(tick: NDArray[np.float64]) -> NDArray[np.float64]:
    """A motion that is now faster, now slower: a joint that is behind can catch up."""
    return tick + 3 * np.sin(0.8 * tick)


def first_joint(planned: list[Planned]) -> list[float | None]:
    return [None if p.action is None else round(float(p.action[0]), 3) for p in planned]


def test_synchronous_plays_each_chunk_from_its_first_action_as_lerobot_does() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(counting(5))
    scheduler = make_scheduler("synchronous", worker, fps=FPS, n_action_steps=3)
    assert first_joint(play(scheduler, clock, 7)) == [0.0, 0.001, 0.002, 3.0, 3.001, 3.002, 6.0]


def test_synchronous_holds_the_arm_while_the_policy_computes() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(counting(5), latency_s=2 / FPS)
    planned = play(make_scheduler("synchronous", worker, fps=FPS, n_action_steps=3), clock, 8)
    assert first_joint(planned) == [None, None, 0.0, 0.001, 0.002, None, None, 5.0]
    assert [p.source for p in planned[:3]] == ["hold", "hold", "chunk"]


def test_an_action_belongs_to_the_tick_of_its_observation_plus_its_index() -> None:
    clock = SimulatedClock()

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        return Prediction(uneven(state + np.arange(20)[:, None]))

    worker = InlineWorker(predict, latency_s=0.1)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=10, crossfade_s=0)
    planned = play(scheduler, clock, 60)
    # the arm waited, so the first chunk starts at its start
    assert first_joint(planned)[:4] == [None, None, None, 0.0]
    second = next(tick for tick, p in enumerate(planned) if p.inference is not None and tick > 3)
    assert first_joint(planned)[second + 8 :] == uneven(np.arange(second + 8, 60)).round(3).tolist()
    assert planned[second].index_in_chunk == 3
    assert planned[second].age_s == pytest.approx(0.1)


@pytest.mark.parametrize("n_action_steps", [100, 20])
def test_asynchronous_never_starves_at_30_hz_with_an_inference_of_300_ms(n_action_steps: int) -> None:
    clock = SimulatedClock()
    worker = InlineWorker(absolute(100), latency_s=0.3)
    planned = play(ChunkScheduler(worker, fps=FPS, n_action_steps=n_action_steps), clock, 900)
    first = next(tick for tick, p in enumerate(planned) if p.source == "chunk")
    assert first == 9
    assert all(p.source == "chunk" for p in planned[first:])


def test_synchronous_starves_where_asynchronous_does_not() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(absolute(100), latency_s=0.3)
    planned = play(make_scheduler("synchronous", worker, fps=FPS, n_action_steps=100), clock, 900)
    assert sum(p.source == "hold" for p in planned) == 9 * 9  # nine ticks at each of nine chunks


def test_a_late_chunk_is_bridged_with_the_rest_of_the_old_one() -> None:
    """n_action_steps is shorter than the latency: the tail of the chunk is played rather than nothing."""
    clock = SimulatedClock()
    worker = InlineWorker(absolute(40), latency_s=0.5)
    planned = play(ChunkScheduler(worker, fps=FPS, n_action_steps=5), clock, 300)
    assert all(p.source == "chunk" for p in planned[16:])


def test_a_latency_longer_than_the_chunk_holds_and_recovers() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(absolute(5), latency_s=1.0)
    planned = play(ChunkScheduler(worker, fps=FPS, n_action_steps=5), clock, 200)
    assert sum(p.inference is not None for p in planned) >= 5
    assert sum(p.source == "chunk" for p in planned) >= 10


def test_ticks_that_the_loop_missed_are_skipped_in_the_chunk_too() -> None:
    clock = SimulatedClock()
    scheduler = ChunkScheduler(InlineWorker(absolute(50)), fps=FPS, n_action_steps=50)
    planned = play(scheduler, clock, 12, skip={5, 6, 7})
    assert first_joint(planned) == [0, 1, 2, 3, 4, 8, 9, 10, 11]


def test_a_plan_that_was_not_sent_waits() -> None:
    clock = SimulatedClock()
    scheduler = ChunkScheduler(InlineWorker(absolute(50)), fps=FPS, n_action_steps=50)
    play(scheduler, clock, 3)
    scheduler.wait()
    clock.sleep_until(3 / FPS)
    assert first_joint([scheduler.next(3, clock.now_s(), lambda: observed(clock))]) == [2.0]


def test_a_reset_voids_the_plan_and_the_answer_that_is_on_its_way() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(counting(50), latency_s=2 / FPS)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=50)
    play(scheduler, clock, 2)  # asked at tick 0, not answered yet
    scheduler.reset()
    answers: list[Planned] = []
    for tick in range(2, 8):
        clock.sleep_until(tick / FPS)
        answers.append(scheduler.next(tick, clock.now_s(), lambda: observed(clock)))
    assert first_joint(answers) == [None, None, 2.0, 2.001, 2.002, 2.003]


def test_a_cross_fade_from_an_exhausted_chunk_starts_where_the_arm_holds() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(absolute(3), latency_s=0.2)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=3, crossfade_s=2 / FPS)
    planned = play(scheduler, clock, 40)
    chunks = [p for p in planned if p.action is not None]
    assert chunks[3].chunk_tick > chunks[2].chunk_tick
    assert chunks[2].action is not None
    assert chunks[3].action is not None
    assert chunks[3].action[0] < chunks[3].chunk_tick  # between the old end and the new start


def test_observations_are_made_only_when_an_inference_is_due() -> None:
    clock = SimulatedClock()
    scheduler = ChunkScheduler(InlineWorker(absolute(100)), fps=FPS, n_action_steps=100)
    seen: list[int] = []
    for tick in range(80):
        clock.sleep_until(tick / FPS)
        scheduler.next(tick, clock.now_s(), lambda: seen.append(1) or observed(clock))
    assert len(seen) == 1


@settings(max_examples=20, deadline=None)
@given(
    coefficient=st.floats(-0.2, 0.5),
    length=st.integers(1, 12),
    ticks=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_ensembling_with_an_answer_on_every_tick_is_lerobots_temporal_ensembler(
    coefficient: float, length: int, ticks: int, seed: int
) -> None:
    chunks = np.random.default_rng(seed).normal(size=(ticks, length, JOINTS))
    theirs = ACTTemporalEnsembler(coefficient, length)
    clock = SimulatedClock()

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        return Prediction(chunks[round(state[0])])

    scheduler = EnsembledScheduler(InlineWorker(predict), fps=FPS, coefficient=coefficient)
    for planned, chunk in zip(play(scheduler, clock, ticks), chunks, strict=True):
        expected = theirs.update(torch.from_numpy(chunk)[None]).numpy()[0]
        np.testing.assert_allclose(planned.action, expected, rtol=1e-5, atol=1e-6)


def test_ensembling_with_a_slow_policy_takes_the_mean_of_the_chunks_there_are() -> None:
    clock = SimulatedClock()
    worker = InlineWorker(absolute(30), latency_s=0.1)
    planned = play(make_scheduler("ensembled", worker, fps=FPS, n_action_steps=1), clock, 60)
    started = next(tick for tick, p in enumerate(planned) if p.action is not None)
    assert all(p.action is not None for p in planned[started:])


def test_a_thread_computes_while_the_loop_goes_on() -> None:
    clock = WallClock()
    release = threading.Event()

    def slow(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        release.wait(5)
        return Prediction(np.zeros((4, JOINTS), np.float32))

    worker = ThreadWorker(slow, clock)
    worker.submit(Observation(clock.now_s(), np.zeros(JOINTS), {}), tick=7)
    assert worker.poll(clock.now_s()) is None
    assert worker.busy
    release.set()
    inference = poll_for(worker, clock)
    assert inference is not None
    assert (inference.observed_tick, worker.busy) == (7, False)
    assert inference.latency_s >= inference.compute_s > 0
    worker.close()
    worker.close()


def test_what_a_policy_raises_in_its_thread_is_raised_in_the_loop() -> None:
    def broken(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        raise ZeroDivisionError("no")

    worker = ThreadWorker(broken, WallClock())
    worker.submit(Observation(0.0, np.zeros(JOINTS), {}), tick=0)
    with pytest.raises(ZeroDivisionError):
        poll_for(worker, WallClock())
    worker.close()


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("raised", "told"), [(SystemExit(3), r"it raised SystemExit\(3\)"), (None, "'NoneType' object has no")]
)
def test_a_policy_that_ends_the_program_or_answers_nothing_fails_and_no_more(
    inline: bool, raised: SystemExit | None, told: str
) -> None:
    """In a thread, what raised where the answer was taken apart ended the thread: the run waited for an answer."""

    def broken(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        if raised is not None:
            raise raised
        return None

    worker = InlineWorker(broken) if inline else ThreadWorker(broken, WallClock())

    def ask() -> None:
        worker.submit(Observation(0.0, np.zeros(JOINTS), {}), tick=0)
        poll_for(worker, WallClock())

    with pytest.raises((RuntimeError, AttributeError), match=told):
        ask()
    worker.close()


def test_an_exception_is_described_whatever_its_text_is() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert describe(MuteError()) == "MuteError: (it has no text)"
    assert describe(ValueError("two\nlines")) == "ValueError: two lines"
    assert len(describe(ValueError("x" * 10**6))) < 2100


def poll_for(worker: InlineWorker | ThreadWorker, clock: WallClock) -> Any:
    for _ in range(500):
        if (answer := worker.poll(clock.now_s())) is not None:
            return answer
        time.sleep(0.01)
    return None


def test_a_cross_fade_begins_at_the_old_plan_and_ends_at_the_new_one():
    clock = SimulatedClock()
    answers = iter([0.0, 1.0])
    chunk = next(answers)

    def predict(state: Any, images: Any) -> Any:
        return Prediction(np.full((40, JOINTS), chunk))

    worker = InlineWorker(predict)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=12, crossfade_s=4 / FPS)
    played: list[float] = []
    for tick in range(24):
        if tick == 3:
            chunk = next(answers)  # from the second answer on
        planned = scheduler.next(tick, clock.now_s(), lambda: observed(clock))
        assert planned.action is not None
        played.append(float(planned.action[0]))
        clock.time_s += 1 / FPS
    first = next(tick for tick, value in enumerate(played) if value > 0)
    np.testing.assert_allclose(played[first : first + 5], [0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-9)


def test_a_guided_policy_is_told_what_is_left_of_its_plan_and_how_late_it_will_be() -> None:
    clock, told = SimulatedClock(), list[Ahead | None]()

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        raw = (100 * len(told) + np.arange(20)[:, None] + np.zeros(JOINTS)).astype(np.float32)
        return SimpleNamespace(actions=state + np.arange(20)[:, None], shares=None, maps=None, raw=raw)

    worker = InlineWorker(predict, latency_s=0.1, guide=told.append)
    scheduler = make_scheduler("asynchronous", worker, fps=FPS, n_action_steps=20, guided_ticks=5)
    planned = play(scheduler, clock, 60)

    first, *later = told
    assert first is None, "there was no plan yet"
    assert len(later) > 2
    for number, ahead in enumerate(later, 1):
        assert ahead is not None
        assert ahead.delay == 3
        assert ahead.actions[0, 0] // 100 == number, "of the chunk before"
        assert ahead.actions[-1, 0] % 100 == 19, "to its end"
        assert len(ahead.actions) == 3 + 1 + 5, (
            "those that will be played, one until it is looked for, the horizon"
        )
    arrivals = [p for p in planned if p.inference is not None][1:]
    assert all(p.index_in_chunk == 3 for p in arrivals), "the delay that it was told"
    assert all(p.action is not None for p in planned[3:])


def test_a_guided_policy_is_not_told_of_a_plan_that_is_void() -> None:
    clock, told = SimulatedClock(), list[Ahead | None]()

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        raw = np.zeros((20, JOINTS), np.float32)
        return SimpleNamespace(actions=state + raw, shares=None, maps=None, raw=raw)

    worker = InlineWorker(predict, guide=told.append)
    scheduler = make_scheduler("asynchronous", worker, fps=FPS, n_action_steps=20, guided_ticks=5)
    play(scheduler, clock, 5)
    scheduler.reset()
    scheduler.next(6, clock.now_s(), lambda: observed(clock))
    assert told == [None, None]
