"""Registers the palletizing episodes with LeRobot as environment type `so101_palletizing`.

    lerobot-eval --env.type=so101_palletizing --env.task=palletize-2 --policy.path=outputs/train/...

What a policy was trained on decides how it is played: steps per second, the size of pictures and what they are
scaled from, units. LeRobot gives an environment no policy, so the command line is asked for it, as LeRobot's own
configurations do. Configuration only: MuJoCo is imported when an environment is made, not before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
from lerobot.configs import FeatureType, PolicyFeature, parser
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from so101_eval.errors import ConfigError
from so101_policy.checkpoint.folder import CONFIG, file_in
from so101_policy.checkpoint.plain_json import read_json
from so101_policy.checkpoint.trained_on import PICTURES, Size, TrainedOn, find_trained_on, read_info
from so101_policy.units import Units
from so101_robot.joints import JOINTS
from so101_robot.mock.config import CAMERAS

GYM_ID = "so101/palletizing"
FPS = 30
"""Of the control loop (`episode.FPS`)."""
ACTS = ("act", "regularized_act")

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
    fps: int = 0
    """Steps per second, a divisor of 30: actions per second of the policy; 0: as the checkpoint of --policy.path says
    or its dataset, or the dataset of a training; 30 where there is neither."""
    observation_height: int = 0
    """Of both cameras [pixels], as the policy was trained; 0: as its checkpoint says, else 96."""
    observation_width: int = 0
    camera_height: int = 0
    """Of what the cameras see, where training scaled it down [pixels]; 0: as the checkpoint says, else the same."""
    camera_width: int = 0
    use_degrees: bool | None = None
    """false: joints in LeRobot's -100..100 of the calibrated range; null: as the checkpoint says, else degrees."""
    features: dict[str, PolicyFeature] = field(default_factory=dict[str, PolicyFeature])
    """Made from the sizes above."""
    features_map: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._settle()
        joints = (len(JOINTS),)
        pictures = (self.observation_height, self.observation_width, 3)
        self.features = {
            ACTION: PolicyFeature(FeatureType.ACTION, joints),
            "agent_pos": PolicyFeature(FeatureType.STATE, joints),
            # not `pixels/front`: LeRobot records the features under these names, and allows no slash there
            **{f"{OBS_IMAGES}.{name}": PolicyFeature(FeatureType.VISUAL, pictures) for name in CAMERAS},
        }
        self.features_map = {name: name for name in self.features} | {"agent_pos": OBS_STATE}

    def _settle(self) -> None:
        """What is not said, by the policy that plays. Raises ConfigError where its rate is not known."""
        path = parser.get_path_arg("policy")
        known = known_of_checkpoint(path) if path else known_of_dataset()
        if known.fps is None and known.unknown and not self.fps:
            raise ConfigError(
                f"actions per second are not known: {known.unknown}. Give --env.fps: the fps in meta/info.json of "
                "the dataset that the policy was trained on"
            )
        rate = self.fps if self.fps and not known.stated else known.fps or FPS
        if rate != round(rate) or self.fps not in (0, rate):
            raise ConfigError(
                f"--env.fps={self.fps}: the checkpoint {path} was trained on {rate:g} actions per second, and steps "
                "per second are a whole number; leave --env.fps out"
            )
        self.fps = round(rate)
        trained, recorded = _the_size(known.trained) or (96, 96), _the_size(known.recorded)
        self.observation_height = self.observation_height or trained[0]
        self.observation_width = self.observation_width or trained[1]
        pictures = (self.observation_height, self.observation_width)
        seen = recorded if known.scaled_by and recorded and pictures == trained else pictures
        self.camera_height, self.camera_width = self.camera_height or seen[0], self.camera_width or seen[1]
        if self.use_degrees is None:
            self.use_degrees = known.units is not Units.RANGE

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
            "camera_height": self.camera_height,
            "camera_width": self.camera_width,
            "use_degrees": self.use_degrees,
            "render_mode": "rgb_array",
        }


def known_of_checkpoint(path: str) -> TrainedOn:
    """What the checkpoint was trained on, its pictures included.

    An ACT is looked at as everywhere here, before LeRobot builds anything of it. Raises CheckpointError.
    """
    from so101_policy.checkpoint.find import find_checkpoint
    from so101_policy.checkpoint.reader import look_at  # with LeRobot's models, 1 s

    folder = find_checkpoint(path)
    fields = read_json(file_in(folder, CONFIG))
    if fields.get("type") in ACTS:
        fields = look_at(folder)
    known = find_trained_on(folder, fields)
    pictures = {
        key.removeprefix(PICTURES): (feature["shape"][1], feature["shape"][2])
        for key, feature in fields.get("input_features", {}).items()
        if feature.get("type") == "VISUAL" and len(feature.get("shape", ())) == 3
    }
    return replace(known, trained=known.trained or pictures)


def known_of_dataset() -> TrainedOn:
    """Of the dataset that a training names on the command line; nothing where there is none."""
    root, repo_id = (parser.parse_arg(f"dataset.{name}") for name in ("root", "repo_id"))
    if root is None and repo_id is None:
        return TrainedOn()
    vain: list[str] = []
    found = read_info(root, repo_id, vain)
    return TrainedOn(found.fps, trained=found.recorded, unknown="; ".join(vain))


def _the_size(sizes: Mapping[str, Size]) -> Size | None:
    """That of all cameras, if they have the same."""
    return next(iter(sizes.values())) if len(set(sizes.values())) == 1 else None
