"""The mat as a PDF in true size: vectors, so nothing has pixels that could be scaled."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from so101_eval.errors import ConfigError
from so101_eval.real_study.measurement.mat import BAR_M, FAR_M, HALF_WIDTH_M, NEAR_M, Mat

PAGES_MM = {"a3": (420.0, 297.0), "a4": (210.0, 297.0), "letter": (215.9, 279.4)}
"""Width and height. A3 is one page; the others are two, left and right half, each upright."""
EDGE_MM = 5.0
"""Margin that printers leave white."""
BAR_AT_M = (0.318, 0.130)
"""Left end of the bar, far from everything else."""


def write_mat(mat: Mat, path: Path, page: str = "a3") -> int:
    """Writes the mat and returns the number of pages. Raises `ConfigError` for an unknown page, OSError."""
    if page not in PAGES_MM:
        raise ConfigError(f"there is no page {page!r}; possible are {', '.join(PAGES_MM)}")
    size_mm = PAGES_MM[page]
    middles = (0.0,) if page == "a3" else (HALF_WIDTH_M / 2, -HALF_WIDTH_M / 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with PdfPages(path, metadata={"Title": f"Mat for {mat.task.name}"}) as document:
        for middle_m in middles:
            document.savefig(_page(mat, size_mm, middle_m, whole=len(middles) == 1))
    return len(middles)


def _page(mat: Mat, size_mm: tuple[float, float], middle_m: float, *, whole: bool) -> Figure:
    width_mm, height_mm = size_mm
    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width_mm), ylim=(0, height_mm))
    axes.axis("off")
    foot_mm = (height_mm - (FAR_M - NEAR_M) * 1000) / 2
    seen_m = HALF_WIDTH_M if whole else HALF_WIDTH_M / 2

    def on_page(points_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """[mm] from the lower left corner: x ahead is up, y left is left."""
        x, y = points_m[..., 0] * 1000, points_m[..., 1] * 1000
        return np.stack((width_mm / 2 - (y - middle_m * 1000), foot_mm + x - NEAR_M * 1000), axis=-1)

    edge = np.array([
        (NEAR_M, middle_m + seen_m), (NEAR_M, middle_m - seen_m), (FAR_M, middle_m - seen_m), (FAR_M, middle_m + seen_m)
    ])  # fmt: skip
    frame = PathPatch(
        Outline(_closed(on_page(edge)), closed=True), facecolor="none", edgecolor="0.7", linewidth=0.3
    )
    axes.add_patch(frame)
    for shade in sorted({shape.shade for shape in mat.shapes()}, reverse=True):
        outlines = [
            Outline(_closed(on_page(shape.corners_m)), closed=True)
            for shape in mat.shapes()
            if shape.shade == shade
        ]
        patch = PathPatch(Outline.make_compound_path(*outlines), facecolor=str(shade), edgecolor="none")
        axes.add_patch(patch)
        patch.set_clip_path(frame)
    x, y = BAR_AT_M
    bar = on_page(np.array([(x, y - share * BAR_M) for share in (0.0, 1.0)]))
    if whole or middle_m > 0:
        _bar(figure, bar)
    note = (
        f"{mat.task.name}: this edge lies at the arm, {NEAR_M * 1000:.0f} mm ahead of the base frame's origin"
    )
    if not whole:
        note += "; cut along the line in the middle, tape the halves edge to edge"
    x, y = on_page(np.array((NEAR_M + 0.004, middle_m))).tolist()
    axes.text(x, y, note, fontsize=5, ha="center", va="bottom", color="0.3")
    return figure


def _bar(figure: Figure, ends: NDArray[np.float64]) -> None:
    axes = figure.axes[0]
    (left, height), (right, _) = ends.tolist()
    axes.plot([left, right], [height, height], color="black", linewidth=0.8, solid_capstyle="butt")
    for x in (left, right):
        axes.plot([x, x], [height - 1.5, height + 1.5], color="black", linewidth=0.4)
    text = "100 mm: print at 100 %, not fitted to the page; measure this bar"
    axes.text((left + right) / 2, height + 4, text, fontsize=6, ha="center", va="center")


def _closed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate((points, points[:1]))
