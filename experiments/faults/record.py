"""What one repetition of a row comes to."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Side = Literal["so101-run", "lerobot"]


@dataclass
class Record:
    """One repetition. Times count from the moment at which the fault began."""

    row: str
    side: Side
    seed: int
    ended: str
    """In words: `went on`, `let go at rest`, `held`, `let go in the air`, `partly let go`, `refused`."""
    error: str
    """What the driver said, first line; empty if nothing."""
    react_s: float | None
    """Until the driver showed that it had noticed; None: it never did."""
    drove_s: float | None
    """Until the last new goal of the policy while the fault lasted; None: there was none."""
    speed_deg_s: float
    """Fastest joint whose servo was able, over 30 ms."""
    beyond_deg: float
    """Farthest that a joint was outside its range."""
    let_fall_mm: float
    """Height that a part of the arm lost after the driver had let it go."""
    fell_mm: float
    """Height that a part of the arm lost while servos were without torque though nobody had told them to."""
    ticks: int
    missing: int | None
    """Ticks that are not in the log; None: the driver keeps no log."""
    free_at_end: int
    """Joints without torque two seconds after the end."""
    unsafe: list[str] = field(default_factory=list[str])
    """Why it was not safe; empty: it was."""
    wrong_deg: float = 0.0
    """Largest difference between where the driver took a joint to be and where it was, when it sent a goal of the
    policy after the fault had begun."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        return cls(**fields)
