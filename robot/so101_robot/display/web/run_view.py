"""A `View` as the plain data that the page of a run shows: pure, and the page decides nothing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from so101_robot.chunks.turns import spans
from so101_robot.display.following import SMOOTHING
from so101_robot.display.style import BAD, GOOD, QUIET, WARN, fault_style, headline
from so101_robot.display.view import LAGGING, View, error_texts, figures, instead, share_rows
from so101_robot.joints import GRIPPER, JOINTS
from so101_robot.message import Severity

if TYPE_CHECKING:
    from so101_policy.attention.maps import Maps

TONES = {GOOD: "good", WARN: "warn", BAD: "bad", QUIET: "quiet"}
"""The dashboard's style -> the page's class."""

OF_SEVERITY = {
    Severity.INFO: "quiet",
    Severity.RECOVERED: "good",
    Severity.WARNING: "warn",
    Severity.ERROR: "bad",
}

MESSAGES = 30
"""On the page; the run folder has them all."""

Limits = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(6,) lower and (6,) upper ends of the joints' ranges, in LeRobot units."""


def as_plain(view: View, limits: Limits | None) -> dict[str, Any]:
    """All of it; what is not known is null.

    Args:
        view: of the run.
        limits: of the joints, for their bars; None: there are no bars.
    """
    words, style = headline(view.phase, view.mode, view.driver)
    counts = (("starved", view.starved), ("missed", view.missed), ("held", view.held))
    return {
        "title": {"policy": view.title.policy, "arm": view.title.arm, "cameras": view.title.cameras},
        "headline": [words, TONES[style]],
        "elapsed_s": round(view.elapsed_s, 1),
        "turns": [
            [driver, round(from_s, 2), round(to_s, 2)]
            for driver, from_s, to_s in spans(view.turns, view.elapsed_s)
        ],
        "figures": [*figures(view), ("chunks", view.title.chunks)],
        "counters": [[name, count] for name, count in counts if count],
        "shares": _shares(view),
        "instead": instead(view) if view.shares is None else "",
        "spread": None if view.shares is None else number(view.shares.entropy, 3),
        "blind": None if view.blind is None else [view.blind.share, view.blind.for_s, view.blind.uniform],
        "chunk": _chunk(view),
        "joints": _joints(view, limits),
        "guard": _guard(view),
        "faults": [
            [fault, words, TONES[fault_style(fault, view.mode)]] for fault, words in view.faults.items()
        ],
        "messages": [
            [round(time_s, 1), message.text, OF_SEVERITY[message.severity]]
            for time_s, message in reversed(view.messages[-MESSAGES:])
        ],
        "maps": {} if view.maps is None or view.phase in ("home", "over") else cells(view.maps),
    }


def cells(maps: "Maps") -> dict[str, dict[str, Any]]:
    """Each camera's map as whole numbers from 0 to 255, row by row: by how much a cell gets more than an even share of
    what all cells of all cameras get. 255 is the most, and twice the even share at least, so attention that is nearly
    even stays nearly clear."""
    known = {name: np.nan_to_num(cells) for name, cells in maps.items()}
    everything = np.concatenate([cells.ravel() for cells in known.values()] or [np.zeros(1)])
    even = float(everything.mean())
    scale = 255.0 / max(float(everything.max()) - even, even, 1e-9)
    return {
        name: {
            "rows": cells.shape[0],
            "columns": cells.shape[1],
            "cells": np.rint(np.clip(cells - even, 0.0, None) * scale).astype(int).ravel().tolist(),
        }
        for name, cells in known.items()
    }


def number(value: float, digits: int) -> float | None:
    """For strict JSON."""
    return round(float(value), digits) if np.isfinite(value) else None


def _shares(view: View) -> list[list[Any]]:
    """(name, share, share if uniform, what it is) of each part that the model has."""
    if view.shares is None:
        return []
    names = list(view.shares.cameras)
    return [
        [
            name,
            number(share, 4),
            None if uniform is None else number(uniform, 4),
            f"camera{names.index(name) % 4}" if name in names else name,
        ]
        for name, share, uniform, _ in share_rows(view.shares)
    ]


def _chunk(view: View) -> list[int] | None:
    planned = None if view.tick is None else view.tick.planned
    if planned is None or planned.action is None or not view.chunk_length:
        return None
    return [planned.index_in_chunk + 1, view.chunk_length]


def _joints(view: View, limits: Limits | None) -> list[dict[str, Any]]:
    if view.tick is None:
        return []
    errors = error_texts(view)
    positions = view.tick.state.position.tolist()
    goals: Sequence[float | None] = (
        [None] * len(JOINTS) if view.tick.goal is None else view.tick.goal.tolist()
    )
    rows: list[dict[str, Any]] = []
    for index, joint in enumerate(JOINTS):
        position, goal = positions[index], goals[index]
        rows.append(
            {
                "name": joint,
                "unit": "%" if index == GRIPPER else "°",
                "position": number(position, 1),
                "goal": None if goal is None else number(goal, 1),
                "lagging": goal is not None and abs(goal - position) > LAGGING,
                "range": None if limits is None else [number(end[index], 1) for end in limits],
                **_health(view, index),
                "error": errors.get(joint, ""),
            }
        )
    return rows


def _health(view: View, index: int) -> Mapping[str, float | None]:
    if (health := view.health) is None:
        return {"load": None, "volt": None, "temp": None}
    return {
        "load": number(abs(health.load_percent[index]), 0),
        "volt": number(health.voltage_v[index], 1),
        "temp": number(health.temperature_c[index], 0),
    }


def _guard(view: View) -> list[str]:
    """(words, tone)."""
    if view.tick is None:
        return ["nothing was sent yet", "quiet"]
    verdict = view.tick.verdict
    if verdict.stop is not None:
        return [f"holds the arm: {verdict.stop}", "bad"]
    so_far = f"; it changed {view.changed} so far" if view.changed else ""
    if verdict.interventions:
        rules = ", ".join(f"{each.rule} {each.joint or ''}".strip() for each in verdict.interventions[:3])
        usual = all(each.rule in SMOOTHING for each in verdict.interventions)
        return [f"changes this action: {rules}{so_far}", "quiet" if usual else "warn"]
    return [f"lets this action pass{so_far}", "good"]
