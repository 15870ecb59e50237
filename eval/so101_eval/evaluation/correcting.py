"""The camera correction of `so101-run` in an attempt, from the pictures that the policy gets and from nothing else.

A camera is registered at the policy's first look. Where that is not certain the policy raises, every time it is asked,
so the loop ends the attempt before the arm has moved, as `so101-run` refuses to begin; the record says so (`failed`),
and such attempts are counted apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import RegistrationError
from so101_policy.inference.loaded import Prediction
from so101_policy.inference.seen import Seen
from so101_policy.registration.background import Background
from so101_policy.registration.correction import Correction
from so101_policy.registration.corrector import CameraMovedError, Corrector
from so101_robot.chunks.inference import Predict
from so101_robot.commands.camera_correction import as_dict


class Corrected:
    """A policy for one attempt.

    Args:
        predict: the policy.
        backgrounds: camera -> what the recordings show.
    """

    def __init__(self, predict: Predict, backgrounds: Mapping[str, Background]) -> None:
        self._predict = predict
        self._corrector = Corrector(backgrounds)
        self._first: dict[str, Correction] = {}
        self._failed: RegistrationError | None = None
        self._moved = 0

    def __call__(
        self, state: NDArray[np.float64], images: Mapping[str, NDArray[np.uint8]], before: Sequence[Seen] = ()
    ) -> Prediction:
        """As the policy. Raises RegistrationError."""
        if self._failed is not None:
            raise self._failed
        try:
            put_back = self._corrector(images)
        except CameraMovedError:
            self._moved += 1
            raise
        except RegistrationError as problem:
            self._failed = problem
            raise
        self._first = self._first or self._corrector.corrections
        earlier = [seen._replace(images=self._corrector(seen.images)) for seen in before]
        return self._predict(state, put_back, *([earlier] if earlier else []))

    def as_dict(self) -> dict[str, Any]:
        """For the record: how each camera was put back first, how often one moved after that, and why it failed."""
        return {
            "cameras": {name: as_dict(correction) for name, correction in self._first.items()},
            "moved_again": self._moved,
            "failed": None if self._failed is None else str(self._failed),
        }
