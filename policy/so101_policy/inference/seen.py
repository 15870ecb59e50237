"""A moment as a policy is shown it, and what it may be told of its own plan.

Needs numpy alone: the loop keeps moments, and need not load a policy for that.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ahead(NamedTuple):
    """What the arm goes on doing while a policy computes, for one that joins its next chunk to it (real-time
    chunking)."""

    actions: NDArray[np.float32]
    """(n, A) the rest of the chunk that is being played, from the observation's tick on, as `Prediction.raw` has it."""
    delay: int
    """So many of them will be played before the answer is there, by the latency measured so far."""


class Seen(NamedTuple):
    """One moment."""

    state: NDArray[np.float64]
    """(A,) joints in the robot's units."""
    images: Mapping[str, NDArray[np.uint8]]
    """Camera -> (height, width, 3) RGB."""
