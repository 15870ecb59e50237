"""A ChArUco board that prints at its true size, and where its corners are.

The board's frame has its origin at the outer corner of the first (top left, black) square, x along a row of
squares, y down the columns and z into the paper, as OpenCV counts. The drawing is made of vectors, so a PDF
has no pixels to be scaled; the page carries a bar of 100 mm, because printers shrink pages and a board that is
3 % small makes every distance 3 % wrong.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from so101_calibration.errors import UsageError

PAGES_MM = {"a4": (297.0, 210.0), "letter": (279.4, 215.9), "a3": (420.0, 297.0)}
"""Width and height of a page on its long side."""

DICTIONARIES = {
    name: getattr(cv2.aruco, name)
    for name in ("DICT_4X4_50", "DICT_4X4_100", "DICT_5X5_50", "DICT_5X5_100", "DICT_6X6_250")
}

EDGE_MM = 5.0
"""Margin that printers leave white."""
BAR_MM = 100.0


@dataclass(frozen=True)
class Board:
    """A ChArUco board: a chessboard whose white squares carry markers.

    The default fits an A4 page with a margin that a hand can hold. Raises UsageError for an impossible
    board.
    """

    columns: int = 9
    rows: int = 6
    """Squares, not corners."""
    square_mm: float = 28.0
    """Edge of a printed square: measure it, and put the measured length here."""
    marker_mm: float = 20.0
    dictionary: str = "DICT_4X4_50"
    """Few, large bits: read from the smallest picture."""

    def __post_init__(self) -> None:
        if self.dictionary not in DICTIONARIES:
            raise UsageError(
                f"there is no marker dictionary {self.dictionary!r}; possible are {', '.join(DICTIONARIES)}"
            )
        if self.columns < 3 or self.rows < 3:
            raise UsageError(
                f"a board of {self.columns} x {self.rows} squares; at least 3 x 3 are needed, for four corners"
            )
        if not 0 < self.marker_mm < self.square_mm:
            raise UsageError(
                f"markers of {self.marker_mm} mm on squares of {self.square_mm} mm; a marker must be smaller than "
                "its square and larger than 0"
            )
        known = self._dictionary.bytesList.shape[0]
        if self.columns * self.rows // 2 > known:
            raise UsageError(
                f"{self.columns} x {self.rows} squares need {self.columns * self.rows // 2} markers; "
                f"{self.dictionary} has {known}"
            )

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of the printed squares."""
        return self.columns * self.square_mm, self.rows * self.square_mm

    @cached_property
    def _dictionary(self) -> Any:
        return cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])

    @cached_property
    def charuco(self) -> Any:
        """OpenCV's board, in metres."""
        size = (self.columns, self.rows)
        return cv2.aruco.CharucoBoard(size, self.square_mm / 1000, self.marker_mm / 1000, self._dictionary)

    @cached_property
    def corners_m(self) -> NDArray[np.float64]:
        """(corners, 3) inner corners by id, in the board's frame."""
        return np.asarray(self.charuco.getChessboardCorners(), float).reshape(-1, 3)

    def picture(self, pixels_per_mm: float) -> NDArray[np.uint8]:
        """The squares (height, width), without margin, 0 black to 255 white."""
        width, height = (round(side * pixels_per_mm) for side in self.size_mm)
        return np.asarray(self.charuco.generateImage((width, height), marginSize=0), np.uint8)

    def black_mm(self) -> list[NDArray[np.float64]]:
        """Everything black, as rectangles x, y, width, height [mm] from the top left corner."""
        side = self.square_mm
        black = [
            np.array((column * side, row * side, side, side))
            for row in range(self.rows)
            for column in range(self.columns)
            if (row + column) % 2 == 0
        ]
        for marker, corners in zip(self.charuco.getIds().ravel(), self.charuco.getObjPoints(), strict=True):
            bits = self._dictionary.markerSize + 2  # a marker has a black border, one bit wide
            pattern = cv2.aruco.generateImageMarker(self._dictionary, int(marker), bits)
            left, top = np.asarray(corners)[0, :2] * 1000
            bit = self.marker_mm / bits
            for row, column in np.argwhere(pattern == 0):
                black.append(np.array((left + column * bit, top + row * bit, bit, bit)))
        return black

    def __str__(self) -> str:
        return (
            f"{self.columns} x {self.rows} squares of {self.square_mm:g} mm, markers of {self.marker_mm:g} mm, "
            f"{self.dictionary}"
        )


def write_board(board: Board, path: Path, page: str = "a4", dots_per_inch: int = 300) -> None:
    """Draw the board on a page, in the middle, at its true size, with a bar to check the printer by.

    `path` ends in .pdf (vectors) or .png (which carries its resolution). Raises UsageError for another ending,
    an unknown page, or a board that is larger than the page.
    """
    if path.suffix.lower() not in (".pdf", ".png"):
        raise UsageError(f"{path.name}: a board is written as .pdf or .png")
    if page not in PAGES_MM:
        raise UsageError(f"there is no page {page!r}; possible are {', '.join(PAGES_MM)}")
    width_mm, height_mm = PAGES_MM[page]
    board_mm = board.size_mm
    room = (width_mm - 2 * EDGE_MM, height_mm - 2 * EDGE_MM - 12)  # below: the bar and a line of text
    if board_mm[0] > room[0] or board_mm[1] > room[1]:
        raise UsageError(
            f"a board of {board_mm[0]:g} x {board_mm[1]:g} mm does not fit on {page}, which has room for "
            f"{room[0]:g} x {room[1]:g} mm; take fewer or smaller squares, or a larger page"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = _page(board, width_mm, height_mm)
    about = {"Title": f"ChArUco board: {board}"}
    figure.savefig(path, dpi=dots_per_inch, metadata=about)


def _page(board: Board, width_mm: float, height_mm: float) -> Figure:
    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width_mm), ylim=(height_mm, 0))  # millimetres from the top left
    axes.axis("off")
    left = (width_mm - board.size_mm[0]) / 2
    top = (height_mm - 12 - board.size_mm[1]) / 2
    shape = Outline.make_compound_path(
        *(Outline(_outline(rectangle, left, top), closed=True) for rectangle in board.black_mm())
    )
    axes.add_patch(PathPatch(shape, facecolor="black", edgecolor="none"))  # one path: no seams
    y = height_mm - 11
    axes.plot([left, left + BAR_MM], [y, y], color="black", linewidth=0.8, solid_capstyle="butt")
    for x in (left, left + BAR_MM):
        axes.plot([x, x], [y - 1.5, y + 1.5], color="black", linewidth=0.4)
    text = f"this bar must be {BAR_MM:.0f} mm long: print at 100 %, not fitted to the page.   {board}"
    axes.text(left, y + 5, text, fontsize=7, va="center")
    return figure


def _outline(rectangle: NDArray[np.float64], left: float, top: float) -> NDArray[np.float64]:
    x, y, width, height = rectangle.tolist()
    x, y = left + x, top + y
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)])
