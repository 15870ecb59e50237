"""A policy that a LeRobot policy server computes: `load_served(path, address).predict(state, images)`.

The checkpoint is read here, too: its configuration and its processors say which cameras and joints it is for, and all
that is checked of any policy is checked of it before anything moves. Its weights are the server's business. The server
is asked once, for an observation that is made up, before the policy counts as loaded. (Loaded by `extras.SERVER`:
the wire needs gRPC.)

LeRobot 0.6's server shows a policy one moment and fills no queue for it, so types that look back are refused. It scales
pictures in a way of its own, so they are sent in the size of training.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import OBS_STATE
from numpy.typing import ArrayLike, NDArray

from so101_policy.checkpoint.find import find_checkpoint
from so101_policy.checkpoint.reader import look_at, read_any_config, read_processors
from so101_policy.checkpoint.trained_on import find_trained_on
from so101_policy.inference.any_policy import check_task, length_of
from so101_policy.inference.engine import PolicyInputs
from so101_policy.inference.loaded import LoadedPolicy, Prediction
from so101_policy.inference.seen import Seen
from so101_policy.inference.server.address import Address, ServerError, ServerGoneError
from so101_policy.inference.server.answer import Answer, read_answer
from so101_policy.inference.server.link import Link, Wanted

SERVED = ("smolvla", "pi0", "pi05")
"""Types that LeRobot 0.6's server can play, beside ACT. Of the others that it lists, diffusion and VQ-BeT need a queue
that it does not fill, and tdmpc and groot are not played here."""

LOAD_S = 600.0
"""The longest that a server may take to load a policy: it may have to fetch it first."""

PLUGIN = 'python -c "import lerobot_policy_so101; from lerobot.async_inference.policy_server import serve; serve()"'
"""A server that knows this package's type of ACT, which has to be installed there."""


class Elsewhere:
    """In the place of a model: its configuration is here, its weights are not."""

    def __init__(self, config: PreTrainedConfig) -> None:
        self.config = config

    def parameters(self) -> tuple[torch.Tensor, ...]:
        """There are none here."""
        return ()


