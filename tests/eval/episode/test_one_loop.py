"""What is judged is what is deployed: an episode and `so101-run` are the same loop with the same settings."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from so101_eval.episode.episode import DIFFERENT, Attempt, Stage, episode_loop_config
from so101_eval.episode.scripted import Scripted
from so101_eval.evaluation.loaded_policies import Acting, load, scheduler
from so101_eval.evaluation.policy_specs import parse_policy
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import draw
from so101_policy.checkpoint.trained_on import TrainedOn
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.loaded import Prediction
from so101_policy.inference.seen import Ahead
from so101_robot.arm.config_arm import SO101Config
from so101_robot.commands import compose
from so101_robot.commands.drive import drive, loop_config
from so101_robot.commands.run_config import PolicyFlags, RunConfig
from so101_robot.loop.loop import LoopConfig, Outcome
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.config import MockConfig

TASK, SEED = "palletize-1", 3
CHUNK, SECONDS = 12, 8.0
HALF_WAY = 20
"""Inferences that are sound before the policy goes wrong."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(TASK, MockConfig(width=24, height=24, realtime_factor=0.0)) as stage:
        yield stage


class Hostile:
    """A policy that waves the pan joint, and goes wrong after `HALF_WAY` answers. As much of a checkpoint as a run
    wants to know."""

    trained_on, temporal_ensemble_coeff, n_action_steps = TrainedOn(fps=30.0, stated=True), None, 8
    n_obs_steps, guided = 1, False

    def __init__(self, wrong: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.wrong, self.asked, self.path = wrong, 0, Path()

    def predict(self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        self.asked += 1
        actions = np.tile(np.asarray(state, np.float32), (CHUNK, 1))
        actions[:, 0] += 0.4 * np.arange(1, CHUNK + 1, dtype=np.float32)
        return Prediction(self.wrong(actions) if self.asked > HALF_WAY else actions, None)

    def be_guided(self, ahead: Ahead | None) -> None:
        """It cannot be."""


def asks_500_degrees(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(actions, 500.0)


def jumps_by_80(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    actions[:, 0] -= 80.0
    return actions


def answers_nan(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    return actions * np.nan


def raises(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    raise ZeroDivisionError("no idea")


class How(NamedTuple):
    """How it ended."""

    tick: int
    """The last one before the ending."""
    fault: str | None
    asked: int
    """Inferences."""


def config_of(stage: Stage, **more: Any) -> RunConfig:
    """`so101-run` with an arm that stands where the policy begins, so that no approach is needed."""
    start = compose.last_command(stage.robot).tolist()  # no read: it would take simulated time
    return RunConfig(robot=SO101Config(port="mock"), start_pose=start, duration_s=SECONDS, **more)


def deployed(stage: Stage, policy: Hostile, folder: Path, **more: Any) -> How:
    """The journey of `so101-run` from its configuration on, in the same scene."""
    stage.lay_out(draw(TASK, seed=SEED))
    seen = list[Tick]()

    class Watch:
        name = "watch"

        def on_tick(self, tick: Tick) -> None:
            if tick.phase != "home":
                seen.append(tick)

        def on_message(self, message: Message) -> None: ...
        def close(self) -> None: ...

    config = config_of(stage, **more)
    plan = compose.make_scheduler(config, stage.robot, policy)  # type: ignore[arg-type]
    outcome: Outcome = drive(config, stage.robot, plan, [Watch()], folder, StopRequests())
    return How(seen[-1].index, outcome.fault, policy.asked)


def judged(stage: Stage, policy: Hostile, **more: Any) -> tuple[How, Attempt]:
    """An episode, played as an evaluation does it."""
    playing = compose.playing(
        RunConfig(robot=SO101Config(port="mock"), policy=PolicyFlags(fps=30.0), **more),
        policy,  # type: ignore[arg-type]
    )
    attempt = stage.attempt(draw(TASK, seed=SEED), lambda stage: scheduler(stage, policy.predict, playing))
    return How(len(attempt.trajectory.time_s) - 1, attempt.fault, policy.asked), attempt


@pytest.mark.parametrize(
    ("wrong", "fault", "failure", "exception"),
    [
        (asks_500_degrees, "policy far out of range", "stopped", None),
        (jumps_by_80, "policy jumps", "stopped", None),
        (answers_nan, "policy answers no pose", "nan", None),
        (raises, "policy raises", "policy_raised", "ZeroDivisionError"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_policy_that_goes_wrong_ends_an_episode_and_a_run_at_the_same_tick_by_the_same_fault(
    stage: Stage, tmp_path: Path, wrong: Any, fault: str, failure: str, exception: str | None
):
    there = deployed(stage, Hostile(wrong), tmp_path)
    here, attempt = judged(stage, Hostile(wrong))
    assert here == there
    assert here.fault == fault
    assert attempt.exception == exception
    assert attempt.score.failure is not None
    assert attempt.score.failure.kind == failure
    assert attempt.score.success is False


def test_an_answer_that_is_too_late_is_the_same_fault_at_the_same_tick_in_both(stage: Stage, tmp_path: Path):
    """It holds for half a minute before it parks, longer than an episode may last: what is compared is when."""
    late: dict[str, list[tuple[int, str]]] = {"run": [], "episode": []}

    def note(tick: Tick, where: str) -> None:
        late[where] += [(tick.index, str(tick.mode)) for fault in tick.faults if fault == "policy late"]

    class Watch:
        name = "watch"

        def on_tick(self, tick: Tick) -> None:
            note(tick, "run")

        def on_message(self, message: Message) -> None: ...
        def close(self) -> None: ...

    settings: dict[str, Any] = {"inference_latency_s": 3.0}
    stage.lay_out(draw(TASK, seed=SEED))
    config = config_of(stage, **settings)
    plan = compose.make_scheduler(config, stage.robot, Hostile(raises))  # type: ignore[arg-type]
    drive(config, stage.robot, plan, [Watch()], tmp_path, StopRequests())

    class Enough(Exception):  # noqa: N818 - it is the ordinary end
        pass

    def episode(tick: Tick) -> None:
        if tick.index == SECONDS * 30:
            raise Enough
        note(tick, "episode")

    playing = compose.playing(RunConfig(robot=SO101Config(port="mock"), **settings), Hostile(raises))  # type: ignore[arg-type]
    with pytest.raises(Enough):
        stage.attempt(
            draw(TASK, seed=SEED), lambda s: scheduler(s, Hostile(raises).predict, playing), episode
        )
    assert late["episode"] == late["run"]
    assert {mode for _, mode in late["run"]} == {"degraded", "holding"}


def test_the_settings_of_an_episodes_loop_are_those_of_so101_run_but_for_the_written_list():
    run, episode = loop_config(RunConfig(robot=SO101Config(port="mock"))), episode_loop_config()
    names = [field.name for field in dataclasses.fields(LoopConfig)]
    differing = {name for name in names if getattr(run, name) != getattr(episode, name)}
    assert differing <= DIFFERENT.keys() <= set(names)
    assert differing | {"start_pose"} == DIFFERENT.keys()  # a run has its checkpoint's
    assert all(DIFFERENT.values())
    at_home = episode_loop_config(go_home=True)
    assert {name for name in names if getattr(run, name) != getattr(at_home, name)} == {"approach_speed"}


def test_a_checkpoint_is_played_as_so101_run_would_without_any_flags(act: Path):
    loaded = load(parse_policy(f"mine={act}"))
    assert isinstance(loaded, Acting)
    config = RunConfig(robot=SO101Config(port="mock"), policy=PolicyFlags(path=str(act)))
    assert loaded.playing == compose.playing(config, ActPolicy.load(act))


def wave(stage: Stage) -> Scripted:
    start = stage.robot.read().position
    turn = np.array([20.0, 0, 0, 0, 0, 0])
    steps = iter(np.linspace(0.0, 1.0, 60))
    return Scripted(lambda observation: None if (s := next(steps, None)) is None else start + s * turn)


def test_the_score_and_the_state_do_not_depend_on_whether_the_ending_is_played(stage: Stage):
    reset = draw(TASK, seed=SEED)
    skipped = stage.attempt(reset, wave)
    played = stage.attempt(reset, wave, go_home=True)
    assert (skipped.ending, played.ending) == ("skipped", "home")
    assert skipped.score == played.score
    assert skipped.state_hash == played.state_hash
    np.testing.assert_allclose(stage.robot.read().position, stage.robot.home, atol=8.0)  # it did go there


def test_what_a_looker_on_raises_is_no_failure_of_the_policy(stage: Stage):
    class PowerCutError(Exception):
        pass

    def crash(tick: Tick) -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        stage.attempt(draw(TASK, seed=SEED), wave, crash)


@pytest.mark.parametrize("scenario", ["nominal", "home-pose"])
def test_an_episode_starts_where_the_scene_puts_the_arm_whatever_the_policy_asks_for_first(
    stage: Stage, scenario: str
):
    """No approach, neither to a start pose nor to a first action: a shifted start stays shifted."""
    reset = draw(TASK, scenario, 0 if scenario == "nominal" else 3, SEED)
    first = list[Tick]()

    class Enough(Exception):  # noqa: N818 - it is the ordinary end
        pass

    def keep(tick: Tick) -> None:
        first.append(tick)
        if len(first) == 3:
            raise Enough

    laid_out: list[NDArray[np.float64]] = []

    def far(stage: Stage) -> Scripted:
        laid_out.append(stage.robot.read().position)
        return Scripted(lambda observation: np.array([40.0, -40, 40, 40, 0, 30]))

    with pytest.raises(Enough):
        stage.attempt(reset, far, keep)
    assert {tick.phase for tick in first} == {"run"}
    np.testing.assert_allclose(first[0].state.position, laid_out[0], atol=0.2)
    if scenario == "home-pose":
        nominal = draw(TASK, seed=SEED)
        assert np.abs(np.subtract(reset.arm_rad, nominal.arm_rad)).max() > 0.05


def test_a_box_that_was_dropped_fails_the_episode_though_it_is_put_in_its_place_afterwards(stage: Stage):
    """The hand of a meddler knocks it out of the jaws on the way; the expert fetches it and does the task."""
    reset, knocked, experts = draw(TASK, seed=5), list[int](), list[Expert]()

    def make(stage: Stage) -> Scripted:
        experts.append(Expert(stage.world, stage.robot, reset))
        return Scripted(experts[0])

    def knock(tick: Tick) -> None:
        box = stage.world.data.joint("box/0")
        lay = reset.boxes[0]
        gone_m = float(np.hypot(box.qpos[0] - lay.x_m, box.qpos[1] - lay.y_m))
        if experts[0].phase == "carry" and not knocked and gone_m > 0.06:
            knocked.append(tick.index)
            box.qpos[:3] = lay.x_m, lay.y_m, lay.edge_m / 2 + 0.08
            box.qvel[:] = 0.0

    score = stage.attempt(reset, make, knock).score
    assert knocked
    assert score.boxes[0].good  # it stands where it should
    assert score.drops
    assert score.success is False
    assert score.failure is not None
    assert score.failure.kind == "drop"
