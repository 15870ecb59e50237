"""Limits that narrow those of an arm and never widen them: what a `so101.yaml` says that nobody named.

A `so101.yaml` is found in the folder or above it, and a folder may be a stranger's. So its limits are not taken but
joined: of two speeds the lower one holds, of two tables the higher one, of two boxes what both allow. What would be
wider is left out, and said. What has no narrower side (`zero_deg`, which shifts what the table is compared with) is
refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from so101_policy.files.plain_data import Plain, parse_yaml
from so101_robot.errors import ConfigError
from so101_robot.guard.rig import JointRules, Rig, of_content
from so101_robot.joints import FULL_TURN_JOINT, FULL_TURN_STOP_DEG

OF_JOINTS: Mapping[str, Callable[[float, float], float]] = {
    "lower": max,
    "upper": min,
    "speed": min,
    "acceleration": min,
    "step": min,
    "current_ma": min,
    "load_percent": min,
    "overload_s": min,
}
"""Limit of a joint -> which of two is the narrower one."""

OF_ARM: Mapping[str, Callable[[float, float], float]] = {
    "slow_c": min,
    "stop_c": min,
    "state_age_s": min,
    "frame_age_s": min,
    "table_m": max,
    "self_gap_m": max,
}
"""The same for limits that are one number for the arm."""


class Narrowed(NamedTuple):
    """Limits, joined."""

    rig: Rig
    refused: tuple[str, ...]
    """What would have been wider and was left out, in words."""


def content_of(text: str) -> Mapping[str, Plain]:
    """The limits in a text, as `Rig`'s file has them.

    Raises:
        ConfigError: it is not YAML, or has a limit that there is not, that is no number, or that has no narrower side.
    """
    try:
        content: Plain = parse_yaml(text, finite=False)  # each number is held against its bounds below
    except ValueError as error:
        raise ConfigError(f"limits: {error}") from error
    return require_limits({} if content is None else content)


def require_limits(content: Plain) -> Mapping[str, Plain]:
    """The same of what was read already. Raises ConfigError."""
    of_content(content)
    assert isinstance(content, Mapping)  # or it had been refused
    for joint, row in _joints(content).items():
        if row is not None and "zero_deg" in row:
            raise ConfigError(
                f"{joint}: zero_deg is not possible here, for it moves what table and walls are compared with; it "
                "belongs into the limits file beside the calibration (docs/reference/limits.md)"
            )
    return content


def narrowed(base: Rig, text: str, may_widen: bool = False) -> Narrowed:
    """The limits of an arm with further ones.

    Args:
        base: the arm's, with the measured stops of wrist_roll.
        text: the further ones, as YAML; empty: none.
        may_widen: somebody named them, so they take the place of the arm's, wider ones as well.

    Raises:
        ConfigError: as `content_of`; or nothing is left between two limits.
    """
    if not text:
        return Narrowed(base, ())
    try:
        return _narrowed(base, content_of(text), may_widen)
    except ConfigError as error:
        raise ConfigError(f"the limits of so101.yaml: {error}") from error


def _narrowed(base: Rig, content: Mapping[str, Plain], may_widen: bool) -> Narrowed:
    asked, refused = of_content(content), list[str]()
    joints = dict(base.joints)
    for joint, row in _joints(content).items():
        for name in row or ():
            what = f"{joint}: {name}"
            value = getattr(asked.joints[joint], name)
            joints[joint] = _with(joints[joint], joint, name, value, may_widen, what, refused)
    rig = replace(base, joints=joints)
    changes: dict[str, float | bool | tuple[tuple[float, float], ...] | None] = {}
    for name in content:
        if name in OF_ARM:
            changes[name] = _chosen(
                OF_ARM[name], getattr(base, name), getattr(asked, name), may_widen, name, refused
            )
    if "self_collision" in content:
        changes["self_collision"] = asked.self_collision
        if base.self_collision and not asked.self_collision and not may_widen:
            changes["self_collision"] = True
            refused.append("self_collision: false, and the arm is kept from touching itself all the same")
    if "workspace_m" in content:
        changes["workspace_m"] = _box(base.workspace_m, asked.workspace_m, may_widen, refused)
    return Narrowed(replace(rig, **changes), tuple(refused))


def _joints(content: Mapping[str, Plain]) -> Mapping[str, Mapping[str, Plain] | None]:
    joints = content.get("joints", {})
    assert isinstance(joints, Mapping)  # checked by `of_content`
    return {joint: row if isinstance(row, Mapping) else None for joint, row in joints.items()}


def _with(
    rules: JointRules,
    joint: str,
    name: str,
    value: float | None,
    may_widen: bool,
    what: str,
    refused: list[str],
) -> JointRules:
    before: float | None = getattr(rules, name)
    if before is None and joint == FULL_TURN_JOINT and not may_widen:  # its range is LeRobot's whole turn
        before = -FULL_TURN_STOP_DEG if name == "lower" else FULL_TURN_STOP_DEG
    return replace(rules, **{name: _chosen(OF_JOINTS[name], before, value, may_widen, what, refused)})


def _chosen(
    narrower: Callable[[float, float], float],
    before: float | None,
    value: float | None,
    may_widen: bool,
    what: str,
    refused: list[str],
) -> float | None:
    """The limit that holds. None is no limit, the widest."""
    if may_widen or before == value:
        return value
    if value is None or (before is not None and narrower(before, value) != value):
        asked = "no limit" if value is None else f"{value:g}"
        refused.append(f"{what}: {asked} is wider than the arm's {before:g}, which stays")
        return before
    return value


def _box(
    before: tuple[tuple[float, float], ...] | None,
    asked: tuple[tuple[float, float], ...] | None,
    may_widen: bool,
    refused: list[str],
) -> tuple[tuple[float, float], ...] | None:
    if may_widen or before is None:
        return asked
    if asked is None:
        refused.append("workspace_m: no walls is wider than the arm's, which stay")
        return before
    spans: list[tuple[float, float]] = []
    for axis, (low, high), (asked_low, asked_high) in zip("xyz", before, asked, strict=True):
        if asked_low < low or asked_high > high:
            refused.append(
                f"workspace_m: {axis} [{asked_low:g}, {asked_high:g}] is wider than the arm's [{low:g}, {high:g}]; "
                "what both allow holds"
            )
        spans.append((max(low, asked_low), min(high, asked_high)))
        if math.isnan(sum(spans[-1])) or spans[-1][0] >= spans[-1][1]:
            raise ConfigError(
                f"workspace_m: {axis} [{asked_low:g}, {asked_high:g}] and the arm's [{low:g}, {high:g}] have nothing "
                "in common"
            )
    return tuple(spans)
