"""Cameras that have exchanged their pictures, as two of the same model may do when they are plugged in again.

Each new picture is compared, as a thumbnail, with the last good one of its own camera and of every other. Two cameras
are swapped when each one's picture is much more like the other's last than like its own. One camera alone proves
nothing, so it takes both; and a camera whose view does not change is never taken for another, since its last picture is
almost the same.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from so101_robot.faults.fault import Symptom

if TYPE_CHECKING:
    from so101_robot.state import Frame

SIDE = 16
"""Thumbnails have so many pixels a side."""

UNLIKE = 8.0
"""Mean difference, of 255, from the own last picture below which nothing has happened."""

MUCH = 0.6
"""The other's picture counts as nearer from this share of the difference from the own on."""

PATIENCE = 5
"""So many pictures one camera alone may look like another's before that is what it sees now."""


class CameraSwapCheck:
    """Follows the cameras of one run."""

    def __init__(self) -> None:
        self._good: dict[str, NDArray[np.float32]] = {}
        self._sequence: dict[str, int] = {}
        self._like: dict[str, tuple[str, int]] = {}
        """Camera -> the one whose place its pictures show, and for how many pictures."""

    def see(self, frames: "Mapping[str, Frame]") -> list[Symptom]:
        """The pairs that are swapped."""
        for name, frame in frames.items():
            if self._sequence.get(name) != frame.sequence:
                self._sequence[name] = frame.sequence
                self._look(name, _thumbnail(frame.image))
        return [
            Symptom("camera swapped", f"{a}, {b}", f"the pictures of {a!r} and {b!r} have changed places")
            for a, b in combinations(frames, 2)
            if self._shows(a) == b and self._shows(b) == a
        ]

    def _shows(self, name: str) -> str | None:
        return self._like[name][0] if name in self._like else None

    def _look(self, name: str, picture: NDArray[np.float32]) -> None:
        other = self._nearest(name, picture)
        before = self._like.pop(name, None)
        count = 1 + (before[1] if before is not None and before[0] == other else 0)
        if other is not None and (count <= PATIENCE or self._shows(other) == name):
            self._like[name] = other, count
        else:
            self._good[name] = picture

    def _nearest(self, name: str, picture: NDArray[np.float32]) -> str | None:
        """The other camera to which this picture belongs, if it does not belong to its own."""
        own = self._good.get(name)
        if own is None or (away := _difference(picture, own)) < UNLIKE:
            return None
        others = {_difference(picture, good): other for other, good in self._good.items() if other != name}
        return others[least] if others and (least := min(others)) < MUCH * away else None


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = (np.linspace(0, size - 1, SIDE).astype(int) for size in image.shape[:2])
    return image[rows][:, columns].astype(np.float32)


def _difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).mean())
