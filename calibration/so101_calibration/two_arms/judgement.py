"""Whether leader and follower mean the same by an angle, and which of the two is off. Pure functions.

Both are brought into the same pose by eye, and an eye is good for about 5 degrees. A stop is exact: at its own stop an
arm has to read the end of its own calibrated range. So the stops tell *which* arm is off, and poses by eye only
*whether* the two differ. What neither can tell is said.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from so101_robot.bus.calibration import Calibration
from so101_robot.joints import FULL_TURN_JOINT, GRIPPER, JOINTS
from so101_robot.preflight.calibration import NOMINAL_DEG

JAWS = JOINTS[GRIPPER]

AT_STOP_DEG = 3.0
"""How far from its calibrated end an arm may read at its stop: the guided calibration is exact to 0.1 degrees, a part
that bends and a hand that presses are not."""

BY_EYE_DEG = 6.0
"""Difference of two arms that were brought into one pose by eye, which is no finding."""

ELSEWHERE_DEG = 40.0
"""Farther than this from its end a joint was not at its stop, whatever its calibration is."""

CLOSED_PERCENT, OPEN_PERCENT = 8.0, 60.0
"""Closed jaws are below the first; above the second their calibration is the wrong way round."""

SIZES_DIFFER = 0.08
"""Share by which the wider of two ranges has to be nearer to the nominal one, to say that the other is off."""


class Who(StrEnum):
    """Which arm is off."""

    NEITHER = "the same"
    FOLLOWER = "the follower is off"
    LEADER = "the leader is off"
    BOTH = "both are off"
    UNKNOWN = "cannot be told"


class Stop(NamedTuple):
    """A joint at its stop."""

    follower_deg: float
    leader_deg: float
    end: int
    """-1: the lower one, 1: the upper one; 0: either, but the same of both arms."""


class Judged(NamedTuple):
    """What was found about one joint."""

    joint: str
    who: Who
    why: str


def judge(
    follower: Calibration,
    leader: Calibration,
    stops: Mapping[str, Stop],
    middle: Mapping[str, tuple[float, float]],
    closed_percent: tuple[float, float],
) -> list[Judged]:
    """Every joint, in order.

    Args:
        follower, leader: their calibrations.
        stops: what both read at a stop, of the joints that were brought to one.
        middle: joint -> what follower and leader read in the middle pose [deg], by eye.
        closed_percent: what both read with closed jaws, and with the trigger pressed.
    """
    found: list[Judged] = []
    for joint in JOINTS:
        if joint == JAWS:
            found.append(_jaws(*closed_percent))
        elif joint in stops:
            spans = follower[joint].span_deg, leader[joint].span_deg
            found.append(_with_stop(joint, stops[joint], spans, middle[joint]))
        else:
            found.append(_by_eye(joint, *middle[joint]))
    return found


def _with_stop(
    joint: str, stop: Stop, spans_deg: tuple[float, float], middle_deg: tuple[float, float]
) -> Judged:
    read = {Who.FOLLOWER: stop.follower_deg, Who.LEADER: stop.leader_deg}
    spans = dict(zip(read, spans_deg, strict=True))
    ends = {who: stop.end or (1 if deg > 0 else -1) for who, deg in read.items()}
    if ends[Who.FOLLOWER] != ends[Who.LEADER]:
        why = "at the same stop one reads its upper and the other its lower end: they count in opposite directions"
        return Judged(joint, Who.UNKNOWN, why)
    off = {who: ends[who] * deg - spans[who] / 2 for who, deg in read.items()}
    wrong = [who for who, deg in off.items() if abs(deg) > AT_STOP_DEG]
    if wrong:
        why = "; ".join(_at_stop(who, off[who]) for who in wrong)
        if all(-off[who] > ELSEWHERE_DEG for who in read):
            return Judged(joint, Who.UNKNOWN, f"neither was near its stop: {why}")
        return Judged(joint, wrong[0] if len(wrong) == 1 else Who.BOTH, why)
    differs = stop.leader_deg - stop.follower_deg
    if abs(differs) > BY_EYE_DEG:
        return _of_sizes(joint, differs, spans)
    if abs(differs := middle_deg[1] - middle_deg[0]) > BY_EYE_DEG:
        why = (
            f"at the stop both read the same, in the middle pose they are {differs:+.0f} deg apart: the poses were not "
            "the same, or the other end of a range was not at its stop"
        )
        return Judged(joint, Who.UNKNOWN, why)
    return Judged(joint, Who.NEITHER, f"{differs:+.1f} deg in the middle pose")


def _of_sizes(joint: str, differs_deg: float, spans_deg: Mapping[Who, float]) -> Judged:
    """Each is right at its stop, and they differ: the ranges are not equally wide."""
    nominal = NOMINAL_DEG[joint]
    widths = ", ".join(f"{_name(who)}'s range is {span:.0f} deg" for who, span in spans_deg.items())
    why = (
        f"both read their own end, {differs_deg:+.0f} deg apart: {widths}, that of the drawing {nominal:.0f}"
    )
    wrong = {who: abs(span / nominal - 1) for who, span in spans_deg.items()}
    far, near = sorted(wrong, key=lambda who: -wrong[who])
    return Judged(joint, far if wrong[far] - wrong[near] > SIZES_DIFFER else Who.UNKNOWN, why)


def _by_eye(joint: str, follower_deg: float, leader_deg: float) -> Judged:
    differs = leader_deg - follower_deg
    if abs(differs) <= BY_EYE_DEG:
        return Judged(joint, Who.NEITHER, f"{differs:+.1f} deg in the middle pose")
    if joint == FULL_TURN_JOINT:
        wrong = [
            who
            for who, deg in ((Who.FOLLOWER, follower_deg), (Who.LEADER, leader_deg))
            if abs(deg) > BY_EYE_DEG
        ]
        read = f"the follower reads {follower_deg:+.0f} and the leader {leader_deg:+.0f} deg"
        why = f"in the pose that is its zero {read}"
        if wrong:
            return Judged(joint, wrong[0] if len(wrong) == 1 else Who.BOTH, why)
    return Judged(joint, Who.UNKNOWN, f"{differs:+.0f} deg apart in the middle pose, which is judged by eye")


def _jaws(follower_percent: float, leader_percent: float) -> Judged:
    read = {Who.FOLLOWER: follower_percent, Who.LEADER: leader_percent}
    wrong = [who for who, percent in read.items() if percent > CLOSED_PERCENT]
    if not wrong:
        return Judged(JAWS, Who.NEITHER, "closed for both")
    why = "; ".join(
        f"{_name(who)} is closed and reads {read[who]:.0f} %"
        + (", as if it were open: it is mounted mirrored (drive_mode)" if read[who] > OPEN_PERCENT else "")
        for who in wrong
    )
    return Judged(JAWS, wrong[0] if len(wrong) == 1 else Who.BOTH, why)


def _at_stop(who: Who, off_deg: float) -> str:
    words = "beyond" if off_deg > 0 else "short of"
    return f"at its stop {_name(who)} reads {abs(off_deg):.0f} deg {words} the end of its calibrated range"


def _name(who: Who) -> str:
    return "the follower" if who is Who.FOLLOWER else "the leader"


def agree(found: Sequence[Judged]) -> bool:
    """Whether the two arms mean the same."""
    return all(judged.who is Who.NEITHER for judged in found)
