"""What drives an attempt in a policy's place: a checkpoint, the expert, an arm that stays, a recording.

`load` makes a `Loaded` of a `PolicySpec`, once in a process; called with a stage on which a scene is laid out, it gives
the scheduler of that attempt.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lerobot.processor import NormalizerProcessorStep
from numpy.typing import ArrayLike, NDArray

from so101_eval.episode.episode import FPS, Stage
from so101_eval.episode.policy_notes import AUTO, LATENCY_S
from so101_eval.episode.scripted import Scripted
from so101_eval.errors import ConfigError
from so101_eval.evaluation.correcting import Corrected
from so101_eval.evaluation.policy_specs import REPLAYED_SEED, PolicySpec, read_recording
from so101_eval.expert.expert import Expert
from so101_eval.palletizing.scene.draw import Reset, draw
from so101_policy.checkpoint.reader import read_processors, steps_of
from so101_policy.inference.any_policy import load_policy
from so101_policy.inference.graph import EngineError
from so101_policy.inference.loaded import LoadedPolicy, Prediction
from so101_policy.inference.seen import Seen
from so101_policy.units import Units
from so101_robot.arm.config_arm import SO101Config
from so101_robot.chunks import planning
from so101_robot.chunks.inference import Observation, Predict
from so101_robot.chunks.scheduler import Scheduler
from so101_robot.chunks.workers import InlineWorker
from so101_robot.commands import compose
from so101_robot.commands.run_config import OFF, ChunkFlags, PolicyFlags, RunConfig
from so101_robot.joints import JOINTS

logger = logging.getLogger(__name__)


class Loaded(Protocol):
    """A policy in memory."""

    def __call__(self, stage: Stage, reset: Reset) -> Scheduler:
        """What drives the attempt that is laid out."""
        ...


def load(
    spec: PolicySpec,
    latency_s: float = LATENCY_S,
    chunks: str = AUTO,
    engine: str = "plain",
    camera_correction: str = OFF,
) -> Loaded:
    """A policy that is ready to drive; its files are not read again.

    Args:
        engine: what computes a checkpoint's actions; where it cannot run this one, LeRobot's own forward does.

    Raises:
        CheckpointError: it cannot be read any more.
        ConfigError: the weights are others than those of `spec`.
    """
    match spec.kind:
        case "expert":
            return lambda stage, reset: Scripted(Expert(stage.world, stage.robot, reset))
        case "hold":
            return lambda stage, reset: Scripted(Replaying(compose.last_command(stage.robot), repeat=True))
        case "replay":
            return Replay(spec.path)
        case "act":
            return Acting(spec, latency_s, chunks, engine, camera_correction)


class Acting:
    """A checkpoint."""

    def __init__(
        self,
        spec: PolicySpec,
        latency_s: float,
        chunks: str,
        engine: str = "plain",
        camera_correction: str = OFF,
    ) -> None:
        assert spec.path is not None
        self.policy = _load(spec.path, engine, spec.task)
        if self.policy.sha256 != spec.sha256:
            raise ConfigError(
                f"{spec.name}: the weights in {spec.path} are others than when the run was begun "
                f"({self.policy.sha256[:12]}, not {spec.sha256[:12]})"
            )
        self.policy.verify_engine()  # here, so that no episode depends on which was the first
        self.playing = compose.playing(run_config(spec, latency_s, chunks), self.policy)
        self._predict, self._units = hiding(self.policy, spec.without), Units(spec.units)
        self._backgrounds = {} if camera_correction == OFF else dict(self.policy.backgrounds)
        self._corrected: Corrected | None = None
        """Of the attempt that was begun last; None: its pictures are as they come."""

    def __call__(self, stage: Stage, reset: Reset) -> Scheduler:
        torch.manual_seed(reset.seed)  # a policy that draws its actions draws the same in the same attempt
        predict = self._predict
        if self._backgrounds:
            self._corrected = predict = Corrected(predict, self._backgrounds)
        predict = compose.in_degrees(predict, self._units, stage.robot.bus.scale)
        return scheduler(stage, predict, self.playing)

    @property
    def correction(self) -> dict[str, Any] | None:
        """What the camera correction did in the attempt that was begun last, for its record."""
        return None if self._corrected is None else self._corrected.as_dict()


def _load(path: str, engine: str, task: str) -> LoadedPolicy:
    try:
        return load_policy(path, engine=engine, task=task)
    except EngineError as error:
        logger.warning("%s is played by LeRobot's own forward: %s", path, error)
        return load_policy(path, task=task)


def run_config(spec: PolicySpec, latency_s: float, chunks: str) -> RunConfig:
    """What `so101-run` would be asked for, to play a policy as an evaluation does."""
    return RunConfig(
        policy=PolicyFlags(path=spec.path or "", fps=spec.fps),
        robot=SO101Config(port=compose.MOCK),
        chunks=ChunkFlags(mode=chunks),
        fps=FPS,
        inference_latency_s=latency_s,
    )


def scheduler(stage: Stage, predict: Predict, playing: planning.Playing) -> Scheduler:
    """A policy on the arm that is laid out, its answers late by the stated latency."""
    robot = stage.robot
    worker = InlineWorker(predict, playing.latency_s)
    return planning.make_scheduler(playing, worker, lambda: compose.last_command(robot))


def hiding(policy: LoadedPolicy, without: Sequence[str]) -> Predict:
    """`policy.predict` with its mean pose in place of the joints, its mean picture in place of the cameras, or both:
    what its own normalisation turns into nothing."""
    if not without:
        return policy.predict
    pose = mean_of(policy, "observation.state", len(JOINTS)) if "state" in without else None
    pictures = mean_pictures(policy) if "images" in without else None

    def predict(
        state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        earlier = [hidden(*seen) for seen in before]
        return policy.predict(*hidden(state, images), *([earlier] if earlier else []))

    def hidden(state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]]) -> Seen:
        return Seen(state if pose is None else pose, images if pictures is None else pictures)

    return predict


def mean_pictures(policy: LoadedPolicy) -> dict[str, NDArray[np.uint8]]:
    """Camera -> (height, width, 3) of one colour: the mean in the training data. Raises as `mean_of`."""
    config: Any = policy.policy.config
    # statistics have the policy's own names, cameras those before its preprocessor renames them
    return {
        name: np.tile(np.rint(255 * mean_of(policy, feature, 3)).astype(np.uint8), (*size, 1))
        for feature, (name, size) in zip(config.image_features, policy.cameras.items(), strict=True)
    }


def mean_of(policy: LoadedPolicy, feature: str, size: int) -> NDArray[np.float64]:
    """(size,) the feature's mean in the training data. Raises `ConfigError` where the checkpoint has none."""
    config: Any = policy.policy.config
    for step in steps_of(read_processors(policy.path, config, "cpu")[0], NormalizerProcessorStep):
        if "mean" in (step.stats or {}).get(feature, {}):
            return np.asarray(step.stats[feature]["mean"], np.float64).reshape(size)
    raise ConfigError(f"{policy.path} has no mean of {feature}, so it cannot be hidden")


