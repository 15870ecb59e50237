"""Reliance as a picture: what the action follows, in which phase, and what it costs to take it away.

Colours are Okabe and Ito's, which the colour-blind tell apart
(jfly.uni-koeln.de/color), and every policy has a marker of its own too.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from so101_policy.files.whole_files import replacing
from so101_policy.reliance.report import (
    CONFLICT_ROWS,
    PHASE_ROWS,
    RELIANCE_ROWS,
    Reliance,
    Row,
    Study,
    exchange_rows,
)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#b5b5b5",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}
SPREAD = 0.56
"""Of a row's height, over which the policies' marks are spread."""


def draw(study: Study, policies: Sequence[Reliance], path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    with mpl.rc_context(STYLE), replacing(path) as partial:
        _compose(study, policies).savefig(partial, format="png", dpi=160)


def _compose(study: Study, policies: Sequence[Reliance]) -> Figure:
    figures = policies[0].figures
    phases = [row for row in PHASE_ROWS if row.path in figures]
    errors = exchange_rows(figures, "error")
    rows = max(len(RELIANCE_ROWS) + 1, len(phases), len(errors))
    height = 2.3 + rows * (0.26 + 0.17 * len(policies))
    figure = Figure(figsize=(14, height))
    axes: NDArray[np.object_] = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.15, 0.9, 1.15]})
    top, bottom = 1 - 1.25 / height, 0.72 / height
    figure.subplots_adjust(left=0.115, right=0.98, top=top, bottom=bottom, wspace=0.52)
    _whole_task(axes[0], policies)
    _by_phase(axes[1], study, phases, policies)
    _cost(axes[2], errors, policies)
    _heading(figure, height, study, axes[0], policies)
    return figure


def _whole_task(axis: Axes, policies: Sequence[Reliance]) -> None:
    conflict = CONFLICT_ROWS[0]
    labels = [fill(row.label, 16) for row in RELIANCE_ROWS]
    _frame(axis, [*labels, "cue conflict\n(1 − VCI)", "attention to the state\n(diagnostic only)"])
    _marks(axis, RELIANCE_ROWS, policies)
    _marks(axis, [conflict], policies, first_row=len(RELIANCE_ROWS), mirrored=True)
    for index, policy in enumerate(policies):
        share = policy.attention.get("shares", {}).get("state")
        if share is not None:
            y = len(RELIANCE_ROWS) + 1 + _offset(index, len(policies))
            axis.plot(share, y, MARKERS[index % len(MARKERS)], mfc="white", mec=FAINT, ms=6, mew=1.3)
    axis.axhline(len(RELIANCE_ROWS) + 0.5, color="#b5b5b5", lw=0.8, ls=(0, (4, 3)))
    _zero_to_one(axis)
    axis.set_title("What the action follows", loc="left", fontweight="bold", fontsize=11.5, pad=10)


def _by_phase(axis: Axes, study: Study, phases: Sequence[Row], policies: Sequence[Reliance]) -> None:
    _frame(axis, [f"{row.label}\n({study.phases.get(row.label, 0)} frames)" for row in phases])
    _marks(axis, phases, policies)
    _zero_to_one(axis)
    axis.set_title("In which phase of the task", loc="left", fontweight="bold", fontsize=11.5, pad=10)


def _cost(axis: Axes, errors: Sequence[Row], policies: Sequence[Reliance]) -> None:
    labels = [row.label.replace(" of ", " of\n", 1) for row in errors]
    _frame(axis, labels)
    _marks(axis, errors, policies)
    axis.set_xlim(left=0)
    axis.set_xlabel("L1 to the demonstrated action (normalised)")
    axis.set_title("What is lost when it is exchanged", loc="left", fontweight="bold", fontsize=11.5, pad=10)


def _frame(axis: Axes, labels: Sequence[str]) -> None:
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_yticks(range(len(labels)), labels)
    axis.tick_params(length=0)
    axis.grid(axis="x", color=GRID, lw=0.9)
    axis.set_axisbelow(True)
    for row in range(0, len(labels), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", zorder=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _zero_to_one(axis: Axes) -> None:
    low, high = axis.get_xlim()
    axis.set_xlim(min(-0.03, low), max(1.03, high))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0\ncameras", "¼", "½", "¾", "1\njoint state"])
    axis.axvline(0.5, color="#c9c9c9", lw=1, zorder=1)


def _marks(
    axis: Axes, rows: Sequence[Row], policies: Sequence[Reliance], first_row: int = 0, mirrored: bool = False
) -> None:
    """A mark for the value, a line for the interval; `mirrored` shows 1 - value."""
    for index, policy in enumerate(policies):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        for row, (_, path) in enumerate(rows, start=first_row):
            figure = policy.figures.get(path)
            value, low, high, *_ = figure.estimate() if figure else (None, None, None)
            if value is None:
                continue
            y, shown = row + _offset(index, len(policies)), [x for x in (low, high) if x is not None]
            value, shown = (1 - value, [1 - x for x in shown]) if mirrored else (value, shown)
            if shown:
                axis.plot(shown, [y, y], color=colour, lw=2.4, alpha=0.55, solid_capstyle="round", zorder=3)
            axis.plot(value, y, marker, color=colour, ms=7, mec="white", mew=0.9, zorder=4)


def _offset(index: int, count: int) -> float:
    return 0.0 if count == 1 else SPREAD * (index / (count - 1) - 0.5)


def _heading(figure: Figure, height: float, study: Study, axis: Axes, policies: Sequence[Reliance]) -> None:
    def inches(from_top: float) -> float:
        return 1 - from_top / height

    figure.text(0.012, inches(0.34), "Reliance on cameras and joint state", fontsize=15, fontweight="bold")
    caption = (
        f"{study.frames} frames of {len(study.episodes)} episodes of {study.dataset}; "
        "marks with 95 % intervals over episodes"
    )
    figure.text(0.012, inches(0.62), caption, color=FAINT, fontsize=10)
    handles = [
        axis.plot(
            [],
            [],
            MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            ms=8,
            mec="white",
            ls="-",
            lw=2.4,
            label=policy.name,
        )[0]
        for i, policy in enumerate(policies)
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.99, inches(0.1)),
        frameon=False,
        ncols=min(4, len(policies)),
    )
