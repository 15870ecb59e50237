"""One attempt at a task on the mock arm: lay out, let the control loop go, score.

An attempt is a run of `so101_robot.loop.loop.ControlLoop`, with the same guard, supervisor and chunk scheduler as
`so101-run`: its arm is a `DisturbedArm`, its scheduler a policy's or a `Scripted` one (the expert, a recording), and
the scorer looks on. Where its `LoopConfig` differs from `so101-run`'s, and why, is in `DIFFERENT`.

A `Stage` keeps the arm of a task and serves one attempt after the other. Each starts from power-up, so what was
before, finished or abandoned, leaves no trace: the same reset and the same actions end in the same state, bit for bit.

    with Stage("palletize-2") as stage:
        attempt = stage.attempt(draw("palletize-2", seed=7), lambda stage: Scripted(my_script))
        print(attempt.score.success)
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from so101_eval.episode.disturbed import DisturbedArm
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.draw import Reset
from so101_eval.palletizing.scene.happenings import Happenings
from so101_eval.palletizing.scene.scene import PalletizingScene, lay_out
from so101_eval.palletizing.scene.tasks import Task
from so101_eval.palletizing.score.box_watch import STABLE_S
from so101_eval.palletizing.score.score import Score, Scorer
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Scheduler
from so101_robot.commands.drive import loop_config
from so101_robot.commands.run_config import RunConfig
from so101_robot.errors import UnsafeActionError, describe
from so101_robot.faults.fault import Fault
from so101_robot.loop.ending import Ending, EndingConfig
from so101_robot.loop.loop import ControlLoop, Ended, LoopConfig
from so101_robot.loop.stopping import StopRequests
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.world import World

FPS = 30.0
"""Ticks per second: LeRobot's rate for SO-101 recordings."""
REST_S = STABLE_S + 0.5
"""How long the attempt goes on after a script has finished: boxes must stand for two seconds."""

DIFFERENT: Mapping[str, str] = {
    "approach_speed": "there is no approach: the arm is laid out where it would end, where demonstrations start, with "
    "the scenario's shift; a slow way to a checkpoint's own start pose would undo the shift, and a checkpoint "
    "that does not say its start pose would start elsewhere than the others",
    "start_pose": "as approach_speed: where the attempt starts is the reset's business and not the checkpoint's",
    "ending": "the way home is left out: the score is read before it, and it would cost a fifth of the time",
    "release": "as ending: the arm is held where it ended, and the next attempt begins from power-up",
}
"""The fields of `LoopConfig` in which an attempt differs from `so101-run`, and why."""


def episode_loop_config(go_home: bool = False) -> LoopConfig:
    """That of `so101-run` without any flags, but for the fields in `DIFFERENT`.

    Args:
        go_home: play the ending too, as `so101-run` does.
    """
    config = dataclasses.replace(_runs_config(), approach_speed=0.0, start_pose=None)
    return config if go_home else dataclasses.replace(config, ending=EndingConfig(home=False), release=False)


@cache
def _runs_config() -> LoopConfig:
    """That of `so101-run`; made once, since it asks which checks other packages bring."""
    return loop_config(RunConfig(robot=SO101Config(port="mock"), fps=FPS))


class End(StrEnum):
    """Why an attempt was over."""

    SETTLED = "settled"
    """Nothing could change any more: all boxes stood as they should, or time was up."""
    FINISHED = "finished"
    """The script had said that it was done, and the boxes had had their time to stand."""
    STOPPED = "stopped"
    """The loop ended it, as it would have ended a run of `so101-run`: see `Attempt.fault`."""


class Trajectory(NamedTuple):
    """What was measured, undisturbed, and what was sent, LeRobot units; n ticks."""

    time_s: NDArray[np.float64]
    """(n,)"""
    position: NDArray[np.float64]
    """(n, 6)"""
    target: NDArray[np.float64]
    """(n, 6) the goal in force."""


class Attempt(NamedTuple):
    """How it went."""

    reset: Reset
    score: Score
    trajectory: Trajectory
    interventions: dict[str, int]
    """Ticks on which the guard changed or stopped something, by rule and joint."""
    finished: bool
    """The script said that it was done."""
    state_hash: str
    """Of the whole arm and world at the end, before the ending."""
    end: End
    fault: Fault | None
    """The fault for which the loop's supervisor ended it; None where it did not."""
    exception: str | None
    """Class of the exception behind that fault, for a policy that raised."""
    ending: str
    """What became of the arm after the score was read: skipped, home, or not home."""
    happened: dict[str, float]
    """What was done to the scene in the middle of it, and when [s]; see `Happenings`."""


