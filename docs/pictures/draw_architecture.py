"""Draws docs/pictures/architecture.svg: four journeys through the rooms, and who may import whom.

    python docs/pictures/draw_architecture.py [FILE]

A box is a room (a folder), in the colour of its package. Where a room is renamed, rename it here: a test compares
the names in the boxes with the folders.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FILE = Path(__file__).with_name("architecture.svg")

PACKAGES = {
    "eval": ("so101_eval", "#fde7c8", "#b4690e"),
    "calibration": ("so101_calibration", "#efe1f7", "#7a3fa0"),
    "robot": ("so101_robot", "#d9e8fb", "#1f5fa8"),
    "policy": ("so101_policy", "#dcf3df", "#2b7a39"),
    "": ("outside", "#f1f1f1", "#777777"),
}
"""Highest first: short name -> name, fill, line. "" is not ours: the arm, LeRobot, files."""


class Box(NamedTuple):
    """One stop of a journey."""

    package: str
    title: str
    room: str
    """Folder in the package; empty for what is not a room."""
    words: str


JOURNEYS: dict[str, tuple[Box, ...]] = {
    "Deploy": (
        Box("", "arm", "", "six servos,\ntwo cameras"),
        Box("robot", "bus/  arm/", "bus arm", "bytes to registers,\nregisters to joints"),
        Box("robot", "chunks/", "chunks", "when to ask,\nwhich action is next"),
        Box("policy", "inference/", "inference", "observation to chunk\nand attention shares"),
        Box("robot", "guard/", "guard", "may this goal\nbe sent?"),
        Box("robot", "faults/", "faults", "what is wrong, and\nwhat is done about it"),
        Box("robot", "runs/  display/", "runs display", "log every tick,\nshow it"),
    ),
    "Pretend": (
        Box("", "any client", "", "so101-run, LeRobot,\na Feetech tool"),
        Box("robot", "mock/serve/", "mock/serve", "a pseudo-terminal,\nor a link in memory"),
        Box("robot", "mock/wire/", "mock/wire", "bytes, their timing,\nand what breaks"),
        Box("robot", "mock/servo/", "mock/servo", "registers and\nfirmware, 1 kHz"),
        Box("robot", "mock/physics/", "mock/physics", "motors, gears,\nMuJoCo"),
        Box("robot", "mock/cameras/", "mock/cameras", "pictures of\nthe scene"),
    ),
    "Train": (
        Box("", "recordings", "", "a LeRobotDataset"),
        Box("policy", "frames/", "frames", "pictures,\ndecoded once"),
        Box("policy", "regularizer/", "regularizer", "hide inputs;\nloss on attention"),
        Box("policy", "model/", "model", "ACT, and its\nattention"),
        Box("policy", "train/", "train", "steps, held-out loss,\ncheckpoints"),
        Box("policy", "reliance/", "reliance", "what does the policy\nreally use?"),
    ),
    "Judge": (
        Box("eval", "evaluation/", "evaluation", "policies x scenarios\nx seeds, records"),
        Box("eval", "palletizing/", "palletizing", "scene, scenario,\nscore"),
        Box("eval", "episode/", "episode", "one run of the loop\nwith a score"),
        Box("robot", "loop/", "loop", "ControlLoop,\nas in a real run"),
        Box("eval", "statistics/", "statistics", "intervals, tests"),
        Box("eval", "report/", "report", "one page,\nworks offline"),
    ),
}

WIDTH, HEIGHT = 1.74, 0.92
ROW, COLUMN = 1.55, 2.0
LEFT, TOP = 1.5, 7.35


def draw(file: Path = FILE) -> None:
    """Write the file; an SVG has the same bytes every time."""
    with matplotlib.rc_context({"svg.hashsalt": "so101", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(15.6, 8.6))
        axes = figure.add_subplot()
        axes.set(xlim=(0, 15.6), ylim=(0.2, 8.4))
        axes.axis("off")
        for row, (journey, boxes) in enumerate(JOURNEYS.items()):
            y = TOP - row * ROW
            axes.text(0.1, y, journey, fontsize=15, weight="bold", va="center")
            for column, box in enumerate(boxes):
                _box(axes, LEFT + column * COLUMN, y, box)
                if column:
                    _arrow(axes, (LEFT + (column - 1) * COLUMN + WIDTH, y), (LEFT + column * COLUMN, y))
        _around_the_loop(axes)
        _layers(axes)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, metadata=metadata, bbox_inches="tight", facecolor="white", dpi=80)


def _box(axes: Axes, x: float, y: float, box: Box) -> None:
    _frame(axes, x, y - HEIGHT / 2, WIDTH, HEIGHT, box.package)
    middle = x + WIDTH / 2
    axes.text(middle, y + 0.25, box.title, ha="center", va="center", fontsize=10.5, weight="bold")
    axes.text(middle, y - 0.14, box.words, ha="center", va="center", fontsize=8.3, linespacing=1.3)


def _frame(axes: Axes, x: float, y: float, width: float, height: float, package: str) -> None:
    _, fill, line = PACKAGES[package]
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=fill, ec=line, lw=1.4))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color="#444444", lw=1.3))


def _around_the_loop(axes: Axes) -> None:
    """`loop/` calls the rooms of a run in turn, once a tick."""
    first, last = LEFT + COLUMN - 0.12, LEFT + 6 * COLUMN + WIDTH + 0.12
    colour = PACKAGES["robot"][2]
    style = "round,pad=0,rounding_size=0.12"
    corner = (first, TOP - 0.6)
    axes.add_patch(
        FancyBboxPatch(corner, last - first, 1.46, boxstyle=style, fc="none", ec=colour, lw=1.2, ls="--")
    )
    words = "loop/ calls these once per tick, 30 times per second; the goal that passed the guard goes back to the bus"
    axes.text((first + last) / 2, TOP + 0.67, words, ha="center", va="center", fontsize=10, color=colour)


def _layers(axes: Axes) -> None:
    """The packages, each with an arrow to what it may import."""
    y = 1.1
    axes.text(0.1, y, "Who may\nimport whom", fontsize=12, weight="bold", va="center")
    names = [key for key in PACKAGES if key]
    for i, key in enumerate(names):
        x = 2.1 + 2.75 * i
        _frame(axes, x, y - 0.27, 2.2, 0.54, key)
        axes.text(x + 1.1, y, PACKAGES[key][0], ha="center", va="center", fontsize=11, weight="bold")
        if i:
            _arrow(axes, (x - 0.55, y), (x, y))
    words = "A package may import everything to its right, and nothing to its left. Grey: not part of the packages."
    axes.text(2.1, 0.5, words, fontsize=9.5, va="center")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
