"""Puts the pictures of all cameras back that have a background: registered once, watched from then on.

    corrector = Corrector(backgrounds)
    corrector.register(images)              # raises where it is not certain; then nothing should be driven
    images = corrector(images)              # every time before the policy sees them

With every picture it is asked whether it still looks as it did when it was registered, which costs a few milliseconds.
One that does not, and whose background is found elsewhere, is of a camera that has moved: `CameraMovedError`. The
caller lets the arm hold then; the next call registers anew and goes on, or raises again. A hand before the lens is no
move.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from so101_policy.errors import RegistrationError
from so101_policy.registration.background import Background
from so101_policy.registration.correction import Correction, find_correction
from so101_policy.registration.homography import mapped
from so101_policy.registration.likeness import Likeness
from so101_policy.registration.warp import Warp

WATCH_WIDTH = 160
"""Pixels across at which the likeness is watched."""
UNLIKE = 0.12
"""So much less alike than when it was registered: look closer. Arm and boxes at work take up to 0.07 (what they cover
is masked), a shift by 1 % of the width takes 0.2 to 0.6."""
LOST = 0.15
"""Less alike than this, and the background is not found either: the camera looks elsewhere."""
MOVED_AGAIN, MOVED_AGAIN_PX = 0.005, 1.2
"""Share of the width, and pixels: a shift against the registration in use by more than both is a move. Two
registrations of one camera, with the arm elsewhere, differ by up to half a pixel at 96 across."""

type Images = Mapping[str, NDArray[np.uint8]]
"""Camera -> (height, width, 3) RGB."""


class CameraMovedError(RegistrationError):
    """A camera has moved since it was registered; the next call registers it anew."""


class _Camera:
    """One registered camera."""

    def __init__(self, background: Background, live: NDArray[np.uint8]) -> None:
        self.background = background.resized((live.shape[1], live.shape[0]))
        self.correction: Correction = find_correction(self.background, live)
        self.warp = Warp(self.correction.H, self.correction.gain, self.background.image)
        self._seen = self.warp.seen
        self._likeness = Likeness(self.background.grey, self.background.static, WATCH_WIDTH)
        self._usual = self._alike(self.warp(live))

    def has_moved(self, live: NDArray[np.uint8], put_back: NDArray[np.uint8]) -> float | None:
        """By how many pixels since it was registered, NaN: it looks elsewhere; None: it has not.

        Args:
            live: as it came.
            put_back: the same picture through `warp`.
        """
        now = self._alike(put_back)
        if now > self._usual - UNLIKE:
            return None
        try:
            again = find_correction(self.background, live)
        except RegistrationError:
            return float("nan") if now < LOST else None
        points = self.background.points(self.background.seldom_hidden)
        before, after = (
            points if found.H is None else mapped(found.H, points) for found in (self.correction, again)
        )
        moved_px = float(np.linalg.norm(after - before, axis=1).mean())
        least_px = max(MOVED_AGAIN_PX, MOVED_AGAIN * self.background.size_px[0])
        return moved_px if moved_px > least_px else None

    def _alike(self, put_back: NDArray[np.uint8]) -> float:
        grey = np.asarray(cv2.cvtColor(put_back, cv2.COLOR_RGB2GRAY), np.uint8)
        return self._likeness.of(grey, self._seen)


class Corrector:
    """The cameras of one robot. Not for several threads at once.

    Args:
        backgrounds: camera -> what the recordings show; other cameras' pictures stay as they are.
        tell: is told, camera by camera, what was found when one was registered again.
    """

    def __init__(
        self, backgrounds: Mapping[str, Background], tell: Callable[[str], None] | None = None
    ) -> None:
        self._backgrounds, self._tell = dict(backgrounds), tell
        self._cameras: dict[str, _Camera] = {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that are put back."""
        return tuple(self._backgrounds)

    @property
    def corrections(self) -> dict[str, Correction]:
        """Of the cameras that are registered."""
        return {name: camera.correction for name, camera in self._cameras.items()}

    def register(self, images: Images, only: str | None = None) -> None:
        """Register every camera, or one. Raises RegistrationError that names the camera; it is not registered then."""
        for name in self.cameras if only is None else (only,):
            self._cameras.pop(name, None)
            try:
                self._cameras[name] = _Camera(self._backgrounds[name], images[name])
            except RegistrationError as problem:
                raise RegistrationError(f"camera {name}: {problem}") from problem

    def __call__(self, images: Images) -> dict[str, NDArray[np.uint8]]:
        """The pictures as the recordings would show them.

        Raises:
            CameraMovedError: a camera has moved since it was registered. RegistrationError: it cannot be registered.
        """
        corrected = dict(images)
        for name in self.cameras:
            camera = self._cameras.get(name)
            if camera is None:
                self.register(images, name)
                camera = self._cameras[name]
                if self._tell is not None:
                    self._tell(f"{name}: {camera.correction.in_words()}")
            corrected[name] = camera.warp(images[name])
            if (moved_px := camera.has_moved(images[name], corrected[name])) is not None:
                del self._cameras[name]
                by = "and looks elsewhere" if np.isnan(moved_px) else f"by {moved_px:.1f} px"
                raise CameraMovedError(f"camera {name} has moved {by}")
        return corrected

    def warped(self, name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One picture of a registered camera, put back, without watching."""
        return self._cameras[name].warp(image)
