"""Boxes on each other: which layer each one stands in, and whether that is certain.

One camera sees a box on another one nearly as it would see it on the deck, a box's width farther away. A box that is
hidden below says little, so often both are possible, and then the place is not measured.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from so101_eval.palletizing.scene.tasks import BOX_M
from so101_eval.real_study.measurement.fits import Fit
from so101_eval.real_study.measurement.looking import AGREE_M, Look

LAYER_SURE = 0.15
"""By so much the score of a layer has to be better than that of another one. In the simulation boxes on the deck
have up to 0.15 more there than above it, and boxes on others up to 0.07 more on the deck, too."""
EITHER_LAYER = "it may stand on the deck or on another box"
SAME_PLACE = "another box seems to be at the same place"


class Stood(NamedTuple):
    """A box at the end."""

    look: Look
    layer: int
    heights: Sequence[Look] = ()
    """What it looks like at each height that was tried."""


def sure_of_layer(looks: Sequence[Stood], still: Sequence[bool]) -> list[Stood]:
    """Null where another layer is possible as well.

    Args:
        looks: of all boxes.
        still: whether a box lies where it started, and so carries none.
    """
    return [
        _null(stood, EITHER_LAYER)
        if any(
            _possible(box, layer, looks, still) for layer in range(len(stood.heights)) if layer != stood.layer
        )
        else stood
        for box, stood in enumerate(looks)
    ]


def _possible(box: int, layer: int, looks: Sequence[Stood], still: Sequence[bool]) -> bool:
    """Whether a box may as well stand in that layer."""
    own, other = looks[box].look.fit, looks[box].heights[layer].fit
    if own is None or other is None or other.score < own.score - LAYER_SURE:
        return False
    if layer == 0:
        return True
    return any(
        not still[below] and not _known_elsewhere(stood, other)
        for below, stood in enumerate(looks)
        if below != box
    )


def _known_elsewhere(stood: Stood, place: Fit) -> bool:
    """Whether a box is measured, and not under that place."""
    at = stood.look.place
    return at is not None and float(np.linalg.norm(at[:2] - place.place[:2])) > BOX_M / 2


def _null(stood: Stood, why: str) -> Stood:
    return stood._replace(look=stood.look._replace(why_not=stood.look.why_not or why))


def layers(table: list[list[Look]]) -> list[int]:
    """The layer of each box: what fits best, where every box above the deck has one below it."""
    heights = range(len(table[0]))
    best, chosen = -math.inf, [0] * len(table)
    for layers in product(heights, repeat=len(table)):
        rows = [row[layer] for row, layer in zip(table, layers, strict=True)]
        if not all(_carried(look, layer, rows, layers) for look, layer in zip(rows, layers, strict=True)):
            continue
        total = sum(look.fit.score for look in rows if look.fit is not None)
        if total > best:
            best, chosen = total, list(layers)
    return chosen


def _carried(look: Look, layer: int, rows: list[Look], layers: tuple[int, ...]) -> bool:
    if layer == 0 or look.fit is None:
        return layer == 0
    return any(
        other.fit is not None
        and below == layer - 1
        and float(np.linalg.norm(other.fit.place[:2] - look.fit.place[:2])) < BOX_M / 2
        for other, below in zip(rows, layers, strict=True)
    )


def apart(looks: Sequence[Stood]) -> list[Stood]:
    """Two boxes at one place are one that was seen twice: neither is certain."""
    doubtful = set[int]()
    for a, (look, layer, _) in enumerate(looks):
        for b, (other, below, _) in enumerate(looks[:a]):
            if look.fit is None or other.fit is None or layer != below or look.why_not or other.why_not:
                continue
            if float(np.linalg.norm(look.fit.place[:2] - other.fit.place[:2])) < BOX_M - 4 * AGREE_M:
                doubtful |= {a, b}
    return [_null(stood, SAME_PLACE) if box in doubtful else stood for box, stood in enumerate(looks)]
