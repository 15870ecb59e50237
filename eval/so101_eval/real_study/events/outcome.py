"""What a person says of a trial, before the camera's measurement is shown."""

import re
from dataclasses import dataclass

from so101_eval.errors import RecordError
from so101_eval.palletizing.score.record import MILESTONES

ALL = len(MILESTONES)
"""Stages of a box: reached, grasped, lifted, over the pallet, released, within tolerance, stable."""
HUMAN = "human"
WHY = ("done", "time", "stopped", "danger", "fault", HUMAN)
"""Why a trial ended: the boxes stood; time was up; it would not get further; the operator stopped it because of danger;
the supervisor; a person drove."""


@dataclass(frozen=True)
class Outcome:
    """Of one trial."""

    stages: tuple[int, ...]
    """Of each box: how many of its stages were reached, 0 to `of`."""
    success: bool
    why: str
    """One of `WHY`."""
    by: str
    """Who says so."""
    tags: tuple[str, ...] = ()
    """What reports count by: the words of the note that begin with #."""
    note: str = ""
    of: int = ALL
    """Stages of a box in this study."""

    def __post_init__(self) -> None:
        if not self.stages or not all(0 <= stage <= self.of for stage in self.stages):
            raise RecordError(f"stages {list(self.stages)}: expected 0 to {self.of} for each box")
        if self.why not in WHY:
            raise RecordError(f"a trial does not end by {self.why!r}; possible are {', '.join(WHY)}")
        if self.success and (set(self.stages) != {self.of} or self.why in ("danger", "fault", "human")):
            raise RecordError(
                f"a success with stages {list(self.stages)} that ended by {self.why!r}: expected {self.of} of every "
                "box, and no danger, fault or human"
            )

    @property
    def credit(self) -> float:
        """Share of all stages, 0 to 1; none of a trial in which a person drove."""
        if self.why == HUMAN:
            return 0.0
        return sum(self.stages) / (self.of * len(self.stages))


def tags_of(note: str) -> list[str]:
    """The words of a note that begin with #, each once: "#slipped, then #pushed box 2" has slipped and pushed."""
    return list(dict.fromkeys(re.findall(r"#(\w[\w-]*)", note.lower())))
