"""What every loaded policy is, whatever its type: which robot it is for, and how an observation reaches it.

`act_policy.ActPolicy` and `any_policy.AnyPolicy` are the two kinds; `any_policy.load_policy` makes the right one.

Units at this border are those of LeRobot's recordings: joint values as the robot reports them, images uint8 RGB.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import RenameObservationsProcessorStep
from lerobot.utils.constants import OBS_STATE
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from so101_policy.attention.maps import Maps
from so101_policy.attention.shares import AttentionShares
from so101_policy.checkpoint.backgrounds import read_backgrounds
from so101_policy.checkpoint.folder import WEIGHTS
from so101_policy.checkpoint.reader import Postprocessor, Preprocessor, steps_of
from so101_policy.checkpoint.trained_on import SCALED_BY, TrainedOn
from so101_policy.errors import PolicyError
from so101_policy.frames.resizing import scaled
from so101_policy.inference.engine import Normalise, PolicyInputs
from so101_policy.inference.made_up import made_up
from so101_policy.inference.seen import Ahead, Seen
from so101_policy.names import SO101_JOINTS, camera_name
from so101_policy.registration.background import Background

EMPTY_CAMERA = ".empty_camera_"
ENVIRONMENT = "an environment state (observation.environment_state)"


class Prediction(NamedTuple):
    """One inference: what to do, and where the policy looked."""

    actions: NDArray[np.float32]
    """(T, A) joint targets in the robot's units, one row per control step."""
    shares: AttentionShares | None
    """Where the decoder looked; None where that cannot be read."""
    maps: Maps | None = None
    """Where in each camera's picture, if the policy was loaded to tell."""
    spread: float | None = None
    """How far several samples of a policy that draws its answers are apart: the standard deviation over the samples
    [the robot's units], mean over the chunk, of the joint where it is largest; None: one was drawn."""
    raw: NDArray[np.float32] | None = None
    """(T, A) the same actions as the policy's network gave them, before the postprocessor, for `be_guided`; None: of a
    policy that cannot be."""


