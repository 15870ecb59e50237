"""What each camera that stands showed in the episodes that are trained on, for whoever plays the policy."""

import logging

from so101_policy.errors import RegistrationError
from so101_policy.frames.spread import spread_frames
from so101_policy.names import camera_name
from so101_policy.registration.background import Background, learn
from so101_policy.train.data import Description
from so101_policy.train.settings.config import SO101TrainConfig

_log = logging.getLogger(__name__)


def learn_backgrounds(config: SO101TrainConfig, data: Description) -> dict[str, Background]:
    """Camera (by the dataset's name) -> its background, at the size of the recordings.

    A camera that moves with the arm, or that was set up anew between episodes, has none: its log line says so.

    Args:
        config: its policy has its inputs.

    Raises:
        PolicyError: a frame cannot be decoded.
    """
    inverse = {new: old for old, new in config.rename_map.items()}
    cameras = [inverse.get(key, key) for key in config.act.image_features]
    found: dict[str, Background] = {}
    for key, frames in spread_frames(data.dataset, cameras, data.trained).items() if cameras else ():
        try:
            found[camera_name(key)] = learn(frames)
        except RegistrationError as problem:
            _log.info("no background of camera %s is kept: %s", camera_name(key), problem)
    return found