class Stage:
    """The mock arm of one task, in lockstep: as fast as the machine can, no wall clock anywhere.

    Args:
        task: by name or as it is.
        mock: camera size, renderer, pace; `scene` and `seed` do not matter here.
        config: gains and guard of the robot; port and cameras do not matter here.
    """

    def __init__(
        self, task: Task | str, mock: MockConfig | None = None, config: SO101Config | None = None
    ) -> None:
        self.scene = PalletizingScene(task)
        self.task = self.scene.task
        mock = MockConfig(realtime_factor=0.0) if mock is None else mock
        self.mock = MockArm(dataclasses.replace(mock, scene=self.scene.name), scene=self.scene)
        self._config = SO101Config() if config is None else config
        self._robot: SO101 | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def world(self) -> World:
        """The world in which the arm stands; it stays the same object from attempt to attempt."""
        assert self.mock.world is not None  # it was built with a scene
        return self.mock.world

    @property
    def robot(self) -> SO101:
        """The connected robot of the attempt that was laid out last."""
        if self._robot is None:
            raise ConfigError("nothing is laid out on this stage yet")
        return self._robot

    def attempt(
        self,
        reset: Reset,
        make: "Callable[[Stage], Scheduler]",
        *on_tick: Callable[[Tick], None],
        go_home: bool = False,
    ) -> Attempt:
        """Lay out `reset`, let a policy or a script try, and score it.

        Args:
            reset: of this stage's task.
            make: gives the scheduler, once everything is laid out and connected.
            on_tick: are told about every tick, the scorer first. What they raise ends the attempt and is raised
                here.
            go_home: play the ending after the score was read.

        Raises:
            ConfigError: the reset is another task's.
            RobotError: the arm failed in a way that no attempt should have to take (a fault plan).
        """
        run = self.begin(reset, make, *on_tick, go_home=go_home)
        with run.loop:
            while run.loop.step():
                pass
            return run.result()

    def begin(
        self,
        reset: Reset,
        make: "Callable[[Stage], Scheduler]",
        *on_tick: Callable[[Tick], None],
        go_home: bool = False,
    ) -> "EpisodeRun":
        """Lay out `reset` for a caller that goes through the ticks itself. Raises as `attempt`."""
        self.lay_out(reset)
        return EpisodeRun(self, reset, make(self), on_tick, go_home=go_home)

    def lay_out(self, reset: Reset) -> None:
        """Boxes, pallet, lights and cameras as in `reset`, the arm held at its start and connected.

        Raises:
            ConfigError: the reset is another task's.
        """
        if reset.task != self.task.name:
            raise ConfigError(f"this stage is for {self.task.name}, the reset is for {reset.task}")
        self._disconnect()
        lay_out(self.mock, self.scene, reset)
        self._robot = SO101(dataclasses.replace(self._config, port="mock", cameras={}), mock=self.mock)
        self._robot.connect()

    def close(self) -> None:
        """Free the renderer. May be called twice."""
        self._disconnect()
        self.mock.close()

    def _disconnect(self) -> None:
        if self._robot is not None:
            self._robot.disconnect(release=False)
            self._robot = None


def attempt(
    task: Task | str,
    reset: Reset,
    make: Callable[[Stage], Scheduler],
    *on_tick: Callable[[Tick], None],
    mock: MockConfig | None = None,
) -> Attempt:
    """One attempt on a stage of its own. See `Stage.attempt`."""
    with Stage(task, mock) as stage:
        return stage.attempt(reset, make, *on_tick)


