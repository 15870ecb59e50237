"""Plans that disagree meet, and no joint jumps: asynchronous and ensembled, at 30 Hz with an inference of 300 ms."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chunk_doubles import Prediction, SimulatedClock
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import ChunkMode, ChunkScheduler, Planned, make_scheduler
from so101_robot.chunks.step_bound import SLOW_UNITS_S, StepBound, longest_steps
from so101_robot.chunks.workers import InlineWorker

FPS = 30.0
SLOW = SLOW_UNITS_S / FPS
LENGTH = 60
Chunks = Callable[[float], NDArray[np.float64]]
"""Number of an observation's tick -> (n, 6) actions."""


class Played(NamedTuple):
    planned: list[Planned]
    chunks: list[NDArray[np.float64]]
    """As the policy answered them."""

    def steps(self) -> NDArray[np.float64]:
        """(n, 6) between actions of neighbouring ticks."""
        return np.abs(np.diff([each.action for each in self.planned if each.action is not None], axis=0))

    def inside(self, n_action_steps: int) -> NDArray[np.float64]:
        """(6,) the longest steps inside the chunks, as far as they are played."""
        return np.max([longest_steps(chunk[:n_action_steps]) for chunk in self.chunks], axis=0)


def play(
    chunks: Chunks, mode: ChunkMode = "asynchronous", n_action_steps: int = 30, ticks: int = 600, **more: Any
) -> Played:
    clock, answered = SimulatedClock(), list[NDArray[np.float64]]()

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        answered.append(chunks(float(state[0])))
        return Prediction(answered[-1])

    def observe() -> Observation:
        return Observation(clock.now_s(), np.full(6, clock.now_s() * FPS), {})

    worker = InlineWorker(predict, more.pop("latency_s", 0.3))
    scheduler = make_scheduler(mode, worker, fps=FPS, n_action_steps=n_action_steps, **more)
    planned: list[Planned] = []
    for tick in range(ticks):
        clock.sleep_until(tick / FPS)
        planned.append(scheduler.next(tick, clock.now_s(), observe))
    return Played(planned, answered)


def smooth(disagreement: float, seed: int = 3, amplitude: float = 30.0) -> Chunks:
    """A smooth motion in absolute time; each chunk is off by another constant, as real ones are."""
    generator = np.random.default_rng(seed)

    def chunks(tick: float) -> NDArray[np.float64]:
        phase = (tick + np.arange(LENGTH))[:, None] * 0.15 + np.arange(6)
        return amplitude * np.sin(phase) + generator.uniform(-disagreement, disagreement, 6)

    return chunks


@pytest.mark.parametrize("mode", ["asynchronous", "ensembled"])
@pytest.mark.parametrize("disagreement", [2.0, 10.0, 40.0])
def test_no_tick_lacks_an_action_and_no_joint_jumps_where_smooth_plans_disagree(
    mode: ChunkMode, disagreement: float
) -> None:
    played = play(smooth(disagreement), mode)
    first = next(tick for tick, each in enumerate(played.planned) if each.action is not None)
    assert first == 9  # 300 ms
    assert all(each.action is not None for each in played.planned[first:])
    assert len(played.chunks) >= 20
    assert (played.steps().max(axis=0) <= played.inside(LENGTH) * (1 + 1e-9)).all()


@settings(max_examples=30, deadline=None)
@given(
    mode=st.sampled_from(["asynchronous", "ensembled"]),
    seed=st.integers(0, 2**31),
    latency_s=st.floats(0.02, 0.8),
    n_action_steps=st.integers(2, LENGTH),
    crossfade_s=st.floats(0.0, 0.5),
)
def test_whatever_the_plans_no_step_is_longer_than_those_inside(
    mode: ChunkMode, seed: int, latency_s: float, n_action_steps: int, crossfade_s: float
) -> None:
    generator = np.random.default_rng(seed)

    def chunks(tick: float) -> NDArray[np.float64]:
        steps = generator.normal(size=(LENGTH, 6)).cumsum(axis=0) * 0.2 + generator.normal(size=6)
        return generator.normal(size=6) * 20 + steps.cumsum(axis=0)

    played = play(chunks, mode, n_action_steps, ticks=200, latency_s=latency_s, crossfade_s=crossfade_s)
    assert (played.steps().max(axis=0) <= np.maximum(played.inside(LENGTH), SLOW) * (1 + 1e-9)).all()


def test_the_fade_alone_could_not_promise_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepBound, "join", lambda *_: None)
    played = play(smooth(10.0))
    assert played.steps().max() > 1.5 * played.inside(LENGTH).max()