class LoadedPolicy(ABC):
    """A policy of LeRobot in eval mode, with its processors.

    Attributes:
        cameras: camera -> (height, width) [px] of the images that the policy was trained with.
        joints: names of the action's entries, in order.
        chunk_size: actions of one prediction.
        n_action_steps: actions of it to be executed before the policy is asked again.
        n_obs_steps: moments that it is shown, the present one last, one action apart.
        temporal_ensemble_coeff: the checkpoint's setting of temporal ensembling: for the runner, not applied here.
        recorded: camera -> (height, width) [px] of the recordings, where training's images are scaled from these.
        trained_on: what is known of the recordings: rate, units of the joints, and so on.
        fps: actions per second, where that is known.
        start_pose: (A,) where its demonstrations began, in the robot's units, where the checkpoint says it.
        type: LeRobot's name of its type.
        device: torch device of the weights.
        sha256: of the weights' file; empty: a server has it, and it is not here.
    """

    chunk_size: int
    n_action_steps: int
    n_obs_steps: int = 1
    temporal_ensemble_coeff: float | None = None
    any_size: bool = False
    """It takes pictures of any size, and scales them itself."""
    fewer_cameras: bool = False
    """It may be for fewer cameras than the robot has: some types take one picture and no more."""
    language: bool = False
    """It is told its task in words."""
    guided: bool = False
    """Its next chunk can be joined to the one that is being played (`be_guided`)."""
    no_shares: str = ""
    """Why its answers have no attention shares; empty: they have."""

    def __init__(
        self,
        policy: PreTrainedPolicy,
        preprocess: Preprocessor,
        postprocess: Postprocessor,
        path: Path,
        trained_on: TrainedOn | None = None,
    ):
        config: Any = policy.config
        self.policy: Any = policy
        self.path = path
        self._preprocess, self._postprocess = preprocess, postprocess
        self._normalise = normaliser(policy, preprocess)
        self._input_keys = _input_keys(policy, preprocess)
        self.cameras: dict[str, tuple[int, int]] = {
            camera_name(self._input_keys[key]): (int(feature.shape[1]), int(feature.shape[2]))
            for key, feature in self._image_features.items()
        }
        self.trained_on = trained_on or TrainedOn(getattr(config, "fps", None))
        self.recorded: dict[str, tuple[int, int]] = {
            name: self.trained_on.recorded[name]
            for name, size in self.cameras.items()
            if self.trained_on.scaled_by and self.trained_on.recorded.get(name, size) != size
        }
        self.joints = _joint_names(config.action_feature.shape[0], self.trained_on)
        self.fps: float | None = self.trained_on.fps
        self.start_pose: list[float] | None = getattr(config, "start_pose", None)
        self.type: str = config.type
        self.device = torch.device(config.device)
        self.n_parameters = sum(parameter.numel() for parameter in policy.parameters())
        self.sha256 = _sha256(path / WEIGHTS) if (path / WEIGHTS).is_file() else ""

    @property
    @abstractmethod
    def engine_name(self) -> str:
        """What computes."""

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return f"{self.type}, {self.n_parameters / 1e6:.1f} M parameters"

    def close(self) -> None:  # noqa: B027  most have nothing to give back
        """Give back what it holds. May be called twice."""

    @abstractmethod
    def predict(
        self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        """The chunk for one observation.

        Args:
            state: (A,) joint positions in the robot's units (LeRobot's SO-101: degrees; gripper 0 to 100 percent).
            images: camera -> (height, width, 3) uint8 RGB, in the size of training or in that of the recordings,
                which is then scaled as training did; cameras that the policy does not know are ignored.
            before: what was seen before, one action apart, oldest first, for a policy of more than one `n_obs_steps`.
                Where there is less of it than the policy looks back on, the oldest stands for what is missing.

        Returns:
            (T, A) joint targets in the same units, one row per control step from now on.

        Raises:
            PolicyError: a camera is missing, or a size is neither of the two.
        """

    def verify_engine(self) -> None:  # noqa: B027  most have none
        """Verify now, and not on the first observation, what computes in LeRobot's place, if anything does."""

    def be_guided(self, ahead: Ahead | None) -> None:  # noqa: B027  most cannot
        """What the arm goes on doing while the next prediction is computed; None: nothing. For that prediction alone,
        and of no effect on a policy that is not `guided`."""

    def made_up(self, seed: int = 0) -> PolicyInputs:
        """An observation that depends on the checkpoint and the seed alone (`made_up.py`)."""
        return made_up(self.policy.config.input_features or {}, self._preprocess, seed)

    @cached_property
    def backgrounds(self) -> dict[str, Background]:
        """Camera -> what stood still before it in the recordings, where that is known. Raises CheckpointError."""
        return read_backgrounds(self.path)

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
        extra = [name for name in cameras if name not in self.cameras]
        if extra and (missing or not self.fewer_cameras):
            yield (
                f"the robot has {found}; the policy was trained with {asked} and does not know "
                f"{', '.join(extra)}. Drop {', '.join(extra)} from --robot.cameras"
            )
        for name, size in cameras.items():
            if self.any_size or name not in self.cameras or size in self.sizes_of(name):
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
        pictures = {key: self._image(self._input_keys[key], images) for key in self._image_features}
        return PolicyInputs(vectors, pictures)

    @property
    def _image_features(self) -> dict[str, Any]:
        """Of the pictures that it is shown. Some types have inputs for cameras that nobody has, named so."""
        features = self.policy.config.image_features
        return {key: feature for key, feature in features.items() if EMPTY_CAMERA not in key}

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
        if self.any_size and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return torch.from_numpy(image)
        if image.dtype != np.uint8 or image.shape not in [(*size, 3) for size in self.sizes_of(name)]:
            sizes = " or ".join(f"({h}, {w}, 3)" for h, w in self.sizes_of(name))
            raise PolicyError(
                f"camera {name}: the policy takes uint8 images of {sizes}; got {image.dtype} of {image.shape}"
            )
        return scaled(image, (height, width), self.trained_on.scaled_by or SCALED_BY)


def _input_keys(policy: PreTrainedPolicy, preprocess: Preprocessor) -> dict[str, str]:
    """The policy's input -> the name by which its preprocessor takes it: training may have renamed some."""
    config: Any = policy.config
    keys = {key: key for key in config.input_features}
    for step in steps_of(preprocess, RenameObservationsProcessorStep):
        keys |= {new: old for old, new in step.rename_map.items() if new in keys}
    return keys


def normaliser(policy: PreTrainedPolicy, preprocess: Preprocessor) -> Normalise:
    """The preprocessor by the policy's names of its inputs."""
    keys = _input_keys(policy, preprocess)
    return lambda raw: preprocess({keys.get(key, key): value for key, value in raw.items()})


def pictures_of(observation: PolicyInputs) -> dict[str, Tensor]:
    """(C, H, W) from 0 to 1, as LeRobot prepares frames for inference: scale first, then channels to the front."""
    return {
        key: (image_HWC.float() / 255).permute(2, 0, 1).contiguous()
        for key, image_HWC in observation.images.items()
    }


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
