"""The camera correction as a step of LeRobot's processors, for whoever drives with LeRobot's own programs.

    step = CameraCorrectionStep(folder="outputs/act/pretrained_model")
    robot_observation_processor.steps.insert(0, step)

The first observation registers every camera of which the folder has a background; a registration that is not certain,
and a camera that moves afterwards, raise `RegistrationError`, so nothing is driven with wrong pictures. `reset` forgets
the registration.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.processor import ObservationProcessorStep, ProcessorStepRegistry
from lerobot.utils.constants import OBS_IMAGES
from numpy.typing import NDArray

from so101_policy.errors import RegistrationError
from so101_policy.registration.background import Background
from so101_policy.registration.corrector import Corrector
from so101_policy.registration.files import camera_of, read_background


@dataclass
@ProcessorStepRegistry.register("so101_camera_correction")
class CameraCorrectionStep(ObservationProcessorStep):
    """Puts the pictures of cameras that moved back to where the recordings show them.

    Pictures are uint8 (height, width, 3) RGB, as robots give them, under the camera's name or LeRobot's
    `observation.images.<name>`. Raises RegistrationError.
    """

    folder: str = ""
    """With `so101_background.<camera>.png`: a checkpoint of so101-train, or what `so101-data background` wrote."""
    _backgrounds: dict[str, Background] = field(default_factory=dict[str, Background], init=False, repr=False)
    _corrector: Corrector | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        folder = Path(self.folder).expanduser()
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (camera := camera_of(path.name)) is not None:
                try:
                    self._backgrounds[camera] = read_background(path)
                except (ValueError, OSError) as error:
                    raise RegistrationError(f"{path} is not a background: {error}") from error
        if not self._backgrounds:
            raise RegistrationError(
                f"the folder {folder} has no so101_background.CAMERA.png; `so101-data background` makes them"
            )

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The same with pictures put back."""
        keys = {camera: self._key(camera, observation) for camera in self._backgrounds}
        images: dict[str, NDArray[np.uint8]] = {
            camera: np.asarray(observation[key]) for camera, key in keys.items() if key is not None
        }
        if self._corrector is None:
            self._corrector = Corrector({camera: self._backgrounds[camera] for camera in images})
        put_back = self._corrector(images)
        return observation | {key: put_back[camera] for camera, key in keys.items() if key is not None}

    def get_config(self) -> dict[str, Any]:
        """As LeRobot stores it."""
        return {"folder": self.folder}

    def reset(self) -> None:
        """The next observation registers anew."""
        self._corrector = None

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        """Names and sizes stay as they are."""
        return features

    @staticmethod
    def _key(camera: str, observation: dict[str, Any]) -> str | None:
        return next((key for key in (camera, f"{OBS_IMAGES}.{camera}") if key in observation), None)