class EpisodeRun:
    """An attempt while it runs: the loop, and who looks on. Go through the ticks with `loop`, inside `with`."""

    def __init__(
        self,
        stage: Stage,
        reset: Reset,
        planner: Scheduler,
        on_tick: Iterable[Callable[[Tick], None]] = (),
        *,
        go_home: bool = False,
    ) -> None:
        robot = stage.robot
        assert robot.guard is not None  # it is connected
        self._stage, self._reset, self._go_home = stage, reset, go_home
        scorer = Scorer(stage.world, reset)
        self._happenings = Happenings(stage.world, reset, scorer.box_moved, scorer.pallet_moved)
        self.arm = DisturbedArm(robot, reset.senses, FPS, self._happenings.tick)
        stop = StopRequests()
        self._judge = _Judge(scorer, self.arm, planner, stop)
        self._watch = _Watch([self._judge.on_tick, *on_tick], stop)
        self.loop = ControlLoop(
            self.arm,
            planner,
            robot.guard,
            robot.clock,
            config=episode_loop_config(go_home),
            observers=[self._watch],
            stop=stop,
        )
        self._attempt: Attempt | None = None

    def observation(self) -> Observation:
        """What a policy is shown on the tick that was looked at last."""
        return self.loop.observation()

    def score(self) -> Score:
        """Of the attempt so far.

        Raises:
            Exception: what a looker-on raised, or what ended the loop without being the policy's.
        """
        ended = self.loop.ended
        self._raise_what_is_not_the_policys(ended)
        if ended is not None and ended.error is not None:
            self._judge.stopped(ended)
        return self._judge.scorer.result()

    def result(self) -> Attempt:
        """How it went; the score is read first, then the loop's ending is played or left out. Raises as `score`."""
        if self._attempt is None:
            score, state_hash = self.score(), self._stage.mock.state_hash()
            ended, judge = self.loop.ended, self._judge
            outcome = self.loop.finish()
            fault = None if ended is None else ended.fault
            raised = ended.error if ended is not None and fault == "policy raises" else None
            self._attempt = Attempt(
                self._reset,
                score,
                judge.trajectory(),
                dict(judge.interventions),
                judge.finished,
                state_hash,
                judge.end,
                fault,
                None if raised is None else type(raised).__name__,
                _in_words(outcome.ending, self._go_home),
                dict(self._happenings.happened),
            )
        return self._attempt

    def _raise_what_is_not_the_policys(self, ended: Ended | None) -> None:
        """A bug of a looker-on or of the loop, or an arm that failed, is no policy's failure."""
        if self._watch.problem is not None:
            raise self._watch.problem
        if ended is None or ended.error is None or ended.fault is not None:
            return
        if not isinstance(
            ended.error, UnsafeActionError
        ):  # that is the guard's word, as `so101-run` would end by
            raise ended.error


def _in_words(ending: Ending, go_home: bool) -> str:
    if not go_home:
        return "skipped"
    return "home" if ending.at_home else "not home"


class _Judge:
    """Lets the scorer look on every tick, keeps the trajectory, and says when nothing can change any more."""

    def __init__(self, scorer: Scorer, arm: DisturbedArm, planner: Scheduler, stop: StopRequests) -> None:
        self.scorer = scorer
        self.interventions: Counter[str] = Counter()
        self.end = End.STOPPED
        self._arm, self._stop = arm, stop
        self._script = planner if isinstance(planner, Scripted) else None
        self._finished_s: float | None = None
        self._rows: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
        self._stopped = False

    @property
    def finished(self) -> bool:
        """The script has said that it is done."""
        return self._finished_s is not None

    def on_tick(self, tick: Tick) -> None:
        """The world as it is at the end of the tick."""
        time_s = tick.index / FPS
        self.scorer.observe(time_s)
        for change in tick.verdict.interventions:
            self.interventions[f"{change.rule} {change.joint or ''}".strip()] += 1
        measured = self._arm.measured
        assert measured is not None  # this tick has read it
        goal = measured.position if self._arm.in_force is None else self._arm.in_force
        self._rows.append((time_s, measured.position, goal))
        if self._script is not None and self._script.finished and self._finished_s is None:
            self._finished_s = time_s
        if self.scorer.done:
            self._over(End.SETTLED)
        elif self._finished_s is not None and time_s - self._finished_s > REST_S:
            self._over(End.FINISHED)

    def stopped(self, ended: Ended) -> None:
        """The loop has ended the attempt: that is its failure."""
        if self._stopped:
            return
        self._stopped, self.end = True, End.STOPPED
        kinds = {"policy raises": "policy_raised", "policy answers no pose": "nan"}
        assert ended.error is not None
        self.scorer.abort(kinds.get(ended.fault or "", "stopped"), describe(ended.error))

    def trajectory(self) -> Trajectory:
        """So far."""
        times, positions, targets = zip(*self._rows, strict=True) if self._rows else ((), (), ())
        shape = (len(times), 6)
        return Trajectory(np.array(times), np.reshape(positions, shape), np.reshape(targets, shape))

    def _over(self, end: End) -> None:
        self.end = end
        self._stop.finish(end)


class _Watch:
    """The loop's observer of an attempt. Unlike that of a run it must not fail unnoticed: what it raises ends the
    attempt and is kept for the caller, since a score without a scorer would not be true."""

    name = "attempt"

    def __init__(self, on_tick: Iterable[Callable[[Tick], None]], stop: StopRequests) -> None:
        self._on_tick, self._stop = tuple(on_tick), stop
        self.problem: Exception | None = None

    def on_tick(self, tick: Tick) -> None:
        if tick.phase == "home" or self.problem is not None:
            return  # the score was read before
        try:
            for tell in self._on_tick:
                tell(tick)
        except Exception as problem:  # raised again where the attempt is asked how it went
            self.problem = problem
            self._stop.finish(describe(problem))

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...
