"""An ACT checkpoint, ready to drive an arm: `ActPolicy.load(path).predict(state, images)`.

Everything that decides about numbers is LeRobot's own: the policy class, the weights, the processors with the
dataset's statistics. So the actions are those that LeRobot's `select_action` would queue, a whole chunk at a
time and without its queue, because when to ask for a chunk and how chunks join is the runner's business.

A checkpoint that cannot be used is a `CheckpointError` with one readable message, before anything moves: not
there, not ACT, damaged, incomplete, without statistics, or for a device that this machine lacks. One that
does not fit the robot is a `PolicyError` of `check_robot`.

Units at this border are those of LeRobot's recordings: joint values as the robot reports them, images uint8
RGB.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from so101_policy.attention.maps import Maps, maps_of
from so101_policy.attention.shares import AttentionProbe, TokenLayout
from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import (
    Postprocessor,
    Preprocessor,
    check_device,
    look_at,
    read_config,
    read_processors,
    read_weights,
)
from so101_policy.checkpoint.trained_on import TrainedOn, find_trained_on
from so101_policy.inference.engine import (
    Engine,
    PolicyInputs,
    PolicyOutputs,
    check_engine,
    make_engine,
)
from so101_policy.inference.loaded import LoadedPolicy, Prediction, normaliser, pictures_of
from so101_policy.inference.precision import check_bf16
from so101_policy.inference.seen import Seen


class ActPolicy(LoadedPolicy):
    """A LeRobot ACT checkpoint, or one of a plugin's subclass of it, in eval mode. `load` makes one."""

    def __init__(
        self,
        policy: ACTPolicy,
        preprocess: Preprocessor,
        postprocess: Postprocessor,
        path: Path,
        per_head: bool = False,
        engine: Engine | None = None,
        maps: bool = False,
        trained_on: TrainedOn | None = None,
    ):
        super().__init__(policy, preprocess, postprocess, path, trained_on)
        config: Any = policy.config
        self.chunk_size, self.n_action_steps = config.chunk_size, config.n_action_steps
        self.temporal_ensemble_coeff = config.temporal_ensemble_coeff
        self.engine = engine
        """What computes in LeRobot's place once it is verified; None: nothing does."""
        self._maps: Maps | None = None
        self._probe = AttentionProbe(policy, per_head=per_head, keep=self._keep_maps if maps else None)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "cpu",
        per_head: bool = False,
        engine: str = "plain",
        maps: bool = False,
        precision: str = "f32",
    ) -> Self:
        """Load a checkpoint.

        Args:
            path: folder with config.json and model.safetensors, or one that contains such a folder, as the output of
                `lerobot-train` does; else a hub id `user/name`, from the local cache or, where that is allowed, from
                the network.
            device: torch device, e.g. "cpu", "cuda:0".
            per_head: report the attention shares of every head too.
            engine: what computes, one of `engine.ENGINES`: "plain", LeRobot's own forward; "torch", "onnx" or
                "openvino", the same numbers to 1e-5 in a fraction of the time, once they were verified on the first
                observation; "auto", the fastest on this machine.
            maps: answer with attention maps too (`attention/maps.py`).
            precision: of the engine, one of `backend.PRECISIONS`; bf16 is verified here and now (`precision.py`).

        Raises:
            CheckpointError: there is no such checkpoint or device, or the checkpoint is not a whole ACT.
            EngineError: there is no such engine, or it cannot run this policy or on this device, or bf16 is too far
                off.
        """
        check_engine(engine, precision)
        check_device(device)
        folder = find_checkpoint(path)
        trained_on = find_trained_on(folder, look_at(folder))  # all of it, before anything is built
        config = read_config(folder, device)
        policy = read_weights(folder, config)
        preprocess, postprocess = read_processors(folder, config, device)
        normalise = normaliser(policy, preprocess)
        made = make_engine(engine, policy, normalise, per_head=per_head, maps=maps, precision=precision)
        loaded = cls(policy, preprocess, postprocess, folder, per_head, made, maps, trained_on)
        if made is not None and precision == "bf16":
            check_bf16(made, loaded.made_up, loaded._plain, postprocess)
        return loaded

    @property
    def engine_name(self) -> str:
        """What computes: "plain" where no engine was asked for, or the one that was failed its verification."""
        return "plain" if self.engine is None else self.engine.name

    def verify_engine(self) -> None:
        """Verify the engine now, on an observation that is made up: whether it is used depends on the checkpoint then
        and not on what the policy happens to see first."""
        if self.engine is not None and self.engine.verification is None:
            observation = self.made_up()
            self.engine(observation, partial(self._plain, observation))

    def predict(
        self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        """As `LoadedPolicy.predict`, with the shares of attention where the engine knows them. An ACT does not look
        back, so what was seen before is of no use to it."""
        observation = self._observation(state, images)
        plain = partial(self._plain, observation)
        inferred = plain() if self.engine is None else self.engine(observation, plain)
        with torch.no_grad():
            actions_TA = self._postprocess(inferred.actions_TA)
        return Prediction(actions_TA.float().cpu().numpy(), inferred.shares, inferred.maps)

    def _plain(self, observation: PolicyInputs) -> PolicyOutputs:
        """LeRobot's own forward, watched."""
        with torch.no_grad(), self._probe:
            actions_BTA = self.policy.predict_action_chunk(
                self._normalise(pictures_of(observation) | observation.vectors)
            )
            return PolicyOutputs(actions_BTA[0], self._probe.shares, self._maps)

    def _keep_maps(
        self, weights: Sequence[Tensor], layout: TokenLayout, grids: dict[str, tuple[int, int]]
    ) -> None:
        self._maps = maps_of(weights, layout, grids)
