"""Pre-flight of the policy: does it fit this robot, in names, sizes, units and ranges?

The statistics with which a checkpoint scales its inputs and outputs tell in which units it was trained and where
the joints were then. They are read from LeRobot's files (numpy is enough, nothing of torch is loaded) and compared
with what this robot says of itself: degrees, gripper percent, calibrated ranges, present pose.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_policy.checkpoint.scaling import Statistics
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.motion.tolerances import OUTSIDE_RANGE_DEG
from so101_robot.preflight.findings import Finding, Level

ACTION, STATE, IMAGES = "action", "observation.state", "observation.images."
"""LeRobot's names of features."""

FAR_DEG = 20.0
"""A policy whose actions reach so far beyond a joint's range was trained on an arm with another calibration."""

NORMAL_SPREAD = 2.0
"""Standard deviations about the mean that stand for smallest and largest where a checkpoint has not stored these:
the positions of a joint that goes to and fro between two ends lie within two."""

STILL = 0.01
"""A joint that varied by less than this in training [deg or percent, standard deviation] is amplified beyond
sense: the normaliser divides by it."""


class Policy(Protocol):
    """What is asked of a policy; `so101_policy.inference.act_policy.ActPolicy` is one."""

    @property
    def path(self) -> Path: ...

    def check_robot(self, joints: Sequence[str], cameras: Mapping[str, tuple[int, int]]) -> None:
        """Raises PolicyError for names, order and sizes that do not fit."""
        ...


class Span(NamedTuple):
    """Where a feature was in training, each (6,)."""

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    exact: bool
    """Smallest and largest as stored; false: `NORMAL_SPREAD` about the mean."""


def check_policy(
    policy: Policy, joints: Sequence[str], cameras: Mapping[str, tuple[int, int]]
) -> list[Finding]:
    """Names, order and sizes of inputs and outputs. (Its rate is seen to where the scheduler is made.)

    Raises:
        PolicyError: all misfits of names and sizes at once.
    """
    policy.check_robot(joints, cameras)
    sizes = ", ".join(f"{name} {width}x{height}" for name, (height, width) in cameras.items())
    return [Finding(Level.OK, "policy", str(policy.path), f"{len(joints)} joints; {sizes or 'no camera'}")]


def check_statistics(statistics: Statistics) -> list[Finding]:
    """Statistics are there, are numbers, and look like degrees, gripper percent and pixels of 0 to 1."""
    findings: list[Finding] = []
    for feature in (ACTION, STATE):
        if feature in statistics:
            findings += _joint_statistics(feature, statistics[feature])
        elif feature == ACTION:
            remedy = "train it again, or take the checkpoint's processor files along"
            findings.append(
                Finding(Level.STOP, "statistics", feature, "none", "mean and std, or the like", remedy)
            )
    for feature, values in statistics.items():
        if feature.startswith(IMAGES) and "mean" in values and float(values["mean"].max()) > 1.0:
            found, asked = (
                f"a mean of {float(values['mean'].max()):.0f}",
                "0 to 1, as LeRobot scales pictures",
            )
            findings.append(
                Finding(Level.STOP, "statistics", feature, found, asked, "train with LeRobot's statistics")
            )
    return findings or [
        Finding(Level.OK, "statistics", ", ".join(statistics), "degrees, percent, pixels of 0 to 1")
    ]


def check_ranges(
    statistics: Statistics, lower: ArrayLike, upper: ArrayLike, present: ArrayLike
) -> list[Finding]:
    """The joints' ranges in training against those of this arm, and against where it is.

    Args:
        statistics: of the checkpoint.
        lower, upper: (6,) calibrated ranges of this arm, in LeRobot units.
        present: (6,) its pose.
    """
    low, high, now = (np.asarray(values, np.float64) for values in (lower, upper, present))
    findings: list[Finding] = []
    action = span_of(statistics, ACTION)
    if action is not None:
        beyond = np.maximum(low - action.lowest, action.highest - high)
        for i in np.flatnonzero(beyond > OUTSIDE_RANGE_DEG).tolist():
            level = Level.STOP if action.exact and beyond[i] > FAR_DEG else Level.WARN
            remedy = (
                "was the policy trained on an arm with this calibration? The guard cuts actions to the range"
            )
            found = f"the policy's actions go {_from_to(action, i)}"
            findings.append(
                Finding(level, "ranges", JOINTS[i], found, f"{low[i]:.0f} to {high[i]:.0f}", remedy)
            )
    state = span_of(statistics, STATE)
    if state is not None:
        off = np.maximum(state.lowest - now, now - state.highest)
        for i in np.flatnonzero(off > OUTSIDE_RANGE_DEG).tolist():
            found, asked = f"it is at {now[i]:.0f}", f"{_from_to(state, i)}, as in training"
            remedy = "start where the demonstrations start"
            findings.append(Finding(Level.WARN, "ranges", JOINTS[i], found, asked, remedy))
    if action is None and state is None:
        return [Finding(Level.WARN, "ranges", "joints", "no statistics of joints", "ranges to compare")]
    return findings or [Finding(Level.OK, "ranges", "joints", "the policy's ranges lie within the arm's")]


