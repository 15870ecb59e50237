"""The policies of a study, all in memory and warm before the first trial, so that nothing in time or sound tells them
apart.

What goes into logs is blinded: no attention shares, no times of the forward pass. Answers of the faster policies are
held back until the slowest one's would be there.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError
from so101_eval.evaluation.loaded_policies import Replaying, hiding
from so101_eval.evaluation.policy_specs import PolicySpec, read_recording
from so101_policy.inference.any_policy import load_policy
from so101_policy.inference.loaded import Prediction
from so101_policy.inference.seen import Seen
from so101_policy.units import Units
from so101_robot.arm.arm import SO101
from so101_robot.chunks import planning
from so101_robot.chunks.inference import Inference, Observation, Predict, Worker
from so101_robot.chunks.scheduler import Scheduler
from so101_robot.chunks.workers import InlineWorker, ThreadWorker
from so101_robot.commands import compose
from so101_robot.commands.run_config import PolicyFlags, RunConfig

WARM, TIMED = 3, 10
"""Forward passes before the first trial: the first ones are slow, the others are measured."""
SLOW_SHARE = 0.9
"""Of the measured times, the one that answers are held back to."""


class Contender(Protocol):
    """One policy, ready."""

    chunks: str
    """How its chunks are joined; `none` for what does not plan in chunks."""

    def scheduler(self, robot: SO101, least_s: float) -> Scheduler:
        """For one trial. least_s: no answer is there before so much time has passed."""
        ...

    def seconds(self, robot: SO101) -> float:
        """Of a forward pass on this machine, warm."""
        ...


class Ready(NamedTuple):
    """All policies of a study, in its order."""

    contenders: tuple[Contender, ...]
    least_s: float
    """Every answer takes at least so long."""
    spread_s: float
    """Between the fastest and the slowest, before anything is held back."""


def make_ready(specs: Sequence[PolicySpec], config: RunConfig, robot: SO101, hold_back: bool) -> Ready:
    """Load and warm all of them on the connected arm.

    Raises:
        ConfigError: weights that are not those of the study, or a kind that cannot drive this arm.
        CheckpointError: a checkpoint that cannot be read, or wants other cameras.
    """
    contenders = tuple(load(spec, config, robot) for spec in specs)
    seconds = [contender.seconds(robot) for contender in contenders]
    return Ready(contenders, max(seconds) if hold_back else 0.0, max(seconds) - min(seconds))


def load(spec: PolicySpec, config: RunConfig, robot: SO101) -> Contender:
    """One of them. Raises as `make_ready`."""
    match spec.kind:
        case "act":
            return Acting(spec, config, robot)
        case "replay" if spec.path is not None:
            return Playing(read_recording(Path(spec.path)))
        case "hold":
            return Playing(None)
        case _:
            raise ConfigError(
                f"{spec.name}: {spec.kind} knows where the boxes are, which nothing on an arm does; expected a "
                "checkpoint, a recording NAME=FILE.npy, or hold"
            )


class Playing:
    """A recording, or an arm that stays where it is."""

    chunks = "none"

    def __init__(self, actions: NDArray[np.float64] | None) -> None:
        self._actions = actions

    def scheduler(self, robot: SO101, least_s: float) -> Scheduler:
        return Scripted(Staying() if self._actions is None else Replaying(self._actions))

    def seconds(self, robot: SO101) -> float:
        return 0.0


class Staying:
    """Asks for the pose that it sees first, which is the study's start pose."""

    def __init__(self) -> None:
        self._pose: NDArray[np.float64] | None = None

    def __call__(self, observation: Observation) -> NDArray[np.float64]:
        if self._pose is None:
            self._pose = np.array(observation.state, np.float64)
        return self._pose


class Acting:
    """A checkpoint."""

    def __init__(self, spec: PolicySpec, config: RunConfig, robot: SO101) -> None:
        assert spec.path is not None
        device = config.policy.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._policy = load_policy(spec.path, device, engine=config.policy.engine, task=spec.task)
        if self._policy.sha256 != spec.sha256:
            raise ConfigError(
                f"{spec.name}: the weights in {spec.path} are others than when the study was made "
                f"({self._policy.sha256[:12]}, not {spec.sha256[:12]})"
            )
        self._policy.check_robot(tuple(robot.action_features), compose.camera_sizes(robot))
        self._predict, self._units = hiding(self._policy, spec.without), Units(spec.units)
        own = replace(config, policy=PolicyFlags(path=spec.path, fps=spec.fps))
        self._playing = compose.playing(own, self._policy)
        self.chunks = self._playing.mode
        self.policy = self._policy

    def scheduler(self, robot: SO101, least_s: float) -> Scheduler:
        predict = compose.in_degrees(self._predict, self._units, robot.bus.scale)
        worker: Worker
        if robot.config.port == compose.MOCK:  # time is simulated, and the stated latency is everybody's
            worker = InlineWorker(predict, self._playing.latency_s)
        else:
            worker = ThreadWorker(held_back(predict, least_s), robot.clock)
        return planning.make_scheduler(self._playing, Blinded(worker), lambda: compose.last_command(robot))

    def seconds(self, robot: SO101) -> float:
        predict = compose.in_degrees(self._predict, self._units, robot.bus.scale)
        state = robot.read().position
        images = {name: frame.image for name, frame in robot.frames().items()}
        taken: list[float] = []
        for _ in range(WARM + TIMED):
            started = time.perf_counter()
            predict(state, images)
            taken.append(time.perf_counter() - started)
        return float(np.quantile(taken[WARM:], SLOW_SHARE))


def held_back(predict: Predict, least_s: float) -> Predict:
    """The same answers, none sooner than `least_s` after it was asked for."""

    def waits(
        state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        started = time.perf_counter()
        prediction = predict(state, images, *([before] if before else []))
        left_s = least_s - (time.perf_counter() - started)
        if left_s > 0:
            time.sleep(left_s)
        return prediction

    return waits


class Blinded:
    """A worker whose answers do not tell whose they are, as far as a log is concerned."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def busy(self) -> bool:
        return self._worker.busy

    def submit(self, observation: Observation, tick: int) -> None:
        self._worker.submit(observation, tick)

    def poll(self, now_s: float) -> Inference | None:
        answer = self._worker.poll(now_s)
        return None if answer is None else answer._replace(shares=None, maps=None, compute_s=math.nan)

    def close(self) -> None:
        self._worker.close()
