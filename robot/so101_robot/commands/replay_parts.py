"""Parts of `so101-replay`: what plays a recording, what compares it with the new run, and what is looked at before.

Joint values are LeRobot units, (6,).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.inference import Observation
from so101_robot.chunks.scheduler import Planned
from so101_robot.errors import UnsafeActionError
from so101_robot.guard.guard import Guard
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.loop.tick import Tick
from so101_robot.message import Message
from so101_robot.preflight.findings import Finding, Level
from so101_robot.runs.read import Recording
from so101_robot.state import ArmState

if TYPE_CHECKING:
    from so101_robot.bus.units import Scale
    from so101_robot.loop.stopping import StopRequests

MISSED_SHARE = 0.02
"""Share of missed ticks from which the rate of a run deserves a word."""

STEP_DEG = 0.09
"""A little more than one step of an encoder; of a gripper it is less than a percent."""


def on_steps(recording: Recording, scale: "Scale", guard: Guard) -> Recording:
    """The recording with each goal in the middle of the encoder's step that is nearest to it.

    A log has three decimals and an arm truncates goals to steps, so that a goal as logged would often go one step too
    far down. A goal that leaves the guard's limits by no more than that is put at the limit.
    """
    goals = np.array([_middle_of_step(goal, scale) for goal in recording.goals])
    inside = np.clip(goals, guard.lower, guard.upper)
    return recording._replace(goals=np.where(np.abs(goals - inside) <= STEP_DEG, inside, goals))


def _middle_of_step(goal: NDArray[np.float64], scale: "Scale") -> NDArray[np.float64]:
    below = scale.to_steps(goal)
    here, above = scale.to_joint(below), scale.to_joint(below + 1)
    nearest = np.where(np.abs(above - goal) < np.abs(here - goal), below + 1, below)
    return (scale.to_joint(nearest) + scale.to_joint(nearest + 1)) / 2


class Played:
    """A scheduler that plays a recording's goals, one a tick, and then asks for the end.

    While the arm holds, the recording waits.
    """

    def __init__(self, recording: Recording, stop: "StopRequests") -> None:
        self._goals = recording.goals
        self._stop = stop
        self._now = 0
        self._tick = 0
        self._playing = False

    def next(self, tick: int, now_s: float, observe: Callable[[], Observation]) -> Planned:
        if self._playing:
            self._now += tick - self._tick
        self._tick, self._playing = tick, True
        last = len(self._goals) - 1
        if self._now >= last:
            self._stop.finish("the recording is over")
        at = min(self._now, last)
        return Planned(self._goals[at], None, "chunk", at, 0, 0.0)

    def wait(self) -> None:
        self._playing = False

    def reset(self) -> None:
        self._playing = False

    def close(self) -> None: ...


class Compared:
    """Observer that keeps, for every goal that was sent, how far the joints were from where they were in the run.

    Both are measured at the start of the tick on which the goal was sent. Ticks on which either run knows nothing
    (missed, or a servo that did not answer) do not count.
    """

    name = "comparison"

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._off = np.full_like(recording.measured, np.nan)
        self._sent = np.zeros(len(recording.goals), np.bool_)

    def on_tick(self, tick: Tick) -> None:
        if tick.phase != "run" or tick.planned is None or tick.sent is None:
            return
        at = tick.planned.index_in_chunk
        if not self._sent[at]:
            now = np.where(tick.state.answered, tick.state.position, np.nan)
            self._off[at] = now - self._recording.measured[at]
            self._sent[at] = True

    def on_message(self, message: Message) -> None: ...

    def close(self) -> None: ...

    def figures(self) -> dict[str, tuple[float, float, int]]:
        """Joint -> root mean square and largest distance, and of how many ticks; joints without any are left out."""
        found: dict[str, tuple[float, float, int]] = {}
        for joint, off in zip(JOINTS, self._off.T, strict=True):
            known = off[np.isfinite(off)]
            if known.size:
                found[joint] = (float(np.sqrt(np.mean(known**2))), float(np.abs(known).max()), known.size)
        return found

    def as_dict(self) -> dict[str, Any]:
        """For `replay.json`; degrees, percent for the gripper."""
        return {
            "of": str(self._recording.folder),
            "goals": len(self._sent),
            "sent": int(self._sent.sum()),
            "joints": {
                joint: {"rms": round(rms, 4), "max": round(most, 4), "ticks": ticks}
                for joint, (rms, most, ticks) in self.figures().items()
            },
        }

    def in_words(self) -> str:
        """A small table."""
        head = f"{self._sent.sum()} of {len(self._sent)} goals were sent again"
        figures = self.figures()
        if not figures:
            return f"{head}; there is no tick on which both runs knew where the joints were"
        lines = [f"{head}; distance of the joints from where they were in the run, rms and largest:"]
        for joint, (rms, most, _) in figures.items():
            unit = "%" if JOINTS.index(joint) == GRIPPER else "°"
            lines.append(f"  {joint:<14}{rms:8.2f}{unit}{most:9.2f}{unit}")
        return "\n".join(lines)


def check_calibration(
    then: Mapping[str, Any] | None, now: Mapping[str, Any] | None, accept_another: bool = False
) -> Finding:
    """Whether degrees mean the same: both None for the mock arm, else with a file's `sha256`."""
    if then is None and now is None:
        return Finding(Level.OK, "recording", "calibration", "the mock arm's, as in the run")
    if then is None or now is None:
        was, is_ = ("the mock arm" if x is None else "a real arm" for x in (then, now))
        return Finding(
            *(Level.WARN, "recording", "calibration", f"the run was on {was}, this is {is_}"),
            *("", "its zeros are its own: expect poses to be off by some degrees"),
        )
    if then.get("sha256") is not None and then.get("sha256") == now.get("sha256"):
        return Finding(Level.OK, "recording", "calibration", "that of the run")
    return Finding(
        *(
            Level.WARN if accept_another else Level.STOP,
            "recording",
            "calibration",
            "another one than in the run",
        ),
        *(f"{then.get('path')} as it was", "take that calibration, or --other_calibration=true"),
    )


