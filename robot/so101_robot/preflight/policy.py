"""Pre-flight of the policy: does it fit this robot, in names, sizes, units and ranges?

The statistics with which a checkpoint scales its inputs and outputs tell in which units it was trained and where
the joints were then. They are read from LeRobot's files (numpy is enough, nothing of torch is loaded) and compared
with what this robot says of itself: degrees, gripper percent, calibrated ranges, present pose.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from so101_policy.checkpoint.scaling import Statistics
from so101_policy.units import (
    LEAST_SPREAD_DEG,
    Span,
    Units,
    looks_like_range,
    units_of,
    why_not_joints,
)
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.motion.tolerances import OUTSIDE_RANGE_DEG
from so101_robot.preflight.findings import Finding, Level

ACTION, STATE, IMAGES = "action", "observation.state", "observation.images."
"""LeRobot's names of features."""

FLAG = "--robot.use_degrees"
"""Of `so101-run`; without `robot.` of `so101-eval run`."""

FAR_DEG = 20.0
"""A policy whose actions reach so far beyond a joint's range was trained on an arm with another calibration."""

ROUNDING = 1e-3
"""Of a standard deviation that training has raised to its floor, in 32 bits [deg]."""


class Policy(Protocol):
    """What is asked of a policy; `so101_policy.inference.loaded.LoadedPolicy` is one."""

    @property
    def path(self) -> Path: ...

    def check_robot(self, joints: Sequence[str], cameras: Mapping[str, tuple[int, int]]) -> None:
        """Raises PolicyError for names, order and sizes that do not fit."""
        ...


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


def check_statistics(statistics: Statistics, units: Units | None = None) -> list[Finding]:
    """Statistics are there, are numbers, and look like joints in their units, gripper percent and pixels of 0 to 1.

    Args:
        statistics: of the checkpoint.
        units: of its joints, by the checkpoint or by a flag; None: not known, so degrees if nothing speaks against it.
    """
    findings: list[Finding] = []
    if units is None and any(units_of(_arms(values)) for values in statistics.values()):
        units = Units.DEGREES
    for feature in (ACTION, STATE):
        if feature in statistics:
            findings += _joint_statistics(feature, statistics[feature], units)
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
    if units is None and not findings:
        findings.append(_untold())
    return findings or [
        Finding(Level.OK, "statistics", ", ".join(statistics), f"{units}, percent, pixels of 0 to 1")
    ]


def in_degrees(statistics: Statistics, range_unit: NDArray[np.float64]) -> Statistics:
    """Statistics of joints in -100 to 100 as those of this arm in degrees.

    Args:
        statistics: of the checkpoint.
        range_unit: (6,) degrees in a unit, negative where a joint counts the other way round.
    """
    return {
        feature: _scaled(values, range_unit) if feature in (ACTION, STATE) else values
        for feature, values in statistics.items()
    }


