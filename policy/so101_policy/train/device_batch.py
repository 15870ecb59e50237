"""From a batch as the cache gives it (uint8 images, raw joint values) to what a policy takes, on its device.

The numbers are LeRobot's: its own processor normalises joint values and actions, and says what an image's scaling is.
Images travel as uint8; their scaling is one multiplication and one addition per value here, three operations and two
copies there. With `exact` they go LeRobot's way, operation for operation.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lerobot.configs import FeatureType
from lerobot.processor import NormalizerProcessorStep, TransitionKey, create_transition
from lerobot.transforms import ImageTransforms, ImageTransformsConfig
from lerobot.utils.constants import ACTION
from torch import Tensor

from so101_policy.checkpoint.reader import Preprocessor, steps_of
from so101_policy.train.augmentation import Augmentation

MAX_LEVEL = 255.0
"""Of a uint8 image; LeRobot's frames are 0 to 1."""


class DeviceBatch:
    """Callable: a raw batch -> a normalised one.

    Args:
        preprocessor: LeRobot's, with the dataset's statistics.
        renamed: dataset's key -> policy's key, LeRobot's rename_map.
        augment: LeRobot's image transforms, applied by `augmented` only.
        augmentation: ours, applied after those, by `augmented` only.
        exact: scale images by LeRobot's operations.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        device: torch.device,
        renamed: Mapping[str, str] | None = None,
        augment: ImageTransformsConfig | None = None,
        exact: bool = False,
        augmentation: Augmentation | None = None,
    ):
        self._normalizer = next(iter(steps_of(preprocessor, NormalizerProcessorStep)))
        self._device, self._renamed, self._exact = device, dict(renamed or {}), exact
        self._transforms = ImageTransforms(augment) if augment is not None and augment.enable else None
        self._augmentation = augmentation if augmentation is not None and augmentation.active else None
        self._normalizer.to(device=device, dtype=torch.float32)
        features: Mapping[str, Any] = self._normalizer.features
        self._wanted = {*features, "action_is_pad"}
        self._images = [key for key, feature in features.items() if feature.type is FeatureType.VISUAL]
        self._scaling = {key: self._scaling_of(key) for key in self._images}

    def augmented(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For training: with augmentation, if it was asked for."""
        return self(raw, augment=True)

    def __call__(self, raw: Mapping[str, Tensor], augment: bool = False) -> dict[str, Tensor]:
        named = {self._renamed.get(key, key): value for key, value in raw.items()}
        batch = {k: x.to(self._device, non_blocking=True) for k, x in named.items() if k in self._wanted}
        images = {key: batch.pop(key) for key in self._images}
        if augment and self._transforms is not None:
            images = {key: self._varied(image) for key, image in images.items()}
        if augment and self._augmentation is not None:
            images = {key: self._augmentation(image) for key, image in images.items()}
        if self._exact:
            batch |= {key: image.to(torch.float32).contiguous() / MAX_LEVEL for key, image in images.items()}
            images = {}
        action = batch.pop(ACTION)
        done = self._normalizer(create_transition(observation=batch, action=action))
        batch = done[TransitionKey.OBSERVATION] | {ACTION: done[TransitionKey.ACTION]}
        for key, image in images.items():
            scale, offset = self._scaling[key]
            batch[key] = torch.addcmul(offset, image.to(torch.float32), scale)
        return batch

    def _scaling_of(self, key: str) -> tuple[Tensor, ...]:
        """Factor and offset per channel from 0..255; every mode of LeRobot's normalisation is such a line."""
        ends = torch.zeros(2, 3, 1, 1, dtype=torch.float32, device=self._device)
        ends[1] = 1
        done = self._normalizer(create_transition(observation={key: ends}))
        black, white = done[TransitionKey.OBSERVATION][key].cpu().double()  # Apple's devices have no doubles
        return tuple(x.float()[None].to(self._device) for x in ((white - black) / MAX_LEVEL, black))

    def _varied(self, image_BCHW: Tensor) -> Tensor:
        """Each image varied by itself, as in LeRobot's dataset, but on the device."""
        transforms: Any = self._transforms
        varied = torch.stack([transforms(image_CHW) for image_CHW in image_BCHW])
        return varied.contiguous(memory_format=torch.channels_last)
