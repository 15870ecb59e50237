"""A policy of a lower rate than the loop, against a brute-force line and the plain scheduler."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.interpolation import Interpolated, ticks_per_action
from so101_robot.chunks.scheduler import ChunkMode, Planned, make_scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.errors import ConfigError

START = np.array([1.0, -2.0, 3.0, -4.0, 5.0, 50.0])


class Prediction(NamedTuple):
    actions: NDArray[np.float64]
    shares: None = None
    maps: None = None
    spread: None = None


class Loop:
    """Ticks of a loop at `fps` around an interpolated scheduler, and the arm that does as it is told."""

    def __init__(
        self,
        policy_fps: float,
        fps: float,
        mode: ChunkMode = "synchronous",
        *,
        latency_s: float = 0.0,
        length: int = 8,
        n_action_steps: int = 8,
    ) -> None:
        self.time_s = 0.0
        self.fps, self.length = fps, length
        self.every = ticks_per_action(policy_fps, fps)
        self.arm = START.copy()
        self.seen: list[tuple[int, NDArray[np.float64]]] = []
        self.tick = -1
        worker = InlineWorker(self.predict, latency_s)
        inner = make_scheduler(mode, worker, fps=policy_fps, n_action_steps=n_action_steps, crossfade_s=0.0)
        self.scheduler = Interpolated(inner, self.every, lambda: self.arm)

    def predict(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        """From where the arm is, away in a direction of the observation's own."""
        direction = np.random.default_rng(len(self.seen)).normal(size=6)
        chunk = state + direction * np.arange(1, self.length + 1)[:, None]
        self.seen.append((self.tick, chunk))
        return Prediction(chunk)

    def step(self, ticks: int = 1) -> Planned:
        self.tick += ticks
        self.time_s = self.tick / self.fps
        planned = self.scheduler.next(
            self.tick, self.time_s, lambda: Observation(self.time_s, self.arm.copy(), {})
        )
        if planned.action is not None:
            self.arm = planned.action
        return planned

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, time_s: float) -> None:
        raise AssertionError("nothing here may wait")


def acted(planned: Planned) -> NDArray[np.float64]:
    assert planned.action is not None
    return planned.action


