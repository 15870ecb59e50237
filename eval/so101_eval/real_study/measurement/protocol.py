"""What the session asks of the camera. The part that measures takes the place of `nothing.Nothing`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from so101_eval.palletizing.scene.draw import Reset
from so101_robot.preflight.findings import Finding

type Pictures = Mapping[str, NDArray[np.uint8]]
"""(h, w, 3) RGB by camera."""
type Outline = tuple[tuple[float, float], ...]
"""Corners in the front picture [share of its width, share of its height]."""


@dataclass(frozen=True)
class Offset:
    """Where a box is, against where it should start."""

    box: int
    dx_mm: float | None
    """Off the target, to the right as the operator stands; None: not measured."""
    dy_mm: float | None
    """Away from the operator."""
    dyaw_deg: float | None
    why_not: str = ""
    """Why it was not measured."""

    def within(self, most_mm: float, most_deg: float) -> bool | None:
        """Whether it is close enough; None: not measured."""
        if self.dx_mm is None or self.dy_mm is None or self.dyaw_deg is None:
            return None
        return (self.dx_mm**2 + self.dy_mm**2) ** 0.5 <= most_mm and abs(self.dyaw_deg) <= most_deg


@dataclass(frozen=True)
class Placed:
    """A box at the end of a trial, in the pallet's frame."""

    box: int
    du_mm: float | None
    dv_mm: float | None
    dyaw_deg: float | None
    why_not: str = ""
    target: Outline = ()
    """Round a box that stands as it should, in the front picture at the end."""
    seen: Outline = ()
    """Round this one, as it was measured."""


@dataclass(frozen=True)
class Placement:
    """All boxes at the end of a trial."""

    boxes: tuple[Placed, ...]
    success: bool | None
    """As the camera has it; None: not measured."""
    residual_px: float | None
    details: dict[str, float] = field(default_factory=dict[str, float])


class Measurement(Protocol):
    """The camera's part of a study. It never raises for a picture that it cannot read: it says why not."""

    @property
    def available(self) -> bool:
        """Whether it can measure at all. Where it cannot, the operator's word is taken for a start."""
        ...

    def rig_check(self, pictures: Pictures) -> list[Finding]:
        """Is the camera where it was: tags, residual of its pose, exposure?"""
        ...

    def outlines(self, reset: Reset) -> dict[int, Outline]:
        """Box -> its footprint at the start, in the front picture; empty where the camera's pose is not known."""
        ...

    def reset_offsets(self, pictures: Pictures, reset: Reset) -> list[Offset]:
        """How far each box is from its start."""
        ...

    def placement(self, before: Pictures, after: Pictures, reset: Reset) -> Placement:
        """Where the boxes are in the end, from the pictures at the start and at the end."""
        ...
