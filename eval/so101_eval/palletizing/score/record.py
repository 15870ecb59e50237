"""What is known about an attempt when it is over: one schema for the simulation and for the real arm.

A field that could not be measured is None, and `unmeasured` says why; a record with an unexplained None
cannot be made. Times are seconds from the start of the attempt.
"""

from dataclasses import dataclass, field, fields

from so101_eval.errors import RecordError
from so101_eval.json_lines import from_json, to_json
from so101_policy.errors import shown

SCHEMA = 1

MILESTONES = ("reached", "grasped", "lifted", "over_pallet", "released", "in_tolerance", "stable")
"""Of a box, in order, with equal credit. The first five are passed once and for all; `in_tolerance` and
`stable` speak of how it stands in the end. `released` means let go above the pallet."""

FAILURES = (
    *("never_moved", "missed_grasp", "slip", "drop", "collision", "misplace", "topple"),
    *("timeout_progressing", "timeout_stuck", "nan"),
    *("policy_raised", "stopped"),
)
"""The last two: the policy raised an exception until the arm was parked; the loop ended the run for another reason, for
example because the policy asked for what no arm can do."""
PHASES = ("approach", "grasp", "carry", "place", "rest")
"""What the arm was about: on its way to a box, closing on it, holding it off the ground, letting go of it,
and nothing in particular."""


@dataclass(frozen=True)
class Event:
    """Something that went wrong; `kind` is one of `FAILURES`, `phase` one of `PHASES`."""

    time_s: float
    kind: str
    phase: str
    box: int | None = None
    """Which box it befell; None for none in particular."""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAILURES or self.phase not in PHASES:
            raise RecordError(
                f"no event {shown(self.kind)} in phase {shown(self.phase)}; events: {', '.join(FAILURES)}; "
                f"phases: {', '.join(PHASES)}"
            )


@dataclass(frozen=True)
class BoxScore:
    """One box."""

    box: int
    slot: int | None
    """Which slot it counts for, by its place in the task's order; None for a box that was taken away."""
    good: bool | None
    """In the slot and unmoved for two seconds."""
    milestones: dict[str, float | None]
    """When each was passed; None if it was not."""
    du_mm: float | None
    """Off the slot's middle along the pallet's edges, and in all."""
    dv_mm: float | None
    error_mm: float | None
    dz_mm: float | None
    yaw_deg: float | None
    tilt_deg: float | None
    overhang_mm: float | None
    seconds: float | None
    """From the release before (or the start) to its own last release."""
    drops: int | None
    unmeasured: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        lacking = [name for name in MILESTONES if name not in self.milestones]
        if self.milestones and lacking:  # none: the box was not there
            raise RecordError(f"box {self.box} has no milestone {lacking[0]!r}")
        _explain(self, self.unmeasured, f"box {self.box}")

    @property
    def credit(self) -> float:
        """Milestones passed, of all: 0 to 1."""
        return sum(self.milestones[name] is not None for name in MILESTONES) / len(MILESTONES)


@dataclass(frozen=True)
class Score:
    """An attempt."""

    task: str
    suite: str
    scenario: str
    level: int
    seed: int
    backend: str
    """mujoco, or so101 for the real arm."""
    success: bool | None
    """All boxes good, none dropped, the last one released in time."""
    credit: float | None
    """Mean over the boxes of the share of milestones passed."""
    boxes: tuple[BoxScore, ...]
    drops: int | None
    collisions: int | None
    empty_grasps: int | None
    """Jaws closed low down on nothing: what a policy that does not look does to a box that is gone."""
    duration_s: float
    """Of the whole attempt."""
    robot_s: float | None
    """To the last release in a success, else to the end or the time limit."""
    seconds_per_box: float | None
    boxes_per_hour: float | None
    """Good boxes in robot time."""
    sparc: float | None
    """Mean over the carries."""
    ldlj: float | None
    failure: Event | None
    """What ended the hope first: the earliest event that was not made good again. None in a success."""
    events: tuple[Event, ...] = ()
    unmeasured: dict[str, str] = field(default_factory=dict[str, str])
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise RecordError(f"this score has schema {self.schema}; this version reads {SCHEMA}")
        _explain(self, self.unmeasured, "the score", allowed=("failure",))

    @property
    def good_boxes(self) -> int:
        return sum(bool(box.good) for box in self.boxes)

    def slot(self, index: int) -> BoxScore | None:
        """What stands for that slot."""
        return next((box for box in self.boxes if box.slot == index), None)

    def to_json(self) -> str:
        """One line."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> "Score":
        """Back from `to_json`. Raises `RecordError` for anything else."""
        return from_json(Score, text, "a stored score")


def _explain(
    record: BoxScore | Score, reasons: dict[str, str], what: str, allowed: tuple[str, ...] = ()
) -> None:
    nulls = {field.name for field in fields(record) if getattr(record, field.name) is None} - set(allowed)
    unexplained = sorted(nulls - {name for name, reason in reasons.items() if reason})
    if unexplained:
        raise RecordError(f"{what} lacks {', '.join(unexplained)} and does not say why")