@pytest.mark.parametrize(("policy_fps", "fps"), [(10, 30), (30, 180), (15, 30), (20, 200)])
def test_action_k_is_reached_at_the_end_of_window_k_and_the_way_there_is_straight(
    policy_fps: float, fps: float
) -> None:
    loop = Loop(policy_fps, fps)
    every = loop.every
    actions = np.array([loop.step().action for _ in range(8 * every)])
    knots = np.vstack([START, loop.seen[0][1]])
    assert len(loop.seen) == 1
    np.testing.assert_array_equal(actions[every - 1 :: every], knots[1:])
    brute = [[np.interp((t + 1) / every, np.arange(9), joint) for joint in knots.T] for t in range(8 * every)]
    np.testing.assert_allclose(actions, brute, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(every=st.integers(2, 6), latency_ticks=st.integers(0, 12), asynchronous=st.booleans())
def test_no_tick_goes_farther_than_its_part_of_an_action(
    every: int, latency_ticks: int, asynchronous: bool
) -> None:
    mode: ChunkMode = "asynchronous" if asynchronous else "synchronous"
    loop = Loop(10, 10 * every, mode, latency_s=latency_ticks / (10 * every), n_action_steps=4)
    commands = [loop.arm]
    for _ in range(20 * every):
        loop.step()
        commands.append(loop.arm)
    steps = np.diff(commands, axis=0)
    ends = np.diff(commands[::every], axis=0)
    np.testing.assert_allclose(np.abs(steps), np.abs(np.repeat(ends, every, axis=0)) / every, atol=1e-9)


def test_at_one_tick_an_action_it_is_the_scheduler_itself() -> None:
    loop, plain = Loop(30, 30, "asynchronous", latency_s=0.1), Loop(30, 30, "asynchronous", latency_s=0.1)
    plain.scheduler = plain.scheduler._scheduler  # type: ignore[assignment]
    for _ in range(40):
        ours, theirs = loop.step(), plain.step()
        assert (ours.action is None) == (theirs.action is None)
        if ours.action is not None:
            np.testing.assert_array_equal(ours.action, theirs.action)
        np.testing.assert_equal(ours[2:], theirs[2:])


def test_ages_and_ticks_of_observations_are_those_of_the_loop() -> None:
    loop = Loop(10, 30, "asynchronous", latency_s=0.2, n_action_steps=5)
    for _ in range(60):
        planned = loop.step()
        if planned.action is None:
            continue
        asked = [tick for tick, _ in loop.seen]
        assert planned.chunk_tick in asked
        assert planned.age_s == pytest.approx((loop.tick - planned.chunk_tick) / 30)
        if planned.inference is not None:
            assert planned.inference.observed_tick in asked
            assert planned.inference.observed_s == pytest.approx(planned.inference.observed_tick / 30)


def test_an_answer_is_told_once_and_not_on_every_tick_of_its_window() -> None:
    loop = Loop(10, 30, "asynchronous", latency_s=0.1, n_action_steps=5)
    told = [loop.step().inference for _ in range(90)]
    answers = [answer for answer in told if answer is not None]
    assert len(answers) in (len(loop.seen), len(loop.seen) - 1)
    assert len({answer.observed_tick for answer in answers}) == len(answers)


def test_a_loop_that_missed_the_first_tick_of_a_window_plans_on_the_next() -> None:
    loop = Loop(10, 30)
    loop.step()
    planned = loop.step(ticks=4)  # from tick 0 to tick 4, the middle of window 1
    chunk = loop.seen[0][1]
    assert planned.index_in_chunk == 1
    first = START + (chunk[0] - START) / 3
    np.testing.assert_allclose(acted(planned), (first + chunk[1]) / 2)  # what is left, in equal parts
    np.testing.assert_array_equal(loop.step().action, chunk[1])


def test_a_policy_that_raises_costs_its_window_and_is_asked_again_in_the_next() -> None:
    loop, fail = Loop(10, 30), [True]
    answer = loop.predict

    def predict(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Any:
        if fail.pop():
            raise ZeroDivisionError
        return answer(state, images)

    loop.scheduler = Interpolated(
        make_scheduler("synchronous", InlineWorker(predict), fps=10, n_action_steps=8),
        3,
        lambda: loop.arm,
    )
    with pytest.raises(ZeroDivisionError):
        loop.step()
    loop.scheduler.reset()  # as the loop does
    fail.append(False)
    assert [loop.step().action for _ in range(2)] == [None, None]
    np.testing.assert_allclose(acted(loop.step()), START + (loop.seen[0][1][0] - START) / 3)


def test_after_a_tick_that_was_not_sent_the_line_goes_on_where_the_arm_stands() -> None:
    loop = Loop(10, 30)
    for _ in range(3):
        loop.step()
    held = loop.arm = loop.arm - 7.0  # the guard held it back
    loop.scheduler.wait()
    planned = loop.step()
    assert planned.index_in_chunk == 0  # and the plan stood still
    np.testing.assert_allclose(acted(planned), held + (loop.seen[0][1][0] - held) / 3)


def test_a_reset_holds_for_the_rest_of_the_window_and_asks_in_the_next() -> None:
    loop = Loop(10, 30)
    for _ in range(4):
        loop.step()
    loop.scheduler.reset()
    loop.arm = loop.arm + 3.0
    stood = loop.arm
    assert [loop.step().action for _ in range(2)] == [None, None]
    planned = loop.step()
    assert planned.chunk_tick == 6
    assert [tick for tick, _ in loop.seen] == [0, 6]
    np.testing.assert_allclose(acted(planned), stood + (loop.seen[1][1][0] - stood) / 3)


def test_with_nothing_planned_there_is_no_action_and_the_command_stays() -> None:
    loop = Loop(10, 30, latency_s=0.2)
    for _ in range(6):
        assert loop.step().action is None
        np.testing.assert_array_equal(loop.scheduler.command, START)
    assert loop.step().action is not None


def test_a_command_before_the_first_tick_is_refused() -> None:
    with pytest.raises(ConfigError, match="first tick"):
        _ = Loop(10, 30).scheduler.command


@pytest.mark.parametrize(
    ("policy_fps", "fps", "every"),
    [(30, 30, 1), (10, 30, 3), (30, 180, 6), (7.5, 30, 4), (200, 200, 1), (29.97, 29.97, 1)],
)
def test_ticks_per_action(policy_fps: float, fps: float, every: int) -> None:
    assert ticks_per_action(policy_fps, fps) == every


@pytest.mark.parametrize(
    ("policy_fps", "fps", "possible"),
    [
        (
            30,
            200,
            "loops of 30, 60, 90, 120, 150, 180 (--fps), or policies of 200, 100, 66.67, 50, 40, 33.33",
        ),
        (12, 30, "loops of 12, 24, 36"),
        (60, 30, "loops of 60, 120, 180"),
        (0, 30, "policies of 30, 15, 10"),
        (-10, 30, "policies of 30, 15, 10"),
        (float("nan"), 30, "policies of 30, 15, 10"),
        (300, 200, "policies of 200, 100"),
    ],
)
def test_a_rate_that_does_not_divide_the_loops_is_refused_with_what_is_possible(
    policy_fps: float, fps: float, possible: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ticks_per_action(policy_fps, fps)
    assert possible in str(caught.value)
    assert f"{policy_fps:g} actions" in str(caught.value)
