"""What happened on one tick of the loop, and who is told."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.scheduler import Planned
from so101_robot.faults.fault import Mode
from so101_robot.message import Message

if TYPE_CHECKING:
    from so101_robot.guard.guard import Verdict
    from so101_robot.state import ArmState, Frame


class AttentionWarning(NamedTuple):
    """The alarm, while it is on."""

    share: float
    """Of the joint state in the answer that is being played, 0..1."""
    uniform: float
    """What uniform attention would give it."""
    for_s: float
    """How long the share has been above the threshold."""


Phase = Literal["approach", "run", "home"]
"""Slowly to the policy's first pose, the policy, slowly home."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything that is known about one pass of the loop. Joint values are in LeRobot units."""

    index: int
    """Ticks since the run began, by the clock: a tick that the loop was too late for leaves a gap."""
    phase: Phase
    time_s: float
    """The robot's clock at the start of the tick."""
    unix_s: float
    late_s: float
    """How long after its due time the tick began."""
    state: "ArmState"
    """The newest reading of the arm; `state.time_s` tells when it was made."""
    frames: "dict[str, Frame]"
    planned: Planned | None
    """None on the way to the first pose and on the way home."""
    asked: NDArray[np.float64] | None
    """(6,) what the policy, or the way home, asked for; None: nothing, so the last command stands."""
    verdict: "Verdict"
    sent: NDArray[np.float64] | None
    """(6,) the goal that the servos were sent on this tick, as quantised; None: nothing was sent."""
    goal: NDArray[np.float64] | None
    """(6,) the goal in force after this tick; None before the first command."""
    stages_ms: dict[str, float]
    """Wall time of each stage of this tick: read, frames, plan, guard, send; and of the observers of the
    last."""
    fault: str | None
    """What went wrong on the bus on this tick, though the loop goes on."""
    mode: Mode = Mode.RUNNING
    """What the supervisor said."""
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """All that is wrong, `fault: where` -> words."""
    blind: "AttentionWarning | None" = None
    """The policy may be blind; None while the alarm is off (`attention_alarm.py`)."""

    def frame_ages_s(self) -> dict[str, float]:
        """Age of each camera's frame at the start of the tick."""
        return {name: self.time_s - frame.captured_s for name, frame in self.frames.items()}


class Observer(Protocol):
    """Something that looks at the run."""

    @property
    def name(self) -> str: ...

    def on_tick(self, tick: Tick) -> None: ...

    def on_message(self, message: Message) -> None:
        """For the person at the arm: what happens, what went wrong."""
        ...

    def close(self) -> None:
        """The run is over; the arm has been released."""
        ...