def test_where_the_fade_keeps_within_the_steps_of_the_plans_not_a_bit_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow_turn(disagreement: float) -> Chunks:
        inner = smooth(disagreement)

        def chunks(tick: float) -> NDArray[np.float64]:
            actions = inner(tick)
            actions[20] += 8.0  # one long step inside each, so that there is room where they meet
            return actions

        return chunks

    bounded = play(slow_turn(0.5))
    monkeypatch.setattr(StepBound, "join", lambda *_: None)
    free = play(slow_turn(0.5))
    # the first chunk is 300 ms behind all others, since the arm waited for it
    settled = [each.chunk_tick for each in free.planned].index(free.planned[100].chunk_tick)
    assert settled > 60
    for ours, plain in zip(bounded.planned[settled:], free.planned[settled:], strict=True):
        np.testing.assert_array_equal(ours.action, plain.action)
    assert len({each.chunk_tick for each in free.planned[settled:]}) > 15


def test_a_joint_that_has_caught_up_follows_its_plan_to_the_bit() -> None:
    played = play(smooth(40.0), n_action_steps=LENGTH)
    last = played.chunks[-2]
    end = [each for each in played.planned if each.age_s > 1.6]  # just before the next chunk is blended in
    assert end
    for each in end:
        assert any((each.action == chunk[each.index_in_chunk]).all() for chunk in played.chunks)
    assert last.shape == (LENGTH, 6)


def test_a_gap_between_plans_that_stand_still_is_closed_slowly_but_closed() -> None:
    goals = iter([0.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    played = play(lambda tick: np.full((LENGTH, 6), next(goals)), ticks=100)
    pan = np.array([each.action[0] for each in played.planned if each.action is not None])
    assert np.diff(pan).max() == pytest.approx(SLOW)
    assert pan[-1] == 5.0
    assert np.count_nonzero(np.diff(pan)) == pytest.approx(5.0 / SLOW, abs=4)


def test_after_a_missed_tick_a_joint_may_go_as_far_as_in_two() -> None:
    follower = StepBound(FPS)
    follower.follow(np.zeros(6), at=0)
    follower.join(np.ones(6), until=10)
    np.testing.assert_array_equal(follower.follow(np.full(6, 9.0), at=1), np.ones(6))
    np.testing.assert_array_equal(follower.follow(np.full(6, 9.0), at=3), np.full(6, 3.0))
    np.testing.assert_array_equal(follower.follow(np.full(6, 3.5), at=10), np.full(6, 3.5))
    np.testing.assert_array_equal(follower.follow(np.full(6, 9.0), at=11), np.full(6, 9.0))  # free


def test_a_plan_that_is_no_number_reaches_the_guard_and_does_not_spoil_the_next() -> None:
    answers = iter([0.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0])
    played = play(lambda tick: np.full((LENGTH, 6), next(answers)), ticks=120, crossfade_s=0.0)
    pan = np.array([each.action[0] for each in played.planned if each.action is not None])
    assert np.isnan(pan).any()
    assert pan[-1] == 1.0


def test_after_a_reset_nothing_is_left_of_the_old_plan() -> None:
    clock = SimulatedClock()
    answers = iter([0.0, 80.0])

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        return Prediction(np.full((LENGTH, 6), next(answers)))

    worker = InlineWorker(predict, 0.0)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=LENGTH)

    def step(tick: int) -> Planned:
        clock.sleep_until(tick / FPS)
        return scheduler.next(tick, clock.now_s(), lambda: Observation(clock.now_s(), np.zeros(6), {}))

    step(0)
    scheduler.reset()
    action = step(1).action
    assert action is not None
    np.testing.assert_array_equal(action, np.full(6, 80.0))


def test_a_late_chunk_of_an_ensemble_takes_part_from_the_present_tick_on() -> None:
    """Chunks that agree on what belongs to which tick: that is what is played on it."""

    def uneven(tick: NDArray[Any]) -> NDArray[np.float64]:
        return tick + 3 * np.sin(0.8 * tick)

    played = play(lambda tick: np.tile(uneven(tick + np.arange(20.0))[:, None], 6), "ensembled", ticks=120)
    values = [each.action[0] for each in played.planned[40:] if each.action is not None]
    np.testing.assert_allclose(values, uneven(np.arange(40.0, 120.0)))


def test_a_latency_that_varies_starves_no_tick_once_the_longest_was_seen() -> None:
    clock, plan, generator = SimulatedClock(), smooth(5.0), np.random.default_rng(1)

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        return Prediction(plan(float(state[0])))

    class Varying(InlineWorker):
        def submit(self, observation: Observation, tick: int) -> None:
            super().submit(observation, tick)
            self._latency_s = generator.uniform(0.2, 0.4)

    worker = Varying(predict, 0.4)
    scheduler = ChunkScheduler(worker, fps=FPS, n_action_steps=LENGTH)
    planned: list[Planned] = []
    for tick in range(900):
        clock.sleep_until(tick / FPS)
        planned.append(
            scheduler.next(
                tick, clock.now_s(), lambda: Observation(clock.now_s(), np.full(6, clock.now_s()), {})
            )
        )
    assert all(each.action is not None for each in planned[12:])


def test_steps_between_infinite_actions_are_no_numbers_and_no_warning():
    actions = np.zeros((3, 6))
    actions[:, 2] = np.inf
    steps = longest_steps(actions)
    assert not np.isfinite(steps[2])
    assert steps[[0, 1, 3, 4, 5]].tolist() == [0.0] * 5
