"""Frames on which a person drove: drawn alone, or more often, and their chunks end with them."""

import numpy as np
import pytest

from so101_policy.frames.corrections import ALL, ONLY, WEIGHTED, drawn, ends_of

PERSON = np.array([0, 1, 1, 0, 0, 1, 1, 1, 0, 1], np.bool_)
LAST = np.array([5, 5, 5, 5, 5, 5, 9, 9, 9, 9])
"""Two episodes; the person drives over the end of the first and from the beginning of the second."""


@pytest.mark.parametrize(
    ("use", "frames"), [(ALL, [1, 3, 5, 8]), (ONLY, [1, 5]), (WEIGHTED, [1, 1, 1, 3, 5, 5, 5, 8])]
)
def test_frames_are_drawn_as_asked(use: str, frames: list[int]) -> None:
    assert drawn(np.array([1, 3, 5, 8]), PERSON, use, 3).tolist() == frames


def test_a_chunk_ends_with_its_correction_and_with_its_episode() -> None:
    assert ends_of(PERSON, LAST).tolist() == [5, 2, 2, 5, 5, 5, 7, 7, 9, 9]
