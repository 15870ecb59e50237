"""A checkpoint as the probes want it: batches in the robot's units in, normalised actions out.

Shapes: B batch, T chunk, A action, F frames.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from torch import Tensor

from so101_policy.attention.shares import AttentionProbe
from so101_policy.checkpoint.reader import Preprocessor, read_processors
from so101_policy.errors import PolicyError
from so101_policy.frames.resizing import resize
from so101_policy.inference.any_policy import AnyPolicy, load_policy
from so101_policy.inference.loaded import ENVIRONMENT, LoadedPolicy
from so101_policy.reliance.probes import BATCH, Views, batch_of

SEED = 0
"""Of what a policy draws."""


class ProbedPolicy:
    """A LeRobot checkpoint under a name. `load` makes one."""

    def __init__(self, name: str, policy: LoadedPolicy, preprocess: Preprocessor):
        self.name = name
        self.act = policy
        self._preprocess = preprocess
        self._sizes = {f"{OBS_IMAGES}.{camera}": size for camera, size in policy.cameras.items()}

    @classmethod
    def load(cls, name: str, path: str | Path, device: str = "cpu", task: str = "") -> Self:
        """Raises CheckpointError where `path` is no whole checkpoint, TaskError where it needs a `task` in words,
        PolicyError where it wants other inputs."""
        policy = load_policy(path, device, task=task)
        config: Any = policy.policy.config
        if config.env_state_feature:
            raise PolicyError(
                f"the policy {path} needs {ENVIRONMENT}, which is neither a camera nor the joint state"
            )
        return cls(name, policy, read_processors(policy.path, config, device)[0])

    def check_dataset(self, joints: Sequence[str], cameras: Sequence[str]) -> None:
        """Raises PolicyError, with all misfits at once, where the policy is not for recordings of this robot."""
        misfits: list[str] = []
        config: Any = self.act.policy.config
        states = config.robot_state_feature.shape[0] if config.robot_state_feature else len(joints)
        if {len(self.act.joints), states} != {len(joints)}:
            misfits.append(
                f"another robot: the policy has {states} joint positions and {len(self.act.joints)} joint targets, "
                f"the dataset has {len(joints)}: {', '.join(joints)}"
            )
        elif len(joints) == 6 and tuple(joints) != self.act.joints and "joint_1" not in joints:
            misfits.append(
                f"another robot: the policy's joints are {', '.join(self.act.joints)}, "
                f"the dataset's {', '.join(joints)}; names and order must be the same"
            )
        if missing := [camera for camera in self.act.cameras if camera not in cameras]:
            misfits.append(
                f"missing camera {', '.join(missing)}: the policy uses the cameras {', '.join(self.act.cameras)}, "
                f"the dataset has {', '.join(cameras) or 'no camera'}"
            )
        if misfits:
            raise PolicyError(f"the policy {self.name} does not fit the dataset: " + "; ".join(misfits))

    def predict(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, T, A) normalised actions. A policy that draws them draws the same every time, so that what changes is
        what was changed; one that looks back is shown the same moment as if the arm had stood still."""
        with torch.no_grad():
            if isinstance(self.act, AnyPolicy):
                torch.manual_seed(SEED)
                return self.act.chunk(
                    [self._preprocess(batch | {"task": [self.act.task] * len(batch[OBS_STATE])})]
                )
            return self.act.policy.predict_action_chunk(self._preprocess(batch))

    def own(self, views: Views) -> Views:
        """The same views through this policy's cameras, scaled as `so101-train` scales them where sizes differ."""
        return views._replace(
            pictures={key: resize(views.pictures[key], size) for key, size in self._sizes.items()}
        )

    def normalised(self, views: Views) -> Views:
        """The same views, with the demonstrated actions in the policy's units."""
        batch = {
            OBS_STATE: views.state_FS,
            ACTION: views.action_FTA,
        }  # LeRobot's steps want an observation too
        return views._replace(action_FTA=self._preprocess(batch)[ACTION].float().cpu())

    def attention(self, views: Views, advance: Callable[[int], object] | None = None) -> dict[str, Any]:
        """Mean attention shares on the undisturbed frames, and what they would be under uniform attention; empty where
        the policy has none."""
        if self.act.no_shares:
            return {}
        totals: dict[str, float] = {}
        uniform: dict[str, float] = {}
        frames = np.arange(len(views.state_FS))
        with AttentionProbe(self.act.policy) as probe:
            for start in range(0, len(frames), BATCH):
                batch_B = frames[start : start + BATCH]
                self.predict(batch_of(views, batch_B, dict.fromkeys(views.pictures, views.now_F[batch_B])))
                if probe.shares is None:
                    return {}
                shares, uniform = probe.shares.as_dict(), probe.shares.uniform
                for name in ("latent", "state", "vision"):
                    totals[name] = totals.get(name, 0.0) + shares[name] * len(batch_B)
                for name, share in shares["cameras"].items():
                    totals[name] = totals.get(name, 0.0) + share * len(batch_B)
                if advance:
                    advance(len(batch_B))
        return {"shares": {name: total / len(frames) for name, total in totals.items()}, "uniform": uniform}


def default_name(path: str, taken: Sequence[str] = ()) -> str:
    """A short name for a checkpoint's path: the run's folder, not `checkpoints/last/pretrained_model`."""
    dull = {"pretrained_model", "checkpoints", "last", "best", "policy", ""}
    parts = [part for part in Path(path).parts if part not in dull and not part.isdigit()]
    name, base, count = (parts or [path])[-1], (parts or [path])[-1], 2
    while name in taken:
        name, count = f"{base} ({count})", count + 1
    return name
