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

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.processor import RenameObservationsProcessorStep
from lerobot.utils.constants import OBS_STATE
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from so101_policy.attention.maps import Maps, maps_of
from so101_policy.attention.shares import AttentionProbe, AttentionShares, TokenLayout
from so101_policy.checkpoint.backgrounds import read_backgrounds
from so101_policy.checkpoint.folder import WEIGHTS
from so101_policy.checkpoint.reader import (
    Postprocessor,
    Preprocessor,
    check_device,
    find_checkpoint,
    look_at,
    read_config,
    read_processors,
    read_weights,
    steps_of,
)
from so101_policy.checkpoint.trained_on import SCALED_BY, TrainedOn, find_trained_on
from so101_policy.errors import PolicyError
from so101_policy.frames.resizing import scaled
from so101_policy.inference.engine import (
    Engine,
    Normalise,
    PolicyInputs,
    PolicyOutputs,
    check_engine,
    make_engine,
)
from so101_policy.inference.made_up import made_up
from so101_policy.inference.precision import check_bf16
from so101_policy.names import SO101_JOINTS, camera_name
from so101_policy.registration.background import Background

ENVIRONMENT = "an environment state (observation.environment_state)"


class Prediction(NamedTuple):
    """One inference: what to do, and where the policy looked."""

    actions: NDArray[np.float32]
    """(T, A) joint targets in the robot's units, one row per control step."""
    shares: AttentionShares | None
    """Where the decoder looked; None where that cannot be read."""
    maps: Maps | None = None
    """Where in each camera's picture, if `load` was asked for maps."""