class Replay:
    """The same actions in every scene: of a file, or of the expert in the scene `REPLAYED_SEED` of the task."""

    def __init__(self, path: str | None) -> None:
        self._recorded = None if path is None else read_recording(Path(path))
        self._demonstrated: dict[str, NDArray[np.float64]] = {}

    def __call__(self, stage: Stage, reset: Reset) -> Scripted:
        if self._recorded is not None:
            return Scripted(Replaying(self._recorded))
        name = stage.task.name
        if name not in self._demonstrated:
            self._demonstrated[name] = demonstrated(name)
        return Scripted(Replaying(self._demonstrated[name]))


def demonstrated(task: str) -> NDArray[np.float64]:
    """(n, 6) what the expert asks for in the scene `REPLAYED_SEED`, on a stage of its own."""
    reset, asked = draw(task, seed=REPLAYED_SEED), list[NDArray[np.float64]]()

    def make(stage: Stage) -> Scripted:
        expert = Expert(stage.world, stage.robot, reset)

        def script(observation: Observation) -> NDArray[np.float64] | None:
            target = expert(observation)
            if target is not None:
                asked.append(target)
            return target

        return Scripted(script)

    with Stage(task) as stage:
        stage.attempt(reset, make)
    return np.array(asked)


class Replaying:
    """Row after row; then it is done, or stays with the last."""

    def __init__(self, actions: ArrayLike, repeat: bool = False) -> None:
        self._actions, self._repeat, self._next = np.atleast_2d(np.asarray(actions, np.float64)), repeat, 0

    def __call__(self, observation: Observation) -> NDArray[np.float64] | None:
        index = min(self._next, len(self._actions) - 1) if self._repeat else self._next
        self._next += 1
        return self._actions[index] if index < len(self._actions) else None
