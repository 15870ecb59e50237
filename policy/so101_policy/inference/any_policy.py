"""A LeRobot policy of any type, ready to drive an arm: `load_policy(path, task="...").predict(state, images)`.

All that computes is LeRobot's: the policy class, its queue of observations, `predict_action_chunk`, the processors.
What is left out is its queue of actions, because when to ask for a chunk and how chunks join is the runner's business.
A prediction depends on what it is given and on torch's random numbers (a diffusion policy samples), and on nothing that
was predicted before.

Shapes: B batch (one), T chunk, A action.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.utils import populate_queues
from lerobot.processor import RelativeActionsProcessorStep
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STR
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import (
    Postprocessor,
    Preprocessor,
    check_device,
    is_act,
    look_at,
    read_any_config,
    read_any_weights,
    read_processors,
    steps_of,
)
from so101_policy.checkpoint.trained_on import TrainedOn, find_trained_on
from so101_policy.checkpoint.types import type_of
from so101_policy.errors import PolicyError, printable
from so101_policy.inference.act_policy import ActPolicy
from so101_policy.inference.engine import check_engine
from so101_policy.inference.graph import EngineError
from so101_policy.inference.loaded import LoadedPolicy, Prediction, pictures_of
from so101_policy.inference.seen import Ahead, Seen

LENGTHS = ("chunk_size", "action_chunk_size", "n_action_steps")
"""LeRobot's names for how many actions a prediction has; the first that a configuration has says it."""

ENGINES = ("auto", "torch", "plain")
"""For these, LeRobot's own forward under three names; the other engines are ACT's."""

MOST_WORDS = 500
"""Characters of a task."""


class TaskError(PolicyError, ValueError):
    """A policy is told its task in words, and there are none."""


