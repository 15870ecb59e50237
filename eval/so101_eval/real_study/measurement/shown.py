"""What the camera measured, drawn over the picture at the end of a trial: for people who have given their verdict.

Nothing here asks whether somebody may see it: `score` shows it after a rater's verdict, `unblind` keeps it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

type Picture = NDArray[np.uint8]

LEAST_WIDTH_PX = 640
"""Smaller pictures are enlarged, so that words under them can be read."""
TARGET_RGB, SEEN_RGB, INK_RGB = (255, 212, 0), (61, 220, 132), (240, 240, 240)
LINE_PX = 24
LEGEND = "yellow: where it should be; green: as it was measured"


def words(measured: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """A line for each box of a `measured` event."""
    return [f"{names[box['box']]}: {_off(box)}" for box in measured["boxes"]]


def drawn_over(picture: Picture, measured: Mapping[str, Any], names: Sequence[str]) -> Picture:
    """The picture with outlines of where each box should be and where it was measured, and the words below.

    Args:
        picture: (h, w, 3) RGB of the front camera at the end.
        measured: data of a `measured` event; of before there were outlines: words alone.
        names: of the boxes.

    Returns:
        (h', w', 3) RGB.
    """
    factor = max(1, -(-LEAST_WIDTH_PX // picture.shape[1]))
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    large = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8).copy()
    for name, colour in (("target", TARGET_RGB), ("seen", SEEN_RGB)):
        for box in measured["boxes"]:
            if len(box.get(name, ())):
                corners = np.rint(np.array(box[name]) * size * 8 - 4).astype(np.int32)
                cv2.polylines(large, [corners[:, None]], True, colour, 2, cv2.LINE_AA, shift=3)
    lines = [*words(measured, names), LEGEND]
    strip = np.zeros((LINE_PX * len(lines) + 8, size[0], 3), np.uint8)
    for number, line in enumerate(lines, 1):
        place = (8, LINE_PX * number - 4)
        cv2.putText(strip, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK_RGB, 1, cv2.LINE_AA)
    return np.vstack((large, strip))


def _off(box: Mapping[str, Any]) -> str:
    if box["du_mm"] is None or box["dv_mm"] is None:
        return f"not measured: {box['why_not']}"
    turn = "" if box["dyaw_deg"] is None else f", turned by {box['dyaw_deg']:.0f} deg"
    return f"{math.hypot(box['du_mm'], box['dv_mm']):.0f} mm off{turn}"