class ServedPolicy(LoadedPolicy):
    """A policy whose answers come from a server. `load_served` makes one."""

    def __init__(
        self, folder: Path, asked: str, address: Address, device: str, task: str, within_s: float
    ) -> None:
        trained_on = find_trained_on(folder, fields := look_at(folder, act_only=False))
        check_task(folder, str(fields["type"]), task)
        config = read_any_config(folder, "cpu")
        processors = read_processors(folder, config, "cpu")
        super().__init__(cast(PreTrainedPolicy, Elsewhere(config)), *processors, folder, trained_on)
        is_act = isinstance(config, ACTConfig)
        if not is_act and self.type not in SERVED:
            raise ServerError(
                f"{folder} is a checkpoint of type {self.type}, which LeRobot's policy server does not play: it shows "
                f"a policy one moment at a time. Possible are act, {', '.join(SERVED)}; without --policy.server it is "
                "computed here"
            )
        self.fewer_cameras = not is_act
        self.chunk_size = length_of(config)
        self.n_action_steps = min(int(getattr(config, "n_action_steps", self.chunk_size)), self.chunk_size)
        self.temporal_ensemble_coeff = getattr(config, "temporal_ensemble_coeff", None)
        self.no_shares = f"the policy server {address} answers with actions alone"
        self.address, self.task = address, task
        self._device, self._within_s = device, within_s
        self._kind, self._asked = "act" if is_act else self.type, asked
        self._link = Link(address)
        self._ready = False
        self._number = 0

    @property
    def engine_name(self) -> str:
        """LeRobot's own forward, there."""
        return f"policy server {self.address}"

    @property
    def summary(self) -> str:
        """As `LoadedPolicy.summary`."""
        return f"{self.type}, computed by {self.address}"

    def predict(
        self, state: ArrayLike, images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        """As `LoadedPolicy.predict`.

        Raises:
            ServerGoneError: the server is not there, or late; the next call tries again.
            ServerError, AnswerError: it cannot play the policy, or answers something else.
        """
        return Prediction(self._answer(self._observation(state, images)).actions, None)

    def try_it(self) -> None:
        """Have the server load the policy, and ask it for an observation that is made up.

        Raises:
            ServerGoneError: it is not there, or late.
            ServerError, AnswerError: it cannot play the policy, or answers something else.
        """
        self._answer(self.made_up())

    def close(self) -> None:
        """Hang up. May be called twice."""
        self._link.close()

    def _answer(self, observation: PolicyInputs) -> Answer:
        """What the server says to an observation; one that has forgotten the policy is told it again."""
        words = self._named(observation) | {"task": self.task}
        for fresh in (False, True):
            fresh = fresh or not self._ready
            if not self._ready:
                self._begin(observation)
            self._number += 1
            try:
                data = self._link.ask(words, self._number, self._within_s)
            except ServerGoneError:
                self._ready = False
                raise
            if data:
                return self._read(data)
            self._ready = False  # it was started anew, or somebody else has used it
            if fresh:
                break
        raise ServerError(
            f"the policy server {self.address} gives no actions for an observation of {', '.join(words)}; what it "
            "printed itself says why"
        )

    def _read(self, data: bytes) -> Answer:
        answer = read_answer(data, len(self.joints))
        if answer.first != self._number:
            self._ready = False  # an answer to an older question, or to somebody else's
            raise ServerGoneError(
                f"the policy server {self.address} answered to another observation ({answer.first}, expected "
                f"{self._number}): does somebody else use it?"
            )
        return answer

    def _begin(self, observation: PolicyInputs) -> None:
        """Have the policy loaded: on its best device, where none was asked for."""
        devices = ("cuda", "cpu") if self._device == "auto" else (self._device,)
        wanted = Wanted(self._kind, self._asked, self._features(observation), self.chunk_size, "")
        for device in devices[:-1]:
            with suppress(ServerError):  # it has no such device, or cannot load the policy at all
                self._link.begin(wanted._replace(device=device), LOAD_S)
                self._ready = True
                return
        try:
            self._link.begin(wanted._replace(device=devices[-1]), LOAD_S)
        except ServerError as error:
            hint = f". A {self.type} needs a server that knows it: {PLUGIN}"
            raise ServerError(f"{error}{hint if self._kind != self.type else ''}") from error
        self._ready = True

    def _named(self, observation: PolicyInputs) -> dict[str, Any]:
        """An observation as LeRobot's robots give it: a number a joint, a picture a camera."""
        vectors = {name: vector.tolist() for name, vector in observation.vectors.items()}
        joints = zip(self._joint_keys(), vectors.get(OBS_STATE, []), strict=False)
        return dict(joints) | {_short(key): image.numpy() for key, image in observation.images.items()}

    def _features(self, observation: PolicyInputs) -> dict[str, dict[str, Any]]:
        names = self._joint_keys()
        state = {"dtype": "float32", "shape": (len(names),), "names": names}
        pictures = {
            key: {"dtype": "image", "shape": tuple(image.shape), "names": ["height", "width", "channels"]}
            for key, image in observation.images.items()
        }
        return {OBS_STATE: state} | pictures

    def _joint_keys(self) -> list[str]:
        return [f"{name}.pos" for name in self.joints]


def load_served(
    path: str,
    address: Address,
    device: str = "auto",
    task: str = "",
    within_s: float = 5.0,
    their_path: str = "",
) -> ServedPolicy:
    """A checkpoint, played by a server.

    Args:
        path: of the checkpoint on this machine, as `find_checkpoint` takes it; its weights need not be there.
        address: of the server.
        device: there; "auto": the first GPU, else the processor.
        task: in words; only a policy that is told its task needs it.
        within_s: the longest that an answer may take [s].
        their_path: of the checkpoint on the server's machine; empty: as here.

    Raises:
        CheckpointError: as `load_policy`.
        TaskError: it needs a task, and there is none.
        ServerError: of a type that LeRobot's server does not play, or the server cannot load it, or answers something
            else.
        ServerGoneError: the server does not answer.
        MissingPackageError: the extra `server` is not installed.
    """
    folder = find_checkpoint(path)
    on_disk = Path(path).expanduser().exists()
    asked = their_path or (str(folder.resolve()) if on_disk else path)
    policy = ServedPolicy(folder, asked, address, device, task, within_s)
    try:
        policy.try_it()
    except BaseException:
        policy.close()
        raise
    return policy


def _short(key: str) -> str:
    """The policy's own name of a camera, by which the server finds the input."""
    return key.removeprefix("observation.images.")
