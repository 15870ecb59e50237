"""What a tick's readings say is wrong, in the words of the supervisor.

Servos tell it by silence, by their error bits and by positions that no joint can reach in the time; cameras
by pictures that are old, black, or the same although the arm has moved; a policy by what it asks for and by
what the guard says to that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from so101_robot.bus.protocol import Errors
from so101_robot.faults.fault import Fault, Symptom
from so101_robot.guard.rules import NO_POSE, OVERLOADED, STALE_FRAME, STALE_STATE, GuardRule
from so101_robot.joints import GRIPPER, JOINTS, SERVO_IDS, named_servo

if TYPE_CHECKING:
    from so101_robot.guard.guard import Guard, Verdict
    from so101_robot.state import ArmState, Frame

WARM_C = 60.0
"""Ten degrees below the limit at which a servo lets go."""

FASTEST_DEG_S = 400.0
"""Half as fast again as an unloaded servo (46 rpm = 276 deg/s), and a joint that is pushed."""

LEAP_DEG = 30.0
"""A position farther from the last one than this, and than `FASTEST_DEG_S` allows, is a leap: a wrapped
encoder makes one of 360, a flipped high bit of 180 and less."""

LONGEST_LEAP_DEG = 180.0
"""Farther than this is always a leap, however long the joint was not seen."""

DARK, BRIGHT = 8.0, 16.0
"""Mean brightness, 0 to 255: black, and certainly not black. A picture in a dark room is above 16 with any
automatic exposure."""

MOVED_DEG = 15.0
"""The arm cannot turn a joint this far and leave a picture of it the same to the bit."""

SAMPLES = 48
"""About how many rows of a picture are compared."""

JUMP_DEG = 45.0
"""An action this far from the goal in force is a jump: fifteen ticks of a fast demonstration."""

OUT_OF_RANGE_DEG = 20.0
"""An action this far outside the limits was not meant for this arm; recordings rest on the ends, and a policy
overshoots those by a few degrees."""

_FAULT_OF_BIT: tuple[tuple[Errors, Fault], ...] = (
    (Errors.OVERLOAD, "overload"),
    (Errors.OVERCURRENT, "over-current"),
    (Errors.OVERHEAT, "too hot"),
    (Errors.VOLTAGE, "voltage"),
    (Errors.ENCODER, "encoder fault"),
)

_FAULT_OF_RULE: Mapping[GuardRule, Fault] = {
    GuardRule.SERVO_SILENT: "servo silent",
    **dict.fromkeys(STALE_STATE, "bus silent"),
    **dict.fromkeys(STALE_FRAME, "camera stalled"),
    **dict.fromkeys(OVERLOADED, "servo strained"),
    **dict.fromkeys(NO_POSE, "policy answers no pose"),
}
"""Stops of the guard that are a fault of their own."""


def servo_symptoms(state: "ArmState") -> list[Symptom]:
    """Silence, error bits and heat."""
    symptoms: list[Symptom] = []
    for i in np.flatnonzero(~np.asarray(state.answered, np.bool_)):
        symptoms.append(Symptom("servo silent", JOINTS[i], f"{_servo(i)} does not answer"))
    for i in np.flatnonzero(state.errors):
        bits = Errors(int(state.errors[i]))
        for bit, fault in _FAULT_OF_BIT:
            if bits & bit:
                name: Fault = "gripper overload" if fault == "overload" and i == GRIPPER else fault
                symptoms.append(Symptom(name, JOINTS[i], f"{_servo(i)} reports: {bits.describe()}"))
    if state.health is not None:
        heat = state.health.temperature_c
        for i in np.flatnonzero(heat >= WARM_C):  # NaN is not warm
            symptoms.append(Symptom("warm", JOINTS[i], f"{_servo(i)} is at {heat[i]:.0f} degrees Celsius"))
    return symptoms


def guard_symptoms(verdict: "Verdict", asked: NDArray[np.float64] | None) -> list[Symptom]:
    """Why the guard let nothing pass on this tick."""
    if verdict.stop is None:
        return []
    unnamed: Fault = "guard stops" if asked is None else "guard refuses the policy"
    if not verdict.interventions:
        return [Symptom(unnamed, "", verdict.stop)]
    reason = verdict.interventions[0]
    where = "" if reason.rule in NO_POSE else reason.joint or ""
    return [Symptom(_FAULT_OF_RULE.get(reason.rule, unnamed), where, verdict.stop)]


def far_out_symptoms(asked: NDArray[np.float64], guard: "Guard") -> list[Symptom]:
    """Whether an action (6,), wherever the arm is, is so far out of range that nothing of it may be driven."""
    if (found := guard.far_out(asked)) is None:
        return []
    joint, value, outside = found
    return [
        Symptom(
            "policy far out of range",
            "",
            f"the policy wants {joint} at {value:.4g}, {outside:.4g} out of range",
        )
    ]


def action_symptoms(asked: NDArray[np.float64], goal: NDArray[np.float64], guard: "Guard") -> list[Symptom]:
    """What is wrong with an action (6,) that the guard can clamp, beside the goal (6,) in force."""
    if asked.shape != goal.shape or not np.isfinite(asked).all():
        return []  # the guard's business
    symptoms: list[Symptom] = []
    outside = np.maximum(guard.lower - asked, asked - guard.upper)
    if outside[worst := int(np.argmax(outside))] > OUT_OF_RANGE_DEG:  # less than what is far out
        words = f"the policy wants {JOINTS[worst]} at {asked[worst]:.0f}, {outside[worst]:.0f} out of range"
        symptoms = far_out_symptoms(asked, guard) or [Symptom("policy out of range", "", words)]
    away = np.abs(asked - goal)[:GRIPPER]  # a gripper goes from open to closed in one step, and may
    if away[worst := int(np.argmax(away))] > JUMP_DEG:
        words = f"the policy wants {JOINTS[worst]} to jump by {away[worst]:.0f} degrees"
        symptoms.append(Symptom("policy jumps", "", words))
    return symptoms


def answer_symptoms(coming: NDArray[np.float64], goal: NDArray[np.float64], guard: "Guard") -> list[Symptom]:
    """What is wrong with the actions (n, 6) of an answer that are about to be played.

    However an answer is joined to what was played before: a plan that jumps is led to its new place slowly, and its
    first steps look sound. One that has NaN or infinity anywhere is not played up to there.
    """
    if coming.ndim != 2 or coming.shape[1:] != goal.shape or not len(coming):
        return []  # the guard's business
    if not np.isfinite(coming).all():
        return [Symptom("policy answers no pose", "", "the policy's answer has NaN or infinity in it")]
    outside = np.maximum(guard.lower - coming, coming - guard.upper).max(1)
    worst = coming[int(np.argmax(outside))]
    symptoms = action_symptoms(coming[0], goal, guard) + action_symptoms(worst, worst, guard)
    return list({symptom.fault: symptom for symptom in symptoms}.values())


class LeapCheck:
    """Finds positions that a joint cannot have got to since it was last seen."""

    def __init__(self) -> None:
        self._position: NDArray[np.float64] | None = None
        self._seen_s = np.zeros(len(JOINTS))

    def see(self, state: "ArmState") -> NDArray[np.bool_]:
        """(6,) the joints that leap in this reading. One that leaps is compared with where it was before, until
        it is near that again. A gripper leaps only where its servo counts beyond a turn: its reading is in
        percent of a range of unknown width, and cut to 0 and 100."""
        answered = np.asarray(state.answered, np.bool_)
        if self._position is None:
            self._position = np.array(state.position, np.float64)
            self._seen_s[:] = state.time_s
        passed_s = np.maximum(state.time_s - self._seen_s, 0.0)
        reach = np.minimum(LEAP_DEG + FASTEST_DEG_S * passed_s, LONGEST_LEAP_DEG)
        leaps = answered & (np.abs(state.position - self._position) > reach)
        leaps[GRIPPER] = False if state.turned is None else answered[GRIPPER] and state.turned[GRIPPER]
        good = answered & ~leaps
        self._position = np.where(good, state.position, self._position)
        self._seen_s = np.where(good, state.time_s, self._seen_s)
        return leaps

    def words(self, joint: int, state: "ArmState") -> str:
        """What leapt."""
        assert self._position is not None  # it was seen
        if joint == GRIPPER:
            return f"{_servo(joint)} counts beyond one turn"
        return f"{_servo(joint)} reports {state.position[joint]:.0f} right after {self._position[joint]:.0f} degrees"


@dataclass
class _LastPicture:
    sequence: int
    sample: NDArray[np.uint8]
    position: NDArray[np.float64]
    """(6,) of the arm when this picture was first seen."""
    was_bright: bool
    frozen: bool = False
    dark: bool = False


class PictureCheck:
    """Finds cameras that have gone dark, and those that send the same picture with new time stamps.

    A picture that is the same to the bit is suspicious only when the arm has moved, so a scene in which
    nothing moves, or a simulated one without noise, is not. Dark is what was bright before: how it has to be at the
    start is another's business.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _LastPicture] = {}

    def see(self, frames: "Mapping[str, Frame]", position: NDArray[np.float64]) -> list[Symptom]:
        """What is wrong with the newest pictures, the arm being at `position` (6,)."""
        symptoms: list[Symptom] = []
        for name, frame in frames.items():
            seen = self._look(name, frame, position)
            if seen.dark:
                symptoms.append(Symptom("camera dark", name, f"camera {name!r} has gone dark"))
            elif seen.frozen:
                words = f"camera {name!r} sends the same picture although the arm has moved"
                symptoms.append(Symptom("camera frozen", name, words))
        return symptoms

    def _look(self, name: str, frame: "Frame", position: NDArray[np.float64]) -> _LastPicture:
        before = self._seen.get(name)
        if before is not None and before.sequence == frame.sequence:
            return before
        step = max(1, frame.image.shape[0] // SAMPLES)
        sample = frame.image[::step, ::step].copy()  # a source may draw the next picture into the same array
        if before is not None and np.array_equal(before.sample, sample):
            before.sequence = frame.sequence
            moved = np.abs(position - before.position)[:GRIPPER].max()
            before.frozen = before.frozen or bool(moved > MOVED_DEG)
            return before
        mean = float(sample.mean()) if sample.size else 0.0
        was_bright = mean > BRIGHT or (before is not None and before.was_bright)
        dark = was_bright and mean < DARK
        self._seen[name] = _LastPicture(frame.sequence, sample, np.array(position), was_bright, dark=dark)
        return self._seen[name]


def _servo(joint: int | np.intp) -> str:
    return named_servo(SERVO_IDS[joint])