def _scaled(
    values: Mapping[str, NDArray[np.float64]], unit: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    sized = {name: x for name, x in values.items() if x.shape == unit.shape}
    scaled = {name: x * (np.abs(unit) if name == "std" else unit) for name, x in sized.items()}
    if {"min", "max"} <= scaled.keys():
        ends = np.stack([scaled["min"], scaled["max"]])
        scaled |= {"min": ends.min(axis=0), "max": ends.max(axis=0)}
    return {name: scaled[name] for name in ("min", "max", "mean", "std") if name in scaled}


def check_ranges(
    statistics: Statistics, lower: ArrayLike, upper: ArrayLike, start: ArrayLike
) -> list[Finding]:
    """The joints' ranges in training against those of this arm, and against where the policy takes over.

    Args:
        statistics: of the checkpoint.
        lower, upper: (6,) calibrated ranges of this arm, in LeRobot units.
        start: (6,) the pose in which the policy is asked first.
    """
    low, high, now = (np.asarray(values, np.float64) for values in (lower, upper, start))
    findings: list[Finding] = []
    action = _arms(statistics.get(ACTION, {}))
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
    state = _arms(statistics.get(STATE, {}))
    if state is not None:
        off = np.maximum(state.lowest - now, now - state.highest)
        for i in np.flatnonzero(off > OUTSIDE_RANGE_DEG).tolist():
            found, asked = f"the policy begins at {now[i]:.0f}", f"{_from_to(state, i)}, as in training"
            remedy = "start where the demonstrations start: --start_pose=..., or move the arm there"
            findings.append(Finding(Level.WARN, "ranges", JOINTS[i], found, asked, remedy))
    if action is None and state is None:
        return [Finding(Level.WARN, "ranges", "joints", "no statistics of joints", "ranges to compare")]
    return findings or [Finding(Level.OK, "ranges", "joints", "the policy's ranges lie within the arm's")]


def _arms(values: Mapping[str, NDArray[np.float64]]) -> Span | None:
    """Where this arm's joints were; None if that is not known."""
    span = Span.of(values)
    return span if span is not None and span.lowest.shape == (len(JOINTS),) else None


def _joint_statistics(
    feature: str, values: Mapping[str, NDArray[np.float64]], units: Units | None
) -> list[Finding]:
    asked = f"{len(JOINTS)} finite numbers"
    for name, numbers in values.items():
        if name != "count" and not (numbers.shape == (len(JOINTS),) and np.isfinite(numbers).all()):
            found = f"{name} = {np.array2string(numbers, precision=3, threshold=8)}"
            return [Finding(Level.STOP, "statistics", feature, found, asked, "the checkpoint is damaged")]
    span = _arms(values)
    if span is None:
        found = f"only {', '.join(values) or 'nothing'}"
        return [Finding(Level.STOP, "statistics", feature, found, "mean and std, or min and max")]
    still = _still(values) if feature == STATE else []
    return [*_units(feature, span, units), *still]


def _units(feature: str, span: Span, units: Units | None) -> list[Finding]:
    """What the values cannot be, or probably are not."""
    gripper = float(span.highest[GRIPPER])
    asked = f"{units or Units.DEGREES}"

    def stop(found: str, possible: str, asked: str = asked) -> list[Finding]:
        return [Finding(Level.STOP, "statistics", feature, found, asked, possible)]

    if (other := why_not_joints(span)) is not None:
        return stop(other, "record the dataset with LeRobot's units, degrees, or convert it")
    if units is Units.RANGE and units_of(span) is Units.DEGREES:
        return stop(f"a joint goes to {span.reach:.0f}: degrees?", f"{FLAG}=true")
    if units is None and looks_like_range(span):
        ends = ", ".join(_from_to(span, i) for i in range(GRIPPER))
        return stop(
            f"joints end at 100 and none goes beyond ({ends}): LeRobot's -100..100?",
            f"{FLAG}=false converts them; =true if they are degrees all the same",
        )
    if gripper <= 1.01:
        return stop(
            f"the gripper does not open beyond {gripper:.2f}", "scale it to percent", "0 to 100 percent"
        )
    if span.exact and (gripper > 105 or span.lowest[GRIPPER] < -5):
        found = f"the gripper goes {_from_to(span, GRIPPER)}: degrees?"
        return [Finding(Level.WARN, "statistics", feature, found, "0 to 100 percent")]
    return []


def _untold() -> Finding:
    return Finding(
        *(
            Level.WARN,
            "statistics",
            "units",
            "no joint goes beyond 100, and the checkpoint does not say its units",
        ),
        *("degrees", f"recorded before February 2026? Then probably {FLAG}=false; else =true"),
    )


def _still(values: Mapping[str, NDArray[np.float64]]) -> list[Finding]:
    """Joints whose state would be scaled by less than a training of ours scales by: a tenth of a degree off, and the
    policy sees what it never saw. (Of an action a small spread only makes small what it is multiplied by.)"""
    if "std" not in values:
        return []
    return [
        Finding(
            Level.STOP,
            "statistics",
            f"{STATE}, {JOINTS[i]}",
            f"it hardly moved in training (standard deviation {values['std'][i]:.2g})",
            f"{LEAST_SPREAD_DEG:g} at least",
            "the smallest deviation from there looks huge to the policy: train it with so101-train, which scales such "
            "a joint as if it had moved",
        )
        for i in np.flatnonzero(values["std"] < LEAST_SPREAD_DEG - ROUNDING).tolist()
    ]


def _from_to(span: Span, index: int) -> str:
    about = "" if span.exact else "about "
    return f"{about}{span.lowest[index]:.0f} to {span.highest[index]:.0f}"
