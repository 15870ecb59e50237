"""A moment as a policy is shown it. Needs numpy alone: the loop keeps moments, and need not load a policy for that."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Seen(NamedTuple):
    """One moment."""

    state: NDArray[np.float64]
    """(A,) joints in the robot's units."""
    images: Mapping[str, NDArray[np.uint8]]
    """Camera -> (height, width, 3) RGB."""
