"""Registers the palletizing episodes with LeRobot as environment type `so101_palletizing`.

    lerobot-eval --env.type=so101_palletizing --env.task=palletize-2 --policy.path=outputs/train/...

Configuration only: MuJoCo is imported when an environment is made, not before.
"""

from dataclasses import dataclass, field
from typing import Any

import gymnasium
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from so101_robot.joints import JOINTS
from so101_robot.mock.config import CAMERAS

GYM_ID = "so101/palletizing"

if GYM_ID not in gymnasium.registry:
    gymnasium.register(GYM_ID, entry_point="so101_eval.episode.env:PalletizingEnv")


@EnvConfig.register_subclass("so101_palletizing")
@dataclass
class PalletizingEnvConfig(EnvConfig):
    """Which episodes."""

    task: str | None = "palletize-2"
    """One of `palletizing.TASKS`."""
    scenario: str = "nominal"
    """What is changed: one of `palletizing.SCENARIOS`."""
    level: int = 0
    """How far it is changed, 0 to 3."""
    fps: int = 30
    """Ticks per second, which cannot be changed."""
    observation_height: int = 96
    """Of both cameras [pixels]; as in the recordings that the policy was trained on."""
    observation_width: int = 96
    features: dict[str, PolicyFeature] = field(default_factory=dict[str, PolicyFeature])
    """Made from the sizes above."""
    features_map: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        joints = (len(JOINTS),)
        pictures = (self.observation_height, self.observation_width, 3)
        self.features = {
            ACTION: PolicyFeature(FeatureType.ACTION, joints),
            "agent_pos": PolicyFeature(FeatureType.STATE, joints),
            # not `pixels/front`: LeRobot records the features under these names, and allows no slash there
            **{f"{OBS_IMAGES}.{name}": PolicyFeature(FeatureType.VISUAL, pictures) for name in CAMERAS},
        }
        self.features_map = {name: name for name in self.features} | {"agent_pos": OBS_STATE}

    @property
    def gym_id(self) -> str:
        return GYM_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "scenario": self.scenario,
            "level": self.level,
            "fps": self.fps,
            "height": self.observation_height,
            "width": self.observation_width,
            "render_mode": "rgb_array",
        }