class AnyPolicy(LoadedPolicy):
    """A policy that is not an ACT. `load` makes one."""

    fewer_cameras = True

    def __init__(
        self,
        policy: PreTrainedPolicy,
        preprocess: Preprocessor,
        postprocess: Postprocessor,
        path: Path,
        trained_on: TrainedOn | None = None,
        task: str = "",
        samples: int = 1,
    ):
        super().__init__(policy, preprocess, postprocess, path, trained_on)
        config: Any = policy.config
        self.chunk_size = length_of(config)
        self.n_action_steps = min(int(getattr(config, "n_action_steps", self.chunk_size)), self.chunk_size)
        self.n_obs_steps = int(config.n_obs_steps)
        self.any_size = type_of(self.type).any_size
        self.language = type_of(self.type).language
        self.task = task
        self.samples = samples
        self.guided = False
        self._ahead: Ahead | None = None
        self.no_shares = f"shares are of ACT's decoder; a {self.type} has none"

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", task: str = "", samples: int = 1) -> Self:
        """Load a checkpoint of a type that is not ACT.

        Args:
            path: as `ActPolicy.load` takes it.
            device: torch device.
            task: in words; only a policy that is told its task needs it.
            samples: answers that are drawn at once; the first is played, the others tell how sure the policy is.

        Raises:
            CheckpointError: as `ActPolicy.load`; or LeRobot's extra for this type is not installed.
            TaskError: it needs a task, and there is none.
        """
        folder = find_checkpoint(path)
        trained_on = find_trained_on(folder, fields := look_at(folder, act_only=False))
        check_task(folder, str(fields["type"]), task)
        config = read_any_config(folder, device)
        policy = read_any_weights(folder, config)
        preprocess, postprocess = read_processors(folder, config, device)
        return cls(policy, preprocess, postprocess, folder, trained_on, task, samples)

    @property
    def engine_name(self) -> str:
        """LeRobot's own forward."""
        return "plain"

    def predict(
        self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        """As `LoadedPolicy.predict`, without shares of attention."""
        moments = [*before, Seen(np.asarray(state), images)][-self.n_obs_steps :]
        ahead, self._ahead = self._ahead, None
        guide = {} if ahead is None else guide_of(ahead, self.device)
        with torch.no_grad():
            raw_BTA = self.chunk([self._batch(moment) for moment in moments], guide)
            raw = raw_BTA[0].float().cpu().numpy().copy() if self.guided else None
            actions_BTA: Any = self._postprocess(raw_BTA)
        drawn_BTA: NDArray[np.float32] = actions_BTA.float().cpu().numpy()
        return Prediction(drawn_BTA[0], None, spread=spread_of(drawn_BTA), raw=raw)

    def be_guided(self, ahead: Ahead | None) -> None:
        """As `LoadedPolicy.be_guided`."""
        self._ahead = ahead if self.guided else None

    def use_rtc(self, config: RTCConfig) -> None:
        """Join chunks by LeRobot's real-time chunking from now on, if this policy can: then it is `guided`.

        LeRobot's policies of flow matching can (SmolVLA, pi0, pi05). One whose actions are relative to where the joints
        are cannot here: what is left of a chunk would have to be moved to where they are now.
        """
        supports = getattr(self.policy, "supports_rtc", lambda: False)
        if not supports() or steps_of(self._preprocess, RelativeActionsProcessorStep):
            return
        self.policy.config.rtc_config = config
        self.policy.init_rtc_processor()
        self.guided = True

    def _batch(self, moment: Seen) -> dict[str, Any]:
        """What LeRobot's preprocessor makes of a moment: a batch of one."""
        observation = self._observation(moment.state, moment.images)
        words: Any = {"task": self.task, "robot_type": ""}
        batch: dict[str, Any] = self._normalise(pictures_of(observation) | observation.vectors | words)
        return batch if self.samples == 1 else repeated(batch, self.samples)

    def chunk(self, batches: Sequence[dict[str, Any]], guide: Mapping[str, Any] | None = None) -> Tensor:
        """(B, T, A) normalised, from what LeRobot's preprocessor gave for each moment, the present one last; `guide` is
        LeRobot's arguments of real-time chunking.

        A policy that looks back has a queue of LeRobot's, which `select_action` would fill one tick after the other: it
        is filled here, so that nothing is left in it of what was seen at other times.
        """
        self.policy.reset()
        queues: dict[str, Any] = getattr(self.policy, "_queues", None) or {}
        if not any(key.startswith(OBS_STR) for key in queues):
            return self.policy.predict_action_chunk(batches[-1], **(guide or {}))
        batch: dict[str, Any] = {}
        for each in batches:
            batch = dict(each)
            if features := self.policy.config.image_features:
                batch[OBS_IMAGES] = torch.stack([batch[key] for key in features], dim=-4)
            batch.pop(ACTION, None)  # there is none, and LeRobot's own rollout takes the key out, too
            populate_queues(queues, batch)
        return self.policy.predict_action_chunk(batch)


def guide_of(ahead: Ahead, device: torch.device) -> dict[str, Any]:
    """LeRobot's arguments for a chunk that is to join what is ahead. What is left is not padded (its rollout fills
    it with zeros up to its horizon, and draws the chunk to these)."""
    rest = torch.from_numpy(ahead.actions.copy()).to(device)
    return {"inference_delay": ahead.delay, "prev_chunk_left_over": rest}


def length_of(config: Any) -> int:
    """Actions of a prediction, by a policy's configuration."""
    return next(int(getattr(config, name)) for name in LENGTHS if hasattr(config, name))


def spread_of(drawn_BTA: NDArray[np.float32]) -> float | None:
    """As `Prediction.spread`, of B samples of a chunk; None of one."""
    return float(drawn_BTA.std(axis=0).mean(axis=0).max()) if len(drawn_BTA) > 1 else None


def repeated(batch: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """A batch of one as a batch of so many of the same. What is no tensor and no list is everybody's already."""
    return {
        key: value.repeat_interleave(samples, dim=0)
        if isinstance(value, Tensor) and value.ndim
        else cast(list[Any], value) * samples
        if isinstance(value, list)
        else value
        for key, value in batch.items()
    }


def load_policy(
    path: str | Path,
    device: str = "cpu",
    per_head: bool = False,
    engine: str = "plain",
    maps: bool = False,
    precision: str = "f32",
    task: str = "",
    samples: int = 1,
) -> LoadedPolicy:
    """A policy of whatever type: an `ActPolicy`, or an `AnyPolicy`, for which `per_head` and `maps` mean nothing.

    Args:
        path, device, per_head, engine, maps, precision: as `ActPolicy.load`.
        task, samples: as `AnyPolicy.load`. An ACT draws nothing: of it one answer is all that there is.

    Raises:
        CheckpointError, EngineError: as `ActPolicy.load`.
        TaskError: as `AnyPolicy.load`.
    """
    check_engine(engine, precision)
    check_device(device)
    folder = find_checkpoint(path)
    if is_act(folder):
        return ActPolicy.load(folder, device, per_head, engine, maps, precision)
    if engine not in ENGINES or precision != "f32":
        raise EngineError(
            f"engine {engine} with {precision} computes an ACT, and {folder} is none; possible: "
            f"{', '.join(ENGINES)} with f32"
        )
    return AnyPolicy.load(folder, device, task, samples)


def check_task(folder: Path, kind: str, task: str) -> None:
    """Raises TaskError for a policy that is told its task and is not, and for what is no task."""
    if type_of(kind).language and not task.strip():
        raise TaskError(
            f"{folder} is a checkpoint of type {kind}, which is told its task in words, and none was given. Say it as "
            "its recordings do: so101-run --task='Put the box on the pallet' (so101-eval run --task_text=...)"
        )
    if len(task) > MOST_WORDS or not task.isprintable():
        raise TaskError(
            f"the task {printable(task[:40])!r} has {len(task)} characters: expected one line of at most {MOST_WORDS}"
        )
