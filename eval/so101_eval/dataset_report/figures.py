"""The page's pictures: vector drawings in the page's colours, and photographs as JPEG."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import ConvexHull, QhullError

from so101_eval.dataset_report.picks import Picks
from so101_eval.report.figures import svg
from so101_policy.dataset_check.description import STATE
from so101_policy.dataset_check.explained import Explained
from so101_policy.dataset_check.measures import MEASURES, Measures, Unusual
from so101_policy.dataset_check.numbers import Used
from so101_policy.dataset_check.pictures import CameraFigures, where_things_lay
from so101_robot.joints import JOINTS

MAIN, ODD = svg.css("c1"), svg.css("c2")
MOST_ROWS = 60
"""Episodes with a bar of their own."""
BINS = 90
HEAT_FROM, HEAT_FULL = 20.0, 90.0
"""Levels of difference: from where something was moved, and where that is beyond doubt."""
HEAT_RGB = np.array([213, 94, 0], np.float32)


def joints(used: Used) -> Markup:
    """How often each joint was where: a row a joint."""
    state_NJ = used.column(STATE)
    names = [used.about.features[STATE].entry(j).removesuffix(".pos") for j in range(state_NJ.shape[1])]
    is_so101 = tuple(names) == JOINTS

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, len(names))
        low, high = (-180.0, 180.0) if is_so101 else (float(state_NJ.min()), float(state_NJ.max()))
        axes.set_xlim(low, high)
        if is_so101:
            axes.set_xticks(range(-180, 181, 60 if is_wide else 90))
        for j, name in enumerate(names):
            values = state_NJ[:, j]
            counts, edges = np.histogram(values, BINS, (low, high))
            height = 0.42 * counts / max(1, counts.max())
            middle = (edges[1:] + edges[:-1]) / 2
            axes.plot((low, high), (j + 0.5, j + 0.5), color=svg.LINE, linewidth=1)
            axes.fill_between(middle, j + 0.5 - height, j + 0.5 + height, color=MAIN, alpha=0.75, linewidth=0)
            if is_wide:
                svg.beside(axes, j + 0.5, name)
                svg.beside(axes, j + 0.5, f"{values.min():.0f} to {values.max():.0f}", right=True)
            else:
                axes.text(
                    low,
                    j + 0.1,
                    f"{name}  {values.min():.0f} to {values.max():.0f}",
                    va="center",
                    fontsize=11,
                )

    return svg.both_widths(46 * len(names) + 40, "How often each joint was where", draw)


def picked(picks: Picks) -> Markup:
    """The table from above, the arm at the bottom."""
    x, y = picks.points_m[:, 0] * 100, picks.points_m[:, 1] * 100
    reach = max(30.0, 10 * math.ceil((float(np.hypot(x, y).max()) + 3) / 10))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-6, reach), xticks=[], yticks=[])
        axes.grid(visible=False)
        for radius in range(10, round(reach) + 1, 10):
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=svg.LINE))
            axes.text(0, radius, f"{radius} cm", ha="center", va="center", fontsize=10, color=svg.SOFT)
        axes.add_patch(Circle((0, 0), 3.2, facecolor=svg.css("g1"), linewidth=0))
        axes.text(0, -4.6, "arm", ha="center", va="center", fontsize=10, color=svg.SOFT)
        hull = _hull(np.column_stack([-y, x]))
        if hull is not None:
            axes.add_patch(Polygon(hull, facecolor=MAIN, alpha=0.12, linewidth=0))
        for right, ahead, episode in zip(-y, x, picks.episodes, strict=True):
            svg.dot(axes, float(right), float(ahead), MAIN, f"episode {episode}: {ahead:.1f} cm ahead, "
                    f"{abs(right):.1f} cm to the {'right' if right > 0 else 'left'}", size=6)  # fmt: skip

    return svg.drawn(620, 620 * (reach + 6) / (2 * reach), "Where things were picked, from above", draw)


def episodes(measures: Measures, odd: Sequence[Unusual]) -> Markup:
    """A panel a measure: a dot an episode."""
    marked = {(each.episode, each.measure) for each in odd}
    shown = [name for name, values in measures.values.items() if np.ptp(values) > 1e-9]

    def panel(name: str) -> Markup:
        def draw(figure: Figure) -> None:
            axes = svg.plane(figure)
            svg.title(figure, f"{name} [{'%' if MEASURES[name] == 'share' else MEASURES[name]}]")
            values = np.array(measures.values[name]) * (100 if MEASURES[name] == "share" else 1)
            _dots(axes, measures.episodes, values, [(e, name) in marked for e in measures.episodes])

        return svg.drawn(svg.PANEL, 170, f"{name} of each episode", draw)

    return svg.panels([panel(name) for name in shown])


def pauses(measures: Measures, used: Used) -> Markup:
    """A bar an episode: moving, or not."""
    spans = list(used.spans())[:MOST_ROWS]
    fps = used.about.fps

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, len(spans))
        axes.set_xlabel("seconds")
        for row, span in enumerate(spans):
            axes.broken_barh(
                [(0, (span.stop - span.start) / fps)], (row + 0.15, 0.7), facecolor=svg.css("g2"), linewidth=0
            )
            still = measures.idle_N[span].astype(np.int8)
            change = np.diff(np.concatenate([[0], still, [0]]))
            starts, stops = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
            bars = [(start / fps, (stop - start) / fps) for start, stop in zip(starts, stops, strict=True)]
            axes.broken_barh(bars, (row + 0.15, 0.7), facecolor=ODD, linewidth=0)
            if row % 5 == 0 or len(spans) < 12:
                svg.beside(axes, row + 0.5, str(measures.episodes[row]))

    return svg.both_widths(
        40 + max(9, min(16, 400 // len(spans))) * len(spans), "Pauses of each episode", draw
    )


def explained(found: Explained) -> Markup:
    """A row a joint, all together on top."""
    rows = [("all joints", found.whole), *found.joints.items()]

    def draw(figure: Figure, is_wide: bool) -> None:
        axes = svg.row_axes(figure, len(rows))
        svg.percent_axis(axes, 0.25 if is_wide else 0.5)
        for row, (name, share) in enumerate(rows):
            text = f"{max(0.0, share.value):.0%}"
            ends = [min(1.0, max(0.0, end)) for end in (share.low, share.high)]
            colour = svg.INK if row == 0 else MAIN
            svg.whisker(axes, row + 0.5, min(1.0, max(0.0, share.value)), ends, colour,
                        f"{name}: {text}, 95 % interval {ends[0]:.0%} to {ends[1]:.0%}")  # fmt: skip
            svg.beside(axes, row + 0.5, name.removesuffix(".pos"))
            svg.beside(axes, row + 0.5, text, right=True, colour=svg.INK)

    return svg.both_widths(40 + 34 * len(rows), "Share of the movement that the joints alone explain", draw)


def camera(name: str, found: CameraFigures, numbers: Sequence[int]) -> Markup:
    """Brightness and sharpness of one camera."""
    parts: list[Markup] = []
    for what, values in (
        ("brightness [% of white]", np.array(found.brightness) * 100),
        ("sharpness", np.array(found.sharpness)),
    ):

        def draw(figure: Figure, what: str = what, values: NDArray[np.float64] = values) -> None:
            axes = svg.plane(figure)
            svg.title(figure, f"{name}: {what}")
            _dots(axes, numbers, values, [False] * len(values))
            axes.set_ylim(0, max(float(values.max()) * 1.15, 1.0))

        parts.append(svg.drawn(svg.PANEL, 170, f"{what} of camera {name} in each episode", draw))
    return svg.panels(parts)


def starts(found: CameraFigures) -> tuple[str, str]:
    """The usual first frame, and the same with a tint where first frames differ; as data URIs."""
    usual, differs_HW = where_things_lay(found.first)
    strength = np.clip((differs_HW - HEAT_FROM) / (HEAT_FULL - HEAT_FROM), 0, 1)[..., None] * 0.85
    grey = usual.astype(np.float32).mean(axis=2, keepdims=True)
    pale = 0.45 * grey + 0.55 * 255
    return jpeg(usual), jpeg((pale * (1 - strength) + HEAT_RGB * strength).astype(np.uint8))


def jpeg(picture: NDArray[np.uint8]) -> str:
    """As a data URI."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _dots(axes: Axes, numbers: Sequence[int], values: NDArray[np.float64], marked: Sequence[bool]) -> None:
    for number, value, is_odd in zip(numbers, values.tolist(), marked, strict=True):
        svg.dot(
            axes,
            number,
            value,
            ODD if is_odd else MAIN,
            f"episode {number}: {value:.3g}",
            size=7 if is_odd else 4,
        )
        if is_odd:
            axes.annotate(f" {number}", (number, value), fontsize=10, color=svg.INK, va="bottom")
    axes.set_xlabel("episode")
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low) if low < 0.4 * high else low, high)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    try:
        return points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return None