class ActPolicy:
    """A LeRobot ACT checkpoint, or one of a plugin's subclass of it, in eval mode. `load` makes one.

    Attributes:
        cameras: camera -> (height, width) [px] of the images that the policy was trained with.
        joints: names of the action's entries, in order.
        chunk_size: actions of one prediction.
        n_action_steps: actions of it to be executed before the policy is asked again.
        recorded: camera -> (height, width) [px] of the recordings, where training's images are scaled from these.
        trained_on: what is known of the recordings: rate, units of the joints, and so on.
        fps: actions per second, where that is known.
        start_pose: (A,) where its demonstrations began, in the robot's units, where the checkpoint says it.
        device: torch device of the weights.
        sha256: of the weights' file.
    """

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
        self.policy = policy
        self.engine = engine
        """What computes in LeRobot's place once it is verified; None: nothing does."""
        self.path = path
        self._preprocess, self._postprocess = preprocess, postprocess
        self._normalise = _normaliser(policy, preprocess)
        self._maps: Maps | None = None
        self._probe = AttentionProbe(policy, per_head=per_head, keep=self._keep_maps if maps else None)
        self._input_keys = _input_keys(policy, preprocess)
        config: Any = policy.config
        self.cameras: dict[str, tuple[int, int]] = {
            camera_name(self._input_keys[key]): (int(feature.shape[1]), int(feature.shape[2]))
            for key, feature in config.image_features.items()
        }
        """Camera -> (height, width) [px] of the images that the policy was trained with."""
        self.trained_on = trained_on or TrainedOn(getattr(config, "fps", None))
        self.recorded: dict[str, tuple[int, int]] = {
            name: self.trained_on.recorded[name]
            for name, size in self.cameras.items()
            if self.trained_on.scaled_by and self.trained_on.recorded.get(name, size) != size
        }
        self.joints = _joint_names(config.action_feature.shape[0], self.trained_on)
        self.chunk_size: int = config.chunk_size
        self.n_action_steps: int = config.n_action_steps
        self.temporal_ensemble_coeff: float | None = config.temporal_ensemble_coeff
        """The checkpoint's setting of temporal ensembling: for the runner, not applied here."""
        self.fps: float | None = self.trained_on.fps
        self.start_pose: list[float] | None = getattr(config, "start_pose", None)
        """(A,) where its demonstrations began, where the checkpoint says it."""
        self.type: str = config.type
        self.device = torch.device(config.device)
        self.n_parameters = sum(parameter.numel() for parameter in policy.parameters())
        self.sha256 = _sha256(path / WEIGHTS)

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
        normalise = _normaliser(policy, preprocess)
        made = make_engine(engine, policy, normalise, per_head=per_head, maps=maps, precision=precision)
        loaded = cls(policy, preprocess, postprocess, folder, per_head, made, maps, trained_on)
        if made is not None and precision == "bf16":
            check_bf16(made, loaded.made_up, loaded._plain, postprocess)
        return loaded

    @property
    def engine_name(self) -> str:
        """What computes: "plain" where no engine was asked for, or the one that was failed its verification."""
        return "plain" if self.engine is None else self.engine.name

    def made_up(self, seed: int = 0) -> PolicyInputs:
        """An observation that depends on the checkpoint and the seed alone (`made_up.py`)."""
        return made_up(self.policy.config.input_features or {}, self._preprocess, seed)

    def verify_engine(self) -> None:
        """Verify the engine now, on an observation that is made up: whether it is used depends on the checkpoint then
        and not on what the policy happens to see first."""
        if self.engine is not None and self.engine.verification is None:
            observation = self.made_up()
            self.engine(observation, partial(self._plain, observation))

    @cached_property
    def backgrounds(self) -> dict[str, Background]:
        """Camera -> what stood still before it in the recordings, where that is known. Raises CheckpointError."""
        return read_backgrounds(self.path)

    def predict(self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]]) -> Prediction:
        """The chunk for one observation.

        Args:
            state: (A,) joint positions in the robot's units (LeRobot's SO-101: degrees; gripper 0 to 100 percent).
            images: camera -> (height, width, 3) uint8 RGB, in the size of training or in that of the recordings,
                which is then scaled as training did; cameras that the policy does not know are ignored.

        Returns:
            (T, A) joint targets in the same units, T = `chunk_size`, one row per control step from now on; with the
            shares of attention where the engine knows them.

        Raises:
            PolicyError: a camera is missing, or a size is neither of the two.
        """
        observation = self._observation(state, images)
        plain = partial(self._plain, observation)
        inferred = plain() if self.engine is None else self.engine(observation, plain)
        with torch.no_grad():
            actions_TA = self._postprocess(inferred.actions_TA)
        return Prediction(actions_TA.float().cpu().numpy(), inferred.shares, inferred.maps)

    def check_robot(self, joints: Sequence[str], cameras: Mapping[str, tuple[int, int]]) -> None:
        """Whether this policy fits a robot, asked before anything moves.

        Args:
            joints: the robot's joint names in order, with or without LeRobot's suffix ".pos".
            cameras: the robot's cameras -> (height, width) [px].

        Raises:
            PolicyError: what the policy asks for, what the robot has and what can be done, all misfits at
            once.
        """
        misfits = [*self._joint_misfits(joints), *self._camera_misfits(cameras)]
        if misfits:
            raise PolicyError(
                f"the policy {self.path} does not fit this robot:\n  - " + "\n  - ".join(misfits)
            )

    def _joint_misfits(self, joints: Sequence[str]) -> Iterator[str]:
        names = tuple(name.removesuffix(".pos") for name in joints)
        config: Any = self.policy.config
        sizes = {"joint targets": len(self.joints)}
        if config.robot_state_feature:
            sizes["joint positions"] = config.robot_state_feature.shape[0]
        for what, size in sizes.items():
            if size != len(names):
                yield f"the policy has {size} {what}; the robot has {len(names)} joints: {', '.join(names)}"
        if len(names) == len(self.joints) and names != self.joints:
            yield (
                f"the policy's joints are {', '.join(self.joints)}; the robot's are {', '.join(names)}; "
                "names and order must be the same"
            )
        if config.env_state_feature:
            yield f"the policy needs {ENVIRONMENT}, which only a simulation can give"

    def _camera_misfits(self, cameras: Mapping[str, tuple[int, int]]) -> Iterator[str]:
        asked, found = _sizes(self.cameras), _sizes(cameras)
        if missing := [name for name in self.cameras if name not in cameras]:
            yield (
                f"the policy uses the cameras {asked}; the robot has {found}; {', '.join(missing)} is missing. "
                "Add or rename a camera in --robot.cameras"
            )
        if extra := [name for name in cameras if name not in self.cameras]:
            yield (
                f"the robot has {found}; the policy was trained with {asked} and does not know "
                f"{', '.join(extra)}. Drop {', '.join(extra)} from --robot.cameras"
            )
        for name, size in cameras.items():
            if name not in self.cameras or size in self.sizes_of(name):
                continue
            wanted = self.recorded.get(name, self.cameras[name])
            before = f", scaled from {_pixels(wanted)}" if name in self.recorded else ""
            yield (
                f"camera {name}: the policy was trained with {_pixels(self.cameras[name])} pixels{before}, the robot "
                f"gives {_pixels(size)}. Set its width to {wanted[1]} and its height to {wanted[0]} in --robot.cameras"
            )

    def sizes_of(self, camera: str) -> tuple[tuple[int, int], ...]:
        """(height, width) [px] in which `predict` takes a camera's images: training's, and first that of the recordings
        where these were scaled."""
        return tuple(sizes[camera] for sizes in (self.recorded, self.cameras) if camera in sizes)

    def _observation(self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]]) -> PolicyInputs:
        config: Any = self.policy.config
        if config.env_state_feature:
            raise PolicyError(f"the policy {self.path} needs {ENVIRONMENT}, which a robot cannot give")
        vectors = {OBS_STATE: self._state(state)} if config.robot_state_feature else {}
        pictures = {key: self._image(self._input_keys[key], images) for key in config.image_features}
        return PolicyInputs(vectors, pictures)

    def _plain(self, observation: PolicyInputs) -> PolicyOutputs:
        """LeRobot's own forward, watched."""
        # As LeRobot prepares frames for inference: scale first, then channels to the front.
        pictures = {
            key: (image_HWC.float() / 255).permute(2, 0, 1).contiguous()
            for key, image_HWC in observation.images.items()
        }
        with torch.no_grad(), self._probe:
            actions_BTA = self.policy.predict_action_chunk(self._normalise(pictures | observation.vectors))
            return PolicyOutputs(actions_BTA[0], self._probe.shares, self._maps)

    def _keep_maps(
        self, weights: Sequence[Tensor], layout: TokenLayout, grids: dict[str, tuple[int, int]]
    ) -> None:
        self._maps = maps_of(weights, layout, grids)

    def _state(self, state: ArrayLike) -> Tensor:
        config: Any = self.policy.config
        values = np.array(state, dtype=np.float32)
        if values.shape != tuple(config.robot_state_feature.shape):
            size = config.robot_state_feature.shape[0]
            raise PolicyError(
                f"the policy takes {size} joint positions; got an array of shape {values.shape}"
            )
        return torch.from_numpy(values)

    def _image(self, key: str, images: Mapping[str, NDArray[np.uint8]]) -> Tensor:
        name = camera_name(key)
        if name not in images:
            raise PolicyError(
                f"the policy needs an image of camera {name}; got images of {', '.join(images) or 'none'}"
            )
        image, (height, width) = images[name], self.cameras[name]
        if image.dtype != np.uint8 or image.shape not in [(*size, 3) for size in self.sizes_of(name)]:
            sizes = " or ".join(f"({h}, {w}, 3)" for h, w in self.sizes_of(name))
            raise PolicyError(
                f"camera {name}: the policy takes uint8 images of {sizes}; got {image.dtype} of {image.shape}"
            )
        return scaled(image, (height, width), self.trained_on.scaled_by or SCALED_BY)