def check_rate(recording: Recording) -> Finding:
    """Whether the run kept its own rate: a replay does."""
    count = len(recording.goals)
    found = f"{count} goals at {recording.fps:g} Hz, {recording.missed} ticks missed, {recording.unsent} held"
    if recording.missed <= MISSED_SHARE * count:
        return Finding(Level.OK, "recording", "rate", found)
    return Finding(
        Level.WARN, "recording", "rate", found, "no tick missed", "missed ticks play the goal before them"
    )


def check_goals(
    recording: Recording, guard: Guard, ends: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> list[Finding]:
    """What the guard of this arm will do about the goals, found by asking one like it: same limits, same rig.

    It is asked with an arm that never moves, so what it says about load, heat and measured speed is not foreseen.

    Args:
        recording: what shall be played.
        guard: the arm's; it is not touched.
        ends: lower and upper ends (6,) of the calibrated range.
    """
    trial = Guard(guard.limits, *ends, guard.rig, measures=False)
    try:
        trial.reset(recording.goals[0])
    except UnsafeActionError as problem:
        return [Finding(Level.STOP, "recording", "limits", f"the first pose: {problem}")]
    changed: Counter[str] = Counter()
    ticks = 0
    for number, goal in enumerate(recording.goals):
        now_s = number / recording.fps
        state = ArmState(now_s, recording.goals[0], np.ones(6, np.bool_), np.zeros(6, np.uint8), None)
        verdict = trial.check(goal, state, {}, now_s)
        ticks += not verdict.ok
        # each once a tick, in the order of the joints: equal counts stay in it
        changed.update(
            dict.fromkeys(f"{c.rule} {c.joint or ''}".strip() for c in verdict.interventions).keys()
        )
    if not ticks:
        return [
            Finding(Level.OK, "recording", "limits", f"the guard lets all {len(recording.goals)} goals pass")
        ]
    most = ", ".join(f"{what} {count}" for what, count in changed.most_common(4))
    found = f"the guard will change {ticks} of {len(recording.goals)} goals: {most}"
    return [
        Finding(
            Level.WARN,
            "recording",
            "limits",
            found,
            "limits as in the run",
            "--robot.limits.* and --robot.rig",
        )
    ]
