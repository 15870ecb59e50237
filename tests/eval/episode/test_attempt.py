"""An attempt: who may drive, what is judged, and that it can be run again bit for bit."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from so101_eval.episode.episode import Attempt, Bench, Controller, Observation, Tick, attempt
from so101_eval.errors import ConfigError
from so101_eval.expert.expert import Expert, run_expert
from so101_eval.palletizing.scene.draw import Reset, draw
from so101_robot.mock.arm import MockArm, MockConfig

TASK = "palletize-1"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(TASK, MockConfig(width=24, height=16, realtime_factor=0)) as bench:
        yield bench


@pytest.fixture(scope="module")
def shown(bench: Bench) -> Attempt:
    """The expert, to have something to replay."""
    return run_expert(TASK, seed=11, bench=bench)


class Replay:
    """Plays recorded targets."""

    def __init__(self, targets: NDArray[np.float64], most: int | None = None) -> None:
        self._targets = iter(targets[:most])

    def __call__(self, observation: Observation) -> NDArray[np.float64] | None:
        return next(self._targets, None)


def stand(observation: Observation) -> ArrayLike | None:
    """Keeps the joints where they are asked to be at first."""
    return HOME


HOME = np.array([0.0, -57.0, 46.0, 63.0, -90.0, 27.0])


def test_the_same_reset_and_the_same_actions_end_in_the_same_state(bench: Bench, shown: Attempt):
    reset = draw(TASK, seed=11)
    first, second = (bench.attempt(reset, lambda _: Replay(shown.trajectory.target, 200)) for _ in range(2))
    assert first.state_hash == second.state_hash
    np.testing.assert_array_equal(first.trajectory.position, second.trajectory.position)
    other = bench.attempt(draw(TASK, seed=12), lambda _: Replay(shown.trajectory.target, 200))
    assert other.state_hash != first.state_hash


def test_the_expert_does_exactly_the_same_again_also_on_another_bench(bench: Bench, shown: Attempt):
    assert run_expert(TASK, seed=11, bench=bench).state_hash == shown.state_hash
    with Bench(TASK) as other:
        again = run_expert(TASK, seed=11, bench=other)
    assert again.state_hash == shown.state_hash
    assert again.score == shown.score


def test_an_attempt_that_crashed_in_the_middle_leaves_no_trace(bench: Bench, shown: Attempt):
    class PowerCutError(Exception):
        pass

    def crash(tick: Tick) -> None:
        if tick.number == 97:
            raise PowerCutError

    other = draw(TASK, "randomised", 3, seed=13)
    with pytest.raises(PowerCutError):
        bench.attempt(other, lambda b: Expert(b.world, b.robot, other), crash)
    assert run_expert(TASK, seed=11, bench=bench).state_hash == shown.state_hash


def test_another_process_ends_in_the_same_state(shown: Attempt):
    script = (
        f"from so101_eval.expert.expert import run_expert\nprint(run_expert({TASK!r}, seed=11).state_hash)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == shown.state_hash


def test_who_never_moves_is_told_so_when_the_time_is_up(bench: Bench):
    result = bench.attempt(draw(TASK, seed=14), lambda b: hold_still(b))
    assert result.score.failure is not None
    assert result.score.failure.kind == "never_moved"
    assert result.score.duration_s == pytest.approx(bench.task.time_limit_s, abs=4.0)
    assert not result.finished


def hold_still(bench: Bench) -> Controller:
    start = bench.robot.read().position
    return lambda observation: start


def test_who_is_done_at_once_is_not_waited_for(bench: Bench):
    result = bench.attempt(draw(TASK, seed=14), lambda _: lambda observation: None)
    assert result.finished
    assert result.score.duration_s < 4.0
    assert result.score.success is False


def test_an_action_that_is_not_a_number_is_held_off_and_ends_the_attempt(bench: Bench):
    ticks: list[Tick] = []
    bad = np.full(6, np.nan)
    result = bench.attempt(draw(TASK, seed=14), lambda _: lambda observation: bad, ticks.append)
    assert result.score.failure is not None
    assert result.score.failure.kind == "nan"
    assert result.score.duration_s < 2.0
    assert all(tick.sent is None for tick in ticks)
    assert result.interventions["action is not finite shoulder_pan"] == len(ticks)


def test_a_leap_is_cut_by_the_guard_and_counted(bench: Bench):
    far = HOME + np.array([60.0, 0, 0, 0, 0, 0])
    result = bench.attempt(draw(TASK, seed=14), lambda _: lambda o: far if o.time_s < 1.0 else None)
    assert result.interventions["speed shoulder_pan"] > 3
    steps = np.abs(np.diff(result.trajectory.target[:20, 0]))
    assert steps.max() < 7.0


def test_pictures_are_rendered_when_they_are_asked_for_and_not_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    rendered: list[str] = []
    frame = MockArm.frame

    def count(arm: MockArm, name: str) -> object:
        rendered.append(name)
        return frame(arm, name)

    monkeypatch.setattr(MockArm, "frame", count)
    bench.attempt(draw(TASK, seed=14), lambda _: lambda o: HOME if o.time_s < 0.5 else None)
    assert rendered == []
    seen: list[dict[str, NDArray[np.uint8]]] = []

    def look_twice(observation: Observation) -> ArrayLike | None:
        if observation.time_s == 0.0:
            seen.extend((observation.images(), observation.images()))
        return HOME if observation.time_s < 0.5 else None

    bench.attempt(draw(TASK, seed=14), lambda _: look_twice)
    assert sorted(rendered) == ["front", "wrist"]
    assert seen[0]["front"].shape == (16, 24, 3)
    assert seen[0] is seen[1]


def test_late_pictures_are_those_of_so_many_ticks_ago(bench: Bench):
    def film(reset: Reset) -> list[bytes]:
        shots: list[bytes] = []

        def turn(observation: Observation) -> ArrayLike | None:
            shots.append(observation.images()["wrist"].tobytes())
            return HOME + np.array([30 * observation.time_s, 0, 0, 0, 0, 0])

        with pytest.raises(StopIteration):
            bench.attempt(reset, lambda _: turn, stop_after(12))
        return shots

    def stop_after(ticks: int):
        def stop(tick: Tick) -> None:
            if tick.number == ticks:
                raise StopIteration

        return stop

    on_time, late = film(draw(TASK, seed=15)), film(draw(TASK, "image-delay", 2, seed=15))
    assert late[3:] == on_time[:-3]
    assert len(set(on_time)) > 8


def test_late_actions_reach_the_arm_later(bench: Bench):
    def turn(observation: Observation) -> ArrayLike | None:
        return HOME + np.array([20 * observation.time_s, 0, 0, 0, 0, 0]) if observation.time_s < 1 else None

    on_time = bench.attempt(draw(TASK, seed=15), lambda _: turn).trajectory.target[:30, 0]
    late = bench.attempt(draw(TASK, "action-latency", 3, seed=15), lambda _: turn).trajectory.target[:30, 0]
    np.testing.assert_allclose(late[10:], on_time[4:-6], atol=0.1)


def test_noise_reaches_who_drives_and_not_the_guard_or_the_record(bench: Bench):
    told: list[NDArray[np.float64]] = []

    def listen(observation: Observation) -> ArrayLike | None:
        told.append(observation.state.position)
        return HOME if observation.time_s < 1 else None

    result = bench.attempt(draw(TASK, "joint-noise", 3, seed=15), lambda _: listen)
    heard, true = np.array(told), result.trajectory.position[: len(told)]
    assert 1.0 < np.std(heard - true) < 3.0
    assert np.abs(np.diff(true[-5:], axis=0)).max() < 0.5


def test_a_reset_of_another_task_is_refused(bench: Bench):
    with pytest.raises(ConfigError, match=r"this bench is for palletize-1, the reset is for palletize-2"):
        bench.lay_out(draw("palletize-2"))


def test_a_bench_of_its_own_is_made_and_closed_for_a_single_attempt():
    reset = draw(TASK, seed=16)
    result = attempt(TASK, reset, lambda b: Expert(b.world, b.robot, reset))
    assert result.reset == reset
    assert result.score.success