def _input_keys(policy: ACTPolicy, preprocess: Preprocessor) -> dict[str, str]:
    """The policy's input -> the name by which its preprocessor takes it: training may have renamed some."""
    config: Any = policy.config
    keys = {key: key for key in config.input_features}
    for step in steps_of(preprocess, RenameObservationsProcessorStep):
        keys |= {new: old for old, new in step.rename_map.items() if new in keys}
    return keys


def _normaliser(policy: ACTPolicy, preprocess: Preprocessor) -> Normalise:
    """The preprocessor by the policy's names of its inputs."""
    keys = _input_keys(policy, preprocess)
    return lambda raw: preprocess({keys[key]: value for key, value in raw.items()})


def _joint_names(count: int, trained_on: TrainedOn) -> tuple[str, ...]:
    """As the checkpoint says; without that an SO-101's, whose recordings had other names before 2025."""
    known = tuple(name.removesuffix(".pos") for name in trained_on.joints)
    if len(known) == count and (trained_on.dataset or set(known) == set(SO101_JOINTS)):
        return known
    return SO101_JOINTS if count == len(SO101_JOINTS) else tuple(f"joint_{i}" for i in range(1, count + 1))


def _sizes(cameras: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} ({_pixels(size)})" for name, size in cameras.items()) or "no camera"


def _pixels(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}x{height}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
