"""Drift measured against drift made: the front camera of a palletizing scene is turned, carried and relit.

Prints a table and, with `--plot FILE`, draws estimated against true shift, turn and light. Arm and boxes stand
elsewhere in every picture, pictures have noise of one grey level, and the camera that is moved by k px is turned or
carried in a direction drawn at random. Each point is one picture; none is left out.

    python tests/benchmarks/bench_drift.py --plot docs/pictures/drift.png
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scenes import load_scenes

from so101_calibration.drift.judgement import ANSWERS, Drift, Limits
from so101_calibration.drift.measure import measure
from so101_policy.registration.background import learn
from so101_robot.preflight.findings import Level

UNMOVED = 60
AT_THE_LIMIT = 10
"""More pictures of each kind at exactly the shift from which on the answer must be no-go."""
COLOURS = {Level.OK: "#2e9e4f", Level.WARN: "#e08a00", Level.STOP: "#c8322b"}


class Point(NamedTuple):
    """One picture."""

    kind: str
    """How the camera was moved: turn or carried; the axis of a turn; light."""
    truth: float
    found: float
    """In the unit of `truth`: px, deg, or a ratio."""
    drift: Drift


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--unmoved", type=int, default=UNMOVED)
    options = parser.parse_args()
    cv2.setNumThreads(1)  # small pictures: threads only wait for each other
    points = measured(options.unmoved)
    report(points)
    if options.plot is not None:
        draw(options.plot, points)


def measured(unmoved: int) -> dict[str, list[Point]]:
    """All pictures: unmoved, shift, turn, light."""
    bench, rng = load_scenes().Bench(), np.random.default_rng(7)
    background = learn([bench.picture(rng) for _ in range(48)])
    print(f"background: 48 pictures, {100 * background.static.mean():.0f} % of the picture static")

    def look(**change: Any) -> Drift:
        return measure(background, bench.picture(rng, **change), focal_px=bench.focal_px, gamma=1.0)

    def shifted(kind: str, px: float) -> Point:
        change = bench.moving(background.static, kind, px, rng.uniform(0, 2 * np.pi))
        drift = look(**change)
        return Point(kind, bench.truth(background.static, **change), drift.shift_px, drift)

    def turned(name: str, axis: tuple[int, int, int], deg: float, sign: int) -> Point:
        drift = look(turn=tuple(deg * part * sign for part in axis))
        return Point(name, deg, drift.angle_deg, drift)

    def lit(light: float) -> Point:
        drift = look(light=light)
        return Point("light", light, drift.light, drift)

    still = [look() for _ in range(unmoved)]
    limit_px = Limits().no_go_px
    wanted = [*np.linspace(0.5, 7, 14), *np.linspace(8, 40, 17), *[limit_px] * AT_THE_LIMIT]
    axes = {"tilt": (1, 0, 0), "pan": (0, 1, 0), "roll": (0, 0, 1)}
    degrees = list(zip(np.linspace(0.5, 5, 10).tolist(), [1, -1] * 5, strict=True))
    return {
        "unmoved": [Point("unmoved", 0.0, drift.shift_px, drift) for drift in still],
        "shift": [shifted(kind, float(px)) for px in wanted for kind in ("turn", "carried")],
        "turn": [turned(name, axis, deg, sign) for name, axis in axes.items() for deg, sign in degrees],
        "light": [lit(float(light)) for light in np.geomspace(0.5, 2.0, 13)],
    }


def report(points: dict[str, list[Point]]) -> None:
    still, shifts = points["unmoved"], points["shift"]
    alarms = sum(point.drift.level is not Level.OK for point in still)
    worst = max(point.found for point in still)
    print(f"unmoved camera: {alarms} alarms in {len(still)} pictures; largest shift {worst:.3f} px")
    lost = sum(point.drift.H is None for point in shifts)
    print(f"shift 0.5 to 40 px: {len(shifts)} pictures, {lost} not found")
    for kind in ("turn", "carried"):
        for low, high in ((0, 7.5), (7.5, 41)):
            part = [point for point in shifts if point.kind == kind and low < point.truth < high]
            print(f"  {kind}, {low:g} to {high:g} px: {summary(part)} px")
    inside = [abs(p.found - p.truth) < 1.96 * p.drift.shift_sd_px for p in shifts if p.truth < 7.5]
    print(f"  within the stated 95 %: {sum(inside)} of {len(inside)} up to 7 px")
    over = [point for point in shifts if point.truth >= Limits().no_go_px - 1e-6]
    raised = sum(point.drift.level is Level.STOP for point in over)
    early = [p.truth for p in shifts if p not in over and p.drift.level is Level.STOP]
    print(f"  from 5 px on: no-go for {raised} of {len(over)}; below, no-go at {np.round(early, 2).tolist()}")
    print(f"turn 0.5 to 5 deg: {len(points['turn'])} pictures, {summary(points['turn'])} deg")
    relative = [point._replace(found=point.found / point.truth, truth=1.0) for point in points["light"]]
    print(f"light 50 to 200 %: {len(relative)} pictures, {summary(relative)} of the light")
    print(f"  largest shift {max(point.drift.shift_px for point in relative):.3f} px")


def summary(points: list[Point]) -> str:
    error = np.abs([point.found - point.truth for point in points])
    return f"error mean {error.mean():.4f}, largest {error.max():.4f}"


def draw(path: Path, points: dict[str, list[Point]]) -> None:
    """Above, what was found against what is true; below, the difference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5.4), layout="constrained")
    above, below = figure.subplots(2, 4, height_ratios=(3, 1.2))
    moved = points["unmoved"] + points["shift"]
    near = [point for point in moved if point.truth <= 7.5]
    percent = [p._replace(truth=100 * p.truth, found=100 * p.found) for p in points["light"]]
    panels = (
        ("shift of the picture", "px", moved, 42.0, 0.0),
        ("the same, near the limits", "px", near, 8.0, 0.0),
        ("turn of the camera", "deg", points["turn"], 5.4, 0.0),
        ("light", "%", percent, 210.0, 40.0),
    )
    for column, (title, unit, chosen, end, start) in enumerate(panels):
        top, bottom = above[column], below[column]
        top.plot([start, end], [start, end], color="0.75", lw=1, zorder=1)
        bottom.axhline(0, color="0.75", lw=1, zorder=1)
        scatter(top, bottom, chosen)
        top.set(title=title, ylabel=f"estimated [{unit}]", ylim=(start - 0.02 * end, end))
        bottom.set(xlabel=f"true [{unit}]", ylabel=f"error [{unit}]")
        for axes in (top, bottom):
            axes.set_xlim(start - 0.03 * end, end)
            axes.spines[["top", "right"]].set_visible(False)
    bands(above[1])
    above[0].legend(handles=answers(), loc="upper left", frameon=False)
    for axes in (above[1], above[2]):
        axes.legend(loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


MARKS = {"unmoved": "s", "turn": "o", "carried": "D", "pan": "o", "tilt": "^", "roll": "s", "light": "o"}
NAMES = {"turn": "camera turned", "carried": "camera carried", "unmoved": "unmoved, arm and boxes move"}


def scatter(top: Any, bottom: Any, points: list[Point]) -> None:
    for kind in dict.fromkeys(point.kind for point in points):
        chosen = [point for point in points if point.kind == kind]
        truth = [point.truth for point in chosen]
        found = np.array([point.found for point in chosen])
        colours = [COLOURS[point.drift.level] for point in chosen]
        style: dict[str, Any] = {
            "marker": MARKS[kind],
            "s": 24,
            "linewidths": 1.0,
            "facecolors": "none",
            "zorder": 2,
        }
        top.scatter(truth, found, edgecolors=colours, **style)
        bottom.scatter(truth, found - truth, edgecolors=colours, **style)
        top.scatter([], [], edgecolors="0.3", label=NAMES.get(kind, kind), **style)


def bands(axes: Any) -> None:
    limits = Limits()
    ends = (0.0, limits.warn_px, limits.no_go_px, 8.0)
    for answer, low, high in zip(Level, ends, ends[1:], strict=False):
        axes.axhspan(low, high, color=COLOURS[answer], alpha=0.08, lw=0)
        axes.text(7.9, low + 0.15, ANSWERS[answer], color=COLOURS[answer], ha="right", va="bottom")


def answers() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], marker="o", ls="", mfc="none", color=colour, label=f"answer: {ANSWERS[answer]}")
        for answer, colour in COLOURS.items()
    ]


if __name__ == "__main__":
    main()