def span_of(statistics: Statistics, feature: str) -> Span | None:
    """Where a joint feature was in training; None if that is not known."""
    values = statistics.get(feature, {})
    if {"min", "max"} <= values.keys():
        span = Span(values["min"], values["max"], True)
    elif {"mean", "std"} <= values.keys():
        reach = NORMAL_SPREAD * values["std"]
        span = Span(values["mean"] - reach, values["mean"] + reach, False)
    else:
        return None
    return span if span.lowest.shape == span.highest.shape == (len(JOINTS),) else None


def _joint_statistics(feature: str, values: Mapping[str, NDArray[np.float64]]) -> list[Finding]:
    asked = f"{len(JOINTS)} finite numbers"
    for name, numbers in values.items():
        if name != "count" and not (numbers.shape == (len(JOINTS),) and np.isfinite(numbers).all()):
            found = f"{name} = {np.array2string(numbers, precision=3, threshold=8)}"
            return [Finding(Level.STOP, "statistics", feature, found, asked, "the checkpoint is damaged")]
    span = span_of(statistics={feature: values}, feature=feature)
    if span is None:
        found = f"only {', '.join(values) or 'nothing'}"
        return [Finding(Level.STOP, "statistics", feature, found, "mean and std, or min and max")]
    return [*_units(feature, span), *_still(feature, values)]


def _units(feature: str, span: Span) -> list[Finding]:
    """What other units than degrees and gripper percent look like."""
    reach = np.maximum(np.abs(span.lowest), np.abs(span.highest))
    arm, gripper = float(reach[:GRIPPER].max()), float(span.highest[GRIPPER])
    asked, remedy = (
        "degrees",
        "record the dataset in degrees (LeRobot's use_degrees=true), or convert it",
    )
    guess = None
    if arm <= 1.01:
        guess = f"no joint goes beyond {arm:.2f}: numbers of -1 to 1?"
    elif arm <= 3.3:
        guess = f"no joint goes beyond {arm:.2f}: radians?"
    elif span.exact and arm > 400:
        guess = f"a joint goes to {arm:.0f}: encoder steps?"
    if guess is not None:
        return [Finding(Level.STOP, "statistics", feature, guess, asked, remedy)]
    if gripper <= 1.01:
        found = f"the gripper does not open beyond {gripper:.2f}"
        return [Finding(Level.STOP, "statistics", feature, found, "0 to 100 percent", "scale it to percent")]
    if span.exact and (gripper > 105 or span.lowest[GRIPPER] < -5):
        found = f"the gripper goes {_from_to(span, GRIPPER)}: degrees?"
        return [Finding(Level.WARN, "statistics", feature, found, "0 to 100 percent")]
    return []


def _still(feature: str, values: Mapping[str, NDArray[np.float64]]) -> list[Finding]:
    if "std" not in values:
        return []
    return [
        Finding(
            Level.WARN,
            "statistics",
            f"{feature}, {JOINTS[i]}",
            f"it hardly moved in training (standard deviation {values['std'][i]:.2g})",
            f"{STILL} at least",
            "the smallest deviation from there will look huge to the policy",
        )
        for i in np.flatnonzero(values["std"] < STILL).tolist()
    ]


def _from_to(span: Span, index: int) -> str:
    about = "" if span.exact else "about "
    return f"{about}{span.lowest[index]:.0f} to {span.highest[index]:.0f}"
