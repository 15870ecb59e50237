"""One attempt at a task on the mock arm: lay out, drive tick by tick, score.

Who drives is a `Controller`: a policy, the scripted expert, a replayed list of actions. Each tick it gets what
an arm gives (time, joints, pictures if it asks) and answers with a joint target, which passes the guard and
the wire as on a real arm. A `Bench` keeps the arm of a task and serves one attempt after the other; each
starts from power-up, so what was before, finished or abandoned, leaves no trace: the same reset and the same
actions end in the same state, bit for bit.

    with Bench("palletize-2") as bench:
        attempt = bench.attempt(draw("palletize-2", seed=7), lambda bench: my_policy)
        print(attempt.score.success)
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_eval.errors import ConfigError
from so101_eval.palletizing.scene.disturbances import Disturbances, Images
from so101_eval.palletizing.scene.draw import Reset
from so101_eval.palletizing.scene.scene import PalletizingScene, lay_out
from so101_eval.palletizing.scene.tasks import Task
from so101_eval.palletizing.score.box_watch import STABLE_S
from so101_eval.palletizing.score.score import Score, Scorer
from so101_robot.arm.arm import SO101
from so101_robot.arm.config_arm import SO101Config
from so101_robot.guard.guard import Verdict
from so101_robot.mock.arm import MockArm, MockConfig
from so101_robot.mock.physics.world import World
from so101_robot.state import ArmState, Frame

FPS = 30.0
"""Ticks per second: LeRobot's rate for SO-101 recordings."""
MAX_STOP_S = 1.0
"""How long the guard may stop the arm without a break before the attempt is over, as in `so101-run`."""
REST_S = STABLE_S + 0.5
"""How long the attempt goes on after the controller has finished: boxes must stand for two seconds."""


class Observation(NamedTuple):
    """What a controller gets on a tick."""

    time_s: float
    """Since the start of the attempt."""
    state: ArmState
    """Joints as they are sensed: under a disturbance not quite as they are."""
    images: Callable[[], Images]
    """The cameras' newest pictures, RGB uint8 (h, w, 3) by name. Rendered when called, so do not if there is no
    need."""


class Controller(Protocol):
    """Drives the arm."""

    def __call__(self, observation: Observation) -> ArrayLike | None:
        """The joint target (6,) for this tick in LeRobot units; None when the work is done."""
        ...


class Tick(NamedTuple):
    """All that happened on one tick, for whoever records."""

    number: int
    observation: Observation
    asked: NDArray[np.float64] | None
    """(6,) by the controller; None when it has finished."""
    verdict: Verdict | None
    """The guard's; None when nothing was asked."""
    sent: NDArray[np.float64] | None
    """(6,) to the servos; None when nothing was."""


class Trajectory(NamedTuple):
    """What was measured and what was sent, LeRobot units; n ticks."""

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
    """The controller said that it was done."""
    state_hash: str
    """Of the whole arm and world at the end."""


class Bench:
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
        self.arm = MockArm(dataclasses.replace(mock, scene=self.scene.name), scene=self.scene)
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
        assert self.arm.world is not None  # it was built with a scene
        return self.arm.world

    @property
    def robot(self) -> SO101:
        """The connected robot of the attempt that was laid out last."""
        if self._robot is None:
            raise ConfigError("nothing is laid out on this bench yet")
        return self._robot

    def attempt(
        self,
        reset: Reset,
        make: "Callable[[Bench], Controller]",
        on_tick: Callable[[Tick], None] | None = None,
    ) -> Attempt:
        """Lay out `reset`, let a controller try, and score it.

        Args:
            reset: of this bench's task.
            make: gives the controller, once everything is laid out and connected.
            on_tick: is told about every tick.

        Raises:
            ConfigError: the reset is another task's.
            RobotError: the arm failed in a way that no attempt should have to take (a fault plan).
        """
        self.lay_out(reset)
        controller, run = make(self), Run(self, reset, on_tick)
        while run.advance():
            observation = run.look()
            run.act(None if run.finished else controller(observation))
        return run.result()

    def begin(self, reset: Reset) -> "Run":
        """Lay out `reset` for a caller that goes through the ticks itself. Raises as `attempt`."""
        self.lay_out(reset)
        return Run(self, reset)

    def lay_out(self, reset: Reset) -> None:
        """Boxes, pallet, lights and cameras as in `reset`, the arm held at its start and connected.

        Raises:
            ConfigError: the reset is another task's.
        """
        if reset.task != self.task.name:
            raise ConfigError(f"this bench is for {self.task.name}, the reset is for {reset.task}")
        self._disconnect()
        lay_out(self.arm, self.scene, reset)
        self._robot = SO101(dataclasses.replace(self._config, port="mock", cameras={}), mock=self.arm)
        self._robot.connect()

    def close(self) -> None:
        """Free the renderer. May be called twice."""
        self._disconnect()
        self.arm.close()

    def _disconnect(self) -> None:
        if self._robot is not None:
            self._robot.disconnect(release=False)
            self._robot = None


def attempt(
    task: Task | str,
    reset: Reset,
    make: Callable[[Bench], Controller],
    *,
    mock: MockConfig | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Attempt:
    """One attempt on a bench of its own. See `Bench.attempt`."""
    with Bench(task, mock) as bench:
        return bench.attempt(reset, make, on_tick)


class Run:
    """An attempt while it runs. On every tick: `advance`, and while that is true `look`, then `act`."""

    def __init__(self, bench: Bench, reset: Reset, on_tick: Callable[[Tick], None] | None = None) -> None:
        self._bench, self._reset, self._on_tick = bench, reset, on_tick
        self._robot, self._clock = bench.robot, bench.robot.clock
        guard = bench.robot.guard
        assert guard is not None  # it is connected
        self._guard = guard
        self._scorer = Scorer(bench.world, reset)
        self._senses = Disturbances(reset.senses)
        self._eyes = _Eyes(bench.robot, reset)
        self._interventions: Counter[str] = Counter()
        self._rows: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
        self._goal: NDArray[np.float64] | None = None
        self._stopped_since_s: float | None = None
        self._finished_s: float | None = None
        self._begin_s = self._clock.now_s()
        self._index = -1
        self._seen: tuple[ArmState, Observation] | None = None

    @property
    def finished(self) -> bool:
        """Nothing is asked of the arm any more; the boxes have to stand for a while."""
        return self._finished_s is not None

    @property
    def _time_s(self) -> float:
        return self._index / FPS

    def advance(self) -> bool:
        """On to the next tick, the first one being the start. Whether the attempt goes on."""
        self._index += 1
        self._clock.sleep_until(self._begin_s + self._time_s)
        self._scorer.observe(self._time_s)
        rested = self._finished_s is not None and self._time_s - self._finished_s > REST_S
        return not (self._scorer.done or rested)

    def look(self) -> Observation:
        """This tick's observation, once a tick."""
        state = self._robot.read()
        self._eyes.tick(self._time_s)
        sensed = self._senses.sense(self._time_s, state.position, {})
        observation = Observation(self._time_s, state._replace(position=sensed.position), self._eyes.images)
        self._seen = state, observation
        return observation

    def act(self, asked: ArrayLike | None) -> None:
        """Send what is asked for on this tick, after `look`; the first None says that the work is done."""
        assert self._seen is not None  # nothing is sent without a look
        state, observation = self._seen
        if asked is None and self._finished_s is None:
            self._finished_s = self._time_s
        verdict, sent = self._send(self._time_s, state, asked)
        self._rows.append(
            (self._time_s, state.position, state.position if self._goal is None else self._goal)
        )
        if self._on_tick is not None:
            asked = None if asked is None else np.array(asked, np.float64)
            self._on_tick(Tick(self._index, observation, asked, verdict, sent))

    def score(self) -> Score:
        """Of the attempt so far."""
        return self._scorer.result()

    def result(self) -> Attempt:
        """How it went."""
        times, positions, targets = zip(*self._rows, strict=True) if self._rows else ((), (), ())
        shape = (len(times), 6)
        return Attempt(
            self._reset,
            self.score(),
            Trajectory(np.array(times), np.reshape(positions, shape), np.reshape(targets, shape)),
            dict(self._interventions),
            self.finished,
            self._bench.arm.state_hash(),
        )

    def _send(
        self, time_s: float, state: ArmState, asked: ArrayLike | None
    ) -> tuple[Verdict | None, NDArray[np.float64] | None]:
        """Through latency, guard and wire. Without anything asked the servos keep the goal they have."""
        action = None if asked is None else self._senses.act(time_s, np.asarray(asked))
        if action is None:
            return None, None
        now_s = self._clock.now_s()
        verdict = self._guard.check(action, state, self._eyes.ages_s(now_s), now_s)
        for intervention in verdict.interventions:
            self._interventions[f"{intervention.rule} {intervention.joint or ''}".strip()] += 1
        if verdict.action is None:
            self._stopped(time_s, np.asarray(action), verdict.stop or "")
            return verdict, None
        self._stopped_since_s = None
        self._goal = self._robot.command(verdict.action)
        return verdict, self._goal

    def _stopped(self, time_s: float, action: NDArray[np.float64], why: str) -> None:
        if self._stopped_since_s is None:
            self._stopped_since_s = time_s
        if time_s - self._stopped_since_s >= MAX_STOP_S:
            number = action.dtype.kind in "fiu" and bool(np.isfinite(action).all())
            self._scorer.abort("timeout_stuck" if number else "nan", why)


class _Eyes:
    """Pictures on request, as the disturbances let them through. Only those that need their past (late or lost
    pictures) render on every tick, from the first request on.
    """

    def __init__(self, robot: SO101, reset: Reset) -> None:
        self._robot, self._senses = robot, Disturbances(reset.senses)
        self._need_past = bool(reset.senses.image_delay_ticks or reset.senses.frame_drop)
        self._asked = False
        self._time_s = 0.0
        self._frames: dict[str, Frame] = {}
        self._images: Images | None = None

    def tick(self, time_s: float) -> None:
        self._time_s, self._images, self._frames = time_s, None, {}
        if self._asked and self._need_past:
            self.images()

    def images(self) -> Images:
        """This tick's."""
        self._asked = True
        if self._images is None:
            self._frames = self._robot.frames()
            taken = {name: frame.image for name, frame in self._frames.items()}
            self._images = self._senses.sense(self._time_s, np.zeros(6), taken).images
        return self._images

    def ages_s(self, now_s: float) -> dict[str, float]:
        """Of the frames that were looked at on this tick."""
        return {name: now_s - frame.captured_s for name, frame in self._frames.items()}
